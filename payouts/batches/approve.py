"""Finance approves a frozen batch: four eyes, bound to the hash that was seen."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Conflict, Forbidden
from affiliate.people.models import Grant, User
from payouts.batches.freeze import hash_of, lock_batch
from payouts.batches.locks import refuse_while_locked
from payouts.batches.models import BatchMaker, PayoutBatch, PayoutItem
from payouts.batches.own_accounts import refuse_without_own_account
from payouts.rails.registry import Rails, rail_named

FOUR_EYES = "four_eyes"
APPROVING_ROLES = ("finance", "owner")


class NotApprovable(Conflict):
    code = "batch_not_frozen"
    title = "This batch is not waiting for approval any more; reload the page."


class BatchChanged(Conflict):
    code = "batch_changed"
    title = "The batch is not the one that you looked at; reload it and check what changed."


class MakerCannotApprove(Forbidden):
    code = "maker_cannot_approve"
    title = "You changed this batch or asked for its withdrawal: another person must approve it."


class NotFinance(Forbidden):
    code = "not_finance"
    title = "Only finance of this program can do this."


class RailNotConfigured(Conflict):
    code = "rail_not_configured"
    title = "The rail of this batch is not configured, so it could not be paid."


def approve(
    session: Session,
    *,
    batch_id: int,
    by_user_id: int,
    seen_hash: str,
    rails: Rails,
    now: datetime,
) -> None:
    """Approve exactly what was seen, once; sending begins after the commit.

    Raises PayoutsLocked, NotFinance, MakerCannotApprove, NotApprovable, BatchChanged,
    RailNotConfigured or NoOwnAccount. Of two people who approve at once one succeeds.
    """
    from payouts.batches.jobs import execute_batch

    batch = lock_batch(session, batch_id=batch_id)
    require_finance(session, program_id=batch.program_id, user_id=by_user_id)
    refuse_while_locked(session)
    _refuse_makers(session, batch, by_user_id)
    if batch.status != "frozen":
        raise NotApprovable
    if seen_hash != batch.hash:
        raise BatchChanged
    if hash_of(session, batch_id=batch.id) != batch.hash:
        raise RuntimeError(f"batch {batch.id}: the items are not what its hash says")
    rail = rail_named(rails, batch.rail)
    if not rail.configured():
        raise RailNotConfigured
    refuse_without_own_account(session, program_id=batch.program_id, rail=rail)
    total, count = session.execute(
        sa.select(sa.func.sum(PayoutItem.amount_micros), sa.func.count()).where(
            PayoutItem.batch_id == batch.id, PayoutItem.status == "queued"
        )
    ).one()
    approved = session.scalar(
        sa.update(PayoutBatch)
        .where(
            PayoutBatch.id == batch.id,
            PayoutBatch.status == "frozen",
            PayoutBatch.hash == seen_hash,
        )
        .values(
            status="approved",
            approved_by=by_user_id,
            approved_at=now,
            approved_hash=seen_hash,
            approved_total_micros=int(total or 0),
            approved_count=count,
            approval_policy=FOUR_EYES,
        )
        .returning(PayoutBatch.id)
    )
    if approved is None:
        raise NotApprovable
    audit.record(
        session, actor=f"user:{by_user_id}", action="batch.approve", subject=f"batch:{batch.id}",
        scope=batch.program_id, now=now, new={"hash": seen_hash, "count": count},
    )  # fmt: skip
    execute_batch.after_commit(session, batch.id)


def require_finance(session: Session, *, program_id: int, user_id: int) -> None:
    """Raise NotFinance unless the person has a live finance or owner grant and may sign in."""
    granted = session.scalar(
        sa.select(Grant.id)
        .join(User, User.id == Grant.user_id)
        .where(
            Grant.user_id == user_id,
            Grant.role.in_(APPROVING_ROLES),
            Grant.revoked_at.is_(None),
            sa.or_(Grant.program_id == program_id, Grant.program_id.is_(None)),
            User.active,
        )
        .limit(1)
    )
    if granted is None:
        raise NotFinance


def _refuse_makers(session: Session, batch: PayoutBatch, user_id: int) -> None:
    """Compared as IS DISTINCT FROM does: nobody made an untouched scheduler's draft."""
    listed = session.scalar(
        sa.select(BatchMaker.user_id).where(
            BatchMaker.batch_id == batch.id, BatchMaker.user_id == user_id
        )
    )
    if listed is not None or batch.created_by == user_id:
        raise MakerCannotApprove
