"""What an invoice comes to: rounded once, half to even, adding up to the minor unit."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affiliate.core.money import Money
from payouts.invoices.rules import amounts


def decimals(paid: str, currency: str, *, includes: bool, ppm: int) -> list[str]:
    found = amounts(Money.parse(paid, currency), includes_vat=includes, vat_rate_ppm=ppm)
    return [each.decimal for each in (found.net, found.vat, found.gross, found.due)]


@pytest.mark.parametrize(
    ("paid", "currency", "includes", "ppm", "expected"),
    [
        # 120.00 with 20 % in it: 120 × 20 / 120 = 20.
        ("120.00", "RUB", True, 200_000, ["100.00", "20.00", "120.00", "0.00"]),
        # 100.00 and 20 % on top: 20 is owed besides.
        ("100.00", "RUB", False, 200_000, ["100.00", "20.00", "120.00", "20.00"]),
        # 0.01 × 20 / 120 = 0.001666…, nothing.
        ("0.01", "RUB", True, 200_000, ["0.01", "0.00", "0.01", "0.00"]),
        # 0.25 × 10 % = 0.025: half, to the even 0.02; 0.35 × 10 % = 0.035 to 0.04.
        ("0.25", "EUR", False, 100_000, ["0.25", "0.02", "0.27", "0.02"]),
        ("0.35", "EUR", False, 100_000, ["0.35", "0.04", "0.39", "0.04"]),
        # Yen have no smaller unit: 105 × 10 / 110 = 9.54….
        ("105", "JPY", True, 100_000, ["95", "10", "105", "0"]),
        ("1.005", "KWD", False, 50_000, ["1.005", "0.050", "1.055", "0.050"]),
        ("57.30", "EUR", True, 0, ["57.30", "0.00", "57.30", "0.00"]),
    ],
)
def test_worked_examples(
    paid: str, currency: str, includes: bool, ppm: int, expected: list[str]
) -> None:
    assert decimals(paid, currency, includes=includes, ppm=ppm) == expected


@given(units=st.integers(1, 10**12), includes=st.booleans(), ppm=st.integers(0, 400_000))
def test_it_adds_up_and_is_what_exact_arithmetic_rounds_to(
    units: int, includes: bool, ppm: int
) -> None:
    paid = Money.of_minor_units(units, "EUR")
    found = amounts(paid, includes_vat=includes, vat_rate_ppm=ppm)
    assert found.net + found.vat == found.gross
    assert found.gross == paid if includes else found.net == paid
    assert found.due == found.gross - paid
    whole = Decimal(1_000_000 + ppm if includes else 1_000_000)
    exact = Decimal(units) * ppm
    rounded = (exact / whole).quantize(Decimal(1), rounding=ROUND_HALF_EVEN)
    # Decimal rounds the quotient to 28 digits first; that far from a half they agree.
    if abs(exact * 2 % (whole * 2) - whole) > 1:
        assert found.vat == Money.of_minor_units(int(rounded), "EUR")
