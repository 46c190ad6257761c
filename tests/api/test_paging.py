"""Every list of the document by pages: the same rows as all at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from sqlalchemy.orm import Session

from affiliate.core import api_document
from affiliate.core.config import Settings
from affiliate.people import api_keys
from tests.api.calls import Caller, aff, caller, grow
from tests.world import DAY, World

PREFIX = "/api/v1"
FEW = {"/api/v1/batches/{batch}"}
"""Lists of which this program has one row."""
WRONG = ("x", "aff_", "wd_4Lk9", "0x1", "-1", "aff_%00", "%C3%A4", "١")


@dataclass
class Listed:
    """A list of the document, with real ids in its path."""

    path: str
    address: str
    rows: str
    next: str
    question: dict[str, str]
    """What it has to be asked besides, to have pages."""

    def ask(self, **query: Any) -> str:
        words = (self.question | query).items()
        return f"{self.address}?{'&'.join(f'{name}={value}' for name, value in words)}"


@pytest.fixture
def world(app: Flask, settings: Settings, session: Session) -> World:
    with app.app_context():
        return World.build(app, settings, session)


@pytest.fixture
def shop(world: World) -> Caller:
    """Three of everything that any list shows."""
    shop = caller(world, *api_keys.SCOPES)
    world.affiliate("Anna")
    for number in range(1, 4):
        grow(world, shop, number)
    return shop


@pytest.fixture
def lists(world: World, shop: Caller) -> list[Listed]:
    """Whatever takes `after` is a list."""
    document = world.app.test_client().get("/api/openapi.json").get_json()
    names = _names(world, shop)
    begin = (world.now - 60 * DAY).date().isoformat()
    questions = {"/api/v1/statistics": {"by": "affiliate", "from": begin}}
    found = []
    for path, method, operation in api_document.operations(document):
        parameters = {each.get("name") for each in operation["parameters"]}
        if method != "get" or "after" not in parameters or path.endswith(".csv"):
            continue
        fields = api_document.properties(document, operation["responses"]["200"])
        [rows] = [name for name, field in fields.items() if "items" in field]
        [next_] = [name for name in fields if name.startswith("next")]
        address = path.removeprefix(PREFIX).format(**names)
        found.append(Listed(path, address, rows, next_, questions.get(path, {})))
    assert len(found) > 20
    return found


def _names(world: World, shop: Caller) -> dict[str, str]:
    """A real thing of each kind, with rows below it."""
    order = world.sale("Anna", "100.00", days_ago=1)
    for _ in range(3):
        world.refund(order, "1.00")
    placed = world.now.isoformat()
    lines = "".join(f"F-{number},{placed},1.00,RUB\n" for number in range(3))
    head = "order_id,placed_at,total,currency\n"
    sent = shop("/orders/imports", "POST", data=head + lines, content_type="text/csv")
    webhook = shop.get("/webhooks")["webhooks"][0]["id"]
    for _ in range(3):
        assert shop(f"/webhooks/{webhook}/tests", "POST").status_code == 202
    return {
        "affiliate": aff(world.people["Anna"]),
        "order_id": order.order_id,
        "customer_id": "c-881",
        "order_import": sent.get_json()["id"],
        "batch": shop.get("/batches")["batches"][0]["id"],
        "webhook": webhook,
    }


def pages(shop: Caller, listed: Listed, limit: int) -> Iterator[Any]:
    """All rows, followed by the Link header; it says the same as `next`."""
    asked = listed.ask(limit=limit)
    while asked:
        answer = shop(asked)
        assert answer.status_code == 200, answer.text
        body = answer.get_json()
        assert len(body[listed.rows]) <= limit
        yield from body[listed.rows]
        asked = ""
        if body[listed.next] is None:
            assert "Link" not in answer.headers
        else:
            address, _, relation = answer.headers["Link"].partition(">; ")
            assert relation == 'rel="next"'
            assert body[listed.next] in address
            asked = address.removeprefix(f"<http://127.0.0.1:8000{PREFIX}")


def test_pages_together_are_the_list(shop: Caller, lists: list[Listed]) -> None:
    for listed in lists:
        whole = shop.get(listed.ask())[listed.rows]
        assert len(whole) >= (1 if listed.path in FEW else 3), listed.path
        for limit in (1, 2, len(whole), len(whole) + 1):
            assert list(pages(shop, listed, limit)) == whole, (listed.path, limit)


def test_what_is_no_cursor_is_refused(shop: Caller, lists: list[Listed]) -> None:
    for listed in lists:
        for cursor in WRONG:
            answer = shop(listed.ask(after=cursor))
            assert answer.status_code in (400, 422), (listed.path, cursor)
            if answer.status_code == 422:
                codes = [each["code"] for each in answer.get_json()["errors"]]
                assert codes == ["not_a_cursor"], (listed.path, cursor)


def test_a_page_has_at_least_one_row_and_not_too_many(shop: Caller, lists: list[Listed]) -> None:
    for listed in lists:
        for limit in (0, -1, 1_001, "x"):
            assert shop(listed.ask(limit=limit)).status_code == 422, (listed.path, limit)


def test_what_is_added_meanwhile_shifts_no_page(world: World, shop: Caller) -> None:
    first = shop.get("/orders?limit=2")
    before = shop.get("/orders")["orders"]
    world.sale("Anna", "100.00", days_ago=1)
    second = shop.get(f"/orders?limit=200&after={first['next']}")
    assert first["orders"] + second["orders"] == before


def test_the_question_stays_in_the_link(shop: Caller) -> None:
    assert "status=active" in shop("/affiliates?status=active&limit=2").headers["Link"]


def test_the_older_name_of_a_cursor_is_still_read(shop: Caller) -> None:
    batches = shop.get("/batches")["batches"]
    assert shop.get(f"/batches?before={batches[0]['id']}")["batches"] == batches[1:]
