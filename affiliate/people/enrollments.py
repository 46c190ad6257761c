"""What is decided about enrollments: approve, reject, suspend, reinstate, close.

Mails go through the outbox in the same transaction; reasons are shown to the affiliate. How
people get in: affiliate.people.joining.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit, outbox
from affiliate.core.errors import Conflict, NotFound
from affiliate.people.models import Affiliate, Enrollment, User
from affiliate.people.rules import Status, Step, next_status, reason_given
from affiliate.programs.models import Program

CLOSE_ROWS_MAX: Final = 500
"""Of one run; the next one goes on."""


class AddressNotVerified(Conflict):
    code = "address_not_verified"
    title = "The affiliate has not verified their mail address yet; approve afterwards."


class StepRefused(Conflict):
    code = "step_refused"
    title = "The enrollment is no longer in a state in which this can be done."


def approve(
    session: Session,
    *,
    enrollment_id: int,
    by: int | None,
    now: datetime,
    actor: str | None = None,
) -> Enrollment:
    """Let an applicant in; also one rejected before. Refuses an unverified address.

    `actor` is, here and below, the audit log's word for who did it, the person unless given: a
    key is no user.
    """
    enrollment = lock(session, enrollment_id)
    user = _user_of(session, enrollment)
    if user.confirmed_at is None:
        raise AddressNotVerified
    _step(session, enrollment, Step.APPROVE, by=by, now=now, reason=None, actor=actor)
    enrollment.approved_at = now
    session.flush()
    program = session.get_one(Program, enrollment.program_id)
    mail(session, user, program, "application_approved", now=now)
    return enrollment


def reject(
    session: Session,
    *,
    enrollment_id: int,
    reason: str,
    by: int | None,
    now: datetime,
    actor: str | None = None,
) -> Enrollment:
    """Turn an application down; the reason is mailed and shown to the applicant."""
    reason = reason_given(reason)
    enrollment = lock(session, enrollment_id)
    _step(session, enrollment, Step.REJECT, by=by, now=now, reason=reason, actor=actor)
    program = session.get_one(Program, enrollment.program_id)
    user = _user_of(session, enrollment)
    mail(session, user, program, "application_rejected", now=now, reason=reason)
    return enrollment


def suspend(
    session: Session,
    *,
    enrollment_id: int,
    reason: str,
    by: int | None,
    now: datetime,
    actor: str | None = None,
) -> Enrollment:
    """Stop crediting an affiliate from now on. What was earned before stays theirs."""
    reason = reason_given(reason)
    enrollment = lock(session, enrollment_id)
    _step(session, enrollment, Step.SUSPEND, by=by, now=now, reason=reason, actor=actor)
    program = session.get_one(Program, enrollment.program_id)
    user = _user_of(session, enrollment)
    mail(session, user, program, "enrollment_suspended", now=now, reason=reason)
    return enrollment


def reinstate(
    session: Session,
    *,
    enrollment_id: int,
    by: int | None,
    now: datetime,
    actor: str | None = None,
) -> Enrollment:
    """Credit a suspended affiliate again, from now on."""
    enrollment = lock(session, enrollment_id)
    _step(session, enrollment, Step.REINSTATE, by=by, now=now, reason=None, actor=actor)
    program = session.get_one(Program, enrollment.program_id)
    mail(session, _user_of(session, enrollment), program, "enrollment_reinstated", now=now)
    return enrollment


def close(
    session: Session,
    *,
    enrollment_id: int,
    by: int | None,
    now: datetime,
    actor: str | None = None,
) -> Enrollment:
    """End it for good: nothing more is credited. What was earned stays theirs, and is paid.

    Where it would have ended later by a declined version, that is over as well.
    """
    enrollment = lock(session, enrollment_id)
    if enrollment.closes_at is not None and enrollment.status == Status.SUSPENDED:
        # Orders of before that instant are credited to whoever is closed; here none are.
        enrollment.closes_at = None
    elif enrollment.closes_at is not None:
        enrollment.closes_at = min(enrollment.closes_at, now)
    _step(session, enrollment, Step.CLOSE, by=by, now=now, reason=None, actor=actor)
    return enrollment


def close_due(session: Session, *, now: datetime) -> int:
    """Close the enrollments of those who declined new rules and whose notice period is over.

    An order's own instant decides already whether it is credited; this tells the affiliate
    and stops their links. Returns how many. Who is suspended stays so, for what is closed is
    credited until its end, and paid: they are closed once they are reinstated.
    """
    due = (
        sa.select(Enrollment.id)
        .where(Enrollment.closes_at <= now, Enrollment.status == Status.ACTIVE)
        .order_by(Enrollment.id)
        .limit(CLOSE_ROWS_MAX)
        .with_for_update(skip_locked=True, key_share=True)
    )
    ids = list(session.scalars(due))
    for enrollment_id in ids:
        enrollment = session.get_one(Enrollment, enrollment_id, populate_existing=True)
        _step(session, enrollment, Step.CLOSE, by=None, now=now, reason=None)
        program = session.get_one(Program, enrollment.program_id)
        mail(session, _user_of(session, enrollment), program, "enrollment_closed", now=now)
    return len(ids)


def in_program(session: Session, *, program_id: int, enrollment_id: int) -> Enrollment:
    """The enrollment, if it is one of this program; NotFound otherwise."""
    query = sa.select(Enrollment).where(
        Enrollment.id == enrollment_id, Enrollment.program_id == program_id
    )
    enrollment = session.scalar(query)
    if enrollment is None:
        raise NotFound("There is no such affiliate in this program.")
    return enrollment


def of_user(session: Session, *, user_id: int, program_id: int) -> Enrollment | None:
    """A person's enrollment in a program, in whatever state."""
    return session.scalar(
        sa.select(Enrollment)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .where(Affiliate.user_id == user_id, Enrollment.program_id == program_id)
    )


def lock(session: Session, enrollment_id: int) -> Enrollment:
    """Two decisions about one enrollment wait for one another; rows that refer to it do not."""
    enrollment = session.get(
        Enrollment, enrollment_id, with_for_update={"key_share": True}, populate_existing=True
    )
    if enrollment is None:
        raise NotFound
    return enrollment


def _step(
    session: Session,
    enrollment: Enrollment,
    step: Step,
    *,
    by: int | None,
    now: datetime,
    reason: str | None,
    actor: str | None = None,
) -> None:
    before = Status(enrollment.status)
    after = next_status(before, step)
    if after is None:
        raise StepRefused
    enrollment.status = after
    enrollment.decided_at, enrollment.decided_by, enrollment.decision_reason = now, by, reason
    session.flush()
    record(
        session,
        enrollment,
        f"enrollment.{step.value}",
        actor=actor or audit.by_user(by),
        now=now,
        old={"status": before.value},
        new={"status": after.value},
        reason=reason,
    )


def _user_of(session: Session, enrollment: Enrollment) -> User:
    query = sa.select(User).join(Affiliate, Affiliate.user_id == User.id)
    return session.scalars(query.where(Affiliate.id == enrollment.affiliate_id)).one()


def mail(
    session: Session,
    user: User,
    program: Program,
    template: str,
    *,
    now: datetime,
    reason: str = "",
) -> None:
    """Write to the affiliate what came of their application or enrollment."""
    outbox.send(
        session,
        to=user.email,
        template=template,
        locale=user.locale,
        now=now,
        scope=program.id,
        name=user.name,
        program=program,
        reason=reason,
    )


def record(
    session: Session,
    enrollment: Enrollment,
    action: str,
    *,
    actor: str,
    now: datetime,
    old: dict[str, Any] | None = None,
    new: dict[str, Any] | None = None,
    reason: str | None = None,
) -> None:
    """Write a line about an enrollment into the audit log."""
    audit.record(
        session,
        actor=actor,
        action=action,
        subject=f"enrollment:{enrollment.id}",
        scope=enrollment.program_id,
        old=old,
        new=new,
        reason=reason,
        now=now,
    )
