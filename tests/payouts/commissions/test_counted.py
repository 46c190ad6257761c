"""What leads and clicks earn, and how it is named."""

from __future__ import annotations

from datetime import date
from fractions import Fraction

import pytest
from commission_world import amount, rub, sum_of
from hypothesis import given
from hypothesis import strategies as st

from affiliate.core.money import Money
from affiliate.programs.terms import Period, PeriodCap
from payouts.commissions.counted import (
    clicks_commission,
    clicks_reference,
    lead_commission,
    lead_reference,
)
from payouts.commissions.rules import Earned, NotEarned, Reason

PAID = {"enrollment_id": 5, "rule_version_id": 1, "currency": "RUB"}


@pytest.mark.parametrize(
    ("per_lead", "expected"), [("150", "150.00"), ("0.000001", "0.000001"), ("0", "no_rate")]
)
def test_a_lead_earns_its_amount(per_lead: str, expected: str) -> None:
    assert amount(lead_commission(rub(per_lead), **PAID)) == expected


@pytest.mark.parametrize(
    ("per_click", "clicks", "expected"),
    [
        ("0.003", 1, "0.003"),  # 0.3 kopeck
        ("0.003", 1_000, "3.00"),  # a thousand of them are three rubles
        ("0.000001", 7, "0.000007"),
        ("0", 7, "no_rate"),
    ],
)
def test_a_day_of_clicks_earns_each_of_them(per_click: str, clicks: int, expected: str) -> None:
    assert amount(clicks_commission(rub(per_click), unique_clicks=clicks, **PAID)) == expected


def test_a_program_that_pays_for_neither_says_so() -> None:
    assert amount(lead_commission(None, **PAID)) == "no_rate"
    assert amount(clicks_commission(None, unique_clicks=3, **PAID)) == "no_rate"


@pytest.mark.parametrize("clicks", [0, -1])
def test_a_day_without_clicks_is_a_mistake(clicks: int) -> None:
    with pytest.raises(ValueError, match="clicks"):
        clicks_commission(rub("1"), unique_clicks=clicks, **PAID)


def test_they_are_level_1_alone_with_references_of_their_own() -> None:
    lead = lead_commission(rub("150"), **PAID)
    clicks = clicks_commission(rub("0.003"), unique_clicks=7, **PAID)
    assert isinstance(lead, Earned)
    assert isinstance(clicks, Earned)
    assert (lead.level, lead.via_enrollment_id, lead.rule) == (1, None, "per lead")
    assert (clicks.level, clicks.via_enrollment_id, clicks.rule) == (1, None, "per click")
    assert lead.trace == ({"step": "per_lead", "each": "150.00", "amount": "150.00"},)
    assert clicks.trace == ({"step": "per_click", "count": 7, "each": "0.003", "amount": "0.021"},)
    assert lead_reference(7) == "lead:7"
    assert clicks_reference(3, date(2026, 11, 21)) == "clicks:3:2026-11-21"


@pytest.mark.parametrize(
    ("earned", "expected"),
    [
        (None, "150.00"),
        ("50", "150.00"),  # exactly what the cap leaves
        ("50.000001", "149.999999"),
        ("200", "cap_reached"),
        ("300", "cap_reached"),
    ],
)
def test_a_lead_earns_what_the_cap_of_the_period_leaves(earned: str | None, expected: str) -> None:
    cap = PeriodCap(rub("200"), Period.MONTH)
    before = None if earned is None else rub(earned)
    found = lead_commission(rub("150"), **PAID, cap=cap, earned_in_period=before)
    assert amount(found) == expected


def test_what_was_booked_of_the_day_before_is_told() -> None:
    found = clicks_commission(rub("0.003"), unique_clicks=5, before=7, **PAID)
    assert amount(found) == "0.015"
    assert found.trace[0]["before"] == 7


@given(st.integers(1, 10**9), st.lists(st.integers(1, 50), min_size=1, max_size=12))
def test_shares_of_a_lead_sum_to_all_of_it(per_lead: int, weights: list[int]) -> None:
    parts = [Fraction(weight, sum(weights)) for weight in weights]
    found = [
        lead_commission(Money(per_lead, "RUB"), **PAID, weights=parts, place=place)
        for place in range(len(parts))
    ]
    earned = [one.amount for one in found if isinstance(one, Earned)]
    assert sum_of(earned) == Money(per_lead, "RUB")
    assert all(one.reason is Reason.BELOW_A_MICRO for one in found if isinstance(one, NotEarned))


@given(st.integers(1, 10**9), st.lists(st.integers(1, 10**6), min_size=1, max_size=30))
def test_days_add_up_to_what_all_their_clicks_earn(per_click: int, days: list[int]) -> None:
    def earned(clicks: int) -> Money:
        found = clicks_commission(Money(per_click, "RUB"), unique_clicks=clicks, **PAID)
        assert isinstance(found, Earned)
        return found.amount

    assert sum_of(earned(clicks) for clicks in days) == earned(sum(days))
