"""Amounts from one currency into another, by an exact rate. Pure.

Rule: docs/rules.md, "Other currencies". Which rate holds on which day is not decided here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from affiliate.core.money import CurrencyMismatch, Money, MoneyError, divide_half_even, exponent

RATE_DIGITS: Final = 10
"""Digits after the point of a rate."""
RATE_SCALE: Final = 10**RATE_DIGITS
_DECIMAL: Final = re.compile(r"(?a:[0-9]{1,9})(?:\.(?a:[0-9]{1,10}))?")


@dataclass(frozen=True, slots=True)
class ExchangeRate:
    """So much of `target` is paid for one `source`, both in major units."""

    source: str
    target: str
    scaled: int
    """The rate in units of 10^-10: 981_234_000_000 for 98.1234."""

    def __post_init__(self) -> None:
        if self.scaled <= 0:
            raise MoneyError("not_a_rate", "An exchange rate is above zero.")

    @classmethod
    def parse(cls, text: str, *, source: str, target: str) -> ExchangeRate:
        """Read a decimal string strictly.

        Raises MoneyError (`unknown_currency`, `not_a_decimal`, `not_a_rate`).
        """
        exponent(source)
        exponent(target)
        if not isinstance(text, str) or not _DECIMAL.fullmatch(text):
            raise MoneyError(
                "not_a_decimal", 'Write the rate as a decimal string of up to 10 digits: "98.1234".'
            )
        whole, _, fraction = text.partition(".")
        return cls(source, target, int(whole) * RATE_SCALE + int(fraction.ljust(RATE_DIGITS, "0")))

    @property
    def decimal(self) -> str:
        """As people write it, without zeros at the end."""
        whole, fraction = divmod(self.scaled, RATE_SCALE)
        digits = f"{fraction:0{RATE_DIGITS}d}".rstrip("0")
        return f"{whole}.{digits}" if digits else str(whole)


@dataclass(frozen=True, slots=True)
class Conversion:
    """An amount in another currency, and how it came about."""

    original: Money
    rate: ExchangeRate
    amount: Money


def convert(amount: Money, rate: ExchangeRate) -> Money:
    """The amount in the rate's target currency, rounded half to even to a micro."""
    if amount.currency != rate.source:
        raise CurrencyMismatch(f"{amount.currency} by a rate of {rate.source}")
    return Money(divide_half_even(amount.micros * rate.scaled, RATE_SCALE), rate.target)


def conversion(amount: Money, rate: ExchangeRate) -> Conversion:
    """The same with its inputs, for a trace."""
    return Conversion(amount, rate, convert(amount, rate))
