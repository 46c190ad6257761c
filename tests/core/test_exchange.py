"""Amounts in other currencies: strict rates, exact products, one rounding to a micro."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affiliate.core.exchange import RATE_SCALE, ExchangeRate, conversion, convert
from affiliate.core.money import CurrencyMismatch, Money, MoneyError


def rate(text: str) -> ExchangeRate:
    return ExchangeRate.parse(text, source="EUR", target="RUB")


@pytest.mark.parametrize(
    ("micros", "text", "expected"),
    [
        (100_000_000, "98.1234", 9_812_340_000),  # 100 EUR = 9,812.34 RUB
        (19_990_000, "1", 19_990_000),
        (1, "0.5", 0),  # half a micro, to the even neighbour 0
        (3, "0.5", 2),  # one and a half, to the even neighbour 2
        (5, "0.5", 2),  # two and a half, to the even neighbour 2
        (10**10, "0.0000000001", 1),  # the tenth digit counts
        (-100_000_000, "98.1234", -9_812_340_000),  # what goes back goes at the same rate
        (0, "98.1234", 0),
    ],
)
def test_an_amount_is_converted_to_the_micro(micros: int, text: str, expected: int) -> None:
    assert convert(Money(micros, "EUR"), rate(text)) == Money(expected, "RUB")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("0", "not_a_rate"),
        ("0.0000000000", "not_a_rate"),
        ("-1", "not_a_decimal"),
        ("1e3", "not_a_decimal"),
        ("1,5", "not_a_decimal"),
        ("1.12345678901", "not_a_decimal"),
        ("", "not_a_decimal"),
        ("1234567890", "not_a_decimal"),
    ],
)
def test_what_is_no_rate_is_refused(text: str, code: str) -> None:
    with pytest.raises(MoneyError) as refused:
        rate(text)
    assert refused.value.code == code


def test_a_rate_knows_its_currencies() -> None:
    with pytest.raises(MoneyError) as refused:
        ExchangeRate.parse("1", source="EUR", target="XXQ")
    assert refused.value.code == "unknown_currency"
    with pytest.raises(CurrencyMismatch, match="USD"):
        convert(Money(1, "USD"), rate("1"))


def test_a_conversion_keeps_what_it_was_made_of() -> None:
    found = conversion(Money(100_000_000, "EUR"), rate("98.12340"))
    assert found.rate.decimal == "98.1234"
    assert found.original == Money(100_000_000, "EUR")
    assert found.amount == Money(9_812_340_000, "RUB")


@given(st.integers(-(10**18), 10**18), st.integers(1, 10**19 - 1))
def test_the_result_is_the_nearest_micro_and_the_rate_is_read_as_printed(
    micros: int, scaled: int
) -> None:
    given_rate = ExchangeRate("EUR", "RUB", scaled)
    exact = Fraction(micros * scaled, RATE_SCALE)
    assert abs(convert(Money(micros, "EUR"), given_rate).micros - exact) <= Fraction(1, 2)
    assert ExchangeRate.parse(given_rate.decimal, source="EUR", target="RUB") == given_rate
