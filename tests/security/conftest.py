"""A believable installation with something behind every page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from sqlalchemy.orm import Session
from walk import Installation
from world import World

from affiliate.core.config import Settings
from affiliate.people import limits


@pytest.fixture
def world(app: Flask, settings: Settings, session: Session) -> World:
    """Programs, and the verbs to fill them; see tests/world.py."""
    with app.app_context():
        return World.build(app, settings, session)


@pytest.fixture
def installation(world: World) -> Iterator[Installation]:
    """People of every role, orders, a batch; forms need no token and no brake counts."""
    world.app.config["WTF_CSRF_ENABLED"] = False
    limits.limiter.enabled = False
    yield Installation.build(world)
    limits.limiter.enabled = True
