"""Every view names its role, the hook holds it, and a change of roles counts at once."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from browsing import BASE, Browser, give_app, make_person
from builders import make_affiliate, make_program
from flask import Flask
from sqlalchemy.orm import Session
from werkzeug.routing import Rule

from affiliate.core.audit import AuditEntry
from affiliate.core.clock import real_now
from affiliate.core.errors import Forbidden, NotFound
from affiliate.people import access, grants, users
from affiliate.people.access import Kind, Role
from affiliate.people.models import Grant, User
from affiliate.people.navigation import landing
from affiliate.programs.models import Program

SAMPLES: dict[str, Any] = {"IntegerConverter": 1, "UUIDConverter": uuid.UUID(int=1)}
"""A value for each kind of variable in an address; others take a word."""


def views(app: Flask) -> Iterator[tuple[Rule, str, access.Mark]]:
    """Every (rule, method, mark) of the application."""
    for rule in app.url_map.iter_rules():
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            mark = access.mark_of(app.view_functions[rule.endpoint], rule.endpoint, method)
            assert mark is not None, f"{method} {rule.rule} names no role"
            yield rule, method, mark


def path_of(app: Flask, rule: Rule) -> str:
    """The rule's path with a sample for what varies."""
    adapter = app.url_map.bind("127.0.0.1:8000")
    values: dict[str, Any] = {}
    for name, converter in rule._converters.items():
        values[name] = SAMPLES.get(type(converter).__name__, "x")
    return adapter.build(rule.endpoint, values)


def ask(browser: Browser, method: str, path: str, token: str) -> Any:
    more = {} if method == "GET" else {"data": {"csrf_token": token}}
    return browser.client.open(path, method=method, base_url=BASE, **more)


@pytest.mark.abuse("A25")
def test_every_view_of_the_application_names_its_role(app: Flask) -> None:
    assert access.unmarked(app) == []
    kinds = {mark.kind for _, _, mark in views(app)}
    assert {Kind.PUBLIC, Kind.SIGNED_IN, Kind.ROLES} <= kinds


@pytest.mark.abuse("A25")
@pytest.mark.abuse("A24")
def test_a_visitor_gets_nothing_but_the_public_pages(app: Flask) -> None:
    visitor = Browser(app)
    token = visitor.token("/sign-in")
    for rule, method, mark in views(app):
        if mark.kind is Kind.PUBLIC:
            continue
        answer = ask(visitor, method, path_of(app, rule), token)
        led_away = answer.status_code == 303 and answer.location.startswith("/sign-in")
        assert led_away or answer.status_code in (401, 403), f"{method} {rule.rule}"


@pytest.mark.abuse("A25")
def test_a_person_without_a_role_gets_no_desk(app: Flask, session: Session) -> None:
    make_person(session, "plain@example.com")
    browser = Browser(app)
    browser.sign_in("plain@example.com")
    token = browser.token("/profile")
    for rule, method, mark in views(app):
        if mark.kind in (Kind.ROLES, Kind.AFFILIATES):
            answer = ask(browser, method, path_of(app, rule), token)
            assert answer.status_code == 403, f"{method} {rule.rule}"
        if mark.kind is Kind.SCOPE:
            answer = ask(browser, method, path_of(app, rule), token)
            assert answer.status_code == 401, "a cookie is no API key"


@pytest.mark.abuse("A25")
@pytest.mark.parametrize("role", ["finance", "curator", "analyst", "manager"])
def test_each_staff_role_meets_only_the_views_that_name_it(
    app: Flask, session: Session, role: str
) -> None:
    program = make_program(session, now=real_now())
    person = make_person(session, "staff@example.com")
    grants.grant_role(
        session, user_id=person.id, role=role, program_id=program.id, by=None, now=real_now()
    )
    session.commit()
    browser = Browser(app)
    browser.sign_in("staff@example.com")
    token = browser.token("/profile")
    for rule, method, mark in views(app):
        if mark.kind is Kind.AFFILIATES or (mark.kind is Kind.ROLES and role not in mark.roles):
            answer = ask(browser, method, path_of(app, rule), token)
            assert answer.status_code == 403, f"{role}: {method} {rule.rule}"


def test_a_view_without_a_role_stops_the_whole_application(app: Flask) -> None:
    app.add_url_rule("/forgotten", "forgotten", lambda: "open to all")
    browser = Browser(app)
    assert browser.get("/forgotten").status_code == 500
    assert browser.get("/sign-in").status_code == 500


def test_two_marks_on_a_view_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="two access marks"):
        access.public(access.signed_in(lambda: ""))
    with pytest.raises(ValueError, match="unknown scope"):
        access.api_scope("everything")
    with pytest.raises(ValueError, match="at least one"):
        access.allow()


@pytest.fixture
def world(app: Flask, session: Session) -> tuple[User, Program, Program]:
    """A person and two programs."""
    first = make_program(session, now=real_now(), slug="first", name="First")
    second = make_program(session, now=real_now(), slug="second", name="Second")
    session.commit()
    return make_person(session, "ada@example.com"), first, second


def seen(app: Flask, browser: Browser, *wanted: Role) -> tuple[list[str], list[bool]]:
    """Programs in which the browser's person has a role, and which slugs open."""
    with app.test_request_context(
        "/", base_url=BASE, headers={"Cookie": f"kopeck={browser.cookie()}"}
    ):
        slugs = [program.slug for program in access.programs_of(*wanted)]
        opens = []
        for slug in ("first", "second", "third"):
            try:
                access.require_program(slug, *wanted)
                opens.append(True)
            except NotFound:
                opens.append(False)
        return slugs, opens


@pytest.mark.abuse("A24")
def test_programs_open_to_those_with_the_role_there(
    app: Flask, session: Session, world: tuple[User, Program, Program]
) -> None:
    ada, first, _second = world
    grants.grant_role(
        session, user_id=ada.id, role="finance", program_id=first.id, by=None, now=real_now()
    )
    give_app(session, ada.id)
    browser = Browser(app)
    browser.sign_in("ada@example.com")
    assert seen(app, browser, Role.FINANCE) == (["first"], [True, False, False])
    assert seen(app, browser, Role.MANAGER) == ([], [False, False, False])


def test_an_owner_has_every_program(
    app: Flask, session: Session, world: tuple[User, Program, Program]
) -> None:
    make_person(session, "owner@example.com", role="owner")
    browser = Browser(app)
    browser.sign_in("owner@example.com")
    assert seen(app, browser, Role.MANAGER) == (["first", "second"], [True, True, False])


def test_an_affiliate_has_the_programs_of_the_enrollments(
    app: Flask, session: Session, world: tuple[User, Program, Program]
) -> None:
    with app.test_request_context(base_url=BASE):
        enrollment = make_affiliate(session, world[1], "nora@example.com", now=real_now())
    session.commit()
    standing = access.read_standing(
        session,
        session.scalars(sa.select(User.id).where(User.email == "nora@example.com")).one(),
        with_factor=True,
    )
    assert standing.actor.affiliate_id == enrollment.affiliate_id
    assert standing.roles == {Role.AFFILIATE}
    assert standing.actor.label == f"user:{standing.actor.user_id}"


@pytest.mark.abuse("A25")
def test_a_role_counts_at_the_next_request_and_so_does_its_loss(
    app: Flask, session: Session, world: tuple[User, Program, Program]
) -> None:
    ada, first, _ = world
    browser = Browser(app)
    browser.sign_in("ada@example.com")
    assert browser.get("/manage/keys").status_code == 403
    grant = grants.grant_role(
        session, user_id=ada.id, role="manager", program_id=first.id, by=None, now=real_now()
    )
    session.commit()
    assert browser.get("/manage/keys").status_code == 200
    grants.revoke_role(session, grant_id=grant.id, by=None, now=real_now())
    session.commit()
    assert browser.get("/manage/keys").status_code == 403


@pytest.mark.abuse("A25")
def test_a_disabled_users_live_session_ends_at_the_next_request(
    app: Flask, session: Session, world: tuple[User, Program, Program]
) -> None:
    browser = Browser(app)
    browser.sign_in("ada@example.com")
    assert browser.signed_in
    users.disable_user(session, user_id=world[0].id, by=None, now=real_now())
    session.commit()
    assert not browser.signed_in
    users.enable_user(session, user_id=world[0].id, by=None, now=real_now())
    session.commit()
    assert not browser.signed_in, "letting in again does not revive old sessions"


def give(session: Session, by: User, to: User, role: str, program: Program | None) -> Grant:
    return grants.grant_role(
        session,
        user_id=to.id,
        role=role,
        program_id=None if program is None else program.id,
        by=by.id,
        now=real_now(),
    )


@pytest.mark.abuse("A25")
def test_nobody_raises_themselves(
    app: Flask, session: Session, world: tuple[User, Program, Program]
) -> None:
    ada, first, _ = world
    owner = make_person(session, "owner@example.com", role="owner")
    with pytest.raises(grants.SelfEscalation):
        give(session, owner, owner, "finance", first)
    give(session, owner, ada, "manager", first)
    with pytest.raises(grants.SelfEscalation):
        give(session, ada, ada, "curator", first)
    with pytest.raises(grants.SelfEscalation):
        users.disable_user(session, user_id=owner.id, by=owner.id, now=real_now())


@pytest.mark.abuse("A25")
@pytest.mark.parametrize(
    ("role", "where", "allowed"),
    [
        ("curator", "first", True),
        ("analyst", "first", True),
        ("curator", "second", False),
        ("finance", "first", False),
        ("manager", "first", False),
        ("owner", None, False),
    ],
)
def test_a_manager_gives_only_the_desks_of_the_own_program(
    app: Flask,
    session: Session,
    world: tuple[User, Program, Program],
    role: str,
    where: str | None,
    allowed: bool,
) -> None:
    ada, first, second = world
    boris = make_person(session, "boris@example.com")
    grants.grant_role(
        session, user_id=ada.id, role="manager", program_id=first.id, by=None, now=real_now()
    )
    program = {"first": first, "second": second, None: None}[where]
    if allowed:
        assert give(session, ada, boris, role, program).role == role
    else:
        with pytest.raises(grants.RoleNotYours):
            give(session, ada, boris, role, program)


@pytest.mark.abuse("A25")
@pytest.mark.parametrize("role", ["finance", "curator", "analyst"])
def test_no_other_role_gives_any(
    app: Flask, session: Session, world: tuple[User, Program, Program], role: str
) -> None:
    ada, first, _ = world
    boris = make_person(session, "boris@example.com")
    grants.grant_role(
        session, user_id=ada.id, role=role, program_id=first.id, by=None, now=real_now()
    )
    with pytest.raises(Forbidden):
        give(session, ada, boris, "analyst", first)


def test_the_last_owner_stays(app: Flask, session: Session) -> None:
    owner = make_person(session, "owner@example.com", role="owner")
    grant = session.scalars(sa.select(Grant)).one()
    with pytest.raises(grants.LastOwner):
        grants.revoke_role(session, grant_id=grant.id, by=None, now=real_now())
    with pytest.raises(grants.LastOwner):
        users.disable_user(session, user_id=owner.id, by=None, now=real_now())
    second = make_person(session, "second@example.com", role="owner")
    users.disable_user(session, user_id=second.id, by=owner.id, now=real_now())
    session.flush()
    with pytest.raises(grants.LastOwner):
        grants.revoke_role(session, grant_id=grant.id, by=None, now=real_now())


def test_two_owners_who_remove_each_other_do_not_both_succeed(
    app: Flask, session: Session, engine: sa.Engine
) -> None:
    make_person(session, "one@example.com", role="owner")
    make_person(session, "two@example.com", role="owner")
    rows = session.scalars(sa.select(Grant).order_by(Grant.id)).all()
    ids = [(grant.id, grant.user_id) for grant in rows]
    session.rollback()
    with Session(engine) as first, Session(engine) as second:
        grants.revoke_role(first, grant_id=ids[1][0], by=ids[0][1], now=real_now())
        second.execute(sa.text("SET LOCAL lock_timeout = '200ms'"))
        with pytest.raises(sa.exc.OperationalError, match="lock timeout"):
            grants.revoke_role(second, grant_id=ids[0][0], by=ids[1][1], now=real_now())
        second.rollback()
        first.commit()
        with pytest.raises(grants.RoleNotYours):
            grants.revoke_role(second, grant_id=ids[0][0], by=ids[1][1], now=real_now())
        second.rollback()
        with pytest.raises(grants.LastOwner):
            grants.revoke_role(second, grant_id=ids[0][0], by=None, now=real_now())


def test_every_change_of_roles_is_in_the_audit_log(
    app: Flask, session: Session, world: tuple[User, Program, Program]
) -> None:
    ada, first, _ = world
    owner = make_person(session, "owner@example.com", role="owner")
    grant = give(session, owner, ada, "finance", first)
    assert give(session, owner, ada, "finance", first).id == grant.id, "giving again is harmless"
    grants.revoke_role(session, grant_id=grant.id, by=owner.id, now=real_now())
    rows = session.execute(
        sa.select(AuditEntry.action, AuditEntry.actor, AuditEntry.new, AuditEntry.scope)
        .where(AuditEntry.subject == f"user:{ada.id}", AuditEntry.action.startswith("role."))
        .order_by(AuditEntry.id)
    ).all()
    assert [tuple(row) for row in rows] == [
        ("role.grant", f"user:{owner.id}", {"role": "finance"}, first.id),
        ("role.revoke", f"user:{owner.id}", {"role": "finance"}, first.id),
    ]


@pytest.mark.parametrize(("role", "with_program"), [("owner", True), ("finance", False)])
def test_an_owner_has_no_program_and_others_need_one(
    app: Flask,
    session: Session,
    world: tuple[User, Program, Program],
    role: str,
    with_program: bool,
) -> None:
    with pytest.raises(grants.Invalid):
        grants.grant_role(
            session,
            user_id=world[0].id,
            role=role,
            program_id=world[1].id if with_program else None,
            by=None,
            now=real_now(),
        )


@pytest.mark.parametrize(
    ("roles", "path"),
    [
        ({Role.OWNER}, "/manage"),
        ({Role.MANAGER, Role.FINANCE}, "/manage"),
        ({Role.FINANCE, Role.AFFILIATE}, "/finance"),
        ({Role.ANALYST}, "/manage"),
        ({Role.AFFILIATE}, "/account"),
        (set(), "/"),
    ],
)
def test_the_landing_page_follows_the_role(roles: set[Role], path: str) -> None:
    assert landing(frozenset(roles)) == path
