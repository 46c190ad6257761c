"""How often an order goes to the database: what keeps the intake as fast as it was measured."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.orders.shop_world import World, affiliates_of, email_sha256, of

STATEMENTS_MAX = 5
"""Key, demo clock (not read in production), lock and rules, evidence, order with commissions."""


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


def test_an_order_with_two_commissions_takes_five_statements(world: World, sent: list[str]) -> None:
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
