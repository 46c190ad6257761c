"""Payout days, who is due and the hash: pure, in tables."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affiliate.core.money import Money
from payouts.batches.rules import (
    Candidate,
    Due,
    NotDue,
    Reserved,
    Schedule,
    batch_hash,
    due,
    due_instant,
    next_due,
    periods_due,
)

MOSCOW = Schedule(weekday=0, hour=9, time_zone="Europe/Moscow")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("day", "hour", "zone", "expected"),
    [
        ("2026-11-23", 9, "Europe/Moscow", "2026-11-23T06:00+00:00"),
        ("2026-07-06", 9, "Europe/Berlin", "2026-07-06T07:00+00:00"),
        ("2026-12-07", 9, "Europe/Berlin", "2026-12-07T08:00+00:00"),
        # 29 March 2026, 02:00 is skipped in Berlin: an hour later on the clock, 03:00 CEST.
        ("2026-03-29", 2, "Europe/Berlin", "2026-03-29T01:00+00:00"),
        # 25 October 2026, 02:00 comes twice in Berlin: the first, still in summer time.
        ("2026-10-25", 2, "Europe/Berlin", "2026-10-25T00:00+00:00"),
        ("2026-01-01", 0, "Pacific/Kiritimati", "2025-12-31T10:00+00:00"),
    ],
)
def test_a_local_hour_is_this_instant(day: str, hour: int, zone: str, expected: str) -> None:
    assert due_instant(date.fromisoformat(day), hour, zone) == at(expected)


def test_periods_are_half_open_and_none_is_skipped() -> None:
    after, until = at("2026-11-23T06:00+00:00"), at("2026-12-14T06:00+00:00")
    found = periods_due(MOSCOW, after=after, until=until)
    assert [period.key for period in found] == ["2026-11-30", "2026-12-07", "2026-12-14"]
    assert periods_due(MOSCOW, after=until, until=until) == []
    just_before = until - timedelta(microseconds=1)
    assert len(periods_due(MOSCOW, after=after, until=just_before)) == 2


def test_the_next_payout_day_is_strictly_later() -> None:
    monday = at("2026-11-23T06:00+00:00")
    assert next_due(MOSCOW, after=monday - timedelta(microseconds=1)) == monday
    assert next_due(MOSCOW, after=monday) == at("2026-11-30T06:00+00:00")


zones = st.sampled_from(
    [
        "UTC",
        "Europe/Moscow",
        "Europe/Berlin",
        "America/New_York",
        "Asia/Kathmandu",
        "Pacific/Apia",
        "Australia/Lord_Howe",
        "Africa/Casablanca",
    ]
)


@given(
    weekday=st.integers(0, 6),
    hour=st.integers(0, 23),
    zone=zones,
    year=st.integers(2020, 2035),
    cuts=st.lists(st.integers(1, 3 * 365 * 24), max_size=8),
)
def test_any_ticks_make_the_same_periods_once_each(
    weekday: int, hour: int, zone: str, year: int, cuts: list[int]
) -> None:
    """Also across W53, W01 and every change of the clocks, whenever the ticks come."""
    schedule = Schedule(weekday, hour, zone)
    start = datetime(year, 1, 1, tzinfo=UTC)
    end = start + timedelta(days=3 * 365)
    whole = periods_due(schedule, after=start, until=end)
    found, last = [], start
    for tick in [*sorted(start + timedelta(hours=h) for h in cuts if h < 3 * 365 * 24), end]:
        for period in periods_due(schedule, after=last, until=tick):
            found.append(period)
            last = period.due_at
    assert found == whole
    days = [date.fromisoformat(period.key) for period in whole]
    assert all(day.weekday() == weekday for day in days)
    assert {b - a for a, b in itertools.pairwise(days)} == {timedelta(days=7)}
    for period in whole:
        local = period.due_at.astimezone(ZoneInfo(zone))
        assert 0 <= local.hour - hour <= 1


def candidate(**changes: object) -> Candidate:
    given_: dict[str, object] = {
        "enrollment_id": 1,
        "status": "active",
        "available": Money(19_990_000, "EUR"),
        "destination": "acct_1",
        "ready": True,
    }
    return Candidate(**{**given_, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "granularity", "expected"),
    [
        ({}, 1, 19_990_000),
        ({"available": Money(19_999_999, "EUR")}, 1, 19_990_000),  # the rest stays
        ({"available": Money(10_000, "EUR")}, 1, 10_000),  # one cent is paid
        ({"available": Money(9_999, "EUR")}, 1, NotDue.NOTHING_PAYABLE),
        ({"available": Money(0, "EUR")}, 1, NotDue.NOTHING_PAYABLE),
        ({"available": Money(-1, "EUR")}, 1, NotDue.NEGATIVE_BALANCE),
        ({"available": Money(-5_000_000, "EUR")}, 1, NotDue.NEGATIVE_BALANCE),
        ({"held": True}, 1, NotDue.ON_HOLD),
        ({"held": True, "available": Money(9_999, "EUR")}, 1, NotDue.NOTHING_PAYABLE),
        ({"on_request": True}, 1, NotDue.ON_REQUEST),
        ({"on_request": True, "held": True}, 1, NotDue.ON_HOLD),
        ({"minimum_micros": 19_990_000}, 1, 19_990_000),  # exactly the wish
        ({"minimum_micros": 19_990_001}, 1, NotDue.BELOW_OWN_MINIMUM),
        # 19.999999 is there, 19.99 can be paid: the wish is for what arrives.
        (
            {"minimum_micros": 19_995_000, "available": Money(19_999_999, "EUR")},
            1,
            NotDue.BELOW_OWN_MINIMUM,
        ),
        ({"minimum_micros": 20_000_000, "destination": None}, 1, NotDue.BELOW_OWN_MINIMUM),
        ({"available": Money(1_500_000, "JPY")}, 1, 1_000_000),  # yen have no parts
        ({"available": Money(1_234_567, "KWD")}, 10, 1_230_000),  # last digit 0 at the rail
        ({"status": "closed"}, 1, 19_990_000),
        ({"status": "suspended"}, 1, NotDue.NOT_ACTIVE),
        ({"destination": None}, 1, NotDue.NO_PAYEE_ACCOUNT),
        ({"ready": False}, 1, NotDue.PAYEE_NOT_READY),
    ],
)
def test_this_much_is_due(
    changes: dict[str, object], granularity: int, expected: int | NotDue
) -> None:
    found = due(candidate(**changes), granularity)
    assert (found.amount.micros if isinstance(found, Due) else found) == expected


def test_the_hash_covers_every_field_and_no_order() -> None:
    items = [Reserved(n, n, Money(10_000 * n, "EUR"), f"acct_{n}", n) for n in (1, 2, 3)]
    whole = batch_hash(items)
    assert batch_hash(items[::-1]) == whole
    changed = [
        Reserved(1, 1, Money(10_001, "EUR"), "acct_1", 1),
        Reserved(1, 1, Money(10_000, "EUR"), "acct_2", 1),
        Reserved(1, 9, Money(10_000, "EUR"), "acct_1", 1),
        Reserved(1, 1, Money(10_000, "EUR"), "acct_1", 9),
        Reserved(9, 1, Money(10_000, "EUR"), "acct_1", 1),
        Reserved(1, 1, Money(10_000, "USD"), "acct_1", 1),
    ]
    assert len({batch_hash([item, *items[1:]]) for item in changed} | {whole}) == 7
    assert batch_hash(items[1:]) != whole
