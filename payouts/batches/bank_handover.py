"""Files for the bank once they are made: downloaded, listed, or declared never sent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Conflict, NotFound
from payouts.batches.approve import require_finance
from payouts.batches.bank_files import BatchIsStopped
from payouts.batches.bank_models import PayoutFile, PayoutFileLine
from payouts.batches.fence import installation_key, raise_fence
from payouts.batches.freeze import lock_batch
from payouts.batches.locks import refuse_while_locked
from payouts.batches.models import PayoutAttempt, PayoutBatch, PayoutItem
from payouts.batches.rules import ItemReason


class FileNotSent(Conflict):
    code = "file_not_sent"
    title = "This file was declared as never sent: its payments are in other files, or will be."


class FileAnswered(Conflict):
    code = "file_answered"
    title = "The bank has answered for payments of this file, so it was sent."


def open_file(
    session: Session, *, file_id: int, by_user_id: int, data_dir: Path, now: datetime
) -> PayoutFile:
    """The file to hand to the bank: the very same bytes each time.

    From here on the money may leave, so the fence is raised first: a database restored from a
    backup that does not know this file stops payouts. Raises NotFound, NotFinance, FileNotSent,
    PayoutsLocked, BatchIsStopped.
    """
    batch = session.scalars(
        sa.select(PayoutBatch)
        .where(PayoutBatch.id == _batch_of(file_id))
        .with_for_update(read=True)
        .execution_options(populate_existing=True)
    ).one_or_none()
    if batch is None:
        raise NotFound
    file = session.get_one(PayoutFile, file_id, populate_existing=True, with_for_update=True)
    require_finance(session, program_id=file.program_id, user_id=by_user_id)
    refuse_while_locked(session)
    if batch.paused_at is not None:
        raise BatchIsStopped
    if file.not_sent_at is not None:
        raise FileNotSent
    last = session.scalar(
        sa.select(sa.func.max(PayoutFileLine.attempt_id)).where(PayoutFileLine.file_id == file.id)
    )
    raise_fence(
        data_dir,
        installation=installation_key(session),
        batch_id=file.batch_id,
        attempt_id=last or 0,
    )
    audit.record(
        session, actor=f"user:{by_user_id}", action="file.download", subject=f"file:{file.id}",
        scope=file.program_id, now=now, new={"sha256": file.sha256},
    )  # fmt: skip
    return file


def declare_not_sent(
    session: Session, *, file_id: int, by_user_id: int, why: str, now: datetime
) -> None:
    """A person says that the bank never got this file: its items may go into another.

    Raises NotFound, NotFinance, FileNotSent when it was declared before, and FileAnswered when
    the bank has said anything of any payment in it.
    """
    batch_id = session.scalar(sa.select(_batch_of(file_id)))
    if batch_id is None:
        raise NotFound
    batch = lock_batch(session, batch_id=batch_id)
    require_finance(session, program_id=batch.program_id, user_id=by_user_id)
    file = session.get_one(PayoutFile, file_id, populate_existing=True, with_for_update=True)
    if file.not_sent_at is not None:
        raise FileNotSent
    attempts = _attempts_of(session, file.id)
    if any(attempt.status != "sent" for attempt in attempts):
        raise FileAnswered
    ids = [attempt.item_id for attempt in attempts]
    session.execute(
        sa.update(PayoutAttempt)
        .where(PayoutAttempt.id.in_([attempt.id for attempt in attempts]))
        .values(
            status="failed", error_code=ItemReason.FILE_NOT_SENT.value, error_text=why,
            finished_at=now,
        )
    )  # fmt: skip
    session.execute(
        sa.update(PayoutItem)
        .where(PayoutItem.id.in_(ids))
        .values(status="queued", reason=ItemReason.FILE_NOT_SENT.value, next_try_at=None)
    )
    file.not_sent_by, file.not_sent_at, file.not_sent_reason = by_user_id, now, why
    audit.record(
        session, actor=f"user:{by_user_id}", action="file.not_sent", subject=f"file:{file.id}",
        scope=file.program_id, now=now, reason=why,
    )  # fmt: skip
    session.flush()


def files_of(session: Session, *, batch_id: int) -> Sequence[Any]:
    """Every file of a batch in order, without its bytes."""
    columns = [column for column in PayoutFile.__table__.columns if column.name != "content"]
    return session.execute(
        sa.select(*columns).where(PayoutFile.batch_id == batch_id).order_by(PayoutFile.number)
    ).all()


def _batch_of(file_id: int) -> sa.ScalarSelect[int]:
    return sa.select(PayoutFile.batch_id).where(PayoutFile.id == file_id).scalar_subquery()


def _attempts_of(session: Session, file_id: int) -> Sequence[PayoutAttempt]:
    return session.scalars(
        sa.select(PayoutAttempt)
        .join(PayoutFileLine, PayoutFileLine.attempt_id == PayoutAttempt.id)
        .where(PayoutFileLine.file_id == file_id)
        .order_by(PayoutAttempt.id)
        .with_for_update(of=PayoutAttempt)
        .execution_options(populate_existing=True)
    ).all()
