"""Who has said yes to a batch: rows that are bound to its hash, and void with it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from payouts.batches.models import BatchMaker, BatchSignature, PayoutBatch


def sign(
    session: Session,
    *,
    batch: PayoutBatch,
    user_id: int,
    factor_at: datetime | None,
    now: datetime,
) -> None:
    """Add the person's yes to the batch as it is. The caller holds the batch's lock."""
    session.add(
        BatchSignature(
            batch_id=batch.id,
            user_id=user_id,
            hash=batch.hash,
            signed_at=now,
            factor_at=factor_at,
        )
    )
    session.flush()


def signatures_of(session: Session, *, batch_id: int) -> Sequence[BatchSignature]:
    """Signatures that are not void, oldest first."""
    return session.scalars(
        sa.select(BatchSignature)
        .where(BatchSignature.batch_id == batch_id, BatchSignature.voided_at.is_(None))
        .order_by(BatchSignature.id)
        .execution_options(populate_existing=True)
    ).all()


def void_signatures(
    session: Session,
    *,
    batch_id: int,
    reason: str,
    user_id: int | None = None,
    now: datetime,
) -> int:
    """Signatures of a batch, or one person's, count no longer; how many there were."""
    voided = session.scalars(
        sa.update(BatchSignature)
        .where(
            BatchSignature.batch_id == batch_id,
            BatchSignature.voided_at.is_(None),
            sa.true() if user_id is None else BatchSignature.user_id == user_id,
        )
        .values(voided_at=now, void_reason=reason)
        .returning(BatchSignature.id)
        .execution_options(synchronize_session=False)
    )
    return len(voided.all())


def is_maker(session: Session, *, batch: PayoutBatch, user_id: int) -> bool:
    """Compared as IS DISTINCT FROM does: nobody made an untouched scheduler's draft."""
    listed = session.scalar(
        sa.select(BatchMaker.user_id).where(
            BatchMaker.batch_id == batch.id, BatchMaker.user_id == user_id
        )
    )
    return listed is not None or batch.created_by == user_id
