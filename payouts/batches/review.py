"""What only a person can say of a payout: it was paid, or it may be tried anew."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit, clock
from affiliate.core.errors import Conflict, Invalid, NotFound
from payouts.batches.approve import require_finance
from payouts.batches.cancel import finish_batch, lock_item
from payouts.batches.claims import succeed
from payouts.batches.freeze import lock_batch
from payouts.batches.intents import add_attempt
from payouts.batches.locks import refuse_while_locked
from payouts.batches.models import PayoutAttempt, PayoutBatch, PayoutItem
from payouts.batches.rules import ItemReason
from payouts.rails.registry import Rails, rail_named

REFERENCE_CHARS_MAX = 200


class NotWaitingForAPerson(Conflict):
    code = "not_waiting_for_a_person"
    title = "This payout does not wait for a person's word; reload the page."


class TransferOfAnother(Conflict):
    code = "transfer_of_another_payout"
    title = "This transfer paid another payout already; look up the one of this payout."


def mark_paid(
    session: Session,
    *,
    item_id: int,
    reference: str,
    by_user_id: int,
    rails: Rails,
    now: datetime,
) -> None:
    """Finance says that an item was paid, under which reference.

    Of a rail by hand: the payment's reference at the bank. Of an item that needs review:
    the transfer's id as the provider shows it. Raises NotWaitingForAPerson, Invalid,
    TransferOfAnother, NotFinance, PayoutsLocked.
    """
    reference = reference.strip()
    if not 0 < len(reference) <= REFERENCE_CHARS_MAX:
        raise Invalid.field("reference", "empty", "Type the reference of the payment.")
    batch, item = _lock(session, item_id, by_user_id)
    by_hand = rail_named(rails, batch.rail).by_hand
    if by_hand and item.status == "queued":
        attempt = _typed(session, item, reference, by_user_id)
        transfer_id = f"manual:{item.id}:{reference}"
    elif item.status == "needs_review":
        _refuse_known(session, reference)
        # Set aside before its first attempt, it was never sent by us: a person paid it.
        attempt = _live(session, item) or _typed(session, item, reference, by_user_id)
        transfer_id = reference
    else:
        raise NotWaitingForAPerson
    succeed(session, item=item, attempt=attempt, transfer_id=transfer_id, now=now)
    finish_batch(session, batch_id=batch.id, now=now)
    audit.record(
        session, actor=f"user:{by_user_id}", action="item.mark_paid", subject=f"item:{item.id}",
        scope=batch.program_id, now=now, new={"reference": reference},
    )  # fmt: skip


def bare_reference(transfer_id: str, *, item_id: int) -> str:
    """A reference as a person typed it, or a bank gave it, without what keeps ours unique."""
    for way in ("manual", "bank"):
        transfer_id = transfer_id.removeprefix(f"{way}:{item_id}:")
    return transfer_id


def try_again(session: Session, *, item_id: int, by_user_id: int, why: str, now: datetime) -> None:
    """Finance has made sure that nothing was sent: the item may have a new attempt."""
    from payouts.batches.jobs import execute_batch

    batch, item = _lock(session, item_id, by_user_id)
    if item.status != "needs_review":
        raise NotWaitingForAPerson
    attempt = _live(session, item)
    if attempt is not None:
        attempt.status, attempt.finished_at = "failed", now
    item.status, item.reason, item.next_try_at = "queued", ItemReason.TRY_AGAIN.value, None
    item.raised = 0
    audit.record(
        session, actor=f"user:{by_user_id}", action="item.try_again", subject=f"item:{item.id}",
        scope=batch.program_id, now=now, reason=why,
    )  # fmt: skip
    session.flush()
    execute_batch.after_commit(session, batch.id)


def _lock(session: Session, item_id: int, by_user_id: int) -> tuple[PayoutBatch, PayoutItem]:
    batch_id = session.scalar(sa.select(PayoutItem.batch_id).where(PayoutItem.id == item_id))
    if batch_id is None:
        raise NotFound
    batch = lock_batch(session, batch_id=batch_id)
    require_finance(session, program_id=batch.program_id, user_id=by_user_id)
    refuse_while_locked(session)
    if batch.status not in ("approved", "paying"):
        raise NotWaitingForAPerson("The batch is not approved, so nothing of it can be paid.")
    return batch, lock_item(session, item_id=item_id)


def _refuse_known(session: Session, transfer_id: str) -> None:
    known = sa.select(PayoutAttempt.id).where(PayoutAttempt.transfer_id == transfer_id)
    if session.scalar(known) is not None:
        raise TransferOfAnother


def _live(session: Session, item: PayoutItem) -> PayoutAttempt | None:
    return session.scalars(
        sa.select(PayoutAttempt)
        .where(PayoutAttempt.item_id == item.id, PayoutAttempt.status != "failed")
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()


def _typed(session: Session, item: PayoutItem, reference: str, by_user_id: int) -> PayoutAttempt:
    told = {"reference": reference, "by_user": by_user_id}
    return add_attempt(session, item=item, key="manual", told=told, real_now=clock.real_now())
