"""The world of orders."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from tests.orders.shop_world import World
from tracker.replay.booked import standing_audit


@pytest.fixture
def world(app: Flask, settings: Settings, client: FlaskClient, session: Session) -> Iterator[World]:
    """The demo's rules: 10 % and 2 % of the sale, last click, 30 days, coupon loses.

    Whatever a test did to its orders: the rules replayed over them give what the books hold.
    """
    world = World.build(app, settings, client, session)
    yield world
    session.rollback()
    assert list(standing_audit(session, world.now)) == []
