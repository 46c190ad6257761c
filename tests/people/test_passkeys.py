"""Passkeys in a real Chromium, whose authenticator is its own virtual one."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import parse_qs

import pytest
import sqlalchemy as sa
from browsing import PASSWORD, mails_to, make_person
from flask import Flask
from playwright.sync_api import Browser, BrowserContext, CDPSession, Page, expect
from sqlalchemy.orm import Session
from werkzeug.serving import make_server

from affiliate.core.clock import real_now
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.people import grants, passkeys, second_factor, sessions
from affiliate.people.models import Passkey, User, UserSession
from wsgi import create_app

OLGA = "olga@example.com"
PAGE = "/profile/second-factor"
AUTHENTICATOR = {
    "options": {
        "protocol": "ctap2",
        "transport": "usb",
        "hasResidentKey": False,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
}


@pytest.fixture
def site(settings: Settings) -> Iterator[tuple[Flask, str]]:
    """The application under `localhost`: browsers make no passkey for an address of numbers."""
    server = make_server("localhost", 0, Flask("nothing yet"), threaded=True)
    base = f"http://localhost:{server.server_port}"
    app = create_app(replace(settings, public_url=base, trusted_hosts=("localhost",)))
    server.app = app
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield app, base
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        with app.app_context():
            db.session.remove()
            for engine in db.engines.values():
                engine.dispose()


@pytest.fixture
def olga(site: tuple[Flask, str], session: Session) -> User:
    """An owner without a second factor."""
    user = make_person(session, OLGA)
    grants.grant_role(
        session, user_id=user.id, role="owner", program_id=None, by=None, now=real_now()
    )
    session.commit()
    return user


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    opened = browser.new_context(locale="en-GB")
    opened.set_default_timeout(20_000)
    yield opened
    opened.close()


def with_authenticator(page: Page) -> tuple[CDPSession, str]:
    """Give the page a security key that is always touched."""
    wire = page.context.new_cdp_session(page)
    wire.send("WebAuthn.enable")
    return wire, wire.send("WebAuthn.addVirtualAuthenticator", AUTHENTICATOR)["authenticatorId"]


def give_password(page: Page, base: str) -> None:
    page.goto(f"{base}/sign-in")
    page.fill("[name=email]", OLGA)
    page.fill("[name=password]", PASSWORD)
    page.click("main form button[type=submit]")
    page.wait_for_url(lambda url: not url.startswith(f"{base}/sign-in"))


def enrolled(page: Page, base: str) -> tuple[CDPSession, str]:
    """Sign in and add a passkey named `my key`; it opens what was closed."""
    wire = with_authenticator(page)
    give_password(page, base)
    page.goto(f"{base}{PAGE}")
    page.fill("[name=name]", "my key")
    page.click("[data-passkey=create] [data-passkey-button]")
    expect(page.locator("h1")).to_have_text("Recovery codes")
    return wire


@pytest.mark.browser
def test_a_passkey_wakes_the_role_signs_in_and_confirms_anew(
    site: tuple[Flask, str], olga: User, session: Session, context: BrowserContext
) -> None:
    _app, base = site
    page = context.new_page()
    enrolled(page, base)
    assert (
        len(re.findall(r"[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}", page.inner_text("main pre"))) == 10
    )
    page.goto(f"{base}/finance/")
    expect(page.locator("h1")).to_have_text("To do")
    assert mails_to(session, OLGA)[-1].subject == "A passkey protects your account now"

    page.click(".user-button")
    page.get_by_role("button", name="Sign out").click()
    give_password(page, base)
    assert page.url == f"{base}/second-factor"
    page.click("[data-passkey=get] [data-passkey-button]")
    page.wait_for_url(lambda url: "/second-factor" not in url)
    page.goto(f"{base}/confirm-factor?next=/finance/")
    page.click("[data-passkey=get] [data-passkey-button]")
    page.wait_for_url(f"{base}/finance/")
    session.rollback()
    key = session.scalars(sa.select(Passkey)).one()
    assert (key.name, key.sign_count) == ("my key", 3)


@pytest.mark.browser
@pytest.mark.abuse("A26")
def test_a_signed_answer_counts_once_and_for_its_own_challenge(
    site: tuple[Flask, str], olga: User, session: Session, context: BrowserContext
) -> None:
    """What a passkey signed is caught on its way and sent twice, then under a new challenge."""
    app, base = site
    page = context.new_page()
    enrolled(page, base)
    page.goto(f"{base}/confirm-factor")
    caught: list[str] = []

    def catch(route: object) -> None:
        caught.append(route.request.post_data)  # type: ignore[attr-defined]
        route.abort()  # type: ignore[attr-defined]

    page.route("**/confirm-factor", catch)
    page.click("[data-passkey=get] [data-passkey-button]")
    page.wait_for_timeout(1_000)
    (body,) = caught
    answer = parse_qs(body)["passkey"][0]
    with app.app_context():
        own = db.session()
        found = own.scalars(sa.select(UserSession).where(UserSession.challenge.is_not(None))).one()
        user_id, session_id = found.user_id, found.id

        def prove(text: str) -> None:
            passkeys.prove(
                own, user_id=user_id, session_id=session_id, answer=text, real_now=real_now()
            )
            own.commit()

        prove(answer)
        with pytest.raises(passkeys.PasskeyWrong):
            prove(answer)
        own.commit()
        passkeys.request_options(own, user_id=user_id, session_id=session_id, real_now=real_now())
        with pytest.raises(passkeys.PasskeyWrong):
            prove(answer)


@pytest.mark.browser
def test_a_browser_whose_passkey_is_another_persons_is_told_so(
    site: tuple[Flask, str], olga: User, context: BrowserContext
) -> None:
    _app, base = site
    page = context.new_page()
    wire, authenticator = enrolled(page, base)
    wire.send("WebAuthn.clearCredentials", {"authenticatorId": authenticator})
    page.goto(f"{base}/confirm-factor")
    page.click("[data-passkey=get] [data-passkey-button]")
    expect(page.locator("[data-passkey-error]")).to_be_visible()


GARBAGE = {
    "empty object": "{}",
    "no json": "<xml/>",
    "list": "[]",
    "null fields": json.dumps({"id": None, "rawId": None, "type": "public-key", "response": None}),
    "nested": "[" * 9_000,
    "other id": json.dumps(
        {
            "id": "AAAA", "rawId": "AAAA", "type": "public-key",
            "response": {"clientDataJSON": "AAAA", "authenticatorData": "AAAA", "signature": "AA"},
        }
    ),
    "long": "x" * 30_000,
}  # fmt: skip


@pytest.mark.parametrize("answer", GARBAGE.values(), ids=GARBAGE)
def test_what_no_authenticator_made_is_refused(app: Flask, session: Session, answer: str) -> None:
    user = make_person(session, OLGA)
    with app.app_context():
        sessions.begin(session, user_id=user.id, agent="", now=real_now())
        session_id = session.scalars(sa.select(UserSession.id)).one()
        for verb in (passkeys.add, passkeys.prove):
            sessions.set_challenge(
                session, session_id=session_id, challenge=b"c" * 32, now=real_now()
            )
            more = {"name": "key", "now": real_now()} if verb is passkeys.add else {}
            with pytest.raises(passkeys.PasskeyWrong):
                verb(session, user_id=user.id, session_id=session_id, answer=answer,
                     real_now=real_now(), **more)  # type: ignore[operator]  # fmt: skip
        assert not second_factor.factors_of(session, user_id=user.id).enrolled


@pytest.mark.parametrize(
    ("address", "possible"),
    [
        ("https://kopeck.example", True),
        ("http://localhost:8000", True),
        ("http://127.0.0.1:8000", False),
        ("https://[::1]", False),
        ("http://kopeck.example", False),
    ],
)
def test_passkeys_are_offered_where_browsers_make_them(
    app: Flask, settings: Settings, address: str, possible: bool
) -> None:
    app.extensions["kopeck.settings"] = replace(settings, public_url=address)
    with app.app_context():
        assert passkeys.possible() is possible
