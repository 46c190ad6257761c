"""What goes by itself, and that nothing goes a day too early."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa
from world import World

from affiliate.core.clock import real_now
from affiliate.core.outbox import MAIL_DAYS, Mail
from affiliate.people import enrollments, invitations, sessions
from affiliate.people.models import Enrollment, Invitation, UserSession
from affiliate.personal import retention
from affiliate.personal.retention import (
    INVITATION_DAYS,
    REJECTED_DAYS,
    SESSION_DAYS,
    forget_old,
)
from tracker.personal.jobs import forget

HOUR = timedelta(hours=1)


def run(world: World, *, ago: timedelta = timedelta()) -> bool:
    """As the job does, so much later."""
    session = world.session
    more = forget_old(
        session, settings=world.settings, now=world.now + ago, real_now=real_now() + ago
    )
    session.commit()
    return more


def test_a_sign_in_that_ended_is_kept_for_a_while(world: World) -> None:
    anna = world.affiliate("Anna")
    session = world.session
    live = session.scalars(sa.select(UserSession.id)).one()
    token = sessions.begin(session, user_id=anna.user_id, agent="old", now=real_now())
    assert token
    ended = session.scalars(sa.select(UserSession.id).where(UserSession.agent == "old")).one()
    sessions.revoke(session, user_id=anna.user_id, session_id=ended, now=real_now())
    session.commit()
    run(world, ago=timedelta(days=SESSION_DAYS) - HOUR)
    assert set(session.scalars(sa.select(UserSession.id))) == {live, ended}
    run(world, ago=timedelta(days=SESSION_DAYS) + HOUR)
    assert set(session.scalars(sa.select(UserSession.id))) == {live}
    # The other ran out a month after it began, whatever was done with it.
    longest = timedelta(seconds=world.settings.session_absolute_s)
    run(world, ago=timedelta(days=SESSION_DAYS) + longest + HOUR)
    assert set(session.scalars(sa.select(UserSession.id))) == set()


@pytest.mark.parametrize("column", ["sent_at", "failed_at"])
def test_a_letter_is_kept_until_its_time_is_over_and_one_that_waits_for_ever(
    world: World, column: str
) -> None:
    world.affiliate("Anna")
    session = world.session
    letters = session.scalars(sa.select(Mail.id).order_by(Mail.id)).all()
    assert len(letters) >= 2
    session.execute(sa.update(Mail).where(Mail.id == letters[0]).values({column: real_now()}))
    session.commit()
    run(world, ago=timedelta(days=MAIL_DAYS) - HOUR)
    assert set(session.scalars(sa.select(Mail.id))) == set(letters)
    run(world, ago=timedelta(days=MAIL_DAYS) + HOUR)
    assert set(session.scalars(sa.select(Mail.id))) == set(letters[1:])


def test_an_invitation_goes_a_month_after_it_ran_out(world: World) -> None:
    session = world.session
    with world.app.app_context():
        invitations.invite(
            session, email="new@example.com", role="owner", program_id=None, by=None, now=world.now
        )
        session.commit()
    over = timedelta(days=invitations.INVITATION_DAYS + INVITATION_DAYS)
    run(world, ago=over - HOUR)
    assert session.scalar(sa.select(sa.func.count(Invitation.id))) == 1
    run(world, ago=over + HOUR)
    assert session.scalar(sa.select(sa.func.count(Invitation.id))) == 0


def test_what_a_rejected_applicant_wrote_goes_and_that_they_applied_stays(world: World) -> None:
    session = world.session
    newcomer = world.affiliate("Newcomer", approved=False)
    anna = world.affiliate("Anna")
    with world.app.app_context():
        enrollments.reject(
            session, enrollment_id=newcomer.enrollment.id, reason="No", by=None, now=world.now
        )
        session.commit()
    run(world, ago=timedelta(days=REJECTED_DAYS) - HOUR)
    assert session.get_one(Enrollment, newcomer.enrollment.id).answers != {}
    run(world, ago=timedelta(days=REJECTED_DAYS) + HOUR)
    session.expire_all()
    row = session.get_one(Enrollment, newcomer.enrollment.id)
    assert (row.status, row.answers, row.decision_reason) == ("rejected", {}, None)
    assert session.get_one(Enrollment, anna.enrollment.id).answers != {}


def test_a_full_batch_says_that_there_may_be_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("Anna", "Boris", "Clara"):
        world.affiliate(name)
    world.session.execute(sa.update(Mail).values(sent_at=real_now()))
    world.session.commit()
    count = world.session.scalar(sa.select(sa.func.count(Mail.id))) or 0
    monkeypatch.setattr(retention, "FORGET_ROWS_MAX", count - 1)
    ago = timedelta(days=MAIL_DAYS) + HOUR
    assert (run(world, ago=ago), run(world, ago=ago)) == (True, False)


def test_the_job_runs_on_an_empty_installation_and_twice(world: World) -> None:
    with world.app.app_context():
        forget()
        forget()
