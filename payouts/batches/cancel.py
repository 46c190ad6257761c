"""Take a whole batch, or one item, out again: the reserve returns to the balance."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.db import be_patient
from affiliate.core.errors import Conflict, NotFound, Phrase
from payouts.batches import booking
from payouts.batches.approve import require_finance
from payouts.batches.freeze import STATEMENT_S, add_maker, hash_of, lock_batch
from payouts.batches.models import PayoutAttempt, PayoutBatch, PayoutItem, Withdrawal
from payouts.batches.outcomes import outcome_of
from payouts.batches.rules import ItemReason
from payouts.batches.signatures import void_signatures


class NotCancellable(Conflict):
    code = "batch_not_cancellable"
    title = "This batch is approved: hold single items instead, as long as they are not sent."


class ItemTakenOut(Conflict):
    code = "item_taken_out"
    title = "This payout was taken out already; its amount is back in the balance."


class ItemAlreadySent(Conflict):
    code = "item_already_sent"
    title = "This payout was sent, or may have been: it cannot be held any more."


def cancel_batch(
    session: Session, *, batch_id: int, by_user_id: int, why: str, now: datetime
) -> None:
    """Cancel a batch before its approval; every reserve returns. Raises NotCancellable."""
    batch = lock_batch(session, batch_id=batch_id)
    require_finance(session, program_id=batch.program_id, user_id=by_user_id)
    if batch.status == "cancelled":
        raise NotCancellable(outcome_of(session, batch))
    if batch.status not in ("draft", "frozen"):
        raise NotCancellable(
            Phrase(
                "%(told)s Hold single payouts instead, as long as they are not sent.",
                told=outcome_of(session, batch),
            )
        )
    be_patient(session, statement_s=STATEMENT_S)
    booking.give_back_all(session, batch=batch, reason=ItemReason.BATCH_CANCELLED, now=now)
    session.execute(_TAKE_OUT, {"batch_id": batch.id, "now": now})
    session.expire_all()
    _cancelled(batch, by_user_id, why, now)
    audit.record(
        session, actor=f"user:{by_user_id}", action="batch.cancel", subject=f"batch:{batch.id}",
        scope=batch.program_id, now=now, reason=why,
    )  # fmt: skip
    session.flush()


# Only this batch's lock is held: an item changes under it alone until the batch is approved.
_TAKE_OUT = sa.text(
    f"""
    WITH taken AS (
        UPDATE payout_items
        SET status = 'cancelled', reason = '{ItemReason.BATCH_CANCELLED}',
            finished_at = CAST(:now AS timestamptz), next_try_at = NULL
        WHERE batch_id = :batch_id AND status = 'queued'
        RETURNING id
    )
    UPDATE withdrawals
    SET closed_at = CAST(:now AS timestamptz), outcome = 'cancelled'
    FROM taken WHERE withdrawals.item_id = taken.id AND withdrawals.closed_at IS NULL
    """  # noqa: S608 -- a value of an enum of ours
)


def hold_item(session: Session, *, item_id: int, by_user_id: int, why: str, now: datetime) -> None:
    """Take one payout out of its batch; its reserve returns to the balance.

    Before approval the batch gets a new hash, signatures under the old one are void, and the
    person becomes one of its makers.
    After approval the item alone leaves, while nothing of it can have been sent: no attempt
    exists, or each ended in a definite no. Raises ItemAlreadySent otherwise.
    """
    batch_id = session.scalar(sa.select(PayoutItem.batch_id).where(PayoutItem.id == item_id))
    if batch_id is None:
        raise NotFound
    batch = lock_batch(session, batch_id=batch_id)
    require_finance(session, program_id=batch.program_id, user_id=by_user_id)
    item = lock_item(session, item_id=item_id)
    if batch.status == "cancelled":
        raise ItemTakenOut(outcome_of(session, batch))
    if item.status == "cancelled":
        raise ItemTakenOut
    if item.status not in HOLDABLE or _live_attempt(session, item_id):
        raise ItemAlreadySent
    before = batch.status == "frozen"
    reason = ItemReason.HELD_BEFORE_APPROVAL if before else ItemReason.HELD_AFTER_APPROVAL
    booking.give_back(session, program_id=batch.program_id, items=[item], reason=reason, now=now)
    _take_out(session, item, reason, now)
    session.flush()
    if before:
        add_maker(session, batch_id=batch.id, user_id=by_user_id, did="hold_item", now=now)
        batch.hash = hash_of(session, batch_id=batch.id)
        void_signatures(session, batch_id=batch.id, reason="hold_item", now=now)
        if _is_empty(session, batch.id):
            _cancelled(batch, by_user_id, why, now)
    else:
        finish_batch(session, batch_id=batch.id, now=now)
    audit.record(
        session, actor=f"user:{by_user_id}", action="item.hold", subject=f"item:{item.id}",
        scope=batch.program_id, now=now, reason=why, new={"batch_hash": batch.hash},
    )  # fmt: skip
    session.flush()


def lock_item(session: Session, *, item_id: int) -> PayoutItem:
    """The item, locked and read anew; NotFound when there is none."""
    item = session.scalars(
        sa.select(PayoutItem)
        .where(PayoutItem.id == item_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if item is None:
        raise NotFound
    return item


def close_withdrawal(session: Session, *, item_id: int, outcome: str, now: datetime) -> None:
    """End the withdrawal that an item came from, if it came from one."""
    session.execute(
        sa.update(Withdrawal)
        .where(Withdrawal.item_id == item_id, Withdrawal.closed_at.is_(None))
        .values(closed_at=now, outcome=outcome)
        .execution_options(synchronize_session=False)
    )


HOLDABLE = ("queued", "needs_review")
"""Where no attempt lives, nothing of it can have been sent: it was set aside before its first."""
OPEN_ITEM_STATUSES = ("queued", "sending", "unknown", "needs_review")
"""An item that may still move, by itself or by a person."""


def finish_batch(session: Session, *, batch_id: int, now: datetime) -> bool:
    """An approved batch is done once each of its items has come to its end."""
    open_items = (
        sa.select(PayoutItem.id)
        .where(PayoutItem.batch_id == batch_id, PayoutItem.status.in_(OPEN_ITEM_STATUSES))
        .exists()
    )
    done = session.scalar(
        sa.update(PayoutBatch)
        .where(
            PayoutBatch.id == batch_id,
            PayoutBatch.status.in_(("approved", "paying")),
            ~open_items,
        )
        .values(status="done", done_at=now)
        .returning(PayoutBatch.id)
    )
    return done is not None


def _take_out(session: Session, item: PayoutItem, reason: ItemReason, now: datetime) -> None:
    item.status = "cancelled"
    item.reason = reason.value
    item.finished_at = now
    item.next_try_at = None
    close_withdrawal(session, item_id=item.id, outcome="cancelled", now=now)


def _cancelled(batch: PayoutBatch, by_user_id: int, why: str, now: datetime) -> None:
    batch.status = "cancelled"
    batch.cancelled_by = by_user_id
    batch.cancelled_at = now
    batch.cancel_reason = why


def _live_attempt(session: Session, item_id: int) -> bool:
    found = session.scalar(
        sa.select(PayoutAttempt.id).where(
            PayoutAttempt.item_id == item_id, PayoutAttempt.status != "failed"
        )
    )
    return found is not None


def _is_empty(session: Session, batch_id: int) -> bool:
    left = session.scalar(
        sa.select(PayoutItem.id)
        .where(PayoutItem.batch_id == batch_id, PayoutItem.status != "cancelled")
        .limit(1)
    )
    return left is None
