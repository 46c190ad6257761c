"""How often an order goes to the database: what keeps the intake as fast as it was measured."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from affiliate.core.db import rows
from tests.orders.shop_world import DAY, World, affiliates_of, email_sha256, of
from tracker.orders import intake, plain

STATEMENTS_MAX = 4
"""Key, demo clock (not read in production), lock and rules and evidence, order and commissions."""


@pytest.fixture(autouse=True)
def _by_the_view(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the view does; plain orders never come to it (test_plain_orders.py)."""
    monkeypatch.setattr(plain, "PATH", "/nowhere")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement that psycopg is given, whoever sends it; BEGIN and COMMIT are not."""
    statements: list[str] = []
    execute = psycopg.Cursor.execute

    def note(cursor: Any, query: Any, *values: Any, **options: Any) -> Any:
        statements.append(str(query))
        return execute(cursor, query, *values, **options)

    monkeypatch.setattr(psycopg.Cursor, "execute", note)
    return statements


def test_an_order_with_two_commissions_takes_four_statements(world: World, sent: list[str]) -> None:
    rita = world.affiliate("rita")
    anna = world.affiliate("anna", recruiter=rita)
    buyer = {"id": "C-1", "email_sha256": email_sha256("olga@mail.example"), "is_new": True}
    clicks = [world.click(world.link(anna))]
    # The first order makes the accounts of both and notes the first use of the key.
    assert world.post(world.order("A-1", clicks=clicks, customer=buyer)).status_code == 201
    sent.clear()
    answer = world.post(world.order("A-2", clicks=clicks, customer=buyer))
    assert answer.status_code == 201
    assert affiliates_of(answer.get_json()) == [of(anna), of(rita)]
    assert len(sent) <= STATEMENTS_MAX, "\n".join(sent)
    assert sum("api_keys" in each for each in sent) == 1, "the count sees what psycopg is given"


def test_the_statements_of_an_order_are_planned_once_a_connection(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str] = []
    lock = intake.lock_for_report

    def note(session: Session, **asked: Any) -> Any:
        names = ("plan_cache_mode", "enable_seqscan")
        found.extend(rows(session, f"SHOW {name}", {})[0][0] for name in names)
        return lock(session, **asked)

    monkeypatch.setattr(intake, "lock_for_report", note)
    # The first order notes the key's first use, whose commit ends the key's transaction.
    assert [world.post(world.order(id_)).status_code for id_ in ("A-1", "A-2")] == [201, 201]
    assert found == ["force_generic_plan", "off"] * 2


def test_the_answer_to_a_new_order_is_the_one_read_back(world: World) -> None:
    rita = world.affiliate("rita")
    anna = world.affiliate("anna", recruiter=rita)
    body = world.order(
        clicks=[world.click(world.link(anna), loaded=False)],
        coupon="NOBODYS",
        customer={"id": "C-1", "is_new": False},
        subscription={"id": "S-1", "sequence": 2},
        metadata={"z": 1, "shop": "Žofie", "gift": True, "weight": 1.5, "note": None},
    )
    first, again = world.post(body), world.post(body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.get_json() == again.get_json()
    read = world.get()
    for line in read["attribution"]["trace"]:
        del line["text"]
    assert first.get_json() == read


def test_evidence_read_for_a_wrong_window_is_read_again_for_the_right_one(
    app: Flask,
    settings: Settings,
    client: FlaskClient,
    session: Session,
    sent: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(intake, "_reaches", {})
    world = World.build(
        app, settings, client, session,
        attribution={
            "model": "last_click", "window_days": 7, "coupon": "loses",
            "existing_customer": "pays", "self_purchase": "refuses",
        },
    )  # fmt: skip
    anna, boris = world.affiliate("anna"), world.affiliate("boris")
    world.click(world.link(boris), ago=10 * DAY)
    clicks = [world.click(world.link(anna), ago=DAY)]
    assert world.post(world.order("A-0")).status_code == 201, "the key's first use is noted"
    monkeypatch.setattr(intake, "_reaches", {})
    traces, counts = [], []
    for order_id in ("A-1", "A-2"):
        sent.clear()
        answer = world.post(world.order(order_id, clicks=clicks)).get_json()
        assert affiliates_of(answer) == [of(anna)]
        traces.append(answer["attribution"]["trace"])
        counts.append(sum("'click_token'" in each for each in sent))
    assert traces[0] == traces[1], "the click of ten days ago is outside, so it is not read"
    assert "outside_window" not in str(traces)
    assert counts == [2, 1], "once more for the first order, then the window is known"
