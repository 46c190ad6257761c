"""While a lock is open no batch is approved and no money leaves; each says why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Conflict, Phrase
from payouts.batches.models import PayoutLock


class LockReason(StrEnum):
    INTEGRITY = "integrity"
    """`kopeck audit` found a row that breaks an invariant."""
    RESTORED_BACKUP = "restored_backup"
    """The database is older than what this node has already paid out."""
    RECONCILIATION = "reconciliation"
    """The provider's books and ours differ."""
    BY_HAND = "by_hand"
    """A person stopped payouts."""


LIFTED_ON_A_PAGE = (LockReason.INTEGRITY, LockReason.BY_HAND)
"""What an owner may lift in a browser. After a restore the fence of each node is lowered too,
which only the command on that node can do (docs/operations.md, "Restore")."""
SENTENCES = {
    LockReason.INTEGRITY: Phrase("An audit of the books found a contradiction."),
    LockReason.RESTORED_BACKUP: Phrase(
        "The database was restored from a backup: payouts sent since it was taken are not in it."
    ),
    LockReason.RECONCILIATION: Phrase("The provider's books and ours differ."),
    LockReason.BY_HAND: Phrase("A person stopped payouts."),
}


@dataclass(frozen=True, slots=True)
class OpenLock:
    reason: LockReason
    detail: str
    locked_at: datetime

    @property
    def sentence(self) -> str:
        return SENTENCES[self.reason]


class PayoutsLocked(Conflict):
    code = "payouts_locked"
    title = "Payouts are locked."


def lock(
    session: Session,
    *,
    reason: LockReason,
    detail: str,
    now: datetime,
    by: str = "system:payouts",
) -> bool:
    """Lock payouts. False when they are locked for this reason already: the first detail stays."""
    made = session.scalar(
        insert(PayoutLock)
        .values(reason=reason.value, detail=detail, locked_at=now)
        .on_conflict_do_nothing(
            index_elements=["reason"], index_where=PayoutLock.lifted_at.is_(None)
        )
        .returning(PayoutLock.id)
    )
    if made is None:
        return False
    audit.record(
        session, actor=by, action="payouts.lock", subject=f"payout_lock:{made}",
        now=now, new={"reason": reason.value, "detail": detail},
    )  # fmt: skip
    return True


def unlock(
    session: Session,
    *,
    by: str,
    why: str,
    now: datetime,
    reasons: Sequence[LockReason] = tuple(LockReason),
) -> int:
    """Lift every open lock of these reasons in the name of a person; returns how many."""
    lifted = session.scalars(
        sa.update(PayoutLock)
        .where(PayoutLock.lifted_at.is_(None), PayoutLock.reason.in_(reasons))
        .values(lifted_at=now, lifted_by=by)
        .returning(PayoutLock.id)
    ).all()
    for lock_id in lifted:
        audit.record(
            session, actor=by, action="payouts.unlock", subject=f"payout_lock:{lock_id}",
            now=now, reason=why,
        )  # fmt: skip
    return len(lifted)


def open_locks(session: Session) -> list[OpenLock]:
    """Every open lock, oldest first."""
    rows = session.scalars(
        sa.select(PayoutLock).where(PayoutLock.lifted_at.is_(None)).order_by(PayoutLock.id)
    )
    return [OpenLock(LockReason(row.reason), row.detail, row.locked_at) for row in rows]


def refuse_while_locked(session: Session) -> None:
    """Raise PayoutsLocked with the reason of every open lock."""
    found = open_locks(session)
    if found:
        why = tuple(text for each in found for text in (each.sentence, each.detail) if text)
        raise PayoutsLocked(Phrase("Payouts are locked. %(why)s", why=why))
