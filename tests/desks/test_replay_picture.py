"""The picture of a trial: days into weeks and months, amounts into heights."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import pytest

from affiliate.core.money import MICROS
from tracker.desks.manage.replay_picture import DAYS_MAX, WEEKS_MAX, Unit, picture

MONDAY = date(2026, 6, 1)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("days", "unit", "places"),
    [
        (1, Unit.DAY, 1),
        (DAYS_MAX, Unit.DAY, 45),
        (DAYS_MAX + 1, Unit.WEEK, 7),  # six weeks of Monday to Sunday, and four days
        (WEEKS_MAX * 7, Unit.WEEK, 60),
        (WEEKS_MAX * 7 + 1, Unit.MONTH, 14),  # June 2026 to July 2027
    ],
)
def test_long_spans_are_drawn_by_week_and_by_month(days: int, unit: Unit, places: int) -> None:
    drawn = picture({}, MONDAY, MONDAY + (days - 1) * DAY)
    assert drawn.unit is unit
    assert len(drawn.marks) == places
    slots = drawn.slots
    assert (slots[0].first, slots[-1].last) == (MONDAY, MONDAY + (days - 1) * DAY)
    assert all(b.first == a.last + DAY for a, b in pairwise(slots))


@pytest.mark.parametrize(
    ("days", "named"), [(1, [0]), (2, [0, 1]), (3, [0, 1, 2]), (45, [0, 22, 44])]
)
def test_the_axis_names_the_ends_and_the_middle_once(days: int, named: list[int]) -> None:
    drawn = picture({}, MONDAY, MONDAY + (days - 1) * DAY)
    assert [slot.first for slot in drawn.axis] == [MONDAY + i * DAY for i in named]


def test_nothing_is_lost_in_the_weeks() -> None:
    first = date(2026, 1, 28)  # a Wednesday
    days = {first + i * DAY: (i * MICROS, 2 * i * MICROS) for i in range(100)}
    drawn = picture(days, first, first + 99 * DAY)
    assert drawn.unit is Unit.WEEK
    assert drawn.slots[0].last == date(2026, 2, 1)
    assert sum(slot.booked for slot in drawn.slots) == 4_950 * MICROS
    assert sum(slot.would for slot in drawn.slots) == 9_900 * MICROS


def test_heights_are_parts_of_a_round_axis() -> None:
    drawn = picture(
        {MONDAY: (30 * MICROS, 40 * MICROS), MONDAY + DAY: (0, 10_000)}, MONDAY, MONDAY + 2 * DAY
    )
    assert drawn.top == 50
    whole, small, nothing = drawn.marks
    # 30 of 50 are 60 of a hundred, that is 40 from above; 40 of 50 stand at 20.
    assert (whole.y, whole.height, whole.draft_y) == ("40.00", "60.00", "20.00")
    assert (small.height, small.draft_y) == ("0.00", "98.50")  # a kopeck is seen
    assert nothing.draft_y == ""
    assert drawn.width == 36


def test_what_lies_below_zero_has_no_height_and_what_lies_outside_the_span_has_a_place() -> None:
    drawn = picture({MONDAY - DAY: (-5 * MICROS, 5 * MICROS)}, MONDAY, MONDAY)
    assert [slot.first for slot in drawn.slots] == [MONDAY - DAY, MONDAY]
    assert (drawn.marks[0].height, drawn.marks[0].draft_y) == ("0.00", "0.00")
    assert drawn.marks[1].draft_y == ""
