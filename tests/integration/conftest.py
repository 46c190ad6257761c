"""The world of a shop's integration: that of orders, and the whole application behind a door."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskClient
from front_door import Door
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from affiliate.core.db import db
from tests.orders.shop_world import World
from wsgi import create_app


@pytest.fixture
def world(app: Flask, settings: Settings, client: FlaskClient, session: Session) -> World:
    """The demo's rules: 10 % and 2 % of the sale, last click, 30 days."""
    return World.build(app, settings, client, session)


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
    with app.app_context():
        db.session.remove()
        for engine in db.engines.values():
            engine.dispose()
