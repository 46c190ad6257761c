"""What became of a batch, by whom and when: told to whoever comes late."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.errors import Phrase
from affiliate.people.models import User
from payouts.batches.models import BatchMaker, PayoutBatch
from payouts.policies.rules import ApprovedBy


def outcome_of(session: Session, batch: PayoutBatch) -> Phrase:
    """One sentence for a batch that does not wait for approval any more."""
    if batch.status == "cancelled":
        return Phrase(
            "%(who)s cancelled this batch on %(at)s: %(why)s. Every amount is back in its balance.",
            who=_name(session, batch.cancelled_by),
            at=batch.cancelled_at,
            why=batch.cancel_reason or "",
        )
    if batch.approval_policy == ApprovedBy.AUTOMATIC:
        return Phrase(
            "The program's rule for small withdrawals approved this batch on %(at)s.",
            at=batch.approved_at,
        )
    if batch.approved_at is not None:
        return Phrase(
            "%(who)s approved this batch on %(at)s. It is approved once; nothing more was done.",
            who=_name(session, batch.approved_by),
            at=batch.approved_at,
        )
    return Phrase("This batch is being drafted.")


def last_change(session: Session, batch: PayoutBatch) -> Phrase:
    """Why the hash that was looked at is not the batch's any more."""
    row = session.execute(
        sa.select(BatchMaker.user_id, BatchMaker.at)
        .where(BatchMaker.batch_id == batch.id, BatchMaker.did == "hold_item")
        .order_by(BatchMaker.at.desc())
        .limit(1)
    ).one_or_none()
    if row is None:
        return Phrase("The batch is not the one that you looked at. Look at it again.")
    return Phrase(
        "%(who)s took payouts out of this batch, so it is not the one that you looked at. "
        "Look at what is left and decide again.",
        who=_name(session, row.user_id),
    )


def _name(session: Session, user_id: int | None) -> str:
    found = session.execute(
        sa.select(User.name, User.email).where(User.id == user_id)
    ).one_or_none()
    return "Kopeck" if found is None else found.name or found.email
