"""What the tests of clicks share: rows that must exist, a way to ask the front."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.links.models import Link
from affiliate.people.models import Affiliate, Enrollment, User
from tracker.clicks import compiled
from tracker.clicks.front import ClickFront

CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/141.0.0.0 Safari/537.36"
)
HOST = "127.0.0.1:8000"
COMPILED_REQUIRED = "KOPECK_REQUIRE_COMPILED"


def need_compiled() -> None:
    """Skip the test on a machine that could compile nothing; fail where it has to.

    Fails too where what was compiled is not of this source: `make` compiles it again.
    """
    assert not compiled.STALE, "the compiled clicks are of another source: pip install -e ."
    if not compiled.COMPILED:
        if os.environ.get(COMPILED_REQUIRED):
            pytest.fail(f"nothing was compiled here, and {COMPILED_REQUIRED} asks for it")
        pytest.skip("nothing was compiled on this machine")


@dataclass
class Shop:
    """What the tests of clicks need to exist."""

    program_id: int
    enrollment_id: int
    link_id: int
    code: str = "abcde"


def add_enrollment(session: Session, program_id: int, name: str, now: datetime) -> int:
    user = User(email=f"{name}@blog.example", fs_uniquifier=name, created_at=now)
    session.add(user)
    session.flush()
    affiliate = Affiliate(user_id=user.id, name=name, created_at=now)
    session.add(affiliate)
    session.flush()
    enrollment = Enrollment(
        program_id=program_id,
        affiliate_id=affiliate.id,
        status="active",
        answers={},
        applied_at=now,
    )
    session.add(enrollment)
    session.flush()
    return enrollment.id


def add_link(session: Session, shop: Shop, code: str, **columns: Any) -> int:
    columns.setdefault("destination", "https://shop.example/tea?a=1#cup")
    columns.setdefault("created_at", datetime.fromisoformat("2026-11-01T00:00:00+00:00"))
    columns.setdefault("enrollment_id", shop.enrollment_id)
    link = Link(program_id=shop.program_id, code=code, **columns)
    session.add(link)
    session.flush()
    return link.id


@dataclass
class Answer:
    """What the front answered."""

    status: str
    headers: dict[str, str]
    body: bytes

    @property
    def location(self) -> str:
        return self.headers["Location"]

    @property
    def token(self) -> str:
        return self.location.partition("kpk=")[2].partition("#")[0]


Ask = Callable[..., Answer]


def ask_of(front: ClickFront) -> Ask:
    """`ask("/r/abcde", "s1=x", HTTP_COOKIE=…)` as a server would."""

    def ask(path: str = "/r/abcde", query: str = "", **environ: str) -> Answer:
        seen: list[Any] = []
        body = front(
            {
                "REQUEST_METHOD": "GET",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "HTTP_HOST": HOST,
                "REMOTE_ADDR": "203.0.113.9",
                "HTTP_USER_AGENT": CHROME,
                "wsgi.input": io.BytesIO(),
                **environ,
            },
            lambda status, headers: seen.extend((status, headers)),
        )
        status, headers = seen
        assert len({name for name, _ in headers}) == len(headers), "a header came twice"
        return Answer(status, dict(headers), b"".join(body))

    return ask


def flask_stand_in(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """What lies behind the front."""
    start_response("200 OK", [("X-Behind", environ["PATH_INFO"])])
    return [b"behind"]


def rows(session: Session, statement: str) -> list[tuple[Any, ...]]:
    """What the database says now, as plain tuples."""
    session.rollback()
    return [tuple(row) for row in session.execute(sa.text(statement))]
