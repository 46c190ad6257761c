"""Applying, being decided on, and what the affiliate is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa
from builders import ANSWERS, make_affiliate, make_program, make_user
from flask import Flask
from moments import NOW
from sqlalchemy.orm import Session

from affiliate.core.audit import AuditEntry
from affiliate.core.errors import Invalid, NotFound
from affiliate.core.outbox import Mail
from affiliate.people import enrollments, joining
from affiliate.people.rules import Status, Step, next_status


@pytest.fixture(autouse=True)
def inside_the_application(app: Flask) -> Iterator[None]:
    """Mails are rendered from templates."""
    with app.app_context():
        yield


def mails(session: Session) -> list[str]:
    return list(session.scalars(sa.select(Mail.template).order_by(Mail.id)))


def test_every_state_and_step_has_one_answer() -> None:
    allowed = {
        ("rejected", "apply_again"): "applied",
        ("applied", "approve"): "active",
        ("rejected", "approve"): "active",
        ("applied", "reject"): "rejected",
        ("active", "suspend"): "suspended",
        ("suspended", "reinstate"): "active",
        ("active", "close"): "closed",
        ("suspended", "close"): "closed",
    }
    for status in Status:
        for step in Step:
            assert next_status(status, step) == allowed.get((status.value, step.value))


def test_an_application_waits_and_its_approval_is_mailed_and_audited(session: Session) -> None:
    program = make_program(session, now=NOW)
    manager = make_user(session, "manager@x.example", now=NOW)
    enrollment = make_affiliate(session, program, "anna@x.example", now=NOW, approved=False)
    assert enrollment.status == "applied"
    assert enrollment.answers["channels"] == ["blog"]

    enrollments.approve(session, enrollment_id=enrollment.id, by=manager.id, now=NOW)

    assert enrollment.status == "active"
    assert (enrollment.decided_at, enrollment.decided_by) == (NOW, manager.id)
    assert mails(session) == ["application_received", "application_approved"]
    entry = session.scalars(
        sa.select(AuditEntry).where(AuditEntry.action == "enrollment.approve")
    ).one()
    assert (entry.actor, entry.scope) == (f"user:{manager.id}", program.id)
    assert (entry.old, entry.new) == ({"status": "applied"}, {"status": "active"})


def test_a_rejection_tells_its_reason(session: Session) -> None:
    program = make_program(session, now=NOW)
    enrollment = make_affiliate(session, program, "anna@x.example", now=NOW, approved=False)
    enrollments.reject(
        session, enrollment_id=enrollment.id, reason=" Cash-back sites. ", by=None, now=NOW
    )
    assert (enrollment.status, enrollment.decision_reason) == ("rejected", "Cash-back sites.")
    mail = session.scalars(sa.select(Mail).order_by(Mail.id.desc())).first()
    assert mail is not None
    assert mail.template == "application_rejected"
    assert "Cash-back sites." in mail.text
    assert "Cash-back sites." in mail.html


def test_a_rejection_without_a_reason_is_refused(session: Session) -> None:
    program = make_program(session, now=NOW)
    enrollment = make_affiliate(session, program, "anna@x.example", now=NOW, approved=False)
    with pytest.raises(Invalid):
        enrollments.reject(session, enrollment_id=enrollment.id, reason="  ", by=None, now=NOW)


def test_an_open_program_approves_a_verified_address_at_once(session: Session) -> None:
    program = make_program(session, now=NOW, auto_approve=True)
    enrollment = make_affiliate(session, program, "anna@x.example", now=NOW)
    assert enrollment.status == "active"
    assert mails(session) == ["application_approved"]


def test_an_unverified_address_waits_for_its_verification(session: Session) -> None:
    program = make_program(session, now=NOW, auto_approve=True)
    user = make_user(session, "anna@x.example", now=NOW, verified=False)
    enrollment = joining.apply(
        session, user_id=user.id, program_id=program.id, name="Anna", answers=ANSWERS, now=NOW
    )
    assert enrollment.status == "applied"
    with pytest.raises(enrollments.AddressNotVerified):
        enrollments.approve(session, enrollment_id=enrollment.id, by=None, now=NOW)

    user.confirmed_at = NOW
    assert joining.address_verified(session, user_id=user.id, now=NOW) == 1
    assert enrollment.status == "active"
    assert joining.address_verified(session, user_id=user.id, now=NOW) == 0


def test_verifying_approves_nothing_where_a_person_decides(session: Session) -> None:
    program = make_program(session, now=NOW)
    enrollment = make_affiliate(session, program, "anna@x.example", now=NOW, approved=False)
    user = enrollments._user_of(session, enrollment)
    assert joining.address_verified(session, user_id=user.id, now=NOW) == 0
    assert enrollment.status == "applied"


def test_applying_twice_is_refused(session: Session) -> None:
    program = make_program(session, now=NOW)
    enrollment = make_affiliate(session, program, "anna@x.example", now=NOW)
    user = enrollments._user_of(session, enrollment)
    with pytest.raises(joining.AlreadyApplied):
        joining.apply(
            session, user_id=user.id, program_id=program.id, name="A", answers=ANSWERS, now=NOW
        )


@pytest.mark.parametrize(
    ("later", "accepted"),
    [
        (timedelta(days=30) - timedelta(microseconds=1), False),
        (timedelta(days=30), True),
    ],
)
def test_a_rejected_affiliate_may_apply_again_after_thirty_days(
    session: Session, later: timedelta, accepted: bool
) -> None:
    program = make_program(session, now=NOW)
    enrollment = make_affiliate(session, program, "anna@x.example", now=NOW, approved=False)
    enrollments.reject(session, enrollment_id=enrollment.id, reason="No.", by=None, now=NOW)
    user = enrollments._user_of(session, enrollment)
    call = {"user_id": user.id, "program_id": program.id, "name": "Anna", "answers": ANSWERS}
    if accepted:
        again = joining.apply(session, now=NOW + later, **call)  # type: ignore[arg-type]
        assert (again.id, again.status, again.decision_reason) == (enrollment.id, "applied", None)
    else:
        with pytest.raises(joining.AppliedTooSoon):
            joining.apply(session, now=NOW + later, **call)  # type: ignore[arg-type]


@pytest.mark.parametrize("status", ["closing", "closed"])
def test_a_program_that_closes_takes_no_applications(session: Session, status: str) -> None:
    program = make_program(session, now=NOW)
    program.status = status
    user = make_user(session, "anna@x.example", now=NOW)
    session.flush()
    with pytest.raises(joining.ProgramClosed):
        joining.apply(
            session, user_id=user.id, program_id=program.id, name="A", answers=ANSWERS, now=NOW
        )


@pytest.mark.parametrize(
    "answers",
    [
        replace(ANSWERS, how="too short"),
        replace(ANSWERS, how="x" * 2_001),
        replace(ANSWERS, channels=()),
        replace(ANSWERS, site="javascript:alert(1)"),
        replace(ANSWERS, site="https://a.example/\r\nSet-Cookie: x"),
    ],
)
def test_answers_that_say_nothing_are_refused(session: Session, answers: object) -> None:
    program = make_program(session, now=NOW)
    user = make_user(session, "anna@x.example", now=NOW)
    with pytest.raises(Invalid):
        joining.apply(
            session,
            user_id=user.id,
            program_id=program.id,
            name="A",
            answers=answers,  # type: ignore[arg-type]
            now=NOW,
        )


@pytest.mark.abuse("A5")
@pytest.mark.parametrize("name", ["", " ", "a\u202eb", "a\u200bb", "a\0b", "x" * 81])
def test_names_with_invisible_characters_are_refused(session: Session, name: str) -> None:
    program = make_program(session, now=NOW)
    user = make_user(session, "anna@x.example", now=NOW)
    with pytest.raises(Invalid):
        joining.apply(
            session, user_id=user.id, program_id=program.id, name=name, answers=ANSWERS, now=NOW
        )


def test_a_recruiting_link_is_recorded_with_the_application(session: Session) -> None:
    program = make_program(session, now=NOW)
    anna = make_affiliate(session, program, "anna@x.example", now=NOW)
    boris = make_affiliate(session, program, "boris@x.example", now=NOW, recruiter_id=anna.id)
    assert boris.recruiter_id == anna.id


def test_a_recruiting_link_of_somebody_not_active_costs_nothing(session: Session) -> None:
    program = make_program(session, now=NOW)
    other = make_program(session, now=NOW, slug="other")
    applied = make_affiliate(session, program, "a@x.example", now=NOW, approved=False)
    elsewhere = make_affiliate(session, other, "b@x.example", now=NOW)
    for number, recruiter_id in enumerate((applied.id, elsewhere.id, 999_999)):
        email = f"c{number}@x.example"
        made = make_affiliate(session, program, email, now=NOW, recruiter_id=recruiter_id)
        assert (made.status, made.recruiter_id) == ("active", None)


def test_suspending_and_reinstating_are_mailed_with_the_reason(session: Session) -> None:
    program = make_program(session, now=NOW)
    anna = make_affiliate(session, program, "anna@x.example", now=NOW)
    enrollments.suspend(session, enrollment_id=anna.id, reason="Bought adverts.", by=None, now=NOW)
    assert anna.status == "suspended"
    with pytest.raises(enrollments.StepRefused):
        enrollments.suspend(session, enrollment_id=anna.id, reason="Again.", by=None, now=NOW)
    enrollments.reinstate(session, enrollment_id=anna.id, by=None, now=NOW)
    assert anna.status == "active"
    assert mails(session)[-2:] == ["enrollment_suspended", "enrollment_reinstated"]


def test_an_enrollment_of_another_program_is_not_found(session: Session) -> None:
    program = make_program(session, now=NOW)
    other = make_program(session, now=NOW, slug="other")
    anna = make_affiliate(session, program, "anna@x.example", now=NOW)
    assert (
        enrollments.in_program(session, program_id=program.id, enrollment_id=anna.id).id == anna.id
    )
    with pytest.raises(NotFound):
        enrollments.in_program(session, program_id=other.id, enrollment_id=anna.id)
