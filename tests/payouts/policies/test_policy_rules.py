"""Who must sign, what is approved by itself, and rules that contradict each other: values alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from affiliate.core.errors import Invalid
from affiliate.core.money import Money
from payouts.policies.rules import (
    Asked,
    Automatic,
    NotAutomatic,
    Policy,
    check,
    signatures_needed,
    why_not_automatic,
)

NOW = datetime(2026, 11, 21, 7, 15, tzinfo=UTC)


def eur(text: str) -> Money:
    return Money.parse(text, "EUR")


RULE = Automatic(item=eur("20.00"), day=eur("100.00"), account_days=14)
GOOD = Asked(
    amount=eur("20.00"),
    active=True,
    account_since=NOW - timedelta(days=14, seconds=1),
    last_amount=eur("4.00"),
    same_destination=True,
    troubled=False,
    taken_back=False,
    approved_today=eur("80.00"),
)


@pytest.mark.parametrize(
    ("above", "total", "needed"),
    [
        (None, "1000000.00", 1),
        ("100.00", "100.00", 1),
        ("100.00", "100.01", 2),
        ("0.00", "0.01", 2),
    ],
)
def test_two_sign_strictly_above_the_amount(above: str | None, total: str, needed: int) -> None:
    policy = Policy(second_signature_above=None if above is None else eur(above))
    assert signatures_needed(policy, eur(total)) == needed


def test_a_withdrawal_at_every_limit_is_approved_by_itself() -> None:
    """20.00 of at most 20.00; 5 × the last 4.00; with the day's 80.00 exactly 100.00."""
    assert why_not_automatic(GOOD, RULE, now=NOW) is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"amount": eur("20.01")}, NotAutomatic.ABOVE_ITEM_LIMIT),
        ({"approved_today": eur("80.01")}, NotAutomatic.ABOVE_DAY_LIMIT),
        ({"last_amount": None, "same_destination": False}, NotAutomatic.FIRST_PAYMENT),
        ({"account_since": NOW - timedelta(days=14)}, NotAutomatic.ACCOUNT_YOUNG),
        ({"account_since": None}, NotAutomatic.ACCOUNT_YOUNG),
        ({"same_destination": False}, NotAutomatic.DESTINATION_CHANGED),
        ({"last_amount": eur("3.99")}, NotAutomatic.JUMP),
        ({"troubled": True}, NotAutomatic.TROUBLED),
        ({"taken_back": True}, NotAutomatic.TAKEN_BACK),
        ({"active": False}, NotAutomatic.NOT_ACTIVE),
    ],
    ids=lambda value: value.value if isinstance(value, NotAutomatic) else "",
)
def test_one_thing_beyond_a_limit_asks_a_person(change: dict[str, Any], why: NotAutomatic) -> None:
    assert why_not_automatic(replace(GOOD, **change), RULE, now=NOW) is why


@pytest.mark.parametrize(
    ("policy", "fields"),
    [
        (Policy(second_signature_above=eur("1.00"), one_person=True), {"one_person"}),
        (Policy(automatic=replace(RULE, item=eur("0.00"))), {"automatic_item"}),
        (Policy(automatic=replace(RULE, day=eur("19.99"))), {"automatic_day"}),
        (Policy(automatic=replace(RULE, account_days=0)), {"account_days"}),
        (Policy(automatic=replace(RULE, account_days=3_651)), {"account_days"}),
        (
            Policy(second_signature_above=eur("19.99"), automatic=RULE),
            {"automatic_item"},
        ),
    ],
    ids=["one person", "nothing", "day below item", "no days", "ten years", "above second"],
)
def test_rules_that_contradict_each_other_name_the_field(policy: Policy, fields: set[str]) -> None:
    with pytest.raises(Invalid) as refused:
        check(policy)
    assert {error.field for error in refused.value.errors} == fields


@pytest.mark.parametrize(
    "policy",
    [
        Policy(),
        Policy(one_person=True, automatic=RULE),
        Policy(second_signature_above=eur("20.00"), automatic=RULE),
    ],
    ids=["none", "one person", "second signature"],
)
def test_rules_that_go_together_are_accepted(policy: Policy) -> None:
    check(policy)
