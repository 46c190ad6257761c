"""Months, quarters and years in a program's zone. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from affiliate.core.errors import NotFound

MONTHS: Final = 12
QUARTER_MONTHS: Final = 3
YEAR_MIN, YEAR_MAX = 2000, 2200
_KEY: Final = re.compile(
    r"(?a:(?P<year>[0-9]{4})(?:-Q(?P<quarter>[1-4])|-(?P<month>0[1-9]|1[0-2]))?)"
)


@dataclass(frozen=True, slots=True)
class Period:
    """Whole months of the calendar in a program's zone; half open, the end is the next one's."""

    first: date
    after: date
    """The first day that is not in it."""
    starts_at: datetime
    ends_at: datetime

    @property
    def key(self) -> str:
        """As addresses have it: `2026-11`, `2026-Q4`, `2026`."""
        months = (self.after.year - self.first.year) * MONTHS + self.after.month - self.first.month
        if months == MONTHS:
            return f"{self.first.year:04d}"
        if months == QUARTER_MONTHS:
            return f"{self.first.year:04d}-Q{self.first.month // QUARTER_MONTHS + 1}"
        return f"{self.first:%Y-%m}"

    @property
    def last(self) -> date:
        """Its last day."""
        return self.after - timedelta(days=1)


def month_at(first: date, time_zone: str) -> Period:
    """The month of a day."""
    return _period(first.replace(day=1), 1, time_zone)


def period_named(key: str, time_zone: str) -> Period:
    """The month, quarter or year of a key. Raises NotFound for what is none."""
    found = _KEY.fullmatch(key)
    if found is None or not YEAR_MIN <= int(found["year"]) <= YEAR_MAX:
        raise NotFound
    year = int(found["year"])
    if found["quarter"]:
        month = (int(found["quarter"]) - 1) * QUARTER_MONTHS + 1
        return _period(date(year, month, 1), QUARTER_MONTHS, time_zone)
    if found["month"]:
        return _period(date(year, int(found["month"]), 1), 1, time_zone)
    return _period(date(year, 1, 1), MONTHS, time_zone)


def _period(first: date, months: int, time_zone: str) -> Period:
    after, zone = first, ZoneInfo(time_zone)
    for _ in range(months):
        after = _following(after)
    starts_at, ends_at = (
        datetime(day.year, day.month, 1, tzinfo=zone).astimezone(UTC) for day in (first, after)
    )
    return Period(first, after, starts_at, ends_at)


def _following(first: date) -> date:
    year, number = divmod(first.year * MONTHS + first.month, MONTHS)
    return date(year, number + 1, 1)
