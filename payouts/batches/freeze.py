"""Freeze a batch: items, their reserves and the hash, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core.errors import NotFound
from affiliate.core.money import Money
from affiliate.programs.models import Program
from payouts.batches import booking
from payouts.batches.models import BatchMaker, PayoutBatch, PayoutItem
from payouts.batches.rules import Due, Reserved, batch_hash


def new_batch(
    session: Session,
    *,
    program: Program,
    rail: str,
    kind: str,
    period_id: int | None,
    created_by: int | None,
    now: datetime,
) -> PayoutBatch:
    """A draft with the program's next running number.

    The program's row is locked, so that two drafts at once do not take the same number;
    NO KEY, so that orders and enrollments that refer to the program do not wait.
    """
    session.execute(
        sa.select(Program.id).where(Program.id == program.id).with_for_update(key_share=True)
    )
    last = session.scalar(
        sa.select(sa.func.max(PayoutBatch.number)).where(PayoutBatch.program_id == program.id)
    )
    batch = PayoutBatch(
        program_id=program.id,
        number=(last or 0) + 1,
        kind=kind,
        period_id=period_id,
        currency=program.currency,
        rail=rail,
        status="draft",
        created_by=created_by,
        created_at=now,
    )
    session.add(batch)
    session.flush()
    return batch


def freeze(
    session: Session, *, batch: PayoutBatch, dues: Sequence[Due], now: datetime
) -> list[PayoutItem]:
    """Write the items, reserve their money and fix what finance will approve.

    The caller holds the locks of the balances that `dues` were decided from.
    """
    items = [
        PayoutItem(
            batch_id=batch.id,
            enrollment_id=each.enrollment_id,
            currency=each.amount.currency,
            amount_micros=each.amount.micros,
            destination=each.destination,
            status="queued",
        )
        for each in dues
    ]
    session.add_all(items)
    session.flush()
    booking.reserve(session, program_id=batch.program_id, items=items, now=now)
    batch.hash = hash_of(session, batch_id=batch.id)
    batch.status = "frozen"
    batch.frozen_at = now
    session.flush()
    return items


def hash_of(session: Session, *, batch_id: int) -> str:
    """The hash of a batch's items as they are now."""
    rows = session.execute(
        sa.select(
            PayoutItem.id,
            PayoutItem.enrollment_id,
            PayoutItem.amount_micros,
            PayoutItem.currency,
            PayoutItem.destination,
            PayoutItem.reserve_transaction_id,
        ).where(PayoutItem.batch_id == batch_id, PayoutItem.status != "cancelled")
    )
    return batch_hash(
        [
            Reserved(item_id, enrollment_id, Money(micros, currency), destination, reserve or 0)
            for item_id, enrollment_id, micros, currency, destination, reserve in rows
        ]
    )


def lock_batch(session: Session, *, batch_id: int) -> PayoutBatch:
    """The batch, locked and read anew; NotFound when there is none."""
    batch = session.scalars(
        sa.select(PayoutBatch)
        .where(PayoutBatch.id == batch_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if batch is None:
        raise NotFound
    return batch


def add_maker(session: Session, *, batch_id: int, user_id: int, did: str, now: datetime) -> None:
    """Whoever changes a batch is one of its makers and may not approve it."""
    session.execute(
        insert(BatchMaker)
        .values(batch_id=batch_id, user_id=user_id, did=did, at=now)
        .on_conflict_do_nothing()
    )
