"""The world of the desks' tests, for what is held about the people in it."""

from __future__ import annotations

import pytest
from flask import Flask
from sqlalchemy.orm import Session
from world import World

from affiliate.core.config import Settings


@pytest.fixture
def world(app: Flask, settings: Settings, session: Session) -> World:
    """Programs, and the verbs to fill them; see tests/world.py."""
    app.config["WTF_CSRF_ENABLED"] = False
    with app.app_context():
        return World.build(app, settings, session)
