"""The month that the finance desk shows, and its columns; the books are read by payouts."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

from affiliate.core.errors import Invalid
from affiliate.core.money import Money, total
from affiliate.programs.models import Program
from payouts.batches.statements import MONTHS, AffiliateMonth, Month, month_at

COLUMNS = ("before", "earned", "taken", "paid", "after")


def month_of(text: str | None, *, program: Program, now: datetime) -> Month:
    """`2026-11` in the program's zone; the present month without one. Raises Invalid."""
    zone = ZoneInfo(program.time_zone)
    try:
        first = date.fromisoformat(f"{text}-01") if text else now.astimezone(zone).date()
    except ValueError:
        raise Invalid.field("month", "not_a_month", "Write the month as 2026-11.") from None
    if not 2000 <= first.year <= 2200:
        raise Invalid.field("month", "not_a_month", "Choose a month between 2000 and 2200.")
    return month_at(first, program.time_zone)


def months_around(month: Month, *, now: datetime) -> tuple[str, str | None]:
    """The month before, and the one after unless it lies in the future."""
    year, number = divmod(month.first.year * MONTHS + month.first.month - 2, MONTHS)
    before = f"{year:04d}-{number + 1:02d}"
    after = f"{month.following:%Y-%m}" if month.ends_at <= now else None
    return before, after


def totals(lines: list[AffiliateMonth], currency: str) -> dict[str, Money]:
    """The sum of each column."""
    return {name: total((getattr(line, name) for line in lines), currency) for name in COLUMNS}
