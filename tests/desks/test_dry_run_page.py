"""The dry run on the batch's page: what the rail says today, beside the approval."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from bank_accounts import PAYEE_RUSSIA
from flask import Flask
from staff import earned, hire, two_in_a_batch, url_of, url_of_item, weekly_batch
from stripe_double import KEY, Double
from world import World

from affiliate.core.config import Settings
from payouts.batches.models import PayeeAccount, PayoutBatch, PayoutItem
from payouts.provider.models import BatchRehearsal
from payouts.rails.registry import rails


@pytest.fixture(autouse=True)
def no_csrf(app: Flask) -> None:
    """The matrix has the tests about forged forms."""
    app.config["WTF_CSRF_ENABLED"] = False


@pytest.fixture(scope="module")
def double(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Double]:
    made = Double(Path(tmp_path_factory.mktemp("double")))
    yield made
    made.end()


@pytest.fixture
def stripe(world: World, app: Flask, settings: Settings, double: Double) -> Double:
    """The ruble program pays by Stripe, and the application has the key of the double."""
    towards = replace(settings, stripe_api_key=KEY, stripe_api_base=double.url)
    app.extensions["kopeck.settings"] = towards
    world.program.rail = "stripe"
    world.session.commit()
    double.control("POST", "/balance", {"currency": "rub", "amount": 100_000})
    return double


def batch_at_stripe(world: World, double: Double) -> tuple[PayoutBatch, dict[str, str]]:
    """Anna and Boris in a weekly batch, with accounts at the double."""
    batch, accounts = two_in_a_batch(world), {}
    for item in items_of(world, batch):
        account = double.account()
        accounts["Anna" if item.amount_micros > 10_000_000 else "Boris"] = account
        item.destination = account
    world.session.execute(sa.update(PayeeAccount).values(ready_at=world.now))
    world.session.commit()
    return batch, accounts


def items_of(world: World, batch: PayoutBatch) -> list[PayoutItem]:
    world.session.expire_all()
    return list(
        world.session.scalars(
            sa.select(PayoutItem).where(PayoutItem.batch_id == batch.id).order_by(PayoutItem.id)
        )
    )


def test_the_card_says_what_the_provider_says_and_when(world: World, stripe: Double) -> None:
    batch, accounts = batch_at_stripe(world, stripe)
    finance = hire(world, "finance")
    assert "Not looked at yet." in finance.client.get(url_of(batch)).text
    stripe.control("POST", "/accounts", {"id": accounts["Boris"], "transfers": "inactive"})
    sent = finance.client.post(f"{url_of(batch)}/rehearsal")
    assert sent.status_code == 303
    assert sent.location.endswith("#dry-run")
    page = finance.client.get(url_of(batch)).text
    for said in (
        "Stripe answers and sends RUB.",
        "1,000.00\N{NO-BREAK SPACE}RUB are there: enough.",
        "1 of 2 accounts can be paid to.",
        "The account cannot receive now; the payout would wait until it can.",
        "Looked at by Finance",
    ):
        assert said in page
    anna, boris = items_of(world, batch)
    named = [page.count(f'href="{url_of_item(item)}"') for item in (anna, boris)]
    assert named == [1, 2], "both in the list, Boris in what the rail says too"
    assert "Approve 2 payouts" in page, "it blocks nothing"
    colleague = hire(world, "finance", name="colleague")
    assert "Looked at by Finance" in colleague.client.get(url_of(batch)).text


def test_a_balance_that_does_not_cover_the_batch_is_said_with_what_lacks(
    world: World, stripe: Double
) -> None:
    batch, _accounts = batch_at_stripe(world, stripe)
    stripe.control("POST", "/balance", {"currency": "rub", "amount": 40_000})
    finance = hire(world, "finance").client
    finance.post(f"{url_of(batch)}/rehearsal")
    page = finance.get(url_of(batch)).text
    assert (
        "400.00\N{NO-BREAK SPACE}RUB are there, 12.17\N{NO-BREAK SPACE}RUB less than the batch."
        in page
    )
    assert "2 accounts looked at: all can be paid to." in page


def test_with_the_provider_away_the_rest_of_the_page_works(world: World, stripe: Double) -> None:
    batch, _accounts = batch_at_stripe(world, stripe)
    stripe.fault("html-502", method="GET", path="/v1/balance")
    finance = hire(world, "finance").client
    finance.post(f"{url_of(batch)}/rehearsal")
    page = finance.get(url_of(batch)).text
    assert "The provider does not answer now" in page
    assert "accounts" not in page.split('id="dry-run"')[1].split("</ul>")[0].replace(
        "so balance and accounts are not known", ""
    )
    assert "Approve 2 payouts" in page


def test_asked_again_at_once_it_says_that_it_was_asked(world: World, stripe: Double) -> None:
    batch, _accounts = batch_at_stripe(world, stripe)
    finance = hire(world, "finance").client
    finance.post(f"{url_of(batch)}/rehearsal")
    again = finance.post(f"{url_of(batch)}/rehearsal", follow_redirects=True)
    assert "The rail was asked a moment ago" in again.text
    assert world.session.scalar(sa.select(sa.func.count(BatchRehearsal.id))) == 1


def test_a_change_of_the_batch_makes_the_look_one_at_another_batch(
    world: World, stripe: Double
) -> None:
    batch, _accounts = batch_at_stripe(world, stripe)
    finance = hire(world, "finance").client
    finance.post(f"{url_of(batch)}/rehearsal")
    first = items_of(world, batch)[0]
    held = finance.post(f"{url_of_item(first)}/hold", data={"reason": "asks for a call"})
    assert held.status_code == 303
    assert "Not looked at yet." in finance.get(url_of(batch)).text


def test_by_hand_it_says_that_nobody_can_be_asked(world: World) -> None:
    page = hire(world, "finance").client.get(url_of(two_in_a_batch(world))).text
    assert "Nobody can be asked beforehand" in page
    assert "/rehearsal" not in page


def test_without_a_key_there_is_nobody_to_ask(world: World) -> None:
    world.program.rail = "stripe"
    world.session.commit()
    batch = two_in_a_batch(world)
    finance = hire(world, "finance").client
    page = finance.get(url_of(batch)).text
    assert "there is nobody to ask" in page
    assert "Check with the provider" not in page
    refused = finance.post(f"{url_of(batch)}/rehearsal")
    assert refused.status_code == 409
    assert "is not configured" in refused.text


def test_a_file_is_looked_at_for_the_own_account_and_every_payees(world: World) -> None:
    world.program.rail = "bank_russia"
    world.session.commit()
    earned(world, "Anna")
    world.payee("Anna", rails(world.settings)["bank_russia"].account(PAYEE_RUSSIA))
    world.session.execute(sa.update(PayeeAccount).values(pays_from=None))
    world.session.commit()
    batch = weekly_batch(world)
    finance = hire(world, "finance").client
    page = finance.get(url_of(batch)).text
    assert "without it the batch cannot be approved" in page
    finance.post(f"{url_of(batch)}/rehearsal")
    page = finance.get(url_of(batch)).text
    assert "1 account looked at: it can be paid to." in page
    assert "That makes 1 file." in page


def test_what_is_certain_to_be_refused_is_an_obstacle(
    world: World, stripe: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    from payouts.rails.stripe import StripeRail

    batch, _accounts = batch_at_stripe(world, stripe)
    monkeypatch.setattr(StripeRail, "granularity", lambda _self, _currency: 100)
    page = hire(world, "finance").client.get(url_of(batch)).text
    assert "The rail cannot pay 1 of its amounts: hold that payout." in page
    assert "Approve 2 payouts" not in page
    monkeypatch.setattr(StripeRail, "pays", lambda _self, _currency: False)
    page = hire(world, "finance", name="other").client.get(url_of(batch)).text
    assert "Its rail does not pay RUB" in page


def test_a_batch_that_is_signed_is_not_asked_about(world: World) -> None:
    batch = two_in_a_batch(world)
    finance = hire(world, "finance").client
    finance.post(f"{url_of(batch)}/approval", data={"hash": batch.hash})
    assert 'id="dry-run"' not in finance.get(url_of(batch)).text
    late = finance.post(f"{url_of(batch)}/rehearsal")
    assert late.status_code == 409
