"""Orders on granian: their answers are given by whoever writes them, and hold up no thread."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from tests.orders.shop_world import World, affiliates_of, of, rub
from tests.served import asked, granian

WAIT_S = 20
EARLIER = 3
CALLERS = 12
AGAIN_S = 0.05
RESPAWN_S = 6
"""granian gives up on a worker that dies again within 5.5 s of its start."""


class Served:
    """The application on granian, and a shop that reports orders to it."""

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
    """One process, a single thread for requests; plain orders are taken before Flask by now."""
    with granian(world.settings, workers=1, threads=1) as web:
        made = Served(world, web.port)
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


def test_killed_workers_lose_no_answered_order_and_write_none_twice(world: World) -> None:
    """Callers report each order until it is answered, while one worker after another is killed."""
    anna = world.affiliate("anna", recruiter=world.affiliate("rita"))
    clicks = [world.click(world.link(anna))]
    answers: dict[str, int] = {}
    ends = threading.Event()
    unanswered = Counter[str]()

    def report(served: Served, caller: int) -> None:
        number = 0
        while not ends.is_set():
            id_ = f"A-{caller}-{number}"
            body = world.order(id_, clicks=clicks, customer={"id": f"C-{caller}-{number % 3}"})
            status, deadline = 0, time.monotonic() + WAIT_S
            while status not in (200, 201):
                assert time.monotonic() < deadline, f"{id_} is not answered"
                try:
                    status, _ = served.post(body)
                except (OSError, http.client.HTTPException) as error:
                    status = 0
                    unanswered[type(error).__name__] += 1
                    time.sleep(AGAIN_S)
            answers[id_] = status
            number += 1

    options = ("--respawn-failed-workers", "--respawn-interval", "0.5")
    with granian(world.settings, *options) as web, ThreadPoolExecutor(CALLERS) as callers:
        served = Served(world, web.port)
        told = [callers.submit(report, served, caller) for caller in range(CALLERS)]
        try:
            for first in (True, False):
                for pid in web.workers():
                    _until(lambda: len(web.workers()) == 2, "a worker does not come back")
                    taken = len(answers)
                    _until(lambda taken=taken: len(answers) >= taken + CALLERS, "nothing is taken")  # type: ignore[misc]
                    os.kill(pid, signal.SIGKILL)
                if first:
                    time.sleep(RESPAWN_S)
        finally:
            ends.set()
        for each in told:
            each.result(WAIT_S)
    assert unanswered, "somebody met a worker that died"
    world.session.rollback()
    orders = Counter(world.session.scalars(sa.text("SELECT order_id FROM orders")))
    assert orders == Counter(list(answers)), "each is there, once, and nothing else is"
    made = len(answers)
    counted = (
        ("FROM order_reports WHERE outcome = 'created'", made),
        ("FROM decisions WHERE voided_at IS NULL", made),
        ("FROM commissions WHERE amount_micros > 0", 2 * made),
        ("FROM ledger_transactions", 2 * made),
        ("FROM ledger_entries", 4 * made),
        (
            "FROM (SELECT FROM ledger_entries GROUP BY transaction_id "
            "HAVING sum(amount_micros) <> 0) AS wrong",
            0,
        ),
    )
    for what, number in counted:
        assert world.session.scalar(sa.text(f"SELECT count(*) {what}")) == number, what


def _until(holds: Callable[[], bool], else_: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline, else_
        time.sleep(AGAIN_S)
