"""Seal what is committed: one block at a time, one sealer at a time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from payouts.ledger.seals.merkle import Tree, leaf_hash
from payouts.ledger.seals.models import Seal
from payouts.ledger.seals.reading import entries_of, installation_salt, leaf_maker
from payouts.ledger.seals.rules import GENESIS, SALT_BYTES, content, head_of, summary_of

TRANSACTIONS_MAX: Final = 4_096
"""Transactions of one seal: bounds memory, and what a path must be read from."""
_SEALER: Final = 0x6B706B7365616C
"""`kpkseal` in ASCII: the advisory lock of whoever seals."""

# What is in no seal, by an anti-join over id ranges: all ids, less those in the seals, leaves
# the ids that were never booked, those not committed yet, and the end. Each of these gaps is
# looked into by the primary key. No id is a watermark: a transaction that commits after one
# with a higher id was sealed is found in its gap.
_UNSEALED: Final = sa.text(
    """
    SELECT t.id, t.recorded_at FROM (
        SELECT unnest(int8multirange(int8range(1, NULL))
                      - coalesce(range_agg(transaction_ids), int8multirange())) AS ids
        FROM ledger_seals
    ) AS gap CROSS JOIN LATERAL (
        SELECT id, recorded_at FROM ledger_transactions
        WHERE id >= lower(gap.ids) AND id < coalesce(upper(gap.ids), 9223372036854775807)
          AND recorded_at < coalesce(CAST(:before AS timestamptz), 'infinity')
        ORDER BY id LIMIT :rows_max
    ) AS t ORDER BY t.id LIMIT :rows_max
    """
)
_WRITE: Final = sa.text(
    """
    INSERT INTO ledger_seals (number, before, root, head, leaves, emptied, sealed_at,
                              transaction_ids, entry_ids, salts, leaf_hashes)
    SELECT :number, :before, :root, :head, :leaves, :emptied, :sealed_at,
           (SELECT range_agg(int8range(i, i + 1)) FROM unnest(CAST(:ids AS bigint[])) AS i),
           CAST(:entry_ids AS bigint[]), :salts, :leaf_hashes
    """
)


def seal_next(
    session: Session, *, real_now: datetime, transactions_max: int = TRANSACTIONS_MAX
) -> int:
    """Seal the oldest committed transactions that are in no seal; how many, 0 for none.

    A full block says that the caller should go on, after its commit. 0 too while another
    session seals: its block is this one's. Beyond the advisory lock, the unique number and
    the unique head before refuse a fork.
    """
    if not session.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(_SEALER))):
        return 0
    ids = [row.id for row in unsealed(session, rows_max=transactions_max)]
    if not ids:
        return 0
    number, before, not_before = _last(session)
    rows = entries_of(session, ids)
    as_leaf = leaf_maker(installation_salt(session))
    salts = [os.urandom(SALT_BYTES) for _ in rows]
    hashes = [leaf_hash(content(as_leaf(row), salt)) for row, salt in zip(rows, salts, strict=True)]
    root, emptied = Tree(hashes).root, len(ids) < transactions_max
    sealed_at = real_now if not_before is None else max(real_now, not_before)
    head = head_of(
        number=number + 1,
        before=before,
        summary=summary_of(root=root, leaves=len(rows), emptied=emptied),
        sealed_at=sealed_at,
    )
    session.execute(
        _WRITE,
        {
            "number": number + 1,
            "before": before,
            "root": root,
            "head": head,
            "leaves": len(rows),
            "emptied": emptied,
            "sealed_at": sealed_at,
            "ids": ids,
            "entry_ids": [row.id for row in rows],
            "salts": b"".join(salts),
            "leaf_hashes": b"".join(hashes),
        },
    )
    return len(ids)


def database_now(session: Session) -> datetime:
    """What a seal is dated with: the clock by which PostgreSQL writes `recorded_at`.

    A machine whose own clock ran a day ahead would date a seal so that all that is booked
    afterwards looks hidden from it, and the audit would lock payouts until that day is over.
    """
    return session.scalars(
        sa.select(sa.func.clock_timestamp(type_=sa.DateTime(timezone=True)))
    ).one()


def unsealed(
    session: Session, *, rows_max: int, recorded_before: datetime | None = None
) -> Sequence[Any]:
    """Ids and times of committed transactions that are in no seal, lowest ids first."""
    return session.execute(_UNSEALED, {"rows_max": rows_max, "before": recorded_before}).all()


def newest(session: Session) -> Any:
    """Number, head and time of the newest seal; none before the first."""
    return session.execute(
        sa.select(Seal.number, Seal.head, Seal.sealed_at).order_by(Seal.number.desc()).limit(1)
    ).one_or_none()


def _last(session: Session) -> tuple[int, bytes, datetime | None]:
    row = newest(session)
    return (0, GENESIS, None) if row is None else (row.number, row.head, row.sealed_at)
