"""Months after an instant. Pure."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, datetime


def months_after(instant: datetime, months: int) -> datetime:
    """The same day and time so many calendar months later, in UTC.

    Where that month is too short it is its last day: 31 January + 1 month = 28 or 29 February.
    """
    start = instant.astimezone(UTC)
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    day = min(start.day, monthrange(year, month + 1)[1])
    return start.replace(year=year, month=month + 1, day=day)
