"""Finance holds an affiliate's payouts back, and lets them go again; both with a reason.

A hold takes nothing out of the balance: it keeps the money from leaving. Batches pass the affiliate
by, a withdrawal is refused, and what is approved and not sent waits (docs/rules.md, "Payouts").
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Conflict, NotFound
from affiliate.people.models import Affiliate, Enrollment, User
from payouts.batches.approve import require_finance
from payouts.batches.models import PayoutHold, PayoutItem
from payouts.batches.rules import ItemReason


class HeldAlready(Conflict):
    code = "payouts_held_already"
    title = "This affiliate's payouts are held already."


class NotHeld(Conflict):
    code = "payouts_not_held"
    title = "This affiliate's payouts are not held any more; reload the page."


@dataclass(frozen=True, slots=True)
class Hold:
    """An open hold."""

    enrollment_id: int
    program_id: int
    affiliate: str
    reason: str
    held_by: str
    held_at: datetime


def hold_payouts(
    session: Session, *, enrollment_id: int, by_user_id: int, why: str, now: datetime
) -> None:
    """Keep the affiliate's money from leaving. Raises NotFinance, HeldAlready, NotFound."""
    program_id = _program_of(session, enrollment_id)
    require_finance(session, program_id=program_id, user_id=by_user_id)
    made = session.scalar(
        insert(PayoutHold)
        .values(enrollment_id=enrollment_id, reason=why, held_by=by_user_id, held_at=now)
        .on_conflict_do_nothing(
            index_elements=["enrollment_id"], index_where=PayoutHold.lifted_at.is_(None)
        )
        .returning(PayoutHold.id)
    )
    if made is None:
        raise HeldAlready
    audit.record(
        session, actor=f"user:{by_user_id}", action="payouts.hold",
        subject=f"enrollment:{enrollment_id}", scope=program_id, now=now, reason=why,
    )  # fmt: skip


def lift_hold(
    session: Session, *, enrollment_id: int, by_user_id: int, why: str, now: datetime
) -> None:
    """Let the money go again; what was parked for the hold moves at once. Raises NotHeld."""
    from payouts.batches.jobs import execute_batch

    program_id = _program_of(session, enrollment_id)
    require_finance(session, program_id=program_id, user_id=by_user_id)
    lifted = session.scalar(
        sa.update(PayoutHold)
        .where(PayoutHold.enrollment_id == enrollment_id, PayoutHold.lifted_at.is_(None))
        .values(lifted_by=by_user_id, lifted_at=now, lift_reason=why)
        .returning(PayoutHold.id)
    )
    if lifted is None:
        raise NotHeld
    freed = session.scalars(
        sa.update(PayoutItem)
        .where(
            PayoutItem.enrollment_id == enrollment_id,
            PayoutItem.status == "queued",
            PayoutItem.reason == ItemReason.ON_HOLD.value,
        )
        .values(reason=None, next_try_at=None)
        .returning(PayoutItem.batch_id)
    ).all()
    audit.record(
        session, actor=f"user:{by_user_id}", action="payouts.lift_hold",
        subject=f"enrollment:{enrollment_id}", scope=program_id, now=now, reason=why,
    )  # fmt: skip
    for batch_id in sorted(set(freed)):
        execute_batch.after_commit(session, batch_id)


def is_held(session: Session, *, enrollment_id: int) -> bool:
    """Whether finance holds this affiliate's payouts now."""
    found = session.scalar(
        sa.select(PayoutHold.id).where(
            PayoutHold.enrollment_id == enrollment_id, PayoutHold.lifted_at.is_(None)
        )
    )
    return found is not None


def open_holds(session: Session, *, program_ids: Collection[int]) -> list[Hold]:
    """Every open hold of these programs, oldest first."""
    rows = session.execute(
        sa.select(PayoutHold, Enrollment.program_id, Affiliate.name, User.name, User.email)
        .join(Enrollment, Enrollment.id == PayoutHold.enrollment_id)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .join(User, User.id == PayoutHold.held_by)
        .where(PayoutHold.lifted_at.is_(None), Enrollment.program_id.in_(list(program_ids)))
        .order_by(PayoutHold.id)
    )
    return [
        Hold(row.enrollment_id, program_id, affiliate, row.reason, name or email, row.held_at)
        for row, program_id, affiliate, name, email in rows
    ]


def _program_of(session: Session, enrollment_id: int) -> int:
    found = session.scalar(sa.select(Enrollment.program_id).where(Enrollment.id == enrollment_id))
    if found is None:
        raise NotFound
    return found
