"""Differences between the provider's books and ours: noted once, open until they are resolved."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Conflict, Invalid, NotFound, Phrase
from payouts.batches import locks
from payouts.batches.models import PayoutAttempt, PayoutBatch, PayoutItem
from payouts.provider.models import Difference, ProviderAccount
from payouts.provider.rules import LIVE_STATUSES, DifferenceKind

SYSTEM = "system:reconciliation"
WHY_CHARS_MAX = 500

log = structlog.get_logger(__name__)


class AlreadyResolved(Conflict):
    code = "difference_already_resolved"
    title = "This difference is resolved already."


class AnswersAwaited(Conflict):
    code = "answers_awaited"
    title = (
        "Payouts of the account before still wait for their answer: set its API key again, let "
        "them end, and change the account then."
    )


def note(
    session: Session,
    *,
    rail: str,
    kind: DifferenceKind,
    subject: str,
    item_id: int | None,
    detail: str,
    now: datetime,
    real_now: datetime,
) -> bool:
    """Write a difference down and lock payouts. False for one that a person has accepted.

    One that had gone by itself and is here again is open again. So is another account: that
    payouts were moved to it once says nothing of the day when they were moved away.
    """
    row = insert(Difference).values(
        rail=rail, kind=kind.value, subject=subject, item_id=item_id, detail=detail,
        first_seen_at=real_now, last_seen_at=real_now,
    )  # fmt: skip
    came_back = sa.or_(
        Difference.resolved_by == SYSTEM, Difference.kind == DifferenceKind.OTHER_ACCOUNT.value
    )
    open_again = {
        name: sa.case((came_back, None), else_=getattr(Difference, name))
        for name in ("resolved_at", "resolved_by", "why")
    }
    resolved_at = session.scalars(
        row.on_conflict_do_update(
            index_elements=["rail", "kind", "subject"],
            set_={"last_seen_at": real_now, "detail": detail, **open_again},
        ).returning(Difference.resolved_at),
        execution_options={"populate_existing": True},
    ).one()
    if resolved_at is not None:
        return False
    said = f"{kind.value} {subject}: {detail}"
    if locks.lock(session, reason=locks.LockReason.RECONCILIATION, detail=said, now=now):
        log.error("payout.difference", rail=rail, kind=kind.value, subject=subject)
    return True


def gone(session: Session, *, rail: str, subject: str, real_now: datetime) -> None:
    """Close what was open about a transfer that now agrees with its item."""
    session.execute(
        sa.update(Difference)
        .where(
            Difference.rail == rail,
            Difference.subject == subject,
            Difference.resolved_at.is_(None),
        )
        .values(resolved_at=real_now, resolved_by=SYSTEM, why="It agrees now.")
        .execution_options(synchronize_session=False)
    )


def gone_by_kind(session: Session, *, rail: str, kind: DifferenceKind, real_now: datetime) -> None:
    """Close what was open of a kind that no longer holds anywhere."""
    session.execute(
        sa.update(Difference)
        .where(
            Difference.rail == rail,
            Difference.kind == kind.value,
            Difference.resolved_at.is_(None),
        )
        .values(resolved_at=real_now, resolved_by=SYSTEM, why="It agrees now.")
        .execution_options(synchronize_session=False)
    )


def accept(
    session: Session, *, difference_id: int, by: str, why: str, now: datetime, real_now: datetime
) -> None:
    """A person has put right by hand what a difference is about, and says what was done.

    It is never raised again. Raises NotFound, AlreadyResolved, Invalid.
    """
    why = why.strip()
    if not 0 < len(why) <= WHY_CHARS_MAX:
        raise Invalid.field("why", "length", "Say what was done about it, in a few words.")
    row = session.scalars(
        sa.select(Difference)
        .where(Difference.id == difference_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if row is None:
        raise NotFound(Phrase("There is no difference %(number)s.", number=difference_id))
    if row.resolved_at is not None:
        raise AlreadyResolved
    if row.kind == DifferenceKind.OTHER_ACCOUNT:
        _move_to_account(session, row.rail, row.subject)
    row.resolved_at, row.resolved_by, row.why = real_now, by, why
    audit.record(
        session, actor=by, action="difference.accept", subject=f"difference:{row.id}", now=now,
        reason=why, old={"kind": row.kind, "subject": row.subject, "detail": row.detail},
    )  # fmt: skip
    session.flush()


def _move_to_account(session: Session, rail: str, account: str) -> None:
    """Payouts are made from another account from now on; never while an answer is awaited."""
    waiting = session.scalar(
        sa.select(sa.func.count())
        .select_from(PayoutAttempt)
        .join(PayoutItem, PayoutItem.id == PayoutAttempt.item_id)
        .join(PayoutBatch, PayoutBatch.id == PayoutItem.batch_id)
        .where(PayoutBatch.rail == rail, PayoutAttempt.status.in_(LIVE_STATUSES))
    )
    if waiting:
        raise AnswersAwaited
    session.execute(
        sa.update(ProviderAccount).where(ProviderAccount.rail == rail).values(account=account)
    )


def open_differences(session: Session, *, rail: str | None = None) -> list[Difference]:
    """Every difference that waits for a person, oldest first."""
    query = sa.select(Difference).where(Difference.resolved_at.is_(None)).order_by(Difference.id)
    if rail is not None:
        query = query.where(Difference.rail == rail)
    return list(session.scalars(query.execution_options(populate_existing=True)))
