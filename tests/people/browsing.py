"""A person at a browser: forms with their CSRF token, mails out of the outbox."""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from affiliate.core.clock import real_now
from affiliate.core.outbox import Mail
from affiliate.people import users
from affiliate.people.models import User

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
        return self.post("/sign-in", email=email, password=password, **more)

    @property
    def signed_in(self) -> bool:
        return self.get("/profile").status_code == 200

    def take_over(self, cookie: str) -> None:
        """Use a cookie stolen from another browser."""
        self.client.set_cookie("kopeck", cookie, domain="127.0.0.1")

    def cookie(self) -> str:
        found = self.client.get_cookie("kopeck", domain="127.0.0.1")
        return "" if found is None else found.value


def make_person(session: Session, email: str, *, role: str = "", **more: Any) -> User:
    """A verified user with PASSWORD, and an owner if asked."""
    user = users.create_user(
        session, email=email, password=PASSWORD, name="Ada", verified=True, now=real_now(), **more
    )
    if role:
        users.grant_role(
            session, user_id=user.id, role=role, program_id=None, by=None, now=real_now()
        )
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
