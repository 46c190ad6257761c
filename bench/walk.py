"""Pages that links lead to, asked inside this process: one address for each kind of page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import urldefrag, urlsplit

import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from affiliate.core import clock
from affiliate.core.db import db
from affiliate.people import sessions
from affiliate.people.models import User

BASE = "http://127.0.0.1:8000"
KINDS_MAX = 120
# Files are not pages, and one of these ends the sign-in.
_NO_PAGE = re.compile(
    r"\.(csv|svg|json|pdf|png|webp|html|js)(\?|$)|format=|download=|^/sign-out|^/static/"
)
_ID = re.compile(r"(?<=/)([a-z]{3}_[A-Za-z0-9]+|[0-9]+)(?=/|$)|(?<=/letters/)[a-z0-9_-]+")


def kind_of(address: str) -> str:
    """The path with its ids taken out: pages of one kind look alike."""
    return _ID.sub("…", urlsplit(address).path.rstrip("/") or "/")


def is_page(path: str) -> bool:
    """Whether a link leads to a page: not to a file, and not out of the desk."""
    return path.startswith("/") and not _NO_PAGE.search(path)


@dataclass(frozen=True)
class Visit:
    """A page as it was answered the second time, when what is read once is there."""

    kind: str
    path: str
    status: int
    html: bytes
    statements: tuple[str, ...]
    """What the page sent to PostgreSQL."""


def signed_in(app: Flask, user_id: int) -> FlaskClient:
    """A browser of this user, a second factor given just now."""
    client = app.test_client()
    now = clock.real_now()
    with app.app_context():
        token = sessions.begin(db.session(), user_id=user_id, agent="bench", now=now, factor_at=now)
        unique = db.session.get_one(User, user_id).fs_uniquifier
        db.session.commit()
    with client.session_transaction(base_url=BASE) as cookie:
        cookie[sessions.COOKIE_KEY] = token
        cookie["_user_id"] = unique
        cookie["_fresh"] = True
    return client


def walk(app: Flask, client: FlaskClient, starts: Sequence[str]) -> Iterator[Visit]:
    """Each kind of page that links lead to from `starts`, once.

    AssertionError for a page that is not there, or for more kinds than KINDS_MAX.
    """
    waiting, seen = list(starts), {kind_of(start) for start in starts}
    while waiting:
        path = waiting.pop(0)
        client.get(path, base_url=BASE)
        with statements(app) as sent:
            answer = client.get(path, base_url=BASE)
        if answer.status_code in (302, 303):
            waiting += _news([answer.headers["Location"]], seen)
            continue
        assert answer.status_code == 200, f"{path} answered {answer.status_code}"
        yield Visit(kind_of(path), path, answer.status_code, answer.data, tuple(sent))
        links = _Links()
        links.feed(answer.text)
        waiting += _news(links.found, seen)
        assert len(seen) <= KINDS_MAX, f"more than {KINDS_MAX} kinds of pages: {sorted(seen)}"


@contextmanager
def statements(app: Flask) -> Iterator[list[str]]:
    """What the application sends to PostgreSQL meanwhile; BEGIN and COMMIT are not counted."""
    sent: list[str] = []

    def note(_c: object, _cu: object, statement: str, *_rest: object) -> None:
        sent.append(statement)

    with app.app_context():
        engine = db.engine
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)


def _news(links: Sequence[str], seen: set[str]) -> list[str]:
    news = []
    for link in links:
        path = urldefrag(link)[0].removeprefix(BASE)
        if is_page(path) and kind_of(path) not in seen:
            seen.add(kind_of(path))
            news.append(path)
    return news


class _Links(HTMLParser):
    """Where the links of a page lead; the demo's doors to other desks are left out."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        door = "door" in (values.get("class") or "").split()
        if tag == "a" and values.get("href") and "download" not in values and not door:
            self.found.append(str(values["href"]))
