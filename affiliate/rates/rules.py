"""Which rate holds for an order, and what may be entered as one (pure).

Rule: docs/rules.md, "Other currencies".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from affiliate.core.errors import FieldError, Phrase
from affiliate.core.exchange import RATE_SCALE, ExchangeRate

AHEAD_DAYS_MAX: Final = 1
"""Central banks publish the rate of a day on the day before."""
EARLIEST: Final = date(2000, 1, 1)
"""No order is older."""
RATE_MAX: Final = 100_000_000
"""No two currencies are further apart; it keeps what is stored within 64 bits."""


class Origin(StrEnum):
    """How a rate came to us."""

    TYPED = "typed"
    CSV = "csv"
    """A file with currency, date and rate."""
    ECB = "ecb"
    """The European Central Bank's reference rates: units of a currency for one euro."""
    CBR = "cbr"
    """The Bank of Russia's: rubles for a nominal of the currency."""


@dataclass(frozen=True, slots=True)
class Quote:
    """A rate that somebody enters."""

    valid_from: date
    rate: ExchangeRate
    where: str = ""
    """The line of the file that says it, `line 3`; empty for one that was typed."""


def day_of(placed_at: datetime, zone: str) -> date:
    """The day of an order in the program's time zone."""
    return placed_at.astimezone(ZoneInfo(zone)).date()


def first_day(day: date, days_max: int) -> date:
    """The day from which on a rate may be to hold on `day`: `day − valid_from ≤ days_max`."""
    return day - timedelta(days=days_max)


def problems_of(quotes: Sequence[Quote], *, target: str, today: date) -> list[FieldError]:
    """What is wrong with rates before they are entered; empty where nothing is.

    `today` is the day in the program's time zone. A field is `valid_from`, `currency` or `rate`;
    of a file every error is of `file` and names the line.
    """
    errors = [error for quote in quotes for error in _wrong(quote, target, today)]
    return errors + list(_said_twice(quotes))


def _wrong(quote: Quote, target: str, today: date) -> Iterable[FieldError]:
    rate = quote.rate
    if rate.source == target:
        message = Phrase("The program is in %(currency)s itself.", currency=target)
        yield at(quote.where, "currency", "same_currency", message)
    if rate.scaled > RATE_MAX * RATE_SCALE:
        yield at(quote.where, "rate", "too_large", Phrase("A rate is at most 100,000,000."))
    if quote.valid_from < EARLIEST:
        yield at(quote.where, "valid_from", "too_early", Phrase("Rates are kept from 2000 on."))
    if quote.valid_from > today + timedelta(days=AHEAD_DAYS_MAX):
        message = Phrase("A rate is entered at most a day ahead.")
        yield at(quote.where, "valid_from", "in_the_future", message)


def _said_twice(quotes: Sequence[Quote]) -> Iterable[FieldError]:
    known: set[tuple[str, date]] = set()
    for quote in quotes:
        key = (quote.rate.source, quote.valid_from)
        if key in known:
            message = Phrase(
                "%(currency)s of %(day)s stands there twice.",
                currency=quote.rate.source,
                day=quote.valid_from.isoformat(),
            )
            yield at(quote.where, "valid_from", "duplicate", message)
        known.add(key)


def at(where: str, field: str, code: str, message: str) -> FieldError:
    """The error of a typed field, or of a line of the file."""
    if not where:
        return FieldError(field, code, message)
    return FieldError("file", code, Phrase("%(where)s: %(what)s", where=where, what=message))
