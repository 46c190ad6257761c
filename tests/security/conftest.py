"""A believable installation with something behind every page."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session
from walk import Installation
from world import World

from affiliate.core.config import Settings
from affiliate.people import limits


class Reader(FlaskClient):
    """Reads each answer to its end, as a browser does.

    A file of which a walk asks the status alone would keep its connection until it is collected.
    """

    def open(self, *args: Any, buffered: bool = True, **values: Any) -> Any:
        return super().open(*args, buffered=buffered, **values)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Collect what the walk before has left behind, here.

    Routes are compiled by `ast.parse`. Where the collector runs within it and a finalizer logs an
    exception, formatting that parses too, which CPython 3.11 ends with a SystemError.
    """
    gc.collect()


@pytest.fixture
def world(app: Flask, settings: Settings, session: Session) -> World:
    """Programs, and the verbs to fill them; see tests/world.py."""
    app.test_client_class = Reader
    with app.app_context():
        return World.build(app, settings, session)


@pytest.fixture
def installation(world: World) -> Iterator[Installation]:
    """People of every role, orders, a batch; forms need no token and no brake counts."""
    world.app.config["WTF_CSRF_ENABLED"] = False
    limits.limiter.enabled = False
    yield Installation.build(world)
    limits.limiter.enabled = True
