"""Every route and every role, out of the URL map: what a mark allows, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from staff import STAFF, hire
from werkzeug.routing import Rule
from world import World

from affiliate.core import http
from affiliate.people.access import Kind, Mark, Role, mark_of
from affiliate.people.models import Grant

ROLES = ("anonymous", "affiliate", *STAFF)
NOT_THERE = "zzz_ZZZZZZ"
"""An id that is nobody's: no call of the matrix does anything."""
REFUSED = (401, 403)
ASKS = "/sign-in"
ENDS_SIGN_INS = {"sign_in.sign_out"}


def calls(app: Flask) -> Iterator[tuple[Rule, str, Mark]]:
    """Each rule and method that a view of ours answers, with its mark."""
    for rule in app.url_map.iter_rules():
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            mark = mark_of(app.view_functions[rule.endpoint], rule.endpoint, method)
            assert mark is not None, f"{method} {rule.rule} names nobody who may call it"
            yield rule, method, mark


def address(rule: Rule) -> str:
    """The rule's address with an id that is nobody's in each place."""
    plain = re.sub(r"<(?:int|float):[^>]+>", "999999999", rule.rule)
    plain = re.sub(r"<uuid:[^>]+>", "00000000-0000-7000-8000-000000000000", plain)
    return re.sub(r"<[^>]+>", NOT_THERE, plain)


def allowed(mark: Mark, role: str) -> bool:
    """What the mark says of somebody with this role alone."""
    if mark.kind is Kind.PUBLIC:
        return True
    if mark.kind is Kind.SCOPE or role == "anonymous":
        return False
    if mark.kind is Kind.SIGNED_IN:
        return True
    if mark.kind is Kind.AFFILIATES:
        return role == "affiliate"
    return Role(role) in mark.roles


def refused(answer: Any) -> bool:
    """401, 403, or the way to where one signs in. Ids are nobody's, so a 404 would prove
    nothing: the role is looked at before the id."""
    if answer.status_code in (302, 303):
        return str(answer.location).startswith(ASKS)
    return answer.status_code in REFUSED


@pytest.fixture
def browsers(world: World, app: Flask) -> dict[str, FlaskClient]:
    """One browser a role; none of them has a second one."""
    app.config["WTF_CSRF_ENABLED"] = False
    found = {"anonymous": app.test_client(), "affiliate": world.affiliate("Anna").client}
    return found | {role: hire(world, role).client for role in STAFF}


@pytest.mark.abuse("A24", "A25")
@pytest.mark.parametrize("role", ROLES)
def test_a_role_gets_what_marks_allow_and_nothing_else(
    app: Flask, browsers: dict[str, FlaskClient], role: str
) -> None:
    wrong: list[str] = []
    for rule, method, mark in calls(app):
        if mark.kind is Kind.PUBLIC or rule.endpoint in ENDS_SIGN_INS:
            continue
        answer = browsers[role].open(address(rule), method=method)
        may = allowed(mark, role)
        if may and answer.status_code in (401, 403):
            wrong.append(f"{method} {rule.rule}: {answer.status_code} for {role}")
        if not may and not refused(answer):
            wrong.append(f"{method} {rule.rule}: {answer.status_code} let {role} in")
        if answer.status_code >= 500:
            wrong.append(f"{method} {rule.rule}: {answer.status_code} for {role}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.abuse("A25")
def test_a_role_that_is_taken_back_counts_at_the_next_request(
    world: World, browsers: dict[str, FlaskClient]
) -> None:
    assert browsers["finance"].get("/finance/").status_code == 200
    for grant in world.session.query(Grant).filter_by(role="finance"):
        grant.revoked_at = world.now
    world.session.commit()
    assert browsers["finance"].get("/finance/").status_code == 403


@pytest.mark.abuse("A23")
def test_every_form_without_its_token_is_refused(
    world: World, browsers: dict[str, FlaskClient], app: Flask
) -> None:
    """Pages of people alone: the API knows no cookies, and what machines call has keys."""
    app.config["WTF_CSRF_ENABLED"] = True
    app.config["WTF_CSRF_CHECK_DEFAULT"] = True
    assert world
    exempt = http.csrf._exempt_views
    wrong = []
    for rule, method, mark in calls(app):
        view = app.view_functions[rule.endpoint]
        name = f"{view.__module__}.{getattr(view, '__name__', '')}"
        if method == "GET" or mark.kind in (Kind.SCOPE, Kind.PUBLIC) or name in exempt:
            continue
        answer = browsers["owner"].open(address(rule), method=method)
        if answer.status_code != 400:
            wrong.append(f"{method} {rule.rule}: {answer.status_code}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.abuse("A42")
@pytest.mark.parametrize("path", ["/finance/", "/finance/batches", "/manage/", "/manage/rules"])
def test_no_desk_can_be_framed_or_kept_by_a_cache(
    browsers: dict[str, FlaskClient], path: str
) -> None:
    page = browsers["owner"].get(path)
    assert page.status_code == 200
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
    assert page.headers["Cache-Control"] == "no-store"
