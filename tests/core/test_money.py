"""Money in micros: strict parsing, exact sums, rounding half to even, lossless splits."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import iso4217
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affiliate.core.currencies import EXPONENTS
from affiliate.core.money import (
    CurrencyMismatch,
    Money,
    MoneyError,
    divide_half_even,
    minor_unit_micros,
    total,
)

RUB, JPY, KWD = "RUB", "JPY", "KWD"
micros = st.integers(-(10**18), 10**18)


@pytest.mark.parametrize(
    ("text", "currency", "expected_micros"),
    [
        ("0", RUB, 0),
        ("0.01", RUB, 10_000),
        ("19.9", RUB, 19_900_000),
        ("4490.00", RUB, 4_490_000_000),
        ("350", JPY, 350_000_000),
        ("1.234", KWD, 1_234_000),
        ("1000000000000", RUB, 10**18),
        ("007.50", RUB, 7_500_000),
    ],
)
def test_a_decimal_string_is_read_exactly(text: str, currency: str, expected_micros: int) -> None:
    assert Money.parse(text, currency) == Money(expected_micros, currency)


@pytest.mark.abuse("A6")
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "not_a_decimal"),
        ("-1", "not_a_decimal"),
        ("+1", "not_a_decimal"),
        ("1e3", "not_a_decimal"),
        ("1E+999999999", "not_a_decimal"),
        ("NaN", "not_a_decimal"),
        ("Infinity", "not_a_decimal"),
        (" 1", "not_a_decimal"),
        ("1 ", "not_a_decimal"),
        ("1\n", "not_a_decimal"),
        ("1_000", "not_a_decimal"),
        ("1,50", "not_a_decimal"),
        (".5", "not_a_decimal"),
        ("5.", "not_a_decimal"),
        ("0x10", "not_a_decimal"),
        ("１", "not_a_decimal"),  # full-width digit
        ("٣", "not_a_decimal"),  # Arabic-Indic digit
        ("0.001", "too_many_digits"),
        ("0.0000001", "not_a_decimal"),
        ("1000000000000.01", "too_large"),
        ("99999999999999", "not_a_decimal"),
    ],
)
def test_anything_but_a_plain_decimal_is_refused(text: str, code: str) -> None:
    with pytest.raises(MoneyError) as refused:
        Money.parse(text, RUB)
    assert refused.value.code == code


@pytest.mark.abuse("A7")
@pytest.mark.parametrize("currency", ["XXX", "rub", "Rub", "RU", "RUBLE", "", "BTC"])
def test_an_unknown_currency_is_refused(currency: str) -> None:
    with pytest.raises(MoneyError) as refused:
        Money.parse("1", currency)
    assert refused.value.code == "unknown_currency"


@pytest.mark.abuse("A7")
@pytest.mark.parametrize(("text", "currency"), [("1.0", JPY), ("1.2345", KWD), ("1.001", "EUR")])
def test_more_digits_than_the_currency_has_are_refused(text: str, currency: str) -> None:
    with pytest.raises(MoneyError) as refused:
        Money.parse(text, currency)
    assert refused.value.code == "too_many_digits"


@pytest.mark.parametrize(
    ("text", "currency", "expected_micros"),
    [
        ("0.000001", RUB, 1),
        ("0.5", JPY, 500_000),
        ("1.234567", KWD, 1_234_567),
        ("2", RUB, 2 * 10**6),
    ],
)
def test_a_fine_price_has_six_digits_in_every_currency(
    text: str, currency: str, expected_micros: int
) -> None:
    assert Money.parse_fine(text, currency) == Money(expected_micros, currency)
    assert Money.parse_fine(Money(expected_micros, currency).decimal, currency).micros == (
        expected_micros
    )


@pytest.mark.abuse("A7")
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("0.0000001", "too_many_digits"),
        ("-0.1", "not_a_decimal"),
        (".5", "not_a_decimal"),
        ("5.", "not_a_decimal"),
        ("1e-3", "not_a_decimal"),
        ("٣", "not_a_decimal"),
        ("1000000000000.000001", "too_large"),
        ("99999999999999", "not_a_decimal"),
        (0.5, "not_a_decimal"),
        (None, "not_a_decimal"),
    ],
)
def test_a_fine_price_is_read_as_strictly(text: Any, code: str) -> None:
    with pytest.raises(MoneyError) as refused:
        Money.parse_fine(text, RUB)
    assert refused.value.code == code


def test_a_fine_price_of_an_unknown_currency_is_refused() -> None:
    with pytest.raises(MoneyError, match="ISO 4217"):
        Money.parse_fine("0.5", "XXQ")


@pytest.mark.abuse("A7")
def test_every_exponent_agrees_with_iso_4217() -> None:
    published = {c.code.upper(): c.exponent for c in iso4217.Currency if c.exponent is not None}
    assert {code: published[code] for code in EXPONENTS} == EXPONENTS


@pytest.mark.parametrize(
    ("money", "text"),
    [
        (Money(350_000_000, RUB), "350.00"),
        (Money(-300_000, RUB), "-0.30"),
        (Money(3_000, RUB), "0.003"),
        (Money(1, RUB), "0.000001"),
        (Money(5_000_000, JPY), "5"),
        (Money(-1_500_000, JPY), "-1.5"),
        (Money(1_234_000, KWD), "1.234"),
    ],
)
def test_the_decimal_string_has_the_currencys_digits_or_more(money: Money, text: str) -> None:
    assert money.decimal == text


@pytest.mark.parametrize(
    ("numerator", "denominator", "quotient"),
    [(5, 2, 2), (7, 2, 4), (-5, 2, -2), (1, 3, 0), (2, 3, 1), (15, 10, 2), (25, 10, 2)],
)
def test_halves_go_to_the_even_neighbour(numerator: int, denominator: int, quotient: int) -> None:
    assert divide_half_even(numerator, denominator) == quotient


def test_two_currencies_never_meet() -> None:
    with pytest.raises(CurrencyMismatch):
        Money(1, RUB) + Money(1, JPY)
    with pytest.raises(CurrencyMismatch):
        assert Money(1, RUB) < Money(1, JPY)


def test_a_thousand_times_three_tenths_of_a_kopeck_are_three_rubles() -> None:
    assert total([Money(3_000, RUB)] * 1000, RUB) == Money.parse("3", RUB)


@pytest.mark.parametrize(
    ("amount", "currency", "granularity", "units"),
    [
        (10_000, RUB, 1, 1),  # one kopeck can be paid
        (9_999, RUB, 1, 0),  # less cannot, and stays
        (19_999, RUB, 1, 1),
        (-10_000, RUB, 1, 0),
        (1_999_999, JPY, 1, 1),
        (12_345_000, "HUF", 100, 1200),  # 1,234.5 fillér cut to hundreds
        (1_239_000, KWD, 10, 1230),
    ],
)
def test_whole_minor_units_are_cut_to_what_the_rail_pays(
    amount: int, currency: str, granularity: int, units: int
) -> None:
    assert Money(amount, currency).whole_minor_units(granularity) == units


def test_the_smallest_unit_of_each_currency_is_a_whole_number_of_micros() -> None:
    assert all(minor_unit_micros(code) >= 1 for code in EXPONENTS)


def test_the_odd_micro_goes_to_the_largest_remainder_then_to_the_earlier() -> None:
    # 10 micros by 1:1:1 → 3⅓ each: one is left, to the first.
    assert [m.micros for m in Money(10, RUB).allocate([1, 1, 1])] == [4, 3, 3]
    # 10 by 5:3:2 is exact; 11 by 5:3:2 → 5.5, 3.3, 2.2: the half gets it.
    assert [m.micros for m in Money(11, RUB).allocate([5, 3, 2])] == [6, 3, 2]


@pytest.mark.parametrize("weights", [[], [0, 0], [-1, 2]])
def test_weights_that_are_none_or_negative_are_refused(weights: list[int]) -> None:
    with pytest.raises(ValueError, match="weights"):
        Money(10, RUB).allocate(weights)


@given(
    micros,
    st.lists(st.fractions(min_value=0, max_value=10), min_size=1, max_size=12).filter(
        lambda w: sum(w) > 0
    ),
)
def test_the_parts_always_sum_to_the_whole(amount: int, weights: list[Fraction]) -> None:
    parts = Money(amount, RUB).allocate(weights)
    assert sum(part.micros for part in parts) == amount
    exact = [Fraction(amount) * weight / sum(weights) for weight in weights]
    assert all(abs(part.micros - want) < 1 for part, want in zip(parts, exact, strict=True))
    # The largest remainders are rounded up, the earlier of equal ones first.
    by_remainder = sorted(range(len(exact)), key=lambda i: (-(exact[i] % 1), i))
    up = sum(part % 1 for part in exact)
    for place, i in enumerate(by_remainder):
        assert parts[i].micros == exact[i] // 1 + (place < up)


def test_a_sum_of_two_currencies_is_refused() -> None:
    with pytest.raises(CurrencyMismatch, match="RUB and JPY"):
        total([Money(1, RUB), Money(1, JPY)], RUB)


@given(st.integers(0, 10**18))
def test_parsing_what_is_printed_gives_the_same(amount: int) -> None:
    whole = Money(amount - amount % 10_000, RUB)
    assert Money.parse(whole.decimal, RUB) == whole
