"""Sign-ins as rows: listed, idle, too old, ended; and the password asked for again."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest
import sqlalchemy as sa
import time_machine
from browsing import BASE, PASSWORD, Browser, code_of, mails_to, make_person
from flask import Flask
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.clock import real_now
from affiliate.people import agents, freshness, sessions
from affiliate.people.models import User, UserSession

ADA = "ada@example.com"
NEW_PASSWORD = "another leaf under the lamp"


@pytest.fixture
def ada(app: Flask, session: Session) -> User:
    return make_person(session, ADA)


@pytest.fixture
def browser(app: Flask, ada: User) -> Browser:
    made = Browser(app)
    made.sign_in(ADA)
    return made


def rows(session: Session) -> list[UserSession]:
    session.rollback()
    return list(
        session.scalars(
            sa.select(UserSession)
            .order_by(UserSession.id)
            .execution_options(populate_existing=True)
        )
    )


@pytest.mark.abuse("A26")
def test_the_database_keeps_only_the_hash_of_the_cookies_token(
    browser: Browser, session: Session
) -> None:
    with browser.client.session_transaction(base_url=BASE) as cookie:
        token = cookie[sessions.COOKIE_KEY]
    assert rows(session)[0].token_hash == hashlib.sha256(token.encode()).digest()


@pytest.mark.abuse("A26")
@pytest.mark.parametrize(("days", "alive"), [(6.9, True), (7.1, False)])
def test_an_idle_session_ends(browser: Browser, days: float, alive: bool) -> None:
    with time_machine.travel(real_now() + timedelta(days=days), tick=False):
        assert browser.signed_in is alive


@pytest.mark.abuse("A26")
def test_a_session_that_is_used_every_day_ends_all_the_same(browser: Browser) -> None:
    begun = real_now()
    for day in range(1, 30):
        with time_machine.travel(begun + timedelta(days=day), tick=False):
            assert browser.signed_in
    with time_machine.travel(begun + timedelta(days=30, minutes=1), tick=False):
        assert not browser.signed_in


def test_being_seen_is_written_once_a_minute_at_most(browser: Browser, session: Session) -> None:
    browser.get("/profile")
    begun = rows(session)[0].last_seen_at
    with time_machine.travel(begun + timedelta(seconds=59), tick=False):
        browser.get("/profile")
    assert rows(session)[0].last_seen_at == begun
    with time_machine.travel(begun + timedelta(seconds=61), tick=False):
        browser.get("/profile")
    assert rows(session)[0].last_seen_at > begun


def test_a_moved_demo_clock_signs_nobody_out(
    app: Flask, browser: Browser, session: Session
) -> None:
    settings = app.extensions["kopeck.settings"]
    clock.advance(session, by=timedelta(days=60), settings=settings)
    session.commit()
    assert browser.signed_in


@pytest.mark.abuse("A26")
def test_sessions_are_listed_and_ended_one_by_one(
    app: Flask, browser: Browser, session: Session
) -> None:
    phone = Browser(app, agent="Mozilla/5.0 (iPhone) Safari/604")
    phone.sign_in(ADA)
    page = browser.get("/profile").text
    assert "Firefox, Linux" in page and "Safari, iPhone" in page and "this one" in page
    browser.post(f"/profile/sessions/{rows(session)[1].id}/revocation", page="/profile")
    assert not phone.signed_in
    assert browser.signed_in


@pytest.mark.abuse("A26")
def test_all_other_sessions_end_at_once(app: Flask, browser: Browser) -> None:
    others = [Browser(app), Browser(app)]
    for other in others:
        other.sign_in(ADA)
    browser.post("/profile/sessions/revocation", page="/profile")
    assert [other.signed_in for other in others] == [False, False]
    assert browser.signed_in


@pytest.mark.abuse("A24")
def test_nobody_ends_another_persons_session(
    app: Flask, browser: Browser, session: Session
) -> None:
    make_person(session, "eve@example.com")
    eve = Browser(app)
    eve.sign_in("eve@example.com")
    answer = eve.post(f"/profile/sessions/{rows(session)[0].id}/revocation", page="/profile")
    assert answer.status_code == 404
    assert browser.signed_in


@pytest.mark.abuse("A26")
def test_changing_the_password_ends_the_others_renews_this_one_and_tells_the_address(
    app: Flask, browser: Browser, session: Session
) -> None:
    other = Browser(app)
    other.sign_in(ADA)
    before = browser.cookie()
    answer = browser.post(
        "/profile/password", page="/profile", present=PASSWORD, password=NEW_PASSWORD
    )
    assert answer.status_code == 303
    assert browser.signed_in and not other.signed_in
    thief = Browser(app)
    thief.take_over(before)
    assert not thief.signed_in, "a privilege change gives a new id"
    assert mails_to(session, ADA)[-1].template == "people/password_changed"


def test_the_present_password_is_needed_for_a_new_one(browser: Browser) -> None:
    answer = browser.post(
        "/profile/password", page="/profile", present="wrong", password=NEW_PASSWORD
    )
    assert answer.status_code == 422
    assert "not your present password" in answer.text


@pytest.mark.abuse("A27")
def test_a_stolen_session_does_not_guess_the_password(browser: Browser) -> None:
    answers = [
        browser.post(
            "/profile/password", page="/profile", present=f"guess {i}", password=NEW_PASSWORD
        ).status_code
        for i in range(6)
    ]
    assert answers == [422] * 5 + [429]


@pytest.mark.abuse("A23")
@pytest.mark.abuse("A25")
def test_money_and_access_ask_for_the_password_again(app: Flask, session: Session) -> None:
    make_person(session, "owner@example.com", role="owner")
    owner = Browser(app)
    owner.sign_in("owner@example.com")
    later = real_now() + timedelta(seconds=freshness.FRESH_S + 1)
    with time_machine.travel(later, tick=False):
        form = {"email": "new@example.com", "role": "owner", "program": ""}
        refused = owner.post("/manage/staff/invitations", page="/manage/staff", **form)
        assert refused.location == "/confirm-password"
        assert owner.post("/confirm-password", password="wrong").status_code == 401
        confirmed = owner.post("/confirm-password", password=PASSWORD, next="/manage/staff")
        assert confirmed.location == "/manage/staff"
        refused = owner.post("/manage/staff/invitations", page="/manage/staff", **form)
        assert refused.location == "/confirm-factor"
        code = code_of(app, "owner@example.com")
        confirmed = owner.post("/confirm-factor", code=code, next="/manage/staff")
        assert confirmed.location == "/manage/staff"
        accepted = owner.post("/manage/staff/invitations", page="/manage/staff", **form)
        assert accepted.location == "/manage/staff"


def test_after_the_password_is_said_that_what_was_sent_before_was_not_done(
    app: Flask, session: Session
) -> None:
    make_person(session, "ada@example.com")
    ada = Browser(app)
    ada.sign_in("ada@example.com")
    for query, said in (("", False), ("?sent=1", True)):
        ada.post(f"/confirm-password{query}", password=PASSWORD, next="/profile")
        page = ada.get("/profile").text
        assert ("Nothing of what you sent before was done" in page) == said


def test_the_profile_is_changed_by_its_form(browser: Browser, session: Session, ada: User) -> None:
    answer = browser.post("/profile", name="Ada\r\nL.", locale="en", time_zone="Europe/Moscow")
    assert answer.status_code == 303
    session.rollback()
    session.refresh(ada)
    assert (ada.name, ada.time_zone) == ("Ada L.", "Europe/Moscow")
    refused = browser.post("/profile", name="Ada", locale="xx", time_zone="Mars/Base")
    assert refused.status_code == 422


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        (
            "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
            "Firefox, Linux",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0) AppleWebKit Chrome/140 Safari/537 Edg/140",
            "Edge, Windows",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0) Chrome/140 YaBrowser/25 Safari/537",
            "Yandex Browser, Windows",
        ),
        ("Mozilla/5.0 (Linux; Android 16) Chrome/140 Mobile Safari/537", "Chrome, Android"),
        ("curl/8.5.0", "curl/8.5.0"),
        ("", "?"),
    ],
)
def test_a_browser_is_named_in_two_words(agent: str, words: str) -> None:
    assert agents.describe(agent) == words
