"""Freeze a batch: items, their reserves and the hash, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core.db import be_patient
from affiliate.core.errors import NotFound
from affiliate.programs.models import Program
from payouts.batches import booking
from payouts.batches.models import BatchMaker, PayoutBatch, PayoutItem
from payouts.batches.rules import BatchHash, Due
from payouts.ledger.posting import Kind
from payouts.ledger.sets import BOOKED, TRANSACTION_ID

STATEMENT_S: Final = 300
"""A statement over a whole batch may take so long; a job may take twice of it."""
ROWS_AT_ONCE: Final = 5_000
"""Rows of a batch that are in memory while its hash is taken."""


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
    session: Session, *, batch: PayoutBatch, due: str, values: Mapping[str, Any], now: datetime
) -> int:
    """Write the items, reserve their money and fix what finance will approve; how many there are.

    `due` is the text of the steps that end in one named `due` (enrollment_id, amount_micros,
    destination), bound to `values`. The caller holds the locks of the balances that it reads.
    Nothing of it passes through this process but the rows that are hashed, a chunk at a time.
    """
    be_patient(session, statement_s=STATEMENT_S)
    bound = {**values, "batch_id": batch.id, "now": now}
    count = int(session.scalars(sa.text(_ITEMS.format(due=due)), bound).one())
    if not count:
        return 0
    booking.enter_reserves(session, batch=batch)
    batch.hash = hash_of(session, batch_id=batch.id)
    batch.status = "frozen"
    batch.frozen_at = now
    session.flush()
    return count


# Ids are drawn first, so that an item and the transaction of its reserve can name each other.
_ITEMS: Final = f"""
    WITH {{due}}, chosen AS MATERIALIZED (
        SELECT nextval((SELECT CAST(pg_get_serial_sequence('payout_items', 'id') AS regclass)))
                   AS item_id,
               {TRANSACTION_ID} AS transaction_id, due.*
        FROM due
    ), fact AS (
        SELECT transaction_id AS id, '{Kind.RESERVE}' AS kind,
               'reserve:item:' || item_id AS reference, 'frozen_in_batch' AS reason
        FROM chosen
    ), {BOOKED}, items AS (
        INSERT INTO payout_items (id, batch_id, enrollment_id, currency, amount_micros,
            destination, status, reserve_transaction_id) OVERRIDING SYSTEM VALUE
        SELECT chosen.item_id, b.id, chosen.enrollment_id, b.currency, chosen.amount_micros,
               chosen.destination, 'queued', chosen.transaction_id
        FROM chosen CROSS JOIN payout_batches b WHERE b.id = :batch_id ORDER BY chosen.item_id
    )
    SELECT count(*) FROM chosen
"""  # noqa: S608 -- constants of ours


def freeze_one(session: Session, *, batch: PayoutBatch, due: Due, now: datetime) -> int:
    """Freeze a batch of a single payout; its item's id."""
    values = {
        "enrollment_id": due.enrollment_id,
        "amount_micros": due.amount.micros,
        "destination": due.destination,
    }
    freeze(session, batch=batch, due=_ONE, values=values, now=now)
    return session.scalars(sa.select(PayoutItem.id).where(PayoutItem.batch_id == batch.id)).one()


_ONE: Final = """
    due AS (
        SELECT CAST(:enrollment_id AS bigint) AS enrollment_id,
               CAST(:amount_micros AS bigint) AS amount_micros,
               CAST(:destination AS text) AS destination
    )"""


def hash_of(session: Session, *, batch_id: int) -> str:
    """The hash of a batch's items as they are now, read in chunks."""
    rows = session.execute(
        sa.select(
            PayoutItem.id,
            PayoutItem.enrollment_id,
            PayoutItem.amount_micros,
            PayoutItem.currency,
            PayoutItem.destination,
            sa.func.coalesce(PayoutItem.reserve_transaction_id, 0),
        )
        .where(PayoutItem.batch_id == batch_id, PayoutItem.status != "cancelled")
        .order_by(PayoutItem.id),
        execution_options={"yield_per": ROWS_AT_ONCE},
    )
    whole = BatchHash()
    whole.add(
        (item_id, enrollment_id, micros, currency, destination, reserve_id)
        for item_id, enrollment_id, micros, currency, destination, reserve_id in rows
    )
    return whole.hexdigest()


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
