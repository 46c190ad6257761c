"""Entries as leaves have them: the one reader behind sealing, comparing and proving."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from payouts.ledger.seals.models import SealSalt
from payouts.ledger.seals.rules import (
    SealedEntry,
    moment,
    owner_pseudonym,
    transaction_pseudonym,
)

INSTALLATION_SALT_BYTES: Final = 32
OWNERS_KEPT: Final = 100_000
FIELDS: Final = """
    e.id, t.id AS transaction_id, t.kind, t.reference, t.reason, t.reverses_id, t.occurred_at,
    t.recorded_at, a.kind AS account, a.rail, a.program_id, a.enrollment_id, e.currency,
    e.amount_micros
"""
"""Columns of ledger_entries e, its transaction t and its account a that `as_leaf` reads."""

# OFFSET 0 keeps the planner from reading the whole table for four thousand transactions. An
# outer join: an account that was deleted must show as a changed entry, not hide one.
_OF_TRANSACTIONS: Final = sa.text(
    f"""
    SELECT {FIELDS}
    FROM ledger_transactions t
    CROSS JOIN LATERAL (
        SELECT * FROM ledger_entries WHERE transaction_id = t.id OFFSET 0) AS e
    LEFT JOIN ledger_accounts a ON a.id = e.account_id
    WHERE t.id = ANY (CAST(:ids AS bigint[])) ORDER BY t.id, e.id
    """  # noqa: S608 -- a constant of ours
)


def entries_of(session: Session, transaction_ids: Sequence[int]) -> Sequence[Any]:
    """Every entry of these transactions, in the order in which they are sealed."""
    return session.execute(_OF_TRANSACTIONS, {"ids": list(transaction_ids)}).all()


def installation_salt(session: Session) -> bytes:
    """The key of the pseudonyms; made at the first use."""
    found = session.scalar(sa.select(SealSalt.salt))
    if found is None:
        session.execute(
            insert(SealSalt)
            .values(id=1, salt=os.urandom(INSTALLATION_SALT_BYTES))
            .on_conflict_do_nothing()
        )
        found = session.scalars(sa.select(SealSalt.salt)).one()
    return found


def leaf_maker(salt: bytes) -> Callable[[Any], SealedEntry]:
    """Turns rows of `FIELDS` into leaves under this installation's pseudonyms."""

    @lru_cache(maxsize=OWNERS_KEPT)
    def owner(program_id: int, enrollment_id: int | None) -> str:
        return owner_pseudonym(salt, program_id=program_id, enrollment_id=enrollment_id)

    # The sides of a transaction follow each other: what they share is made once.
    @lru_cache(maxsize=1)
    def shared(
        transaction_id: int,
        reference: str,
        reverses_id: int | None,
        occurred_at: datetime,
        recorded_at: datetime,
    ) -> tuple[str, str, str]:
        name = transaction_pseudonym(
            salt, transaction_id=transaction_id, reference=reference, reverses_id=reverses_id
        )
        return name, moment(occurred_at), moment(recorded_at)

    def as_leaf(row: Any) -> SealedEntry:
        transaction, occurred_at, recorded_at = shared(
            row.transaction_id, row.reference, row.reverses_id, row.occurred_at, row.recorded_at
        )
        return SealedEntry(
            transaction=transaction,
            kind=row.kind,
            reason=row.reason,
            occurred_at=occurred_at,
            recorded_at=recorded_at,
            account=row.account if row.rail is None else f"{row.account}:{row.rail}",
            owner=owner(row.program_id, row.enrollment_id),
            currency=row.currency,
            amount_micros=row.amount_micros,
        )

    return as_leaf
