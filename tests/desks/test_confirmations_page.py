"""The page on which a manager confirms browsers' orders by a file."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from flask import Flask
from staff import Staff, hire
from world import World


@pytest.fixture(autouse=True)
def no_csrf(app: Flask) -> None:
    """These tests are about the page; the matrix has the ones about forged forms."""
    app.config["WTF_CSRF_ENABLED"] = False


@pytest.fixture
def manager(world: World) -> Staff:
    return hire(world, "manager")


def send(who: Staff, text: str, what: str = "confirm") -> Any:
    data = {"what": what, "file": (io.BytesIO(text.encode()), "a.csv")}
    return who.client.post("/manage/confirmations?program=demo", data=data)


def test_a_file_is_tried_then_kept(world: World, manager: Staff) -> None:
    text = "order_id,total\nnobody-knows-it,10.00\n"
    tried = send(manager, text, "try")
    assert tried.status_code == 200
    assert "A dry run, nothing is kept:" in tried.text
    assert "1 was never reported here." in tried.text
    assert send(manager, text).status_code == 303
    assert "0 orders are confirmed." in manager.client.get("/manage/confirmations").text


def test_a_claim_with_another_total_is_no_success(world: World, manager: Staff) -> None:
    report = {"order_id": "B-1", "total": {"amount": "12.00", "currency": "RUB"}}
    world.app.test_client().post("/v1/events", json={
        "program": "demo", "type": "order", "order": report, "clicks": [], "visitor": "v-1",
    })  # fmt: skip
    for total, tone in (("12.00", "success"), ("13.00", "warning")):
        tried = send(manager, f"order_id,total\nB-1,{total}\n", "try").text
        assert re.findall(r'"alert alert-(\w+)"', tried) == [tone], total
    assert send(manager, "order_id,total\nB-1,13.00\n").status_code == 303
    assert "alert-warning" in manager.client.get("/manage/confirmations").text


def test_what_is_wrong_with_it_stands_above_the_form(world: World, manager: Staff) -> None:
    assert send(manager, "order_id\nA-1\n").status_code == 422
    wrong = send(manager, "order_id,total\nA-1,ten\n")
    assert wrong.status_code == 422
    assert "line 2, total" in wrong.text
    missing = manager.client.post("/manage/confirmations?program=demo", data={"what": "try"})
    assert (missing.status_code, "Choose a file." in missing.text) == (422, True)


def test_the_list_of_unconfirmed_orders_leads_there(world: World, manager: Staff) -> None:
    assert "/manage/confirmations" in manager.client.get("/manage/orders?status=unconfirmed").text
    assert "/manage/confirmations" not in manager.client.get("/manage/orders").text
