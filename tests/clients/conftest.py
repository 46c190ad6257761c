"""A shop's program, served over real HTTP for clients that know nothing of Python's insides."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask
from sqlalchemy.orm import Session
from werkzeug.serving import make_server

from affiliate.core.config import Settings
from affiliate.people import api_keys, ids
from tests.world import DAY, World


class Front:
    """Stands before the application as a proxy does; it can lose an answer."""

    def __init__(self, app: Callable[..., Any]) -> None:
        self.app = app
        self.lost = 0
        """So many of the next answers are made and thrown away: the caller reads 502."""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if self.lost:
            self.lost -= 1
            b"".join(self.app(environ, lambda *_: None))
            start_response("502 Bad Gateway", [("Content-Type", "text/html")])
            return [b"<h1>Bad Gateway</h1>"]
        answer: Iterable[bytes] = self.app(environ, start_response)
        return answer


@dataclass
class Shop:
    """What a shop's programmer knows, and the world behind it."""

    base_url: str
    key: str
    world: World
    front: Front
    affiliate: str
    placed_at: str
    token_key: bytes = field(repr=False, default=b"")


@pytest.fixture
def shop(app: Flask, settings: Settings, session: Session) -> Iterator[Shop]:
    """Anna has money that she can withdraw."""
    with app.app_context():
        world = World.build(app, settings, session)
    person = world.affiliate("Anna")
    world.payee("Anna")
    world.sale("Anna", "4490.00", days_ago=60)
    world.release()
    _, key = api_keys.create_key(
        session, program_id=world.program.id, scopes=api_keys.SCOPES, name="shop", by=None,
        now=world.now,
    )  # fmt: skip
    session.commit()
    front = Front(app)
    server = make_server("127.0.0.1", 0, front, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Shop(
            f"http://127.0.0.1:{server.server_port}", key, world, front,
            ids.public(person.enrollment.id), (world.now - DAY / 24).isoformat(),
        )  # fmt: skip
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
