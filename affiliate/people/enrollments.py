"""Verbs of enrollments: apply, approve, reject, suspend, reinstate, close.

Mails go through the outbox in the same transaction; reasons are shown to the affiliate.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core import audit, outbox
from affiliate.core.errors import Conflict, FieldError, Invalid, NotFound, Phrase
from affiliate.core.fields import SHOP_ID_CHARS_MAX, is_shop_id
from affiliate.people import recruiters
from affiliate.people.applications import NAME_CHARS_MAX, NOT_A_SITE, Answers, is_site
from affiliate.people.models import Affiliate, Enrollment, User
from affiliate.people.rules import Status, Step, next_status
from affiliate.programs import answers as rule_answers
from affiliate.programs.models import Program

REAPPLY_AFTER: Final = timedelta(days=30)
"""A rejected affiliate may apply again after this long."""
REASON_CHARS_MAX: Final = 1_000
CLOSE_ROWS_MAX: Final = 500
"""Of one run; the next one goes on."""


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


class AddressNotVerified(Conflict):
    code = "address_not_verified"
    title = "The affiliate has not verified their mail address yet; approve afterwards."


class CustomerTaken(Conflict):
    code = "customer_taken"
    title = "Another affiliate of this program is this customer of the shop already."


class StepRefused(Conflict):
    code = "step_refused"
    title = "The enrollment is no longer in a state in which this can be done."


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
    _record(
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
        return approve(session, enrollment_id=enrollment.id, by=None, now=now)
    _mail(session, user, program, "application_received", now=now)
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
    _record(
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
        approve(session, enrollment_id=enrollment_id, by=None, now=now)
    return len(ids)


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
    enrollment = _lock(session, enrollment_id)
    user = _user_of(session, enrollment)
    if user.confirmed_at is None:
        raise AddressNotVerified
    _step(session, enrollment, Step.APPROVE, by=by, now=now, reason=None, actor=actor)
    enrollment.approved_at = now
    session.flush()
    program = session.get_one(Program, enrollment.program_id)
    _mail(session, user, program, "application_approved", now=now)
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
    reason = _reason(reason)
    enrollment = _lock(session, enrollment_id)
    _step(session, enrollment, Step.REJECT, by=by, now=now, reason=reason, actor=actor)
    program = session.get_one(Program, enrollment.program_id)
    user = _user_of(session, enrollment)
    _mail(session, user, program, "application_rejected", now=now, reason=reason)
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
    reason = _reason(reason)
    enrollment = _lock(session, enrollment_id)
    _step(session, enrollment, Step.SUSPEND, by=by, now=now, reason=reason, actor=actor)
    program = session.get_one(Program, enrollment.program_id)
    user = _user_of(session, enrollment)
    _mail(session, user, program, "enrollment_suspended", now=now, reason=reason)
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
    enrollment = _lock(session, enrollment_id)
    _step(session, enrollment, Step.REINSTATE, by=by, now=now, reason=None, actor=actor)
    program = session.get_one(Program, enrollment.program_id)
    _mail(session, _user_of(session, enrollment), program, "enrollment_reinstated", now=now)
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
    enrollment = _lock(session, enrollment_id)
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
        _mail(session, _user_of(session, enrollment), program, "enrollment_closed", now=now)
    return len(ids)


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
    """See recruiters.set_recruiter."""
    return recruiters.set_recruiter(
        session,
        enrollment_id=enrollment_id,
        recruiter_id=recruiter_id,
        by=by,
        now=now,
        reason=_reason(reason),
        actor=actor,
    )


def set_shop_customer(
    session: Session,
    *,
    enrollment_id: int,
    customer_id: str | None,
    by: str,
    now: datetime,
) -> None:
    """Say under which id the affiliate is a customer of the program's shop; None: under none.

    Orders that come later from this customer by the affiliate's own link are their own
    purchases (docs/rules.md, "Own purchases"). Refuses an id that is none (`not_an_id`) or that
    another affiliate of the program has (CustomerTaken).
    """
    if customer_id is not None and not is_shop_id(customer_id):
        raise Invalid.field(
            "customer_id",
            "not_an_id",
            Phrase(
                "An id has 1 to %(most)s characters out of A-Z a-z 0-9 . _ : @ # ~ -",
                most=SHOP_ID_CHARS_MAX,
            ),
        )
    enrollment = session.get_one(
        Enrollment, enrollment_id, populate_existing=True, with_for_update={"key_share": True}
    )
    old = enrollment.shop_customer_id
    if old == customer_id:
        return
    try:
        with session.begin_nested():
            enrollment.shop_customer_id = customer_id
            session.flush()
    except sa.exc.IntegrityError as error:  # The unique index: two managers may say it at once.
        raise CustomerTaken(
            errors=[FieldError("customer_id", CustomerTaken.code, CustomerTaken.title)]
        ) from error
    audit.record(
        session,
        actor=by,
        action="enrollment.set_shop_customer",
        subject=f"enrollment:{enrollment_id}",
        scope=enrollment.program_id,
        old={"customer_id": old},
        new={"customer_id": customer_id},
        now=now,
    )


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
    enrollment = _lock(session, session.scalars(query).one())
    after = next_status(Status(enrollment.status), Step.APPLY_AGAIN)
    if after is None:
        raise AlreadyApplied
    if enrollment.decided_at is not None and now < enrollment.decided_at + REAPPLY_AFTER:
        raise AppliedTooSoon
    enrollment.status, enrollment.answers, enrollment.applied_at = after, answers, now
    enrollment.decided_at = enrollment.decided_by = enrollment.decision_reason = None
    session.flush()
    return enrollment


def _lock(session: Session, enrollment_id: int) -> Enrollment:
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
    _record(
        session,
        enrollment,
        f"enrollment.{step.value}",
        actor=actor or audit.by_user(by),
        now=now,
        old={"status": before.value},
        new={"status": after.value},
        reason=reason,
    )


def _reason(text: str) -> str:
    text = text.strip()
    if not 1 <= len(text) <= REASON_CHARS_MAX:
        raise Invalid.field(
            "reason",
            "length",
            Phrase("Give the reason, in at most %(most)s characters.", most=REASON_CHARS_MAX),
        )
    return text


def _user_of(session: Session, enrollment: Enrollment) -> User:
    query = sa.select(User).join(Affiliate, Affiliate.user_id == User.id)
    return session.scalars(query.where(Affiliate.id == enrollment.affiliate_id)).one()


def _mail(
    session: Session,
    user: User,
    program: Program,
    template: str,
    *,
    now: datetime,
    reason: str = "",
) -> None:
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


def _record(
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
