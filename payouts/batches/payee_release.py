"""A payout whose payee named another account since: a person lets it go, or holds it back.

Holding it back is payouts.batches.cancel.hold_item. Neither ever redirects it.
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Conflict, Invalid, NotFound
from affiliate.people.models import Enrollment
from payouts.batches.approve import require_finance
from payouts.batches.cancel import lock_item
from payouts.batches.freeze import lock_batch
from payouts.batches.locks import refuse_while_locked
from payouts.batches.models import PayoutItem
from payouts.batches.payee_guard import refuse_stopped
from payouts.batches.payees import payee_of
from payouts.rails.bank_details import in_a_log

WHY_CHARS_MAX = 500


class NotWaitingForItsPayee(Conflict):
    code = "not_waiting_for_its_payee"
    title = "This payout does not wait for a changed account; reload the page."


def release_to_approved(
    session: Session, *, item_id: int, by_user_id: int, why: str, now: datetime
) -> None:
    """Finance lets a payout go to the destination that was approved.

    Somebody has asked the affiliate, say, and the account before is theirs too. Raises
    Invalid without a reason, NotFinance, PayoutsLocked, PayeeStopped while the change itself
    is disowned, NotWaitingForItsPayee when nothing changed or it moved on meanwhile.
    """
    from payouts.batches.jobs import execute_batch

    why = why.strip()
    if not 0 < len(why) <= WHY_CHARS_MAX:
        raise Invalid.field("reason", "empty", "Say why, in a sentence.")
    batch_id = session.scalar(sa.select(PayoutItem.batch_id).where(PayoutItem.id == item_id))
    if batch_id is None:
        raise NotFound
    batch = lock_batch(session, batch_id=batch_id)
    require_finance(session, program_id=batch.program_id, user_id=by_user_id)
    refuse_while_locked(session)
    item = lock_item(session, item_id=item_id)
    affiliate_id = session.get_one(Enrollment, item.enrollment_id).affiliate_id
    refuse_stopped(session, affiliate_id=affiliate_id)
    payee = payee_of(session, affiliate_id=affiliate_id, rail=batch.rail)
    same = payee is not None and payee.destination == item.destination
    waits = batch.status in ("approved", "paying") and item.status == "queued"
    if not waits or same or item.released_at is not None:
        raise NotWaitingForItsPayee
    item.released_by, item.released_at = by_user_id, now
    item.reason = item.next_try_at = None
    audit.record(
        session, actor=f"user:{by_user_id}", action="item.release_to_approved",
        subject=f"item:{item.id}", scope=batch.program_id, now=now, reason=why,
        old={"destination": payee and in_a_log(payee.destination)},
        new={"destination": in_a_log(item.destination)},
    )  # fmt: skip
    session.flush()
    execute_batch.after_commit(session, batch.id)
