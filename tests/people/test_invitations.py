"""Staff by invitation: the link, who may send which, joining, withdrawing; the command line."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa
import time_machine
from browsing import PASSWORD, Browser, link_in, mails_to, make_person
from builders import make_program
from flask import Flask
from sqlalchemy.orm import Session

from affiliate.core.clock import real_now
from affiliate.people import cli, grants, users
from affiliate.people.models import Grant, Invitation, User
from affiliate.programs.models import Program

NEW = "new@example.com"
NEW_PASSWORD = "another leaf under the lamp"


@pytest.fixture
def program(app: Flask, session: Session) -> Program:
    made = make_program(session, now=real_now())
    session.commit()
    return made


@pytest.fixture
def owner(app: Flask, session: Session, program: Program) -> Browser:
    make_person(session, "owner@example.com", role="owner")
    browser = Browser(app)
    browser.sign_in("owner@example.com")
    return browser


def invite(browser: Browser, role: str = "finance", program: str = "lamps") -> int:
    answer = browser.post(
        "/manage/staff/invitations", page="/manage/staff", email=NEW, role=role, program=program
    )
    return answer.status_code


def granted(session: Session) -> list[tuple[str, str]]:
    session.rollback()
    found = session.execute(
        sa.select(User.email, Grant.role)
        .join(User, User.id == Grant.user_id)
        .where(Grant.revoked_at.is_(None), User.email == NEW)
    )
    return [(email, role) for email, role in found]


def test_an_invited_person_sets_name_and_password_and_is_in(
    app: Flask, session: Session, owner: Browser
) -> None:
    assert invite(owner) == 303
    mail = mails_to(session, NEW)[0]
    assert mail.one_time and "finance" in mail.text and "Lamp & Leaf" in mail.text
    path = link_in(mail)
    guest = Browser(app)
    joined = guest.post(path, name="Nora", password=NEW_PASSWORD)
    assert joined.location == "/profile/second-factor", "the role sleeps until one is set up"
    assert guest.signed_in
    assert granted(session) == [(NEW, "finance")]
    assert Browser(app).get(path).status_code == 410


def test_a_weak_password_leaves_the_invitation_open(
    app: Flask, session: Session, owner: Browser
) -> None:
    invite(owner)
    path = link_in(mails_to(session, NEW)[0])
    assert Browser(app).post(path, name="Nora", password="short").status_code == 422
    assert Browser(app).post(path, name="Nora", password=NEW_PASSWORD).status_code == 303


@pytest.mark.abuse("A25")
def test_a_known_person_joins_with_the_password_they_have(
    app: Flask, session: Session, owner: Browser
) -> None:
    make_person(session, NEW)
    invite(owner)
    path = link_in(mails_to(session, NEW)[0])
    assert Browser(app).post(path, password=NEW_PASSWORD).status_code == 422
    assert granted(session) == []
    assert Browser(app).post(path, password=PASSWORD).status_code == 303
    assert granted(session) == [(NEW, "finance")]


@pytest.mark.abuse("A28")
@pytest.mark.parametrize(("days", "status"), [(6, 200), (8, 410)])
def test_an_invitation_lives_for_seven_days(
    app: Flask, session: Session, owner: Browser, days: int, status: int
) -> None:
    invite(owner)
    path = link_in(mails_to(session, NEW)[0])
    with time_machine.travel(real_now() + timedelta(days=days), tick=False):
        assert Browser(app).get(path).status_code == status


def test_a_withdrawn_invitation_is_void(app: Flask, session: Session, owner: Browser) -> None:
    invite(owner)
    number = session.scalars(sa.select(Invitation.id)).one()
    session.rollback()
    owner.post(f"/manage/staff/invitations/{number}/withdrawal", page="/manage/staff")
    assert Browser(app).get(link_in(mails_to(session, NEW)[0])).status_code == 410


@pytest.mark.abuse("A25")
def test_an_invitation_of_somebody_disabled_since_gives_nothing(
    app: Flask, session: Session, owner: Browser
) -> None:
    make_person(session, "second@example.com", role="owner")
    invite(owner)
    inviter = users.find(session, email="owner@example.com")
    assert inviter is not None
    users.disable_user(session, user_id=inviter.id, by=None, now=real_now())
    session.commit()
    path = link_in(mails_to(session, NEW)[0])
    assert Browser(app).post(path, name="N", password=NEW_PASSWORD).status_code == 422
    assert users.find(session, email=NEW) is None
    assert granted(session) == []


@pytest.mark.abuse("A25")
@pytest.mark.parametrize(
    ("role", "slug", "status"),
    [
        ("curator", "lamps", 303),
        ("analyst", "lamps", 303),
        ("finance", "lamps", 422),
        ("owner", "", 422),
        ("curator", "other", 422),
    ],
)
def test_a_manager_invites_to_the_own_desk_alone(
    app: Flask, session: Session, program: Program, role: str, slug: str, status: int
) -> None:
    make_program(session, now=real_now(), slug="other", name="Other")
    person = make_person(session, "manager@example.com")
    grants.grant_role(
        session, user_id=person.id, role="manager", program_id=program.id, by=None, now=real_now()
    )
    session.commit()
    browser = Browser(app)
    browser.sign_in("manager@example.com")
    assert invite(browser, role, slug) == status


def test_a_role_without_its_program_is_refused(owner: Browser) -> None:
    assert invite(owner, "finance", "") == 422
    assert invite(owner, "owner", "") == 303


@pytest.mark.abuse("A24")
def test_a_manager_does_not_see_or_take_roles_of_other_programs(
    app: Flask, session: Session, program: Program
) -> None:
    other = make_program(session, now=real_now(), slug="other", name="Other")
    stranger = make_person(session, "stranger@example.com")
    theirs = grants.grant_role(
        session, user_id=stranger.id, role="curator", program_id=other.id, by=None, now=real_now()
    )
    person = make_person(session, "manager@example.com")
    grants.grant_role(
        session, user_id=person.id, role="manager", program_id=program.id, by=None, now=real_now()
    )
    session.commit()
    number = theirs.id
    browser = Browser(app)
    browser.sign_in("manager@example.com")
    assert "stranger@example.com" not in browser.get("/manage/staff").text
    path = f"/manage/staff/roles/{number}/revocation"
    assert browser.post(path, page="/manage/staff").status_code == 404


def test_an_owner_takes_roles_back_and_shuts_people_out(
    app: Flask, session: Session, owner: Browser, program: Program
) -> None:
    person = make_person(session, NEW)
    grant = grants.grant_role(
        session, user_id=person.id, role="finance", program_id=program.id, by=None, now=real_now()
    )
    session.commit()
    number, user_id = grant.id, person.id
    theirs = Browser(app)
    theirs.sign_in(NEW)
    owner.post(f"/manage/staff/people/{user_id}/disabling", page="/manage/staff")
    assert not theirs.signed_in
    assert theirs.sign_in(NEW).status_code == 401
    owner.post(f"/manage/staff/people/{user_id}/enabling", page="/manage/staff")
    assert theirs.sign_in(NEW).status_code == 303
    owner.post(f"/manage/staff/roles/{number}/revocation", page="/manage/staff")
    assert granted(session) == []


def test_the_first_owner_is_made_by_the_command_line(app: Flask, session: Session) -> None:
    run = app.test_cli_runner()
    made = run.invoke(
        cli.user_group,
        ["create", "--email", NEW, "--role", "owner", "--password-stdin"],
        input=NEW_PASSWORD + "\n",
    )
    assert made.exit_code == 0, made.output
    assert granted(session) == [(NEW, "owner")]
    assert Browser(app).sign_in(NEW, NEW_PASSWORD).status_code == 303
    refused = run.invoke(cli.user_group, ["disable", "--email", NEW])
    assert refused.exit_code == 1
    assert "last owner" in refused.output


def test_staff_made_without_a_password_get_a_link(
    app: Flask, session: Session, program: Program
) -> None:
    run = app.test_cli_runner()
    made = run.invoke(
        cli.user_group,
        ["create", "--email", NEW, "--role", "finance", "--program", "lamps"],
        input="\n",
    )
    assert made.exit_code == 0, made.output
    path = link_in(mails_to(session, NEW)[0])
    assert Browser(app).post(path, password=NEW_PASSWORD).status_code == 303
    assert Browser(app).sign_in(NEW, NEW_PASSWORD).location == "/profile/second-factor"


@pytest.mark.abuse("A48")
def test_a_fresh_installation_has_no_account_at_all(app: Flask, session: Session) -> None:
    assert session.scalar(sa.select(sa.func.count()).select_from(User)) == 0
    assert session.scalar(sa.select(sa.func.count()).select_from(Grant)) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["create", "--email", "x", "--role", "owner"], "not an e-mail address"),
        (["create", "--email", NEW, "--role", "finance", "--program", "none"], "no program"),
        (["create", "--email", NEW, "--role", "finance"], "other roles need one"),
        (["disable", "--email", "nobody@example.com"], "no user"),
    ],
)
def test_commands_say_what_is_wrong(app: Flask, arguments: list[str], words: str) -> None:
    refused = app.test_cli_runner().invoke(cli.user_group, arguments, input=NEW_PASSWORD + "\n")
    assert refused.exit_code == 1
    assert words in refused.output
