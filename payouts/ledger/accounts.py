"""Accounts of the ledger by what they are, made on first use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from payouts.ledger.models import LedgerAccount


class AccountKind(StrEnum):
    """Where money stands."""

    EXPENSE = "expense"
    """What the program has promised its affiliates, per program."""
    CASH = "cash"
    """What left by a rail, per program and rail."""
    PENDING = "pending"
    """Earned, in its hold period, per enrollment."""
    AVAILABLE = "available"
    """Can be withdrawn; negative after a refund of what was paid."""
    IN_PAYOUT = "in_payout"
    """Reserved for an item of a batch."""


WITH_BALANCE = (AccountKind.AVAILABLE, AccountKind.IN_PAYOUT)
"""Kinds whose running sum is kept, because money is authorised against it."""


@dataclass(frozen=True, slots=True)
class AccountKey:
    """What makes an account the one it is."""

    kind: AccountKind
    program_id: int
    enrollment_id: int | None
    rail: str | None
    currency: str


def expense(program_id: int, currency: str) -> AccountKey:
    return AccountKey(AccountKind.EXPENSE, program_id, None, None, currency)


def cash(program_id: int, rail: str, currency: str) -> AccountKey:
    return AccountKey(AccountKind.CASH, program_id, None, rail, currency)


def of_enrollment(
    kind: AccountKind, program_id: int, enrollment_id: int, currency: str
) -> AccountKey:
    return AccountKey(kind, program_id, enrollment_id, None, currency)


def account_ids(session: Session, keys: Iterable[AccountKey]) -> dict[AccountKey, int]:
    """The id of each account; those that are missing are made.

    ON CONFLICT DO NOTHING waits for a session that makes the same account at the same time
    and then finds its row in the second look; rows are made in one order, so that two
    sessions with the same new accounts do not wait for each other in a circle.
    """
    wanted = sorted(set(keys), key=_order)
    found = _find(session, wanted)
    missing = [key for key in wanted if key not in found]
    if missing:
        session.execute(
            insert(LedgerAccount)
            .values(
                [
                    {
                        "kind": key.kind.value,
                        "program_id": key.program_id,
                        "enrollment_id": key.enrollment_id,
                        "rail": key.rail,
                        "currency": key.currency,
                    }
                    for key in missing
                ]
            )
            .on_conflict_do_nothing()
        )
        found |= _find(session, missing)
    return found


def _order(key: AccountKey) -> tuple[int, int, str, str, str]:
    return (key.program_id, key.enrollment_id or 0, key.kind.value, key.rail or "", key.currency)


# Two halves, because an OR over "the same enrollment or none in both" cannot use the unique
# index beyond the program, and one program may have a hundred thousand accounts.
_LOOK_UP = sa.text(
    """
    WITH k AS MATERIALIZED (
        SELECT * FROM unnest(
            CAST(:kinds AS text[]), CAST(:programs AS bigint[]), CAST(:enrollments AS bigint[]),
            CAST(:rails AS text[]), CAST(:currencies AS text[])
        ) AS k(kind, program_id, enrollment_id, rail, currency)
    )
    SELECT a.id, a.kind, a.program_id, a.enrollment_id, a.rail, a.currency
    FROM k JOIN ledger_accounts a
      ON a.enrollment_id = k.enrollment_id AND a.program_id = k.program_id
     AND a.kind = k.kind AND a.currency = k.currency
    UNION ALL
    SELECT a.id, a.kind, a.program_id, a.enrollment_id, a.rail, a.currency
    FROM k JOIN ledger_accounts a
      ON a.enrollment_id IS NULL AND k.enrollment_id IS NULL AND a.program_id = k.program_id
     AND a.kind = k.kind AND coalesce(a.rail, '') = coalesce(k.rail, '')
     AND a.currency = k.currency
    """
)


def _find(session: Session, keys: list[AccountKey]) -> dict[AccountKey, int]:
    if not keys:
        return {}
    kinds, programs, enrollments, rails, currencies = zip(
        *((str(k.kind), *astuple(k)[1:]) for k in keys), strict=True
    )
    rows = session.execute(
        _LOOK_UP,
        {
            "kinds": list(kinds),
            "programs": list(programs),
            "enrollments": list(enrollments),
            "rails": list(rails),
            "currencies": list(currencies),
        },
    )
    return {
        AccountKey(AccountKind(kind), program, enrollment, rail, currency): account_id
        for account_id, kind, program, enrollment, rail, currency in rows
    }
