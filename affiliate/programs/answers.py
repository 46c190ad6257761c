"""What affiliates say to a version before it takes effect: accept it, or decline and leave."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core import audit, outbox
from affiliate.core.errors import Conflict, NotFound
from affiliate.people.models import Affiliate, Enrollment, User
from affiliate.people.rules import Status
from affiliate.programs import rule_versions
from affiliate.programs.models import Program, RuleAnswer, RuleVersion
from affiliate.programs.standing import Said

MAY_ANSWER: Final = (Status.ACTIVE, Status.SUSPENDED)


class AlreadyInForce(Conflict):
    code = "already_in_force"
    title = (
        "These rules have taken effect, so they can no longer be accepted or declined. Silence "
        "until then was acceptance."
    )


class AlreadyAnswered(Conflict):
    code = "already_answered"
    title = "You have answered to this version; an answer is not changed afterwards."


class NotEnrolled(Conflict):
    code = "not_enrolled"
    title = "Whoever is not enrolled, or leaves the program already, has nothing to answer."


def answer(
    session: Session,
    *,
    enrollment_id: int,
    version_id: int,
    said: Said,
    by: int,
    now: datetime,
) -> RuleAnswer:
    """Accept or decline a version until the instant at which it takes effect.

    Accepting takes its terms also where silence would have kept older ones. Declining leaves
    the terms as they are and closes the enrollment one notice period after the version takes
    effect. The same answer again changes nothing. Refuses with AlreadyInForce,
    AlreadyAnswered, NotEnrolled or NotFound. Rule: docs/rules.md, "Versions of the rules".
    """
    # Two answers of one affiliate wait for one another, and for the closing of the enrollment.
    enrollment = session.get(
        Enrollment, enrollment_id, with_for_update={"key_share": True}, populate_existing=True
    )
    version = session.get(RuleVersion, version_id)
    if enrollment is None or version is None or version.program_id != enrollment.program_id:
        raise NotFound("There is no such version of the rules.")
    known = _known(session, enrollment_id, version_id)
    if known is not None:
        if known.answer == said:
            return known
        raise AlreadyAnswered
    if now >= version.effective_at:
        raise AlreadyInForce
    if enrollment.status not in MAY_ANSWER or enrollment.closes_at is not None:
        raise NotEnrolled
    made = _write(session, enrollment, version, said, by=by, now=now)
    if said is Said.DECLINED:
        _leave(session, enrollment, version, now=now)
    return made


def closes_at(version: RuleVersion, program: Program) -> datetime:
    """When the enrollment of whoever declines the version closes."""
    return version.effective_at + timedelta(days=program.notice_days)


def agreed_at_application(
    session: Session, *, enrollment: Enrollment, number: int | None, by: int, now: datetime
) -> None:
    """The application form's agreement is the first acceptance.

    A number that the program's rules in force by now do not have is left out: the form
    carries it in a hidden field, and a stranger's invention is no fact.
    """
    version_id = session.scalar(
        sa.select(RuleVersion.id).where(
            RuleVersion.program_id == enrollment.program_id,
            RuleVersion.number == number,
            RuleVersion.effective_at <= now,
        )
    )
    if version_id is None:
        return
    made = insert(RuleAnswer).values(
        enrollment_id=enrollment.id,
        rule_version_id=version_id,
        answer=Said.ACCEPTED,
        answered_at=now,
        answered_by=by,
    )
    session.execute(
        made.on_conflict_do_nothing(index_elements=["enrollment_id", "rule_version_id"])
    )


def answers_of(session: Session, *, enrollment_id: int) -> dict[int, RuleAnswer]:
    """An affiliate's answers by the version's id."""
    query = sa.select(RuleAnswer).where(RuleAnswer.enrollment_id == enrollment_id)
    return {answer.rule_version_id: answer for answer in session.scalars(query)}


def _known(session: Session, enrollment_id: int, version_id: int) -> RuleAnswer | None:
    query = sa.select(RuleAnswer).where(
        RuleAnswer.enrollment_id == enrollment_id, RuleAnswer.rule_version_id == version_id
    )
    return session.scalar(query)


def _write(
    session: Session,
    enrollment: Enrollment,
    version: RuleVersion,
    said: Said,
    *,
    by: int,
    now: datetime,
) -> RuleAnswer:
    made = RuleAnswer(
        enrollment_id=enrollment.id,
        rule_version_id=version.id,
        answer=said.value,
        answered_at=now,
        answered_by=by,
    )
    session.add(made)
    session.flush()
    audit.record(
        session,
        actor=audit.by_user(by),
        action=f"rules.{'accept' if said is Said.ACCEPTED else 'decline'}",
        subject=f"enrollment:{enrollment.id}",
        scope=enrollment.program_id,
        new={"version": version.number},
        now=now,
    )
    return made


def _leave(
    session: Session, enrollment: Enrollment, version: RuleVersion, *, now: datetime
) -> None:
    program = session.get_one(Program, enrollment.program_id)
    enrollment.closes_at = closes_at(version, program)
    session.flush()
    rule_versions.note_that_versions_differ(session, program_id=program.id)
    user = session.scalars(
        sa.select(User)
        .join(Affiliate, Affiliate.user_id == User.id)
        .where(Affiliate.id == enrollment.affiliate_id)
    ).one()
    outbox.send(
        session,
        to=user.email,
        template="rules_declined",
        locale=user.locale,
        now=now,
        scope=program.id,
        name=user.name,
        program=program,
        version=version,
        closes_at=enrollment.closes_at,
    )
