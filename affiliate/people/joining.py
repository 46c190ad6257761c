"""How people get into a program: they apply, or they were there before it came to Kopeck.

A verified applicant is approved at once where the program says so: at the application, or when
they verify their address later. What is decided about an enrollment afterwards is in
affiliate.people.enrollments.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Conflict, Invalid, NotFound, Phrase
from affiliate.people import enrollments
from affiliate.people.applications import NAME_CHARS_MAX, NOT_A_SITE, Answers, is_site
from affiliate.people.models import Affiliate, Enrollment, User
from affiliate.people.rules import Status, Step, next_status
from affiliate.programs import answers as rule_answers
from affiliate.programs.models import Program

REAPPLY_AFTER: Final = timedelta(days=30)
"""A rejected affiliate may apply again after this long."""


class ProgramClosed(Conflict):
    code = "program_closed"
    title = "This program takes no more applications."


class AlreadyApplied(Conflict):
    code = "already_applied"
    title = "You are in this program already, or your application is being read."


class AppliedTooSoon(Conflict):
    code = "applied_too_soon"
    title = Phrase(
        "After a rejection you can apply again %(days)s days later.", days=REAPPLY_AFTER.days
    )


def apply(
    session: Session,
    *,
    user_id: int,
    program_id: int,
    name: str,
    answers: Answers,
    now: datetime,
    recruiter_id: int | None = None,
    by: str | None = None,
) -> Enrollment:
    """A person asks to join a program; a verified one is approved at once where it says so.

    `recruiter_id` is the enrollment whose recruiting link was followed; one that is gone or
    not active is left out, because a stranger's mistake must not cost the applicant their
    application. `by` is the audit log's word for the actor, the person unless given.
    Refuses with ProgramClosed, AlreadyApplied, AppliedTooSoon or Invalid.
    """
    answers.check()
    program = session.get(Program, program_id)
    user = session.get(User, user_id)
    if program is None or user is None:
        raise NotFound
    if program.status != "open":
        raise ProgramClosed
    affiliate_id = _affiliate_of(session, user_id, name=name, website=answers.site, now=now)
    recruiter_id = _usable(session, program_id, affiliate_id, recruiter_id)
    enrollment = _enroll(
        session,
        program_id=program_id,
        affiliate_id=affiliate_id,
        recruiter_id=recruiter_id,
        answers=answers.document(),
        now=now,
    )
    enrollments.record(
        session,
        enrollment,
        "application.send",
        actor=by or audit.by_user(user_id),
        now=now,
        new={"recruiter": enrollment.recruiter_id},
    )
    rule_answers.agreed_at_application(
        session, enrollment=enrollment, number=answers.rule_version, by=user_id, now=now
    )
    if program.auto_approve and user.confirmed_at is not None:
        return enrollments.approve(session, enrollment_id=enrollment.id, by=None, now=now)
    enrollments.mail(session, user, program, "application_received", now=now)
    return enrollment


def take_over(
    session: Session,
    *,
    user_id: int,
    program_id: int,
    name: str,
    website: str = "",
    joined_at: datetime,
    by: int | None,
    now: datetime,
) -> Enrollment:
    """Somebody who was an affiliate before the program came to Kopeck: active at once, untold.

    `joined_at` is since when, by the merchant's word. Rules of before are theirs without having
    been announced. Refuses with ProgramClosed, AlreadyApplied for anybody who has an enrollment
    here, or Invalid (`name`, `website`).
    """
    program = session.get(Program, program_id)
    if program is None or session.get(User, user_id) is None:
        raise NotFound
    if program.status != "open":
        raise ProgramClosed
    if website and not is_site(website):
        raise Invalid.field("website", "not_an_address", NOT_A_SITE)
    affiliate_id = _affiliate_of(session, user_id, name=name, website=website, now=now)
    enrollment_id = session.scalar(
        insert(Enrollment)
        .values(
            program_id=program_id,
            affiliate_id=affiliate_id,
            status=Status.ACTIVE,
            answers={},
            applied_at=joined_at,
            decided_at=now,
            decided_by=by,
            approved_at=now,
        )
        .on_conflict_do_nothing(index_elements=["program_id", "affiliate_id"])
        .returning(Enrollment.id)
    )
    if enrollment_id is None:
        raise AlreadyApplied
    enrollment = session.get_one(Enrollment, enrollment_id)
    enrollments.record(
        session,
        enrollment,
        "enrollment.take_over",
        actor=audit.by_user(by),
        now=now,
        new={"status": Status.ACTIVE.value},
    )
    return enrollment


def address_verified(session: Session, *, user_id: int, now: datetime) -> int:
    """Approve what waited for this address to be verified, where the program says so.

    Called when a person has verified their address. Returns how many were approved.
    """
    waiting = (
        sa.select(Enrollment.id)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .join(Program, Program.id == Enrollment.program_id)
        .where(
            Affiliate.user_id == user_id,
            Enrollment.status == Status.APPLIED,
            Program.auto_approve,
            Program.status == "open",
        )
        .order_by(Enrollment.id)
    )
    ids = list(session.scalars(waiting))
    for enrollment_id in ids:
        enrollments.approve(session, enrollment_id=enrollment_id, by=None, now=now)
    return len(ids)


def _affiliate_of(session: Session, user_id: int, *, name: str, website: str, now: datetime) -> int:
    """The person's affiliate row, made at their first application to any program."""
    name = " ".join(name.split())
    if not 1 <= len(name) <= NAME_CHARS_MAX or not name.isprintable():
        raise Invalid.field(
            "name", "length", Phrase("A name has 1 to %(most)s characters.", most=NAME_CHARS_MAX)
        )
    made = insert(Affiliate).values(user_id=user_id, name=name, website=website, created_at=now)
    session.execute(made.on_conflict_do_nothing(index_elements=["user_id"]))
    return session.execute(sa.select(Affiliate.id).where(Affiliate.user_id == user_id)).scalar_one()


def _usable(
    session: Session, program_id: int, affiliate_id: int, recruiter_id: int | None
) -> int | None:
    """The recruiter, unless it is nobody active in the program or the applicant's own row."""
    if recruiter_id is None:
        return None
    found = sa.select(Enrollment.id).where(
        Enrollment.id == recruiter_id,
        Enrollment.program_id == program_id,
        Enrollment.status == Status.ACTIVE,
        Enrollment.affiliate_id != affiliate_id,
    )
    return session.scalar(found)


def _enroll(
    session: Session,
    *,
    program_id: int,
    affiliate_id: int,
    recruiter_id: int | None,
    answers: dict[str, Any],
    now: datetime,
) -> Enrollment:
    """A new row has no recruits, so it cannot close a circle in the tree. A row that comes
    back after a rejection keeps the recruiter it had."""
    made = (
        insert(Enrollment)
        .values(
            program_id=program_id,
            affiliate_id=affiliate_id,
            status=Status.APPLIED,
            recruiter_id=recruiter_id,
            answers=answers,
            applied_at=now,
        )
        .on_conflict_do_nothing(index_elements=["program_id", "affiliate_id"])
        .returning(Enrollment.id)
    )
    enrollment_id = session.scalar(made)
    if enrollment_id is not None:
        return session.get_one(Enrollment, enrollment_id)
    query = sa.select(Enrollment.id).where(
        Enrollment.program_id == program_id, Enrollment.affiliate_id == affiliate_id
    )
    enrollment = enrollments.lock(session, session.scalars(query).one())
    after = next_status(Status(enrollment.status), Step.APPLY_AGAIN)
    if after is None:
        raise AlreadyApplied
    if enrollment.decided_at is not None and now < enrollment.decided_at + REAPPLY_AFTER:
        raise AppliedTooSoon
    enrollment.status, enrollment.answers, enrollment.applied_at = after, answers, now
    enrollment.decided_at = enrollment.decided_by = enrollment.decision_reason = None
    session.flush()
    return enrollment
