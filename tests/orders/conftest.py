"""The world of orders."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from tests.orders.shop_world import World


@pytest.fixture
def world(app: Flask, settings: Settings, client: FlaskClient, session: Session) -> World:
    """The demo's rules: 10 % and 2 % of the sale, last click, 30 days, coupon loses."""
    return World.build(app, settings, client, session)
