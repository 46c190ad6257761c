"""How often an order goes to the database: what keeps the intake as fast as it was measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from affiliate.core.db import db
from tests.orders.shop_world import World, affiliates_of, email_sha256, of

STATEMENTS_MAX = 6
"""Key, demo clock (not read in production), lock and rules, evidence, order, commissions."""


@contextmanager
def statements(world: World) -> Iterator[list[str]]:
    """What the application sends, without BEGIN and COMMIT."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    with world.app.app_context():
        engine = db.engine
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)


def test_an_order_with_two_commissions_takes_six_statements(world: World) -> None:
    rita = world.affiliate("rita")
    anna = world.affiliate("anna", recruiter=rita)
    buyer = {"id": "C-1", "email_sha256": email_sha256("olga@mail.example"), "is_new": True}
    clicks = [world.click(world.link(anna))]
    # The first order makes the accounts of both and notes the first use of the key.
    assert world.post(world.order("A-1", clicks=clicks, customer=buyer)).status_code == 201
    with statements(world) as sent:
        answer = world.post(world.order("A-2", clicks=clicks, customer=buyer))
    assert answer.status_code == 201
    assert affiliates_of(answer.get_json()) == [of(anna), of(rita)]
    assert len(sent) <= STATEMENTS_MAX, "\n".join(sent)


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
