"""One program or one typed reference that cannot be served does not stop the others."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from flask import Flask
from money_world import NOW
from paying import Pay

from affiliate.core.errors import Conflict
from affiliate.programs.models import Program
from payouts.batches.jobs import draft_weekly_batches, sweep
from payouts.batches.models import PayoutAttempt, PayoutBatch, PayoutItem
from payouts.batches.review import mark_paid


def drafted(pay: Pay) -> list[tuple[str, int]]:
    pay.session.rollback()
    rows = pay.session.execute(
        sa.select(PayoutBatch.status, PayoutBatch.program_id).order_by(PayoutBatch.id)
    )
    return [(status, program_id) for status, program_id in rows]


def test_a_program_whose_rail_is_gone_does_not_stop_the_weekly_batches_of_others(
    app: Flask, pay: Callable[..., Pay]
) -> None:
    first, second = pay("manual"), pay("manual")
    first.affiliate("anna", "5.00")
    second.affiliate("boris", "5.00")
    first.session.execute(
        sa.update(Program).where(Program.id == first.world.program_id).values(rail="pigeon")
    )
    first.session.commit()
    with app.app_context():
        draft_weekly_batches()
    assert drafted(second) == [("frozen", second.world.program_id)]


def test_a_transfer_that_is_another_payouts_is_refused_with_a_sentence(by_stripe: Pay) -> None:
    by_stripe.affiliate("anna", "5.00")
    by_stripe.affiliate("boris", "5.00")
    paid, lost = by_stripe.approved("anna", "5.00"), by_stripe.approved("boris", "5.00")
    by_stripe.run(paid.batch_id)
    (attempt,) = by_stripe.attempts(paid.item_id)

    def die(step: str) -> None:
        if step == "intent_committed":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        by_stripe.run(lost.batch_id, at=die)
    by_stripe.session.execute(
        sa.update(PayoutItem)
        .where(PayoutItem.id == lost.item_id)
        .values(status="needs_review", next_try_at=None)
    )
    by_stripe.session.execute(
        sa.update(PayoutAttempt)
        .where(PayoutAttempt.item_id == lost.item_id)
        .values(status="unknown")
    )
    by_stripe.session.commit()
    with pytest.raises(Conflict) as refusal:
        mark_paid(
            by_stripe.session,
            item_id=lost.item_id,
            reference=attempt.transfer_id or "",
            by_user_id=by_stripe.finance,
            rails=by_stripe.rails,
            now=NOW,
        )
    assert refusal.value.code == "transfer_of_another_payout"
    assert by_stripe.item(lost.item_id).status == "needs_review"
    by_stripe.sound()


def test_the_sweep_goes_past_a_batch_whose_rail_is_gone(
    app: Flask, pay: Callable[..., Pay], by_hand: Pay
) -> None:
    gone = pay("manual")
    gone.affiliate("anna", "5.00")
    made = gone.approved("anna", "5.00")
    gone.session.execute(
        sa.update(PayoutBatch).where(PayoutBatch.id == made.batch_id).values(rail="pigeon")
    )
    by_hand.affiliate("boris", "5.00")
    other = by_hand.approved("boris", "5.00")
    by_hand.session.execute(
        sa.update(PayoutItem).where(PayoutItem.id == other.item_id).values(status="cancelled")
    )
    by_hand.session.commit()
    with app.app_context():
        sweep()
    assert by_hand.batch(other.batch_id).status == "done"
