"""A person at a browser: forms with their CSRF token, mails out of the outbox."""

from __future__ import annotations

import re
import time
from typing import Any

import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from affiliate.core.clock import real_now
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.outbox import Mail
from affiliate.people import grants, second_factor, totp, users
from affiliate.people.models import SecondFactor, User
from tests.conftest import SECRET

PASSWORD = "three lamps and a leaf"
BASE = "http://127.0.0.1:8000"


class Browser:
    """Cookies of its own; `post` fetches the page before it for the token."""

    def __init__(self, app: Flask, *, address: str = "127.0.0.1", agent: str = "Firefox Linux"):
        self.client: FlaskClient = app.test_client()
        self.client.environ_base.update(REMOTE_ADDR=address, HTTP_USER_AGENT=agent)

    def get(self, path: str, **more: Any) -> TestResponse:
        return self.client.get(path, base_url=BASE, **more)

    def send(self, path: str, **more: Any) -> TestResponse:
        """A POST as it is, without a token of its own accord."""
        return self.client.post(path, base_url=BASE, **more)

    def token(self, page: str) -> str:
        found = re.search(r'name="csrf_token" value="([^"]+)"', self.get(page).text)
        assert found, f"{page} has no form"
        return found[1]

    def post(self, path: str, page: str | None = None, **fields: Any) -> TestResponse:
        """Send the form of `page` (the path itself unless given)."""
        return self.send(path, data={"csrf_token": self.token(page or path), **fields})

    def sign_in(self, email: str, password: str = PASSWORD, **more: Any) -> TestResponse:
        """By the form; where a second factor is asked for, with the code of their app."""
        answer = self.post("/sign-in", email=email, password=password, **more)
        page = answer.headers.get("Location", "")
        if not page.startswith("/second-factor"):
            return answer
        return self.post(page, code=code_of(self.client.application, email))

    @property
    def signed_in(self) -> bool:
        return self.get("/profile").status_code == 200

    def take_over(self, cookie: str) -> None:
        """Use a cookie stolen from another browser."""
        self.client.set_cookie("kopeck", cookie, domain="127.0.0.1")

    def cookie(self) -> str:
        found = self.client.get_cookie("kopeck", domain="127.0.0.1")
        return "" if found is None else found.value


def code_of(app: Flask, email: str) -> str:
    """A code of the person's app that counts now; unheard of where three were used just now.

    Waits out the last seconds of a step, in which its earliest code is no longer given out.
    """
    left_s = totp.STEP_S - real_now().timestamp() % totp.STEP_S
    if left_s <= totp.LASTING_S:
        time.sleep(left_s)
    with app.app_context():
        row = db.session.scalars(
            sa.select(SecondFactor).join(User).where(User.email == email)
        ).one()
        assert row.totp_secret
        found = totp.code_for(row.totp_secret, after=row.totp_counter, at=real_now())
        db.session.remove()
    return found


def give_app(session: Session, user_id: int) -> None:
    """Give the person an app for codes, as if they had set it up."""
    keys = Flask("keys")
    keys.extensions["kopeck.settings"] = Settings("test", "", "", (SECRET,), BASE, ())
    with keys.app_context():
        second_factor.begin_app(session, user_id=user_id)
    session.get_one(SecondFactor, user_id).totp_since = real_now()
    session.commit()


def make_person(session: Session, email: str, *, role: str = "", **more: Any) -> User:
    """A verified user with PASSWORD; if asked an owner, who has an app for codes."""
    user = users.create_user(
        session, email=email, password=PASSWORD, name="Ada", verified=True, now=real_now(), **more
    )
    if role:
        grants.grant_role(
            session, user_id=user.id, role=role, program_id=None, by=None, now=real_now()
        )
        give_app(session, user.id)
    session.commit()
    return user


def mails_to(session: Session, email: str) -> list[Mail]:
    session.rollback()
    return list(session.scalars(sa.select(Mail).where(Mail.recipient == email).order_by(Mail.id)))


def link_in(mail: Mail) -> str:
    """The path of the first link of ours in a mail."""
    found = re.search(re.escape(BASE) + r"(/\S+)", mail.text)
    assert found, mail.text
    return found[1]
