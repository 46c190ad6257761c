"""A manager says whose order it is, where the evidence was lost on the way."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Invalid, NotFound, Phrase
from affiliate.people import enrollments, recruiters
from affiliate.people.rules import Status
from payouts.commissions.rules import VoidReason
from tracker.attribution.assignment import EVIDENCE, Assignment, assignment_in
from tracker.attribution.decide import decide_again
from tracker.attribution.models import Decision
from tracker.orders.models import Order
from tracker.orders.records import ProgramFacts, find_order, lock_order_id, subject_of
from tracker.orders.refusals import (
    AffiliateNotActive,
    AlreadyCredited,
    NotAssigned,
    OrderCancelled,
)

REASON_CHARS_MAX: Final = 500


def assign_order(
    session: Session,
    *,
    program_id: int,
    order_id: str,
    enrollment_id: int,
    reason: str,
    by: str,
    now: datetime,
) -> None:
    """Credit the whole order to this affiliate: the live decision is void, the next says so.

    The same ledger path as any decision: what others earned of it goes back, out of their
    balance where it was released or paid. A browser's order goes on waiting for its
    confirmation. Level 2 goes to whoever was the recruiter when the order was placed. Raises
    NotFound (order, or affiliate of this program), Invalid (reason), OrderCancelled,
    AffiliateNotActive and AlreadyCredited.
    """
    reason = _reason(reason)
    program, order = _locked(session, program_id=program_id, order_id=order_id)
    found = enrollments.in_program(session, program_id=program_id, enrollment_id=enrollment_id)
    if found.status != Status.ACTIVE:
        raise AffiliateNotActive
    if order.cancelled_at is not None:
        raise OrderCancelled("The order is cancelled; it earns nobody anything.")
    shares = _credited(session, order)
    if [share["enrollment_id"] for share in shares] == [enrollment_id]:
        raise AlreadyCredited
    recruiter_id = recruiters.recruiter_at(session, enrollment_id=enrollment_id, at=order.placed_at)
    word = Assignment(enrollment_id, recruiter_id, reason, by, now)
    _decide(
        session, order, program, "order.assign", {**order.evidence, EVIDENCE: word.document()},
        new={"credited": [enrollment_id]}, shares=shares, reason=reason, by=by, now=now,
    )  # fmt: skip


def withdraw_assignment(
    session: Session, *, program_id: int, order_id: str, reason: str, by: str, now: datetime
) -> None:
    """Take a manager's word back: the order is decided by the rules again.

    Raises NotFound, Invalid (reason), OrderCancelled and NotAssigned.
    """
    reason = _reason(reason)
    program, order = _locked(session, program_id=program_id, order_id=order_id)
    if order.cancelled_at is not None:
        raise OrderCancelled("The order is cancelled; it earns nobody anything.")
    if assignment_in(order.evidence) is None:
        raise NotAssigned
    evidence = {name: brought for name, brought in order.evidence.items() if name != EVIDENCE}
    _decide(
        session, order, program, "order.unassign", evidence,
        new=None, shares=_credited(session, order), reason=reason, by=by, now=now,
    )  # fmt: skip


def _locked(session: Session, *, program_id: int, order_id: str) -> tuple[ProgramFacts, Order]:
    program = lock_order_id(session, program_id=program_id, order_id=order_id)
    order = find_order(session, program_id=program_id, order_id=order_id)
    if order is None:
        raise NotFound
    return program, order


def _credited(session: Session, order: Order) -> list[Any]:
    """Shares of the live decision."""
    found = session.scalar(
        sa.select(Decision.shares).where(
            Decision.order_id == order.id, Decision.voided_at.is_(None)
        )
    )
    return found or []


def _decide(
    session: Session,
    order: Order,
    program: ProgramFacts,
    action: str,
    evidence: dict[str, Any],
    *,
    new: dict[str, Any] | None,
    shares: list[Any],
    reason: str,
    by: str,
    now: datetime,
) -> None:
    order.evidence = evidence
    session.flush()
    audit.record(
        session, actor=by, action=action, subject=f"order:{order.id}", scope=order.program_id,
        old={"credited": [share["enrollment_id"] for share in shares]}, new=new, reason=reason,
        now=now,
    )  # fmt: skip
    decide_again(
        session, order=subject_of(order, program), reason=VoidReason.DECIDED_BY_PERSON, now=now
    )


def _reason(text: str) -> str:
    text = " ".join(text.split())
    if not 1 <= len(text) <= REASON_CHARS_MAX:
        raise Invalid.field(
            "reason",
            "length",
            Phrase("Say why, in at most %(most)s characters; it is kept.", most=REASON_CHARS_MAX),
        )
    return text
