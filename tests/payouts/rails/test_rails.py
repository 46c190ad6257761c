"""The rails themselves: what is sent, and what each answer of Stripe means."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from stripe_double import KEY, Double

from affiliate.core.config import Settings
from affiliate.core.money import Money
from payouts.rails.protocol import (
    Found,
    LookUpFailed,
    NotFound,
    NotReady,
    Order,
    Postponed,
    Refused,
    Succeeded,
    Unknown,
)
from payouts.rails.registry import NoSuchRail, rail_named, rails
from payouts.rails.stripe import CURRENCIES, StripeRail


@pytest.fixture
def rail(settings: Settings, double: Double) -> StripeRail:
    return StripeRail(replace(settings, stripe_api_key=KEY, stripe_api_base=double.url))


def order(destination: str, **changes: Any) -> Order:
    given: dict[str, Any] = {
        "amount": Money(1_230_000, "EUR"), "destination": destination, "group": "kopeck_i_batch_1",
        "item_id": 1, "attempt": 1, "installation": "i",
    }  # fmt: skip
    return Order(**{**given, **changes})


def oracle(double: Double, transfer_id: str) -> dict[str, Any]:
    found = double.control("GET", "/transfers")["transfers"]
    return next(transfer for transfer in found if transfer["id"] == transfer_id)


UNITS = [
    # 1.23 of a currency with two digits is 123 minor units.
    *((name, 1_230_000, 123) for name in CURRENCIES if name not in ("JPY", "HUF")),
    ("JPY", 5_000_000, 5),
    ("HUF", 300_000_000, 30_000),
]


@pytest.mark.parametrize(("currency", "micros", "minor"), UNITS)
def test_an_amount_is_sent_in_the_minor_units_of_its_currency(
    rail: StripeRail, double: Double, currency: str, micros: int, minor: int
) -> None:
    double.control("POST", "/balance", {"currency": currency.lower(), "amount": 1_000_000})
    sent = rail.send(order(double.account(), amount=Money(micros, currency)), key=f"u-{currency}")
    assert isinstance(sent, Succeeded)
    transfer = oracle(double, sent.transfer_id)
    assert (transfer["amount"], transfer["currency"]) == (minor, currency.lower())
    assert transfer["metadata"] == {"item_id": "1", "attempt": "1", "env": "i"}


def test_every_enabled_currency_has_a_row() -> None:
    assert {currency for currency, _, _ in UNITS} == set(CURRENCIES)


def test_a_currency_that_is_not_enabled_is_refused_before_the_wire(rail: StripeRail) -> None:
    answer = rail.send(order("acct_x", amount=Money(1_000_000, "KWD")), key="k")
    assert isinstance(answer, Refused)
    assert answer.code == "currency_not_enabled"


@pytest.mark.parametrize(
    ("states", "kind", "code"),
    [
        ({"transfers": "inactive"}, NotReady, "insufficient_capabilities_for_transfer"),
        ({"country": "BR"}, NotReady, "transfers_not_allowed"),
        ({"closed": True}, Refused, "account_closed"),
    ],
)
def test_an_account_that_cannot_receive_is_a_definite_no(
    rail: StripeRail, double: Double, states: dict[str, Any], kind: type, code: str
) -> None:
    answer = rail.send(order(double.account(**states)), key=f"s-{code}")
    assert isinstance(answer, kind)
    assert answer.code == code


@pytest.mark.parametrize(
    ("fault", "switches", "kind"),
    [
        ("429", {}, Postponed),
        ("429", {"code": "lock_timeout"}, Postponed),
        ("409", {}, Unknown),
        ("refuse-500", {}, Unknown),
        ("accept-then-500", {}, Unknown),
        ("html-502", {}, Unknown),
        ("accept-then-html-502", {}, Unknown),
        ("half-body", {}, Unknown),
        ("refuse-drop", {}, Unknown),
        ("accept-then-drop", {}, Unknown),
    ],
)
def test_an_answer_means_this(
    rail: StripeRail, double: Double, fault: str, switches: dict[str, Any], kind: type
) -> None:
    double.fault(fault, **switches)
    name = f"{fault}-{len(switches)}"
    assert isinstance(rail.send(order(double.account()), key=f"f-{name}"), kind)


def test_no_funds_is_a_no_that_passes(rail: StripeRail, double: Double) -> None:
    double.control("POST", "/balance", {"currency": "eur", "amount": 0})
    answer = rail.send(order(double.account()), key="poor")
    assert isinstance(answer, Refused)
    assert (answer.code, answer.again) == ("balance_insufficient", True)


def test_an_unknown_destination_is_a_no_that_stays(rail: StripeRail) -> None:
    answer = rail.send(order("acct_nobody"), key="nobody")
    assert isinstance(answer, Refused)
    assert not answer.again


def test_a_key_that_was_used_for_another_request_is_unknown(
    rail: StripeRail, double: Double
) -> None:
    destination = double.account()
    assert isinstance(rail.send(order(destination), key="same"), Succeeded)
    other = order(destination, amount=Money(9_990_000, "EUR"))
    assert isinstance(rail.send(other, key="same"), Unknown)


def test_the_same_key_and_request_is_one_transfer(rail: StripeRail, double: Double) -> None:
    destination = double.account()
    first = rail.send(order(destination), key="again")
    assert rail.send(order(destination), key="again") == first
    assert isinstance(first, Succeeded)


def test_a_wrong_key_halts(settings: Settings, double: Double) -> None:
    wrong = StripeRail(
        replace(settings, stripe_api_key="sk_test_wrong", stripe_api_base=double.url)
    )
    answer = wrong.send(order("acct_x"), key="k")
    assert isinstance(answer, Postponed)
    assert answer.halts
    assert isinstance(wrong.find(order("acct_x")), LookUpFailed)


def test_the_list_finds_the_item_of_this_installation_alone(
    rail: StripeRail, double: Double
) -> None:
    sent = order(double.account(), group="g-find")
    assert isinstance(rail.find(sent), NotFound)
    answer = rail.send(sent, key="find")
    assert isinstance(answer, Succeeded)
    assert rail.find(sent) == Found(answer.transfer_id)
    assert rail.find(replace(sent, attempt=2)) == Found(answer.transfer_id)
    for other in (
        replace(sent, item_id=2),
        replace(sent, installation="other"),
        replace(sent, amount=Money(1_240_000, "EUR")),
        replace(sent, group="g-other"),
    ):
        assert isinstance(rail.find(other), NotFound)


def test_the_list_is_read_past_its_first_page(rail: StripeRail, double: Double) -> None:
    destination = double.account()
    wanted = order(destination, group="g-long", item_id=1000)
    assert isinstance(rail.send(wanted, key="long-0"), Succeeded)
    for number in range(1, 106):
        rail.send(order(destination, group="g-long", item_id=number), key=f"long-{number}")
    assert isinstance(rail.find(wanted), Found)


def test_an_account_is_not_ready_until_it_is_onboarded(rail: StripeRail, double: Double) -> None:
    account = double.account(transfers="inactive", payouts_enabled=False)
    assert not rail.payee_ready(account)
    double.control("POST", "/accounts", {"id": account, "transfers": "active",
                                         "payouts_enabled": True})  # fmt: skip
    assert rail.payee_ready(account)
    assert not rail.payee_ready("acct_nobody")


def test_a_rail_has_a_name_or_there_is_none(settings: Settings) -> None:
    known = rails(settings)
    assert all(rail_named(known, name).name == name for name in known)
    with pytest.raises(NoSuchRail):
        rail_named(known, "pigeon")


def test_the_manual_rail_sends_nothing_and_finds_nothing(settings: Settings) -> None:
    manual = rails(settings)["manual"]
    assert manual.configured()
    assert manual.by_hand
    assert isinstance(manual.send(order("IBAN"), key="k"), Postponed)
    assert isinstance(manual.find(order("IBAN")), NotFound)
    assert manual.payee_ready("IBAN")
    assert not manual.payee_ready(" ")
