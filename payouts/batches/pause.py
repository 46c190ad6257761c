"""Stop a batch that is being paid, and resume it. What is on its way comes to its end."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Conflict
from payouts.batches.approve import require_finance
from payouts.batches.freeze import lock_batch
from payouts.batches.models import PayoutBatch


class NotStoppable(Conflict):
    code = "batch_not_being_paid"
    title = "Only a batch that is approved and not done yet can be stopped."


class StoppedAlready(Conflict):
    code = "batch_stopped"
    title = "This batch is stopped already; reload the page."


class NotStopped(Conflict):
    code = "batch_not_stopped"
    title = "This batch is not stopped; reload the page."


def pause_batch(
    session: Session, *, batch_id: int, by_user_id: int, why: str, now: datetime
) -> None:
    """Let no new attempt of a batch begin until somebody resumes it.

    Claims hold the batch's row FOR SHARE, so that when this returns those that had begun are
    committed; an item that is not on the wire yet is given back and can be held. Approval and
    hash stand. Raises NotFinance, NotStoppable, StoppedAlready.
    """
    batch = _lock(session, batch_id, by_user_id)
    if batch.paused_at is not None:
        raise StoppedAlready
    batch.paused_at, batch.paused_by, batch.pause_reason = now, by_user_id, why
    audit.record(
        session, actor=f"user:{by_user_id}", action="batch.stop", subject=f"batch:{batch.id}",
        scope=batch.program_id, now=now, reason=why,
    )  # fmt: skip
    session.flush()


def resume_batch(
    session: Session, *, batch_id: int, by_user_id: int, why: str, now: datetime
) -> None:
    """Go on with a stopped batch where it was. Raises NotFinance, NotStoppable, NotStopped."""
    from payouts.batches.jobs import execute_batch

    batch = _lock(session, batch_id, by_user_id)
    if batch.paused_at is None:
        raise NotStopped
    audit.record(
        session, actor=f"user:{by_user_id}", action="batch.resume", subject=f"batch:{batch.id}",
        scope=batch.program_id, now=now, reason=why,
        old={"stopped_by": batch.paused_by, "why": batch.pause_reason},
    )  # fmt: skip
    batch.paused_at = batch.paused_by = batch.pause_reason = None
    session.flush()
    execute_batch.after_commit(session, batch.id)


def _lock(session: Session, batch_id: int, by_user_id: int) -> PayoutBatch:
    batch = lock_batch(session, batch_id=batch_id)
    require_finance(session, program_id=batch.program_id, user_id=by_user_id)
    if batch.status not in ("approved", "paying"):
        raise NotStoppable
    return batch
