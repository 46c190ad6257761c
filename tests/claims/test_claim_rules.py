"""Deadlines, limits, grounds and remedies of claims: values in, values out."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from tracker.claims.rules import (
    ANSWER_WORKING_DAYS,
    APPEAL_DAYS,
    CASES_OPEN_MAX,
    CASES_PER_DAY_MAX,
    MISSING_DAYS_BACK_MAX,
    NOTES_MAX,
    READINGS_MAX,
    TEXT_CHARS_MAX,
    Ground,
    Objection,
    OwnCommission,
    OwnSide,
    Remedy,
    clean_text,
    day_begins,
    day_ends,
    day_fits,
    day_matches,
    due_at,
    is_order_id,
    objection,
    order_remedies,
    second_reader_needed,
)

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 11, 26, 9, 0, tzinfo=UTC)
DAY, TICK = timedelta(days=1), timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("opened", "zone", "due"),
    [
        # Monday to the end of the next Monday: Tue, Wed, Thu, Fri, Mon.
        ("2026-11-23T09:00+00:00", "UTC", "2026-12-01T00:00+00:00"),
        # Friday evening: Mon … Fri.
        ("2026-11-27T18:00+00:00", "UTC", "2026-12-05T00:00+00:00"),
        # Saturday and Sunday count from Monday.
        ("2026-11-28T12:00+00:00", "UTC", "2026-12-05T00:00+00:00"),
        ("2026-11-29T23:59+00:00", "UTC", "2026-12-05T00:00+00:00"),
        # It is Tuesday already in Moscow, three hours ahead.
        ("2026-11-23T21:00+00:00", "Europe/Moscow", "2026-12-01T21:00+00:00"),
        ("2026-11-23T20:59+00:00", "Europe/Moscow", "2026-11-30T21:00+00:00"),
        # Over the end of summer time in Berlin: midnight there is 23:00 in winter.
        ("2026-10-22T09:00+00:00", "Europe/Berlin", "2026-10-29T23:00+00:00"),
    ],
)
def test_a_case_is_due_at_the_end_of_the_fifth_working_day(
    opened: str, zone: str, due: str
) -> None:
    assert due_at(datetime.fromisoformat(opened), zone) == datetime.fromisoformat(due)


def test_a_day_is_right_within_one_where_the_program_lives() -> None:
    placed = datetime(2026, 11, 25, 21, 30, tzinfo=UTC)  # the 26th in Moscow
    named = [day for day in range(23, 30) if day_matches(date(2026, 11, day), placed, "UTC")]
    assert named == [24, 25, 26]
    named = [
        day for day in range(23, 30) if day_matches(date(2026, 11, day), placed, "Europe/Moscow")
    ]
    assert named == [25, 26, 27]


def test_orders_are_missed_from_tomorrow_back_to_ninety_days() -> None:
    today = date(2026, 11, 26)
    fitting = [n for n in range(-3, 95) if day_fits(today - timedelta(n), NOW, "UTC")]
    assert (fitting[0], fitting[-1], len(fitting)) == (-1, 90, 92)


def test_the_day_of_the_limits_begins_at_the_programs_midnight() -> None:
    at = datetime(2026, 11, 25, 21, 30, tzinfo=UTC)
    assert day_begins(at, "Europe/Moscow") == datetime(2026, 11, 25, 21, 0, tzinfo=UTC)
    assert day_begins(at, "UTC") == datetime(2026, 11, 25, tzinfo=UTC)
    assert day_ends(at, "Europe/Moscow") == datetime(2026, 11, 26, 21, 0, tzinfo=UTC)
    # The last day of summer time in Berlin has 25 hours.
    changing = datetime(2026, 10, 25, 12, 0, tzinfo=UTC)
    length = day_ends(changing, "Europe/Berlin") - day_begins(changing, "Europe/Berlin")
    assert length == timedelta(hours=25)


def test_a_decision_is_objected_to_for_thirty_days_the_end_included() -> None:
    found = Objection(Ground.TAKEN_BACK, NOW)
    assert found.in_time(NOW + APPEAL_DAYS * DAY)
    assert not found.in_time(NOW + APPEAL_DAYS * DAY + TICK)
    assert Objection(Ground.HELD, None).in_time(NOW + 999 * DAY)


def commission(
    *, nothing: bool = False, reversed_at: datetime | None = None, voided: datetime | None = None
) -> OwnCommission:
    return OwnCommission(nothing, NOW, reversed_at, voided)


PART = {"decided_at": NOW, "candidate": True}
SIDES = {
    "no part": (OwnSide(decided_at=NOW), None),
    "credited and pending": (OwnSide((commission(),), credited=True, **PART), None),
    "lost": (OwnSide(**PART), (Ground.NOT_CREDITED, NOW)),
    "never decided": (OwnSide(candidate=True), (Ground.NOT_CREDITED, None)),
    "held": (OwnSide((commission(),), credited=True, to_review=True, **PART), (Ground.HELD, None)),
    "another's is held": (OwnSide(to_review=True, **PART), (Ground.NOT_CREDITED, NOW)),
    "voided": (
        OwnSide((commission(voided=NOW), commission(voided=NOW + DAY)), **PART),
        (Ground.TAKEN_BACK, NOW + DAY),
    ),
    "voided and earned again": (
        OwnSide((commission(voided=NOW), commission()), credited=True, **PART),
        None,
    ),
    "earned nothing": (
        OwnSide((commission(nothing=True),), credited=True, **PART),
        (Ground.EARNED_NOTHING, NOW),
    ),
    "refunded": (
        OwnSide((commission(reversed_at=NOW + DAY),), credited=True, **PART),
        (Ground.REFUNDED, NOW + DAY),
    ),
    "level 2 alone, voided": (OwnSide((commission(voided=NOW),)), (Ground.TAKEN_BACK, NOW)),
}


@pytest.mark.parametrize("name", SIDES)
def test_what_can_be_objected_to(name: str) -> None:
    side, expected = SIDES[name]
    found = objection(side)
    assert (found and (found.ground, found.since)) == expected


@pytest.mark.parametrize(
    ("side", "active", "expected"),
    [
        (OwnSide(), True, (Remedy.ASSIGN,)),
        (OwnSide(), False, ()),
        (OwnSide(cancelled=True), True, ()),
        (OwnSide(credited=True, credited_alone=True), True, ()),
        (OwnSide(credited=True), True, (Remedy.ASSIGN,)),
        (OwnSide(credited=True, credited_alone=True, to_review=True), True, (Remedy.RELEASE,)),
        (OwnSide(to_review=True), True, (Remedy.ASSIGN,)),
        (OwnSide(declined=True), True, (Remedy.OVERTURN, Remedy.ASSIGN)),
        (OwnSide(declined=True), False, (Remedy.OVERTURN,)),
    ],
)
def test_what_can_be_done_about_an_order(
    side: OwnSide, active: bool, expected: tuple[Remedy, ...]
) -> None:
    assert order_remedies(side, active=active) == expected


@pytest.mark.parametrize(
    ("first", "by", "others", "needed"),
    [
        (None, 7, [7, 8], False),  # a rule decided first
        (8, 7, [7, 8], False),
        (7, 7, [7, 8], True),
        (7, 7, [7], False),  # nobody else is there, and it shows
        (7, 7, [], False),
    ],
)
def test_who_decided_first_reads_no_objection_where_somebody_else_can(
    first: int | None, by: int, others: list[int], needed: bool
) -> None:
    assert second_reader_needed(first_decided_by=first, by=by, others=others) is needed


@pytest.mark.parametrize("text", ["A-10042", "a.b_c:d@e#f~g-h", "7", "x" * 255])
def test_order_numbers_of_shops_are_taken(text: str) -> None:
    assert is_order_id(text)


@pytest.mark.parametrize("text", ["", " ", "A 1", "A\n", "№7", "<b>", "x" * 256, "A\0"])
def test_other_texts_are_no_order_numbers(text: str) -> None:
    assert not is_order_id(text)


def test_texts_keep_their_lines_and_lose_what_hides_or_turns_them() -> None:
    written = " one \r\n\r\n\r\n\r\ntwo\u202e\u200b\x1b[31m\0\rthree\ufeff "
    assert clean_text(written) == "one\n\ntwo[31m\nthree"
    assert clean_text(" \u200b \n ") == ""


def test_the_rules_page_says_the_numbers_that_are_kept() -> None:
    """docs/rules.md, "Claims and appeals": its table and its example, against the code."""
    page = (ROOT / "docs/rules.md").read_text(encoding="utf-8")
    part = page.partition("## Claims and appeals")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", part, flags=re.MULTILINE))
    numbers = {name: [int(n.replace(",", "")) for n in re.findall(r"\d[\d,]*", text)]
               for name, text in rows.items()}  # fmt: skip
    assert numbers["answer"] == [ANSWER_WORKING_DAYS]
    assert numbers["age of a missing order"] == [MISSING_DAYS_BACK_MAX]
    assert numbers["order numbers that cannot be answered at once"] == [CASES_PER_DAY_MAX]
    assert numbers["open cases"] == [CASES_OPEN_MAX]
    assert numbers["readings of one thing"] == [READINGS_MAX]
    assert numbers["text"] == [TEXT_CHARS_MAX, NOTES_MAX]
    assert f"**{APPEAL_DAYS} days**" in part
    asked, due = re.findall(r"\d{1,2} (?:November|December)(?: 2026)?", part)
    opened = datetime.strptime(f"{asked} 18:00 +0000", "%d %B %Y %H:%M %z")
    last_day = datetime.strptime(f"{due} 2026 +0000", "%d %B %Y %z")
    assert due_at(opened, "UTC") == last_day + DAY
