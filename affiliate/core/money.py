"""Money in micros: one micro is a millionth of the currency's major unit, in every currency.

Pure. No float, two currencies never meet in one sum, each division names its rounding.
Rule: docs/rules.md, "Money".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import lcm

from affiliate.core.currencies import EXPONENTS

MICROS = 1_000_000
PPM = 1_000_000
MAJOR_UNITS_MAX = 10**12
"""The largest amount that is accepted from outside, in major units."""
_DECIMAL = re.compile(r"(?a:[0-9]{1,13})(?:\.(?a:[0-9]{1,6}))?")
_FINE_DECIMAL = re.compile(r"(?a:[0-9]{1,13})(?:\.(?a:[0-9]{1,40}))?")


class MoneyError(ValueError):
    """An amount or currency that cannot be money; `code` is stable for field errors."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(message)


class CurrencyMismatch(TypeError):
    """Two currencies met in one operation: always a mistake of the program."""


def exponent(currency: str) -> int:
    """How many digits the currency has after the point (ISO 4217)."""
    try:
        return EXPONENTS[currency]
    except KeyError:
        raise MoneyError("unknown_currency", f"{currency!r} is not an ISO 4217 currency.") from None


def minor_unit_micros(currency: str) -> int:
    """Micros in the smallest unit that can be paid: 10,000 for RUB, 1,000,000 for JPY."""
    return int(10 ** (6 - exponent(currency)))


def divide_half_even(numerator: int, denominator: int) -> int:
    """The quotient rounded to the nearest whole, halves to the even neighbour."""
    if denominator < 0:
        numerator, denominator = -numerator, -denominator
    quotient, rest = divmod(numerator, denominator)
    if rest * 2 > denominator or (rest * 2 == denominator and quotient % 2):
        return quotient + 1
    return quotient


@dataclass(frozen=True, slots=True, order=False)
class Money:
    """An exact amount: `micros` of a major unit of `currency`."""

    micros: int
    currency: str

    @classmethod
    def zero(cls, currency: str) -> Money:
        return cls(0, currency)

    @classmethod
    def parse(cls, text: str, currency: str) -> Money:
        """Read a decimal string strictly, as docs/api.md fixes it.

        Digits 0-9 and one point, at most the currency's digits and 10^12 major units.
        Raises MoneyError (`unknown_currency`, `not_a_decimal`, `too_many_digits`, `too_large`).
        """
        digits = exponent(currency)
        if not isinstance(text, str) or not _DECIMAL.fullmatch(text):
            raise MoneyError("not_a_decimal", 'Write the amount as a decimal string: "19.99".')
        whole, _, fraction = text.partition(".")
        if len(fraction) > digits:
            raise MoneyError(
                "too_many_digits", f"{currency} has {digits} digits after the point, not more."
            )
        return cls._of_digits(whole, fraction, currency)

    @classmethod
    def parse_fine(cls, text: str, currency: str) -> Money:
        """Read a price that may lie below the smallest unit, such as that of one click.

        As strict as `parse`, but with up to six digits after the point in every currency.
        """
        exponent(currency)
        if not isinstance(text, str) or not _FINE_DECIMAL.fullmatch(text):
            raise MoneyError("not_a_decimal", 'Write the amount as a decimal string: "0.0125".')
        whole, _, fraction = text.partition(".")
        if len(fraction) > 6:
            raise MoneyError("too_many_digits", "At most six digits after the point.")
        return cls._of_digits(whole, fraction, currency)

    @classmethod
    def _of_digits(cls, whole: str, fraction: str, currency: str) -> Money:
        micros = int(whole) * MICROS + int(fraction.ljust(6, "0"))
        if micros > MAJOR_UNITS_MAX * MICROS:
            raise MoneyError("too_large", "The amount is above 1,000,000,000,000.")
        return cls(micros, currency)

    @property
    def decimal(self) -> str:
        """The decimal string of the API: the currency's digits, up to six where needed."""
        return _decimal(self.micros, self.currency)

    def __str__(self) -> str:
        return f"{self.decimal} {self.currency}"

    def __add__(self, other: Money) -> Money:
        return Money(self.micros + self._same(other), self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.micros - self._same(other), self.currency)

    def __neg__(self) -> Money:
        return Money(-self.micros, self.currency)

    def __lt__(self, other: Money) -> bool:
        return self.micros < self._same(other)

    def __le__(self, other: Money) -> bool:
        return self.micros <= self._same(other)

    def __gt__(self, other: Money) -> bool:
        return self.micros > self._same(other)

    def __ge__(self, other: Money) -> bool:
        return self.micros >= self._same(other)

    def __bool__(self) -> bool:
        return self.micros != 0

    def _same(self, other: Money) -> int:
        if self.currency != other.currency:
            raise CurrencyMismatch(f"{self.currency} and {other.currency} in one operation")
        return other.micros

    def share(self, rate_ppm: int) -> Money:
        """`rate_ppm` parts per million of it, exact to one micro, rounded half to even."""
        return Money(divide_half_even(self.micros * rate_ppm, PPM), self.currency)

    def fraction(self, numerator: int, denominator: int) -> Money:
        """numerator/denominator of it, rounded half to even to a micro."""
        return Money(divide_half_even(self.micros * numerator, denominator), self.currency)

    def whole_minor_units(self, granularity: int = 1) -> int:
        """Minor units that can be paid out now, cut down to the rail's granularity.

        Never negative; what is below stays in the balance.
        """
        units = max(0, self.micros) // minor_unit_micros(self.currency)
        return units - units % granularity

    @classmethod
    def of_minor_units(cls, units: int, currency: str) -> Money:
        return cls(units * minor_unit_micros(currency), currency)

    def allocate(self, weights: Sequence[int | Fraction]) -> tuple[Money, ...]:
        """Split by weights so that the parts sum to the whole: largest remainder.

        Equal remainders go to the earlier part. Raises ValueError when the weights are
        negative or sum to zero.
        """
        if len(weights) == 1 and weights[0] > 0:
            return (self,)
        # Over one denominator the weights are whole numbers, and so are the remainders.
        scale = lcm(*(weight.denominator for weight in weights))
        shares = [weight.numerator * (scale // weight.denominator) for weight in weights]
        whole = sum(shares)
        if whole <= 0 or any(share < 0 for share in shares):
            raise ValueError("weights must be non-negative and sum to more than zero")
        divided = [divmod(self.micros * share, whole) for share in shares]
        parts = [part for part, _ in divided]
        left = self.micros - sum(parts)
        by_remainder = sorted(range(len(parts)), key=lambda i: (-divided[i][1], i))
        for i in by_remainder[:left]:
            parts[i] += 1
        return tuple(Money(part, self.currency) for part in parts)


@lru_cache(maxsize=4096)
def _decimal(micros: int, currency: str) -> str:
    """Remembered, as an order writes the same few amounts many times."""
    sign = "-" if micros < 0 else ""
    whole, fraction = divmod(abs(micros), MICROS)
    digits = f"{fraction:06d}".rstrip("0").ljust(EXPONENTS.get(currency, 2), "0")
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"


def total(amounts: Iterable[Money], currency: str) -> Money:
    """The sum, zero of `currency` when there is none; another currency raises."""
    micros = 0
    for amount in amounts:
        if amount.currency != currency:
            raise CurrencyMismatch(f"{currency} and {amount.currency} in one operation")
        micros += amount.micros
    return Money(micros, currency)
