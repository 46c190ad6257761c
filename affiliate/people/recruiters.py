"""The recruiter tree of a program: who recruited whom. No cycle, at most one recruiter each."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from affiliate.core import audit
from affiliate.core.audit import AuditEntry
from affiliate.core.errors import Invalid, NotFound
from affiliate.people.models import Enrollment
from affiliate.people.rules import Status, reason_given
from affiliate.programs.models import Program

CHANGED = "enrollment.set_recruiter"
"""As the audit log names a change of the tree."""


class RecruiterRefused(Invalid):
    code = "recruiter_refused"
    title = "This affiliate cannot be the recruiter."


class RecruiterCycle(RecruiterRefused):
    code = "recruiter_cycle"
    title = (
        "The recruiter would be recruited by their own recruit, directly or through others; "
        "the tree must stay a tree."
    )


def set_recruiter(
    session: Session,
    *,
    enrollment_id: int,
    recruiter_id: int | None,
    by: int | None,
    now: datetime,
    reason: str,
    actor: str | None = None,
) -> Enrollment:
    """Give an enrollment another recruiter, or none.

    Orders placed before keep the recruiter that their commissions froze; the change counts
    from the next order on. Refuses with RecruiterCycle, RecruiterRefused (another program's,
    not active), NotFound or Invalid (`reason`). Rule: docs/rules.md, "Two levels".
    """
    reason = reason_given(reason)
    program_id = session.scalar(
        sa.select(Enrollment.program_id).where(Enrollment.id == enrollment_id)
    )
    if program_id is None:
        raise NotFound
    # One change of the tree at a time per program. Locking the two rows would not do: A→B
    # and C→D touch different rows, are each fine alone and close a circle together through
    # B→C and D→A. NO KEY UPDATE is enough for that, as it conflicts with itself; FOR UPDATE
    # would also stop every order and link of the program, whose foreign keys lock its row.
    session.execute(
        sa.select(Program.id).where(Program.id == program_id).with_for_update(key_share=True)
    )
    enrollment = session.get_one(Enrollment, enrollment_id, populate_existing=True)
    if recruiter_id == enrollment.recruiter_id:
        return enrollment
    if recruiter_id is not None:
        require_recruiter(session, program_id=program_id, recruiter_id=recruiter_id)
        if enrollment_id in line_above(session, recruiter_id):
            raise RecruiterCycle
    old, enrollment.recruiter_id = enrollment.recruiter_id, recruiter_id
    session.flush()
    audit.record(
        session,
        actor=actor or audit.by_user(by),
        action=CHANGED,
        subject=f"enrollment:{enrollment_id}",
        scope=program_id,
        old={"recruiter": old},
        new={"recruiter": recruiter_id},
        reason=reason,
        now=now,
    )
    return enrollment


def require_recruiter(session: Session, *, program_id: int, recruiter_id: int) -> None:
    """Refuse a recruiter who is not an active affiliate of the same program."""
    found = sa.select(Enrollment.id).where(
        Enrollment.id == recruiter_id,
        Enrollment.program_id == program_id,
        Enrollment.status == Status.ACTIVE,
    )
    if session.scalar(found) is None:
        raise RecruiterRefused("A recruiter is an active affiliate of the same program.")


def recruiter_at(session: Session, *, enrollment_id: int, at: datetime) -> int | None:
    """Who had recruited an enrollment at an instant, if they are active today.

    Each change of the tree is in the audit log with the one before; what the first change
    after the instant took away is who it was then.
    """
    changed = session.scalar(
        sa.select(AuditEntry.old)
        .where(
            AuditEntry.subject == f"enrollment:{enrollment_id}",
            AuditEntry.action == CHANGED,
            AuditEntry.at > at,
        )
        .order_by(AuditEntry.id)
        .limit(1)
    )
    if changed is not None:
        recruiter_id = changed["recruiter"]
    else:
        recruiter_id = session.scalar(
            sa.select(Enrollment.recruiter_id).where(Enrollment.id == enrollment_id)
        )
    return session.scalar(
        sa.select(Enrollment.id).where(
            Enrollment.id == recruiter_id, Enrollment.status == Status.ACTIVE
        )
    )


def line_above(session: Session, enrollment_id: int) -> list[int]:
    """The enrollment, its recruiter, their recruiter and so on, to the top.

    UNION (not UNION ALL) ends the walk even in a tree that is broken already.
    """
    above = (
        sa.select(Enrollment.id, Enrollment.recruiter_id)
        .where(Enrollment.id == enrollment_id)
        .cte("line_above", recursive=True)
    )
    higher = aliased(Enrollment)
    above = above.union(
        sa.select(higher.id, higher.recruiter_id).join(above, higher.id == above.c.recruiter_id)
    )
    return list(session.scalars(sa.select(above.c.id)))


def recruits_of(session: Session, *, enrollment_id: int) -> list[Enrollment]:
    """Those whom an enrollment recruited itself, in the order in which they applied."""
    query = sa.select(Enrollment).where(Enrollment.recruiter_id == enrollment_id)
    return list(session.scalars(query.order_by(Enrollment.applied_at, Enrollment.id)))
