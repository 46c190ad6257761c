"""A program in euros, and the systems of its shop."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from tests.builders import make_program, terms_document
from tests.orders.shop_world import World
from tests.sources.shop_systems import Shop, connect_shop
from tracker.replay.booked import standing_audit
from tracker.sources.rules import Kind

RECURRING = {
    "level_1": {"kind": "percent", "rate_ppm": 100_000},
    "level_2": None,
    "recurring": {"months": 12, "earns": {"kind": "percent", "rate_ppm": 50_000}},
}


@pytest.fixture
def world(app: Flask, settings: Settings, client: FlaskClient, session: Session) -> Iterator[World]:
    """10 % of the sale, of later payments of a subscription 5 % for a year; buyers are bound.

    Whatever a test did to its orders: the rules replayed over them give what the books hold.
    """
    world = World.build(app, settings, client, session)
    attribution = {
        **terms_document()["attribution"],
        "evidence": [["click_token", "visitor_click"], ["bound_customer"]],
        "binding": {"months": 24},
    }
    world.program = make_program(
        session, now=world.now - timedelta(days=90), slug="euros", currency="EUR",
        terms_document=terms_document(attribution=attribution, commission=RECURRING),
    )  # fmt: skip
    session.commit()
    world.headers = world.key("orders:write", "orders:read")
    world.use(world.headers)
    yield world
    session.rollback()
    assert list(standing_audit(session, world.now)) == []


@pytest.fixture
def shopify(world: World) -> Shop:
    return connect_shop(world, Kind.SHOPIFY)


@pytest.fixture
def woocommerce(world: World) -> Shop:
    return connect_shop(world, Kind.WOOCOMMERCE)


@pytest.fixture
def stripe(world: World) -> Shop:
    return connect_shop(world, Kind.STRIPE)


@pytest.fixture
def generic(world: World) -> Shop:
    return connect_shop(world, Kind.GENERIC)
