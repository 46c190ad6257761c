"""The public pages: rules in words, recruiting links, applications."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from builders import make_affiliate, make_program, make_user, terms_document
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from affiliate.core.clock import real_now
from affiliate.people import enrollments, ids, sessions
from affiliate.people.models import Enrollment, User
from affiliate.programs.announcements import announce
from affiliate.programs.models import Program
from affiliate.programs.programs import close_program

FORM: dict[str, Any] = {
    "name": "Boris",
    "channels": ["blog", "people"],
    "how": "I write about lamps twice a week.",
    "site": "https://boris.example",
    "audience": "under_1000",
    "agreement": "y",
    "rule_version": "1",
}


BASE = "http://127.0.0.1:8000"


class Site:
    """A browser at the installation's own address, so that its cookies stay together."""

    def __init__(self, app: Flask) -> None:
        self.inner: FlaskClient = app.test_client()

    def get(self, path: str, **more: Any) -> TestResponse:
        return self.inner.get(path, base_url=BASE, **more)

    def post(self, path: str, **more: Any) -> TestResponse:
        return self.inner.post(path, base_url=BASE, **more)


@pytest.fixture
def site(app: Flask) -> Site:
    return Site(app)


@pytest.fixture
def program(app: Flask, session: Session) -> Program:
    made = make_program(session, now=real_now(), contact_email="help@shop.example")
    session.commit()
    return made


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).replace("&#39;", "'").split())


def sign_in(site: Site, session: Session, email: str, **more: Any) -> User:
    user = make_user(session, email, now=real_now(), **more)
    token = sessions.begin(session, user_id=user.id, agent="test", now=real_now())
    session.commit()
    with site.inner.session_transaction(base_url=BASE) as cookie:
        cookie[sessions.COOKIE_KEY] = token
    return user


def token_in(html: str) -> str:
    found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', html)
    assert found is not None
    return found.group(1)


def send(at: Site, path: str = "/programs/lamps/apply", **changes: Any) -> Any:
    page = at.get(path)
    form = {**FORM, **changes, "csrf_token": token_in(page.text)}
    return at.post(path.partition("?")[0], data=form)


def test_the_page_says_the_rules_in_words_with_an_example(site: Site, program: Program) -> None:
    page = site.get("/programs/lamps")
    text = text_of(page.text)
    assert page.status_code == 200
    for sentence in (
        "10% of every sale",
        "10% of the net amount of every order credited to you",
        "2% of the net amount of every order credited to an affiliate whom you recruited",
        "within 30 days after the click",
        "The last click before the order is credited",
        "14 days after the order",
        "what is available on Monday at 09:00",
        "(Europe/Moscow)",
        "buys goods for 3,500.00 RUB",
        "You earn 350.00 RUB",
        "earns 70.00 RUB on top",
        "you keep 175.00 RUB",
        "help@shop.example",
        "shop.example and everything below it",
        "Version 1, in force since",
    ):
        assert sentence in text, sentence
    assert "/programs/lamps/apply" in page.text


def test_rules_that_are_coming_are_announced(
    site: Site, session: Session, program: Program
) -> None:
    announce(
        session,
        program_id=program.id,
        document=terms_document(
            commission={"level_1": {"kind": "fixed", "amount": "100.00"}, "level_2": None}
        ),
        effective_at=real_now() + timedelta(days=30),
        by=None,
        now=real_now(),
    )
    session.commit()
    text = text_of(site.get("/programs/lamps").text)
    assert "Version 2 takes effect on" in text
    assert "10% of every sale" in text


@pytest.mark.parametrize("status", ["closing", "closed"])
def test_a_program_that_closes_still_shows_its_rules_and_takes_nobody(
    site: Site, session: Session, program: Program, status: str
) -> None:
    close_program(session, program_id=program.id, notice=timedelta(days=7), by=None, now=real_now())
    program.status = status
    session.commit()
    page = site.get("/programs/lamps")
    assert page.status_code == 200
    assert f"This program is {status}" in text_of(page.text)
    assert "10% of every sale" in text_of(page.text)
    assert "/programs/lamps/apply" not in page.text
    assert "Lamp" not in text_of(site.get("/programs").text)


def test_the_list_shows_what_each_pays(site: Site, program: Program) -> None:
    text = text_of(site.get("/programs").text)
    assert "Lamp &amp; Leaf 10% of every sale" in text


def test_an_unknown_program_is_a_quiet_404(site: Site, program: Program) -> None:
    assert site.get("/programs/nothing").status_code == 404
    assert site.get("/programs/nothing/apply").status_code == 404


def test_a_visitor_is_asked_for_an_account_first(site: Site, program: Program) -> None:
    page = site.get("/programs/lamps/apply")
    assert 'action="/sign-up"' in page.text
    assert 'name="next" value="/programs/lamps/apply"' in page.text
    answer = site.post("/programs/lamps/apply", data=FORM)
    assert answer.status_code in (303, 400)


def test_an_application_is_kept_and_shown(
    app: Flask, site: Site, session: Session, program: Program
) -> None:
    sign_in(site, session, "boris@x.example")
    answer = send(site)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/programs/lamps")
    kept = session.scalars(sa.select(Enrollment)).one()
    assert (kept.status, kept.recruiter_id) == ("applied", None)
    assert kept.answers == {
        "channels": ["blog", "people"],
        "how": "I write about lamps twice a week.",
        "audience": "under_1000",
        "site": "https://boris.example",
        "rule_version": 1,
    }
    text = text_of(site.get("/programs/lamps").text)
    assert "Your application is being read" in text

    with app.app_context():
        enrollments.reject(
            session, enrollment_id=kept.id, reason="Too new.", by=None, now=real_now()
        )
    session.commit()
    assert "Too new." in text_of(site.get("/programs/lamps").text)
    again = send(site)
    assert again.status_code == 409
    assert "30 days" in again.text


@pytest.mark.parametrize("how", ["cookie", "field"])
def test_a_recruiting_link_is_remembered_until_the_application(
    app: Flask, site: Site, session: Session, program: Program, how: str
) -> None:
    with app.app_context():
        anna = make_affiliate(session, program, "anna@x.example", now=real_now())
    sign_in(site, session, "boris@x.example")
    by = ids.public(anna.id)
    page = site.get(f"/programs/lamps?by={by}")
    assert "You were recruited by Anna" in text_of(page.text)
    if how == "field":
        site.inner.delete_cookie("by-lamps", domain="127.0.0.1")
        answer = send(site, f"/programs/lamps/apply?by={by}", by=by)
    else:
        answer = send(site)
    assert answer.status_code == 303
    boris = session.scalars(sa.select(Enrollment).where(Enrollment.status == "applied")).one()
    assert boris.recruiter_id == anna.id
    assert site.inner.get_cookie("by-lamps", domain="127.0.0.1") is None


@pytest.mark.parametrize("by", ["aff_zzzz", "enr_x", "' OR 1=1", "\r\nX: y", "aff_" + "a" * 50])
def test_an_odd_recruiting_link_changes_nothing(
    site: Site, session: Session, program: Program, by: str
) -> None:
    sign_in(site, session, "boris@x.example")
    page = site.get("/programs/lamps", query_string={"by": by})
    assert page.status_code == 200
    assert "You were recruited" not in page.text
    assert send(site).status_code == 303


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"how": "short"}, "One or two sentences are enough."),
        ({"channels": []}, "Choose at least one."),
        ({"audience": ""}, "Choose one; a guess is fine."),
        ({"agreement": ""}, "Without your agreement"),
        ({"site": "boris.example"}, "with https:// in front."),
        ({"name": "a\u202eb"}, "visible characters"),
        ({"name": ""}, "what to call you"),
    ],
)
def test_a_form_with_something_missing_says_what(
    site: Site, session: Session, program: Program, changes: dict[str, Any], sentence: str
) -> None:
    sign_in(site, session, "boris@x.example")
    answer = send(site, **changes)
    assert answer.status_code == 422
    assert sentence in text_of(answer.text)
    assert session.scalar(sa.select(sa.func.count(Enrollment.id))) == 0


@pytest.mark.abuse("A35")
@pytest.mark.parametrize("field", ["status", "recruiter_id", "group_id", "user_id", "role"])
def test_fields_that_the_form_does_not_have_are_refused(
    site: Site, session: Session, program: Program, field: str
) -> None:
    sign_in(site, session, "boris@x.example")
    answer = send(site, **{field: "active"})
    assert answer.status_code == 422
    assert session.scalar(sa.select(sa.func.count(Enrollment.id))) == 0


def test_a_verified_person_is_in_at_once_where_the_program_says_so(
    site: Site, session: Session, app: Flask
) -> None:
    make_program(session, now=real_now(), auto_approve=True)
    sign_in(site, session, "boris@x.example")
    assert send(site).status_code == 303
    assert "You are an affiliate of this program" in text_of(site.get("/programs/lamps").text)
    assert site.get("/programs/lamps/apply").status_code == 302
