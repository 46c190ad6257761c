"""The world of orders."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, request
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


@pytest.fixture
def views(app: Flask) -> Iterator[list[str]]:
    """The ids of the orders that Flask was asked for."""
    asked: list[str] = []
    name = "orders.report"
    view = app.view_functions[name]

    def noted(**values: Any) -> Any:
        asked.append((request.get_json(silent=True) or {}).get("order_id", ""))
        return view(**values)

    noted.kopeck_access = view.kopeck_access  # type: ignore[attr-defined]
    app.view_functions[name] = noted
    yield asked
    app.view_functions[name] = view
