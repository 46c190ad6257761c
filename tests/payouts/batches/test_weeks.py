"""Ten years of payout days: none skipped, none doubled, whatever the clocks and people do."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from money_world import World

from affiliate.programs.models import Program
from payouts.batches.draft import open_periods
from payouts.batches.models import PayoutPeriod
from payouts.batches.rules import PERIODS_MAX, Period, Schedule, due_instant, periods_due

YEARS = 10
HOURS = YEARS * 366 * 24
ZONES = (
    "UTC",
    "Europe/Moscow",
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",  # half an hour off
    "Asia/Kolkata",
    "Asia/Kathmandu",  # 45 minutes off
    "Australia/Lord_Howe",  # its summer time is half an hour
    "Africa/Casablanca",  # winter time in Ramadan
    "America/Sao_Paulo",  # midnight was skipped each spring until 2018
    "Africa/Cairo",  # midnight is skipped on a Friday since 2023
    "America/Havana",
    "America/Santiago",
    "Asia/Beirut",
    "Pacific/Apia",  # had no 30 December 2011
    "Pacific/Kiritimati",
    "Pacific/Honolulu",
    "Antarctica/Troll",  # two hours
)
zones = st.sampled_from(ZONES)
schedules = st.builds(Schedule, weekday=st.integers(0, 6), hour=st.integers(0, 23), time_zone=zones)


@pytest.mark.parametrize(
    ("zone", "begins"),
    [(zone, 2009 if zone in ("Pacific/Apia", "America/Sao_Paulo") else 2019) for zone in ZONES],
)
def test_every_weekday_and_hour_of_ten_years_has_its_weeks_once(zone: str, begins: int) -> None:
    after, until = datetime(begins, 1, 1, tzinfo=UTC), datetime(begins + YEARS, 1, 1, tzinfo=UTC)
    for weekday in range(7):
        first = date(begins, 1, 1) - timedelta(days=7)
        first += timedelta(days=(weekday - first.weekday()) % 7)
        every = [first + timedelta(days=7 * n) for n in range(53 * YEARS + 4)]
        for hour in range(24):
            found = periods_due(Schedule(weekday, hour, zone), after=after, until=until)
            wanted = [day for day in every if after < due_instant(day, hour, zone) <= until]
            days = [date.fromisoformat(period.key) for period in found]
            assert days == wanted[:PERIODS_MAX]
            assert len(wanted) - len(days) <= 3
            _each_is_local(found, days, hour, zone)


def _each_is_local(found: list[Period], days: list[date], hour: int, zone: str) -> None:
    for period, day in zip(found, days, strict=True):
        assert period.due_at == due_instant(day, hour, zone)
        local = period.due_at.astimezone(ZoneInfo(zone))
        # Of a day or an hour that the clocks left out it is the same distance after it.
        late = local.replace(tzinfo=None) - datetime.combine(day, time(hour))
        assert timedelta(0) <= late <= timedelta(hours=24 if zone == "Pacific/Apia" else 2)
    assert all(a.due_at < b.due_at for a, b in itertools.pairwise(found))


@given(
    changes=st.lists(st.tuples(st.integers(1, HOURS), schedules), max_size=6),
    first=schedules,
    ticks=st.lists(st.integers(1, HOURS), max_size=40),
    year=st.integers(2009, 2030),
)
def test_changes_of_schedule_and_zone_and_random_schedulers_neither_skip_nor_double(
    changes: list[tuple[int, Schedule]], first: Schedule, ticks: list[int], year: int
) -> None:
    """What `open_periods` does, with a dictionary for the table and its unique key."""
    start = datetime(year, 1, 1, tzinfo=UTC)
    end = start + timedelta(hours=HOURS)
    rows: dict[str, datetime] = {}
    doubled: list[str] = []

    def tick(schedule: Schedule, now: datetime) -> None:
        while True:
            last = max(rows.values(), default=start)
            found = periods_due(schedule, after=last, until=now)
            fresh = [each for each in found if each.key not in rows]
            doubled.extend(each.key for each in fresh if each.due_at <= last)
            rows.update({each.key: each.due_at for each in fresh})
            if not fresh:
                return

    schedule, told = first, sorted(changes, key=lambda each: each[0])
    moments = sorted(
        [(hours, None) for hours in ticks] + list(told), key=lambda each: (each[0], each[1] is None)
    )
    for hours, changed in moments:
        schedule = changed or schedule
        tick(schedule, start + timedelta(hours=hours))
    tick(schedule, end)
    assert not doubled
    dues = sorted(rows.values())
    assert len(set(dues)) == len(dues)
    # Where nobody changed the schedule, no week is without its day; a change of zone may find
    # the day's batch made already, and then the next is a day later at most.
    changed_at = [start + timedelta(hours=hours) for hours, _ in told]
    for before, after in itertools.pairwise([start, *dues, end]):
        if not any(before <= moment <= after for moment in changed_at):
            assert after - before <= timedelta(days=8, hours=3)
    for key, due_at in rows.items():
        assert abs(due_at.date() - date.fromisoformat(key)) <= timedelta(days=1)


@pytest.mark.parametrize(
    ("changed", "keys"),
    [
        # Later on the day that is drafted already: no second batch of that day.
        ({"payout_hour": 15}, ["2026-11-16", "2026-11-23", "2026-11-30"]),
        # Another zone, in which that Monday is still to come: the same.
        ({"time_zone": "Pacific/Honolulu"}, ["2026-11-16", "2026-11-23", "2026-11-30"]),
        # Another weekday begins in the same week.
        ({"payout_weekday": 3}, ["2026-11-16", "2026-11-23", "2026-11-26"]),
    ],
    ids=["hour", "zone", "weekday"],
)
def test_a_changed_schedule_makes_these_rows(
    world_of: Callable[..., World], changed: dict[str, object], keys: list[str]
) -> None:
    world = world_of()
    session = world.session
    session.execute(sa.update(Program).values(created_at=datetime(2026, 11, 12, tzinfo=UTC)))
    monday = datetime(2026, 11, 23, 7, tzinfo=UTC)
    open_periods(session, now=monday)
    session.execute(sa.update(Program).values(**changed))
    session.expire_all()
    for days in (0, 1, 4, 7.2, 7.3, 8):
        open_periods(session, now=monday + timedelta(days=days))
    found = session.scalars(sa.select(PayoutPeriod.key).order_by(PayoutPeriod.due_at)).all()
    assert found[: len(keys)] == keys
    assert len(set(found)) == len(found)
