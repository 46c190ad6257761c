"""Orders on granian: their answers are given by whoever writes them, and hold up no thread."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from tests.orders.shop_world import World, affiliates_of, of, rub
from tests.served import asked, granian

WAIT_S = 20
EARLIER = 3


class Served:
    """The application in one process with a single thread for requests."""

    def __init__(self, world: World, port: int) -> None:
        self.world = world
        self.port = port

    def post(self, body: dict[str, Any], **headers: str) -> tuple[int, dict[str, Any]]:
        sent = {**self.world.headers, "Content-Type": "application/json", **headers}
        raw = json.dumps(body).encode()
        status, told = asked(self.port, "POST", "/api/v1/orders", raw, sent)
        return status, json.loads(told)


@pytest.fixture
def served(world: World) -> Iterator[Served]:
    """It has taken orders before, so that plain ones are taken before Flask."""
    with granian(world.settings, workers=1, threads=1) as port:
        made = Served(world, port)
        for number in range(EARLIER):
            assert made.post(world.order(f"B-{number}"))[0] == 201
        yield made


def earning_click(served: Served) -> list[str]:
    world = served.world
    anna = world.affiliate("anna", recruiter=world.affiliate("rita"))
    clicks = [world.click(world.link(anna))]
    assert served.post(world.order("B-EARNS", clicks=clicks))[0] == 201
    return clicks


def test_all_kinds_of_orders_at_once_are_answered_as_in_the_view(
    served: Served, world: World
) -> None:
    clicks = earning_click(served)
    boris = world.affiliate("boris")
    others = [world.click(world.link(boris), visitor=b"another visitor!")]
    euro = {"amount": "4490.00", "currency": "EUR"}
    kinds = [
        (201, lambda id_: world.order(id_, clicks=clicks, customer={"id": f"C-{id_}"})),
        (201, lambda id_: world.order(id_, clicks=others)),  # The first one makes an account.
        (200, lambda _: world.order("B-0")),
        (409, lambda _: world.order("B-0", coupon="OTHER")),
        (422, lambda id_: world.order(id_, total=euro)),
        (422, lambda id_: world.order(id_, total=rub("-1.00"))),
    ]
    numbers = range(48)

    def report(number: int) -> tuple[int, dict[str, Any]]:
        return served.post(kinds[number % len(kinds)][1](f"A-{number}"))

    with ThreadPoolExecutor(16) as callers:
        answers = list(callers.map(report, numbers))
    assert [status for status, _ in answers] == [kinds[n % len(kinds)][0] for n in numbers]
    for number, (status, told) in zip(numbers, answers, strict=True):
        if status == 201:
            assert told["order_id"] == f"A-{number}"
            assert told == {**told, **_known(world, f"A-{number}")}
    assert affiliates_of(answers[1][1]) == [of(boris)]


def _known(world: World, order_id: str) -> dict[str, Any]:
    """What the order says of itself when it is read, without the sentences."""
    read = world.get(order_id)
    for line in read["attribution"]["trace"]:
        del line["text"]
    return dict(read)


def test_an_order_that_waits_holds_up_no_other_request(
    served: Served, world: World, engine: sa.Engine
) -> None:
    """There is one thread for requests, and an order whose id another transaction works on."""
    clicks = earning_click(served)
    lock = sa.text("SELECT pg_advisory_xact_lock(hashtextextended('A-1', :program_id))")
    with engine.connect() as other, ThreadPoolExecutor(1) as callers:
        other.execute(lock, {"program_id": world.program.id})
        waits = callers.submit(served.post, world.order("A-1", clicks=clicks))
        threading.Event().wait(0.05)
        assert asked(served.port, "GET", "/healthz")[0] == 200
        assert served.post(world.order("A-2", clicks=clicks))[0] == 201
        assert not waits.done()
        other.rollback()
        assert waits.result(WAIT_S)[0] == 201
