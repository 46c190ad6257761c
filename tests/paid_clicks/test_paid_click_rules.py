"""When a day of clicks is settled, and what a count that has moved changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.paid_clicks.rules import Change, change_of, settled_until

NOW = datetime(2026, 11, 21, 3, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("nodes", "until"),
    [
        ([], NOW),  # nobody to wait for
        ([NOW - HOUR], NOW - HOUR),
        ([NOW - HOUR, NOW - 5 * HOUR], NOW - 5 * HOUR),  # the slowest decides
        ([NOW + HOUR], NOW),  # its clock runs ahead
        ([NOW - 24 * HOUR], NOW - 24 * HOUR),
        ([NOW - 25 * HOUR], NOW - 24 * HOUR),  # is not waited for any longer
        ([NOW - HOUR, NOW - 300 * HOUR], NOW - 24 * HOUR),
    ],
)
def test_a_day_waits_for_its_nodes_and_not_for_ever(nodes: list[datetime], until: datetime) -> None:
    assert settled_until(NOW, nodes) == until


@pytest.mark.parametrize(
    ("counted", "booked", "change"),
    [
        (5, 0, Change(voids=False, count=5, before=0)),
        (7, 5, Change(voids=False, count=2, before=5)),
        (4, 5, Change(voids=True, count=4, before=0)),
        (0, 5, Change(voids=True, count=0, before=0)),
        (5, 5, Change(voids=False, count=0, before=5)),
    ],
)
def test_more_are_booked_beside_and_fewer_anew(counted: int, booked: int, change: Change) -> None:
    assert change_of(counted=counted, booked=booked) == change


@given(st.lists(st.integers(0, 1_000), max_size=20))
def test_what_stays_booked_is_always_what_is_counted(counts: list[int]) -> None:
    live: list[int] = []
    for counted in counts:
        change = change_of(counted=counted, booked=sum(live))
        live = [] if change.voids else live
        live += [change.count] if change.count else []
        assert sum(live) == counted
