"""Words that several documents share."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

from babel.dates import format_date, format_datetime, format_skeleton
from flask_babel import get_locale

from affiliate.core.money import Money
from affiliate.core.pages import MINUS, calendar_day, language, money
from payouts.batches.periods import Period
from tracker.desks.words import _

NOTHING = "—"


def page_words() -> str:
    """How pages are counted; the two places are filled in while it is printed."""
    return _("Page {page} of {pages}")


def amount(value: Money) -> str:
    """An amount in a column; a dash where there is none."""
    return money(value) if value else NOTHING


def signed(value: Money) -> str:
    """An amount that says which way it goes."""
    return f"+{money(value)}" if value.micros > 0 else money(value)


def moment_in(at: datetime, zone: str) -> str:
    """Day and time in a document's own zone, whoever prints it."""
    return str(
        format_datetime(at.astimezone(ZoneInfo(zone)), "d MMM yyyy, HH:mm", locale=get_locale())
    )


def day_in(at: datetime, zone: str) -> str:
    """The day in a document's own zone."""
    return calendar_day(at.astimezone(ZoneInfo(zone)).date())


def period_title(period: Period) -> str:
    """`November 2026`, `4th quarter 2026`, `2026`."""
    skeletons = {4: "y", 7: "yMMMM"}
    wanted = skeletons.get(len(period.key))
    if "Q" in period.key or wanted is None:
        return str(format_date(period.first, "QQQQ y", locale=get_locale()))
    return str(format_skeleton(wanted, period.first, locale=get_locale()))


def span(first: date, last: date) -> str:
    """`1 Nov 2026 – 30 Nov 2026`."""
    return f"{calendar_day(first)} – {calendar_day(last)}"


__all__ = [
    "MINUS", "NOTHING", "amount", "calendar_day", "day_in", "language", "moment_in", "money",
    "page_words", "period_title", "signed", "span",
]  # fmt: skip
