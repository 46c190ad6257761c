"""The page on which finance sees whether the provider's books are ours."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask import Flask
from redis import Redis
from staff import hire, two_in_a_batch
from world import World

from affiliate.core import clock, ids, queue
from affiliate.core.config import Settings
from payouts.batches.locks import LockReason, lock
from payouts.batches.models import PayoutItem
from payouts.provider.models import Difference, Reconciliation, SeenBankPayout
from payouts.provider.rules import DifferenceKind

PAGE = "/finance/reconciliation"


@pytest.fixture(autouse=True)
def no_csrf(app: Flask) -> None:
    """The matrix has the tests about forged forms."""
    app.config["WTF_CSRF_ENABLED"] = False


def difference(
    world: World, kind: DifferenceKind, *, subject: str, item_id: int | None = None
) -> Difference:
    now = clock.real_now()
    row = Difference(
        rail="stripe", kind=kind.value, subject=subject, item_id=item_id,
        detail=f"Transfer {subject} moved 5.00 EUR to acct_1.", first_seen_at=now, last_seen_at=now,
    )  # fmt: skip
    world.session.add(row)
    world.session.commit()
    return row


def compared(world: World, status: str, **changes: object) -> None:
    now = clock.real_now()
    values = {
        "rail": "stripe", "status": status, "covers_from": now - timedelta(hours=48),
        "covers_until": now, "ended_at": now, "transfers": 12, "settled": 1, "by": "cli",
        "error": None, **changes,
    }  # fmt: skip
    world.session.add(Reconciliation(**values))
    world.session.commit()


def test_an_empty_page_says_what_comes(world: World) -> None:
    page = hire(world, "finance").client.get(PAGE)
    assert page.status_code == 200
    assert "Nothing was compared yet" in page.text
    assert "Compare now" not in page.text  # no key, nobody to ask


def test_books_that_agree_are_said_to(world: World) -> None:
    compared(world, "clean")
    page = hire(world, "owner").client.get(PAGE).text
    assert "The books agree." in page
    assert "clean" in page


@pytest.mark.parametrize("kind", list(DifferenceKind))
def test_each_difference_has_its_sentence_and_what_to_do(
    world: World, kind: DifferenceKind
) -> None:
    row = difference(world, kind, subject="tr_1")
    lock(world.session, reason=LockReason.RECONCILIATION, detail="tr_1", now=world.now)
    world.session.commit()
    compared(world, "differs")
    page = hire(world, "finance").client.get(PAGE).text
    assert "Payouts are locked." in page
    assert f"kopeck payouts accept {row.id}" in page
    assert "Transfer tr_1 moved 5.00 EUR" in page
    assert "The books agree." not in page


def test_a_comparison_that_had_no_answer_is_shown_with_why(world: World) -> None:
    compared(world, "failed", error="apierror_502")
    page = hire(world, "finance").client.get(PAGE).text
    assert "no answer" in page
    assert "apierror_502" in page
    assert "The books agree." not in page


def test_a_difference_of_another_program_is_not_shown(world: World) -> None:
    batch = two_in_a_batch(world)
    item = world.session.query(PayoutItem).filter_by(batch_id=batch.id).first()
    assert item is not None
    difference(world, DifferenceKind.RETURNED, subject="tr_mine", item_id=item.id)
    mine = hire(world, "finance")
    assert "tr_mine" in mine.client.get(PAGE).text
    other = hire(world, "finance", program=world.euros, name="stranger")
    assert "tr_mine" not in other.client.get(PAGE).text


def test_what_was_put_right_stays_to_be_read(world: World) -> None:
    row = difference(world, DifferenceKind.RETURNED, subject="tr_1")
    row.resolved_at, row.resolved_by, row.why = clock.real_now(), "cli", "taken back at Stripe"
    world.session.commit()
    assert "taken back at Stripe" in hire(world, "finance").client.get(PAGE).text


def test_a_person_can_ask_for_a_comparison(world: World, settings: Settings) -> None:
    finance = hire(world, "finance")
    answer = finance.client.post(PAGE, follow_redirects=True)
    assert "The comparison has begun" in answer.text
    with Redis.from_url(settings.redis_url) as redis:
        names = [job.func_name for job in queue.queue_on(redis, queue.PAYOUTS).jobs]
    assert "payouts.provider.jobs.reconcile_now" in names


def test_a_comparison_is_not_asked_for_again_at_once(world: World, settings: Settings) -> None:
    finance = hire(world, "finance")
    compared(world, "clean", ended_at=clock.real_now() - timedelta(seconds=50))
    answer = finance.client.post(PAGE, follow_redirects=True)
    assert "A comparison has just ended" in answer.text
    with Redis.from_url(settings.redis_url) as redis:
        assert not queue.queue_on(redis, queue.PAYOUTS).jobs


def test_a_payout_shows_what_its_account_sent_on_to_the_bank(world: World) -> None:
    world.affiliate("Anna")
    world.sale("Anna", "100.00", days_ago=20)
    world.release()
    world.payee("Anna")
    requested = world.withdraw("Anna", None)
    world.pay(requested)
    item = world.session.get_one(PayoutItem, requested.item_id)
    now = clock.real_now() + timedelta(minutes=1)
    world.session.add(
        SeenBankPayout(
            rail="stripe",
            id="po_1",
            account=item.destination,
            amount_micros=5_000_000,
            currency=item.currency,
            status="failed",
            failure="account_closed",
            arrives_at=now,
            created_at=now,
            seen_at=now,
        )
    )
    world.session.commit()
    page = hire(world, "finance", name="fiona").client.get(f"/finance/items/{public(item)}").text
    assert "failed at the bank" in page
    assert "account_closed" in page


def public(item: PayoutItem) -> str:
    return ids.public_id("pay", item.id)
