"""Lists by pages: the same rows as all at once, whatever is added while they are read."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from tests.orders.shop_world import World

LISTS = {
    "/api/v1/affiliates": "affiliates",
    "/api/v1/affiliates/{affiliate}/links": "links",
    "/api/v1/affiliates/{affiliate}/commissions": "commissions",
    "/api/v1/batches": "batches",
}


@pytest.fixture
def world(app: Flask, settings: Settings, client: FlaskClient, session: Session) -> World:
    """Five affiliates; the first has five links and five commissions."""
    world = World.build(app, settings, client, session)
    world.headers = world.key("orders:write", "affiliates:read", "batches:read")
    anna, *_ = [world.affiliate(name) for name in ("anna", "boris", "carl", "dora", "emma")]
    links = [world.link(anna) for _ in range(5)]
    for number, link in enumerate(links):
        assert world.post(world.order(f"A-{number}", clicks=[world.click(link)])).status_code == 201
    return world


def pages(world: World, path: str, rows: str, limit: int) -> list[dict[str, Any]]:
    """All rows, followed by the Link header; it says the same as `next`."""
    found: list[dict[str, Any]] = []
    asked = f"{path}?limit={limit}"
    while asked:
        answer = world.client.get(asked, headers=world.headers)
        assert answer.status_code == 200, answer.text
        found += answer.get_json()[rows]
        asked = ""
        if answer.get_json()["next"] is not None:
            address, _, relation = answer.headers["Link"].partition(">; ")
            assert relation == 'rel="next"'
            asked = address.removeprefix("<http://127.0.0.1:8000")
            assert answer.get_json()["next"] in asked
        else:
            assert "Link" not in answer.headers
    return found


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("limit", [1, 2, 5, 6])
def test_pages_together_are_the_list(world: World, path: str, limit: int) -> None:
    address = path.replace("{affiliate}", _first(world))
    whole = world.client.get(address, headers=world.headers).get_json()[LISTS[path]]
    assert pages(world, address, LISTS[path], limit) == whole
    assert len(whole) == (0 if path.endswith("batches") else 5)


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("cursor", ["", "x", "aff_", "wd_4Lk9", "0", "aff_%00"])
def test_what_is_no_cursor_is_refused(world: World, path: str, cursor: str) -> None:
    address = path.replace("{affiliate}", _first(world))
    answer = world.client.get(f"{address}?after={cursor}", headers=world.headers)
    assert answer.status_code in (400, 422)
    if answer.status_code == 422:
        assert [each["code"] for each in answer.get_json()["errors"]] == ["not_a_cursor"]


def test_the_question_stays_in_the_link(world: World) -> None:
    answer = world.client.get("/api/v1/affiliates?status=active&limit=2", headers=world.headers)
    assert "status=active" in answer.headers["Link"]


def test_the_older_name_of_a_cursor_is_still_read(world: World) -> None:
    answer = world.client.get("/api/v1/batches?before=bat_y7m4", headers=world.headers)
    assert answer.status_code == 200


def _first(world: World) -> str:
    listed = world.client.get("/api/v1/affiliates?limit=1", headers=world.headers).get_json()
    return str(listed["affiliates"][0]["id"])
