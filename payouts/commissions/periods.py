"""Stretches of the calendar in which volumes and caps are counted. Pure.

Rule: docs/rules.md, "Volume tiers" and "Caps".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from affiliate.programs.terms import Period

MONTHS_OF: Final = {Period.MONTH: 1, Period.QUARTER: 3, Period.YEAR: 12}


@dataclass(frozen=True, slots=True)
class Stretch:
    """One month, quarter or year of a program's calendar, half-open."""

    begins: datetime
    """Its first local midnight, in UTC."""
    ends: datetime
    """The first local midnight after it."""
    name: str
    """`2026-11`, `2026-Q4`, `2026`: it stands in references."""


def stretch_of(period: Period, at: datetime, zone: str) -> Stretch:
    """The stretch in which an instant lies, by the program's time zone (IANA).

    Where a zone's midnight does not exist or exists twice, the first instant of the local day
    counts, as PEP 495 reads it with `fold=0`.
    """
    local = at.astimezone(ZoneInfo(zone))
    months = MONTHS_OF[period]
    first = (local.month - 1) // months * months + 1
    return Stretch(
        begins=_midnight(local.year, first, zone),
        ends=_midnight(local.year, first + months, zone),
        name=_name(period, local.year, first),
    )


def _midnight(year: int, month: int, zone: str) -> datetime:
    later, month = divmod(month - 1, 12)
    return datetime(year + later, month + 1, 1, tzinfo=ZoneInfo(zone)).astimezone(UTC)


def _name(period: Period, year: int, month: int) -> str:
    if period is Period.MONTH:
        return f"{year:04d}-{month:02d}"
    if period is Period.QUARTER:
        return f"{year:04d}-Q{(month - 1) // 3 + 1}"
    return f"{year:04d}"
