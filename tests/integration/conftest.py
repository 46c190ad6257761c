"""The world of a shop's integration: that of orders, and the whole application behind a door."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session
from werkzeug.serving import BaseWSGIServer, make_server

from affiliate.core.config import Settings
from tests.orders.shop_world import World
from tracker.clicks.front import ClickFront
from wsgi import create_app


@pytest.fixture
def world(app: Flask, settings: Settings, client: FlaskClient, session: Session) -> World:
    """The demo's rules: 10 % and 2 % of the sale, last click, 30 days."""
    return World.build(app, settings, client, session)


@dataclass
class Door:
    """The click front and the application, served at the public address."""

    app: Flask
    settings: Settings
    server: BaseWSGIServer | None = None
    front: ClickFront | None = None

    def open(self) -> None:
        assert self.server is None
        self.front = ClickFront(self.app, self.settings)
        port = int(self.settings.public_url.rpartition(":")[2])
        self.server = make_server("127.0.0.1", port, self.front, threaded=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def shut(self) -> None:
        if self.server is not None and self.front is not None:
            self.server.shutdown()
            self.server.server_close()
            self.front.stop()
            self.server = None


@pytest.fixture
def door(settings: Settings) -> Iterator[Door]:
    """Closed at first, with an application whose public address it is."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = replace(settings, public_url=f"http://127.0.0.1:{port}")
    app = create_app(settings)
    made = Door(app, settings)
    yield made
    made.shut()
    from affiliate.core.db import db

    with app.app_context():
        db.session.remove()
        for engine in db.engines.values():
            engine.dispose()
