"""API keys are rolled while money is under way: nothing is lost, nothing is paid twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from paying import Pay
from stripe_double import KEY, Double

from affiliate.core.config import Settings
from affiliate.core.money import Money
from payouts.batches.execute import run_batch
from payouts.rails.protocol import (
    Found,
    NewAccount,
    Order,
    Postponed,
    RailAway,
    Standing,
    Succeeded,
)
from payouts.rails.registry import rails
from payouts.rails.stripe import StripeRail
from payouts.rails.stripe.accounts import StripeAccounts

NEW = "sk_test_the_new_key"


@pytest.fixture
def rolling(double: Double) -> Iterator[Double]:
    """Two keys are valid; afterwards only the old one again."""
    double.control("POST", "/keys", {"keys": [KEY, NEW]})
    yield double
    double.control("POST", "/keys", {"keys": [KEY]})


def rail_of(settings: Settings, double: Double, current: str, previous: str = "") -> StripeRail:
    return StripeRail(
        replace(settings, stripe_api_key=current, stripe_api_key_previous=previous,
                stripe_api_base=double.url)
    )  # fmt: skip


def order(destination: str, item_id: int = 1) -> Order:
    return Order(Money(1_230_000, "EUR"), destination, "g-keys", item_id, 1, "i-keys")


def test_a_rolled_key_of_the_account_replays_what_the_old_one_sent(
    rolling: Double, settings: Settings
) -> None:
    sent = order(rolling.account())
    first = rail_of(settings, rolling, KEY).send(sent, key="rolled")
    rolling.control("POST", "/keys", {"keys": [NEW]})
    assert rail_of(settings, rolling, NEW).send(sent, key="rolled") == first
    assert isinstance(first, Succeeded)


def test_the_previous_key_is_used_where_the_current_one_is_not_valid_yet(
    double: Double, settings: Settings
) -> None:
    """A node that was given the new key before it was made."""
    rail = rail_of(settings, double, NEW, KEY)
    sent = order(double.account())
    answer = rail.send(sent, key="early")
    assert isinstance(answer, Succeeded)
    assert rail.find(sent) == Found(answer.transfer_id)
    assert rail.own_account() == "acct_platform"


def test_the_key_that_was_let_in_is_asked_first_afterwards(
    double: Double, settings: Settings
) -> None:
    rail = rail_of(settings, double, NEW, KEY)
    rail.send(order(double.account()), key="first-1")
    before = refused(double)
    for number in range(3):
        rail.send(order(double.account()), key=f"first-{number + 2}")
    assert refused(double) == before


def refused(double: Double) -> int:
    told = double.control("GET", "/requests")["requests"]
    return sum(row["status"] == 401 for row in told)


def test_the_current_key_takes_over_when_the_previous_one_is_revoked(
    rolling: Double, settings: Settings
) -> None:
    rolling.control("POST", "/keys", {"keys": [KEY]})
    rail = rail_of(settings, rolling, NEW, KEY)
    assert isinstance(rail.send(order(rolling.account()), key="over-1"), Succeeded)
    rolling.control("POST", "/keys", {"keys": [NEW]})
    assert isinstance(rail.send(order(rolling.account()), key="over-2"), Succeeded)


def test_no_key_that_is_let_in_halts(double: Double, settings: Settings) -> None:
    rail = rail_of(settings, double, NEW, "sk_test_another")
    answer = rail.send(order("acct_x"), key="none")
    assert isinstance(answer, Postponed)
    assert answer.halts


def test_a_key_of_another_account_sends_nothing(double: Double, settings: Settings) -> None:
    """Where it did, its own idempotency keys would let the same payout through again."""
    rail = rail_of(settings, double, KEY)
    rail.pin("acct_where_payouts_are_made_from")
    answer = rail.send(order(double.account(), 4_812), key="foreign")
    assert isinstance(answer, Postponed)
    assert (answer.code, answer.halts) == ("other_account", True)
    assert double.accepted("4812") == 0
    with pytest.raises(RailAway, match="other_account"):
        rail.transfer("tr_1")


def test_a_key_that_cannot_show_whose_it_is_sends_nothing(
    double: Double, settings: Settings
) -> None:
    rail = rail_of(settings, double, KEY)
    rail.pin("acct_platform")
    double.fault("html-502", method="GET", path="/v1/account")
    answer = rail.send(order(double.account(), 4_813), key="shy")
    assert isinstance(answer, Postponed)
    assert answer.halts
    assert double.accepted("4813") == 0
    assert isinstance(rail.send(order(double.account(), 4_813), key="shy"), Succeeded)


def test_a_key_revoked_midway_halts_the_batch_fails_no_item_and_goes_on_later(
    by_stripe: Pay, rolling: Double
) -> None:
    """F43."""
    made = []
    for name in ("anna", "boris", "clara"):
        by_stripe.affiliate(name, "5.00")
        made.append(by_stripe.approved(name, "5.00"))
    by_stripe.run(made[0].batch_id)
    rolling.control("POST", "/keys", {"keys": [NEW]})
    for each in made[1:]:
        by_stripe.run(each.batch_id)
        item = by_stripe.item(each.item_id)
        assert (item.status, item.reason) == ("sending", "rail_refuses_us")
    rolled = replace(by_stripe.settings, stripe_api_key=NEW, stripe_api_key_previous=KEY)
    by_stripe.sending = replace(by_stripe.sending, rails=rails(rolled))
    by_stripe.wait(minutes=6)
    for each in made:
        run_batch(by_stripe.sending, batch_id=each.batch_id)
        by_stripe.paid_once(each)
        assert len(by_stripe.attempts(each.item_id)) == 1


def test_an_answer_lost_under_the_old_key_is_replayed_under_the_new_one(
    by_stripe: Pay, rolling: Double
) -> None:
    by_stripe.affiliate("anna", "5.00")
    made = by_stripe.approved("anna", "5.00")
    rolling.fault("accept-then-drop")
    rolling.fault("list-lag", lag_s=999_999)
    by_stripe.run(made.batch_id)
    rolling.control("POST", "/keys", {"keys": [NEW]})
    rolled = replace(by_stripe.settings, stripe_api_key=NEW)
    by_stripe.sending = replace(by_stripe.sending, rails=rails(rolled))
    by_stripe.wait(minutes=5)
    run_batch(by_stripe.sending, batch_id=made.batch_id)
    by_stripe.paid_once(made)


def test_accounts_of_payees_go_on_while_the_key_is_rolled(
    rolling: Double, settings: Settings
) -> None:
    """Both ways: a key that is not valid yet, and one that no longer is."""
    new = NewAccount(7, "i-keys", "DE", cross_border=False)
    old_alone = accounts_of(settings, rolling, KEY)
    made = old_alone.create(new, key="onboarding-7")
    rolling.control("POST", "/keys", {"keys": [NEW]})
    both = accounts_of(settings, rolling, NEW, KEY)
    assert both.create(new, key="onboarding-7") == made
    assert not both.state(made).ready
    with pytest.raises(RailAway):
        old_alone.state(made)
    rolling.control("POST", "/keys", {"keys": [KEY]})
    assert both.state(made).standing is Standing.DETAILS_MISSING
    ways = {"return_url": "http://127.0.0.1:9/back", "refresh_url": "http://127.0.0.1:9/again"}
    assert both.link(made, **ways).startswith("http")


def accounts_of(
    settings: Settings, double: Double, current: str, previous: str = ""
) -> StripeAccounts:
    return StripeAccounts(
        replace(settings, stripe_api_key=current, stripe_api_key_previous=previous,
                stripe_api_base=double.url)
    )  # fmt: skip
