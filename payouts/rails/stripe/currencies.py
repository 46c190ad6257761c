"""Currencies that Stripe transfers are enabled in, one by one. Pure.

Each has a row in tests/payouts/rails/test_rails.py that was seen to arrive in its minor units.
Source: docs.stripe.com/currencies, "Special cases".
"""

from __future__ import annotations

from typing import Final

from affiliate.core.money import Money, minor_unit_micros

CURRENCIES: Final = {
    "EUR": 1, "USD": 1, "GBP": 1, "CHF": 1, "CAD": 1, "PLN": 1, "CZK": 1, "SEK": 1,
    "NOK": 1, "DKK": 1, "RON": 1, "RUB": 1, "JPY": 1, "HUF": 100,
}  # fmt: skip
"""The value is the granularity in minor units. HUF can be paid out by Stripe in whole forints
alone.

Not enabled, because Stripe counts them otherwise than ISO 4217 and no transfer of them was ever
seen: ISK and UGX (sent times 100, though they have no minor unit), TWD (paid out in whole dollars),
MGA and MRU (fifths), and the three-decimal ones, BHD JOD KWD OMR TND, whose last digit must be 0.
"""


def minor_units(amount: Money) -> int:
    """The amount as Stripe writes it; it has no fraction of a minor unit."""
    return amount.micros // minor_unit_micros(amount.currency)


def money(minor: int, currency: str) -> Money:
    """What Stripe says, as money. Raises MoneyError for a currency that ISO 4217 does not have."""
    return Money.of_minor_units(minor, currency.upper())
