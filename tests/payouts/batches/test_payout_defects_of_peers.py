"""Mistakes of other programs' payouts, each against ours."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa
from flask import Flask
from money_world import NOW
from paying import Pay

from affiliate.core import clock
from affiliate.core.money import Money
from payouts.audit.checks import CHECKS
from payouts.audit.run import run
from payouts.batches.draft import draft_weekly, open_periods, undrafted
from payouts.batches.execute import ITEMS_MAX
from payouts.batches.models import PayoutItem
from payouts.batches.review import mark_paid

WEEK = timedelta(days=7)


def weekly(pay: Pay, *, weeks: int = 0) -> int | None:
    """The batch of the week that has come, if there is one."""
    now = NOW + weeks * WEEK
    open_periods(pay.session, now=now)
    made = [
        draft_weekly(pay.session, period_id=period, rails=pay.rails, now=now)
        for period in undrafted(pay.session)
    ]
    pay.session.commit()
    found = [batch_id for batch_id in made if batch_id]
    return found[-1] if found else None


def statuses(pay: Pay, batch_id: int) -> list[str]:
    pay.session.rollback()
    query = sa.select(PayoutItem.status).where(PayoutItem.batch_id == batch_id)
    return list(pay.session.scalars(query.order_by(PayoutItem.id)))


def test_dub_the_smallest_coin_is_paid_whole_weekly_and_on_request(by_stripe: Pay) -> None:
    """Dub: transfers wait below $10, and to force a withdrawal costs a fee."""
    by_stripe.affiliate("anna", "0.01")
    batch_id = weekly(by_stripe)
    assert batch_id is not None
    by_stripe.approve(batch_id)
    by_stripe.run(batch_id)
    (item_id,) = by_stripe.session.scalars(sa.select(PayoutItem.id)).all()
    (transfer,) = by_stripe.transfers(item_id)
    assert (transfer["amount"], statuses(by_stripe, batch_id)) == (1, ["paid"])
    assert by_stripe.balances("anna").paid == by_stripe.world.money("0.01")
    by_stripe.affiliate("boris", "0.01")
    made = by_stripe.approved("boris", "0.01")
    by_stripe.run(made.batch_id)
    by_stripe.paid_once(made)


@pytest.mark.parametrize("text", ["0.29", "1.13", "8.20", "19.99", "1100.10"])
def test_affable_a_transfer_has_its_key_and_the_exact_cents(by_stripe: Pay, text: str) -> None:
    """affable: `Payout.create` instead of a transfer, no key, `int(amount * 100)`: 28 for 0.29."""
    by_stripe.affiliate("anna", text)
    made = by_stripe.approved("anna", text)
    by_stripe.run(made.batch_id)
    (transfer,) = by_stripe.transfers(made.item_id)
    (attempt,) = by_stripe.attempts(made.item_id)
    assert transfer["object"] == "transfer"
    assert transfer["amount"] == int(text.replace(".", ""))
    assert Money.of_minor_units(transfer["amount"], "EUR") == made.amount
    assert by_stripe.double is not None
    told = by_stripe.double.control("GET", "/events", query={"type": "transfer.created"})["events"]
    (event,) = [each for each in told if each["data"]["object"]["id"] == transfer["id"]]
    assert event["request"]["idempotency_key"] == attempt.idempotency_key


def test_salig_whoever_is_in_a_batch_keeps_nobody_out_of_the_next(by_hand: Pay) -> None:
    """Salig: rows that are batched already are read first, and new ones never get their turn."""
    for number in range(8):
        by_hand.affiliate(f"early{number}", "1.00")
    first = weekly(by_hand)
    assert first is not None  # Not approved: its items wait for ever.
    for number in range(3):
        by_hand.affiliate(f"late{number}", "2.00")
    second = weekly(by_hand, weeks=1)
    assert second is not None
    late = {by_hand.world.enrollments[f"late{number}"] for number in range(3)}
    query = sa.select(PayoutItem.enrollment_id).where(PayoutItem.batch_id == second)
    assert set(by_hand.session.scalars(query)) == late
    by_hand.sound()


def test_salig_a_batch_is_paid_beyond_what_a_worker_takes_at_once(by_stripe: Pay) -> None:
    """Salig: only the first 500 of a batch are marked as paid."""
    for number in range(ITEMS_MAX + 5):
        by_stripe.affiliate(f"p{number}", "0.01")
    batch_id = weekly(by_stripe)
    assert batch_id is not None
    by_stripe.approve(batch_id)
    while by_stripe.run(batch_id):
        pass
    assert statuses(by_stripe, batch_id) == ["paid"] * (ITEMS_MAX + 5)
    assert by_stripe.batch(batch_id).status == "done"
    by_stripe.sound()


def test_affiliatewp_one_payment_marks_one_payout_and_the_sums_stay_equal(by_hand: Pay) -> None:
    """AffiliateWP #2147: paying one commission marked nineteen; #2080: $1,100 did not match."""
    for number in range(20):
        by_hand.affiliate(f"p{number}", "55.00")
    batch_id = weekly(by_hand)
    assert batch_id is not None
    by_hand.approve(batch_id)
    first, *_others = by_hand.session.scalars(sa.select(PayoutItem.id).order_by(PayoutItem.id))
    mark_paid(
        by_hand.session, item_id=first, reference="SEPA 1", by_user_id=by_hand.finance,
        rails=by_hand.rails, now=NOW,
    )  # fmt: skip
    by_hand.session.commit()
    assert statuses(by_hand, batch_id) == ["paid"] + ["queued"] * 19
    assert by_hand.batch(batch_id).approved_total_micros == 1_100 * 1_000_000
    assert by_hand.balances("p0").paid == by_hand.world.money("55.00")
    assert by_hand.balances("p1").in_payout == by_hand.world.money("55.00")
    by_hand.sound()


@pytest.mark.parametrize("table", ["payout_items", "ledger_entries", "ledger_transactions"])
def test_refferq_what_was_paid_cannot_be_deleted(
    pay: Callable[..., Pay], app: Flask, table: str
) -> None:
    """Refferq: payouts can be deleted, and the balance is read, changed and written back."""
    by_hand = pay("manual")
    by_hand.affiliate("anna", "5.00")
    made = by_hand.approved("anna", "5.00")
    for method in ("DELETE", "PATCH", "PUT"):
        rules = [rule.rule for rule in app.url_map.iter_rules() if method in (rule.methods or ())]
        assert [rule for rule in rules if "batch" in rule or "item" in rule] == []
    with pytest.raises(sa.exc.DBAPIError), by_hand.engine.begin() as connection:
        connection.execute(sa.text(f"DELETE FROM {table}"))
    assert by_hand.item(made.item_id).status == "queued"
    by_hand.sound()


def test_refferq_an_item_that_is_deleted_by_force_is_missed_by_the_audit(by_hand: Pay) -> None:
    for name in ("anna", "boris"):
        by_hand.affiliate(name, "5.00")
    batch_id = weekly(by_hand)
    with by_hand.engine.begin() as connection:
        connection.execute(
            sa.text("DELETE FROM payout_items WHERE id = (SELECT max(id) FROM payout_items)")
        )
    found = {each.check.name for each in run(by_hand.session, CHECKS, real_now=clock.real_now())}
    assert {"P11", "P16"} <= found
    assert batch_id is not None


def test_polar_and_gumroad_a_time_out_returns_nothing_and_is_never_sent_under_a_new_key(
    by_stripe: Pay,
) -> None:
    """Polar, Gumroad: the 24-hour key alone guards a second sending; a time-out is marked as
    failed and the money given back."""
    assert by_stripe.double is not None
    by_stripe.affiliate("anna", "5.00")
    made = by_stripe.approved("anna", "5.00")
    by_stripe.double.fault("accept-then-drop")
    by_stripe.run(made.batch_id)
    assert by_stripe.item(made.item_id).status == "unknown"
    assert by_stripe.balances("anna").available == by_stripe.world.money("0.00")
    assert by_stripe.balances("anna").in_payout == made.amount
    by_stripe.wait(hours=25)
    by_stripe.run(made.batch_id)
    by_stripe.paid_once(made)
    assert len(by_stripe.attempts(made.item_id)) == 1
