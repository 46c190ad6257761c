"""A world whose events somebody wants to know, and a server that is told them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from sqlalchemy.orm import Session
from told import Told
from world import World

from affiliate.core.config import Settings


@pytest.fixture
def world(app: Flask, settings: Settings, session: Session) -> World:
    """Programs, and the verbs to fill them; see tests/world.py."""
    with app.app_context():
        return World.build(app, settings, session)


@pytest.fixture
def told(world: World) -> Iterator[Told]:
    """A receiver on this machine, and the verbs of its endpoints."""
    with Told.serving(world) as receiver:
        yield receiver
