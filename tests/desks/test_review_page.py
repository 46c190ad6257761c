"""The desk of payouts in question: what is known of each, and asking the provider about one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask
from staff import hire, two_in_a_batch, url_of_item
from stripe_double import KEY, Double
from world import World

from affiliate.core import clock
from affiliate.core.config import Settings
from payouts.batches.fence import installation_key
from payouts.batches.intents import add_attempt
from payouts.batches.models import PayoutAttempt, PayoutBatch, PayoutItem
from payouts.provider.models import ProviderEvent

DESK = "/finance/review"


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
    double.control("POST", "/balance", {"currency": "rub", "amount": 1_000_000})
    return double


def in_question(world: World, destination: str, *, hours: float = 24.5) -> PayoutItem:
    """Anna's payout in an approved batch, sent so long ago and never answered."""
    batch = two_in_a_batch(world)
    world.session.execute(
        sa.update(PayoutBatch)
        .where(PayoutBatch.id == batch.id)
        .values(
            status="paying", approved_at=world.now, approved_hash=batch.hash,
            approved_total_micros=412_170_000, approved_count=2,
        )
    )  # fmt: skip
    item = world.session.scalars(
        sa.select(PayoutItem)
        .where(PayoutItem.batch_id == batch.id)
        .order_by(PayoutItem.amount_micros.desc())
        .limit(1)
        .execution_options(populate_existing=True)
    ).one()
    item.destination, item.status, item.reason = destination, "needs_review", "not_found"
    world.session.flush()
    told = {"group": "g", "installation": installation_key(world.session)}
    attempt = add_attempt(
        world.session, item=item, key="po:test", told=told,
        real_now=clock.real_now() - timedelta(hours=hours),
    )  # fmt: skip
    attempt.status, attempt.error_code, attempt.error_text = "unknown", "apierror_500", "Oops."
    world.session.commit()
    return item


def transfer_for(world: World, double: Double, item: PayoutItem) -> str:
    made = double.client().v1.transfers.create(
        {
            "amount": 41_000, "currency": "rub", "destination": item.destination,
            "metadata": {
                "item_id": str(item.id), "attempt": "1", "env": installation_key(world.session),
            },
        }
    )  # fmt: skip
    return str(made.id)


def fresh(world: World, item: PayoutItem) -> PayoutItem:
    world.session.rollback()
    return world.session.get_one(PayoutItem, item.id, populate_existing=True)


def attempts(world: World, item: PayoutItem) -> list[str]:
    return list(
        world.session.scalars(
            sa.select(PayoutAttempt.status)
            .where(PayoutAttempt.item_id == item.id)
            .order_by(PayoutAttempt.number)
        )
    )


def test_an_empty_desk_says_that_nothing_is_in_question(world: World) -> None:
    assert "No payout is in question" in hire(world, "finance").client.get(DESK).text


def test_the_desk_says_what_is_known_of_each(world: World, stripe: Double) -> None:
    item = in_question(world, stripe.account())
    finance = hire(world, "finance").client
    page = finance.get(DESK).text
    key = f"po:test:{item.id}:1"
    for said in (
        "Anna", "410.00", key, "apierror_500", "Oops.", "Too old to be sent again",
        "No event of the provider has told of it.", "by nobody yet", "Ask the provider now",
        f"{url_of_item(item)}/look-up",
    ):  # fmt: skip
        assert said in page, said
    now = clock.real_now()
    world.session.add(
        ProviderEvent(
            rail="stripe", id="evt_1", type="transfer.created", account="", object_id="tr_x",
            idempotency_key=key, came_by="webhook", created_at=now, received_at=now,
            next_try_at=now,
        )
    )  # fmt: skip
    world.session.commit()
    for path in (DESK, url_of_item(item)):
        page = finance.get(path).text
        assert "transfer.created" in page
        assert "not followed yet" in page
    assert DESK in finance.get("/finance/").text


def test_what_is_found_closes_the_payout_and_says_so(world: World, stripe: Double) -> None:
    item = in_question(world, stripe.account())
    transfer = transfer_for(world, stripe, item)
    finance = hire(world, "finance").client
    page = finance.post(f"{url_of_item(item)}/look-up")
    assert page.status_code == 200
    assert f"The provider has the transfer {transfer}: the payout is paid." in page.text
    assert fresh(world, item).status == "paid"
    assert attempts(world, item) == ["succeeded"]
    again = finance.post(f"{url_of_item(item)}/look-up")
    assert again.status_code == 409
    assert "does not wait for a person" in again.text


def test_nothing_found_is_said_with_what_else_went_to_the_account(
    world: World, stripe: Double
) -> None:
    item = in_question(world, stripe.account())
    by_a_person = stripe.client().v1.transfers.create(
        {"amount": 41_000, "currency": "rub", "destination": item.destination}
    )
    finance = hire(world, "finance").client
    page = finance.post(f"{url_of_item(item)}/look-up").text
    assert "The provider has no transfer for this payout." in page
    assert by_a_person.id in page
    assert "none of Kopeck&#39;s payouts" in page
    assert fresh(world, item).status == "needs_review"
    assert "asked by Finance, no transfer was found" in finance.get(url_of_item(item)).text
    assert f'name="seen" value="{by_a_person.id}"' in page
    path, said = f"{url_of_item(item)}/attempts", {"reason": "that was for March"}
    unseen = finance.post(path, data=said)
    assert unseen.status_code == 409
    assert "look at it before you allow a new attempt" in unseen.text
    assert by_a_person.id in unseen.text
    assert finance.post(path, data={**said, "seen": by_a_person.id}).status_code == 303


def test_a_new_attempt_is_not_allowed_for_what_the_provider_has(
    world: World, stripe: Double
) -> None:
    item = in_question(world, stripe.account())
    transfer_for(world, stripe, item)
    finance = hire(world, "finance").client
    page = finance.post(f"{url_of_item(item)}/attempts", data={"reason": "I looked"})
    assert "the payout is paid" in page.text
    assert fresh(world, item).status == "paid"
    assert attempts(world, item) == ["succeeded"]


def test_a_new_attempt_needs_a_whole_look_that_finds_nothing(world: World, stripe: Double) -> None:
    item = in_question(world, stripe.account(), hours=0.5)
    finance = hire(world, "finance").client
    path, said = f"{url_of_item(item)}/attempts", {"reason": "I looked"}
    without = finance.post(path, data={"reason": " "})
    assert without.status_code == 422
    assert "Say why" in without.text
    early = finance.post(path, data=said)
    assert early.status_code == 409
    assert "less than an hour ago" in early.text
    world.session.execute(
        sa.update(PayoutAttempt).values(last_tried_at=clock.real_now() - timedelta(hours=2))
    )
    world.session.commit()
    stripe.fault("html-502", method="GET", path="/v1/transfers")
    away = finance.post(path, data=said)
    assert away.status_code == 409
    assert "nobody can be sure that nothing was sent" in away.text
    assert fresh(world, item).status == "needs_review"
    done = finance.post(path, data=said)
    assert done.status_code == 303
    assert fresh(world, item).status == "queued"
    assert attempts(world, item) == ["failed"]


def test_by_hand_there_is_nobody_to_ask(world: World) -> None:
    item = in_question(world, "Anna, DE89")
    finance = hire(world, "finance").client
    page = finance.get(url_of_item(item)).text
    assert "There is no provider to ask" in page
    assert "Ask the provider now" not in page
    assert finance.post(f"{url_of_item(item)}/look-up").status_code == 404
    done = finance.post(f"{url_of_item(item)}/attempts", data={"reason": "I looked"})
    assert done.status_code == 303


@pytest.mark.abuse("A24")
def test_finance_of_another_program_asks_about_nothing_of_this_one(
    world: World, stripe: Double
) -> None:
    item = in_question(world, stripe.account())
    transfer_for(world, stripe, item)
    stranger = hire(world, "finance", program=world.euros).client
    assert "Anna" not in stranger.get(DESK).text
    for name in ("look-up", "attempts"):
        sent = stranger.post(f"{url_of_item(item)}/{name}", data={"reason": "mine"})
        assert sent.status_code == 404
    assert fresh(world, item).status == "needs_review"
