"""Plain orders that come at once: asked for in one trip, written by one statement."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from affiliate.core import clock, deferred
from affiliate.core.config import Settings
from affiliate.core.db import db, numbered
from affiliate.core.straight import PLANNED_ONCE, Connection, Statement
from affiliate.core.strict_json import loads
from affiliate.people import sent_keys
from affiliate.people.models import ApiKey
from tests.builders import make_program, terms_document
from tests.orders.shop_world import DAY, World, affiliates_of, email_sha256, of, rub
from tracker.attribution import asking
from tracker.attribution.asking import Question, Reach, Row, answer, ask
from tracker.orders import joint, plain, records
from tracker.orders.joint import JOINT_WAIT_MS, PlainQuestion, plain_answer, plain_questions
from tracker.orders.keys import order_keys
from tracker.orders.models import Order
from tracker.orders.records import evidence_of
from tracker.orders.rules import OrderReportIn
from tracker.orders.schemas import OrderIn
from wsgi import create_app

WAIT_S = 20
Trips = list[tuple[Any, ...]]


class Street:
    """Orders that stand behind a first one, which is held up until all have come."""

    def __init__(self, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
        self.trips: Trips = []
        self.app = app
        self._together = app.extensions[plain.EXTENSION]._together
        self._begun, self._go_on = threading.Event(), threading.Event()
        trip = Connection.trip

        def held(connection: Connection, *statements: Any, **more: Any) -> Any:
            self.trips.append(statements)
            if len(self.trips) == 1:
                self._begun.set()
                assert self._go_on.wait(WAIT_S)
            return trip(connection, *statements, **more)

        monkeypatch.setattr(Connection, "trip", held)

    def open(self) -> None:
        """Let every order pass at once, as what a test begins with does."""
        self._go_on.set()

    def close(self, *noted: list[str]) -> None:
        """From here on the first order is held up; what was noted until now is forgotten."""
        self._go_on.clear()
        self._begun.clear()
        for notes in (self.trips, *noted):
            notes.clear()

    @contextmanager
    def report(
        self, bodies: Sequence[dict[str, Any]], headers: Callable[[int], dict[str, str]]
    ) -> Iterator[list[Future[TestResponse]]]:
        """All of them at once; they go on when the block begins."""
        with ThreadPoolExecutor(len(bodies)) as threads:
            futures = []
            for number, body in enumerate(bodies):
                futures.append(threads.submit(self._post, body, headers(number)))
                if number == 0:
                    assert self._begun.wait(WAIT_S)
                else:
                    self._stands(number)
            self._go_on.set()
            yield futures

    def _post(self, body: dict[str, Any], headers: dict[str, str]) -> TestResponse:
        with self.app.test_client() as client:
            client.environ_base["HTTP_HOST"] = "127.0.0.1:8000"
            return client.post("/api/v1/orders", json=body, headers=headers)

    def _stands(self, number: int) -> None:
        until(lambda: len(self._together._waiting) == number, "an order does not stand there")

    @property
    def written(self) -> list[list[str]]:
        """The ids of the orders of each statement that writes."""
        return [
            [each["order"]["order_id"] for each in loads(values["documents"].encode())]
            for statements in self.trips
            for text, values in statements
            if "INSERT INTO orders" in text
        ]


def until(holds: Callable[[], bool], else_: str) -> None:
    pause = threading.Event()
    for _ in range(WAIT_S * 1000):
        if holds():
            return
        pause.wait(0.001)
    raise AssertionError(else_)


@pytest.fixture
def street(app: Flask, world: World, monkeypatch: pytest.MonkeyPatch) -> Street:
    return Street(app, monkeypatch)


def answers_of(
    street: Street, world: World, bodies: Sequence[dict[str, Any]]
) -> list[TestResponse]:
    with street.report(bodies, lambda _: world.headers) as futures:
        return [future.result(WAIT_S) for future in futures]


def earners(world: World) -> list[str]:
    """The click of an affiliate with a recruiter who have both earned before."""
    anna = world.affiliate("anna", recruiter=world.affiliate("rita"))
    clicks = [world.click(world.link(anna))]
    assert world.post(world.order("A-EARLIER", clicks=clicks)).status_code == 201
    return clicks


def test_orders_that_wait_are_asked_for_and_written_together(
    world: World, street: Street, views: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = world.affiliate("anna", recruiter=world.affiliate("rita"))
    clicks = [world.click(world.link(anna))]
    world.coupon(anna, "ANNA10")
    street.open()
    assert world.post(world.order("A-EARLIER", clicks=clicks)).status_code == 201
    street.close(views)
    bodies = [
        world.order("A-0", clicks=clicks),
        world.order("A-1", clicks=clicks, customer={"id": "C-1", "is_new": True}),
        world.order("A-2", customer={"id": "C-2"}),
        world.order("A-3", coupon="anna10", customer={"id": "C-3"}, total=rub("990.00"), items=[],
                    discount=None, tax=None, shipping=None),
        world.order("A-4", clicks=[*clicks, "junk"], visitor="of-the-shop"),
    ]  # fmt: skip
    answers = answers_of(street, world, bodies)
    assert [each.status_code for each in answers] == [201] * 5
    assert views == []
    assert street.written == [["A-0"], ["A-1", "A-2", "A-3", "A-4"]]
    assert len(street.trips) == 4, "two for the first, two for all others"
    assert [affiliates_of(each.get_json())[:1] for each in answers] == [
        [of(anna)], [of(anna)], [], [of(anna)], [of(anna)],
    ]  # fmt: skip
    for body, told in zip(bodies, answers, strict=True):
        read = world.get(body["order_id"])
        for line in read["attribution"]["trace"]:
            del line["text"]
        assert told.get_json() == read
    written = world.session.execute(
        sa.text(
            "SELECT o.order_id, c.level, t.occurred_at = c.earned_at FROM ledger_transactions t "
            "JOIN commissions c ON t.reference = 'earn:commission:' || c.id "
            "JOIN orders o ON c.reference = 'order:' || o.id ORDER BY t.id"
        )
    ).all()
    earning = [("A-EARLIER", "A-0", "A-1", "A-3", "A-4"), (1, 2)]
    assert [tuple(row) for row in written] == [
        (order_id, level, True) for order_id in earning[0] for level in earning[1]
    ]
    nets = [each.get_json()["net"]["amount"] for each in answers]
    assert nets == ["3500.00", "3500.00", "3500.00", "990.00", "3500.00"]


def test_what_is_not_plain_among_them_is_the_views_and_the_others_are_written(
    world: World, street: Street, views: list[str]
) -> None:
    street.open()
    clicks = earners(world)
    boris = world.affiliate("boris")
    others = [world.click(world.link(boris), visitor=b"another visitor!")]
    assert world.post(world.order("A-2", clicks=clicks)).status_code == 201
    assert world.post({"refund_id": "R-1", "amount": rub("4490.00")}, "/A-3/refunds").status_code
    street.close(views)
    bodies = [
        world.order("A-0", clicks=clicks),
        world.order("A-1", clicks=clicks),
        world.order("A-2", clicks=clicks),  # known already
        world.order("A-3", clicks=clicks),  # a refund came before it
        world.order("A-4", clicks=others),  # no account yet
        world.order("A-5", clicks=clicks, total={"amount": "4490.00", "currency": "EUR"}),
        world.order("A-6", clicks=clicks),
    ]
    answers = answers_of(street, world, bodies)
    assert [each.status_code for each in answers] == [201, 201, 200, 201, 201, 422, 201]
    assert sorted(views) == ["A-2", "A-3", "A-4", "A-5"]
    assert answers[3].get_json()["refunded"]["amount"] == "4490.00"
    assert affiliates_of(answers[4].get_json()) == [of(boris)]
    assert street.written == [["A-0"], ["A-1", "A-2", "A-3", "A-4", "A-6"]]


def test_orders_of_several_programs_and_keys_go_together(
    world: World, street: Street, views: list[str], session: Session
) -> None:
    street.open()
    clicks = earners(world)
    terms = terms_document()
    other = make_program(session, slug="other", now=world.now - 90 * DAY, terms_document=terms)
    session.commit()
    key = world.key("orders:write", program=other)
    world.use(key)
    bad = world.key("orders:write")
    world.use(bad)
    session.execute(
        sa.text("UPDATE api_keys SET revoked_at = now() WHERE id = (SELECT max(id) FROM api_keys)")
    )
    session.commit()
    street.close()
    keys = [world.headers, world.headers, key, bad]
    bodies = [world.order(id_, clicks=clicks) for id_ in ("A-0", "A-1", "A-1", "A-3")]
    with street.report(bodies, lambda number: keys[number]) as futures:
        answers = [future.result(WAIT_S) for future in futures]
    assert [each.status_code for each in answers] == [201, 201, 201, 401]
    assert street.written == [["A-0"], ["A-1", "A-1"]], "one id, but of two programs"
    assert answers[2].get_json()["commissions"] == [], "a link of another program credits nobody"
    programs = session.scalars(sa.select(Order.program_id).where(Order.order_id == "A-1"))
    assert sorted(programs) == sorted([world.program.id, other.id])


def test_whoever_listens_is_told_of_each_order_of_a_set_and_of_no_other_program(
    world: World, street: Street, session: Session
) -> None:
    street.open()
    clicks = earners(world)
    other = make_program(
        session, slug="other", now=world.now - 90 * DAY, terms_document=terms_document()
    )
    session.commit()
    key = world.key("orders:write", program=other)
    world.use(key)
    endpoint = sa.text(
        "INSERT INTO webhook_endpoints (program_id, url, method, description, types, secret, "
        "created_at) VALUES (:program, 'https://crm.example/', 'POST', '', :types, 's', now())"
    )
    types = ["order.created", "commission.earned"]
    session.execute(endpoint, {"program": world.program.id, "types": types})
    session.commit()
    street.close()
    bodies = [world.order(f"A-{n}", clicks=clicks if n % 2 else None) for n in range(5)]
    headers = [*[world.headers] * 4, key]
    with street.report(bodies, lambda number: headers[number]) as futures:
        assert [future.result(WAIT_S).status_code for future in futures] == [201] * 5
    assert street.written == [["A-0"], ["A-1", "A-2", "A-3", "A-4"]]
    session.rollback()
    events = session.execute(
        sa.text(
            "SELECT e.type, e.program_id, e.facts ->> 'order_id', e.facts ->> 'level' "
            "FROM webhook_events e JOIN webhook_deliveries d ON d.event_id = e.id ORDER BY e.id"
        )
    ).all()
    mine = world.program.id
    assert [tuple(event) for event in events] == [
        *[("order.created", mine, f"A-{n}", None) for n in range(4)],
        *[("commission.earned", mine, f"A-{n}", level) for n in (1, 3) for level in "12"],
    ]


def test_one_buyer_and_one_id_are_never_written_by_one_statement(
    world: World, street: Street
) -> None:
    street.open()
    clicks = earners(world)
    street.close()
    buyer = {"id": "C-1"}
    bodies = [
        world.order("A-0", clicks=clicks),
        world.order("A-1", clicks=clicks, customer=buyer),
        world.order("A-2", clicks=clicks, customer=buyer),
        world.order("A-3", clicks=clicks),
        world.order("A-3", clicks=clicks),
    ]
    answers = answers_of(street, world, bodies)
    assert [each.status_code for each in answers] == [201, 201, 201, 201, 200]
    assert street.written == [["A-0"], ["A-1", "A-3"], ["A-2", "A-3"]]
    number = world.session.scalar(sa.text("SELECT count(*) FROM customers WHERE shop_id = 'C-1'"))
    assert number == 1


def test_a_lock_that_lasts_holds_up_its_own_order_alone(
    world: World, street: Street, views: list[str], engine: sa.Engine
) -> None:
    street.open()
    clicks = earners(world)
    street.close(views)
    bodies = [world.order(f"A-{number}", clicks=clicks) for number in range(4)]
    lock = sa.text("SELECT pg_advisory_xact_lock(hashtextextended('A-2', :program_id))")
    with engine.connect() as other:
        other.execute(lock, {"program_id": world.program.id})
        with street.report(bodies, lambda _: world.headers) as futures:
            others = [futures[number].result(WAIT_S) for number in (0, 1, 3)]
            assert [each.status_code for each in others] == [201] * 3
            until(lambda: sorted(views) == ["A-1", "A-2", "A-3"], "together nobody wrote them")
            assert not futures[2].done(), "it waits in its own thread"
            other.rollback()
            assert futures[2].result(WAIT_S).status_code == 201
    assert world.post(world.order("A-9", clicks=clicks)).status_code == 201
    assert len(views) == 3, "and the next ones are plain again"


def test_one_order_of_a_minute_notes_the_use_of_their_key(
    world: World, street: Street, views: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    street.open()
    clicks = earners(world)
    before = world.session.scalar(sa.select(ApiKey.last_used_at))
    world.session.execute(sa.update(ApiKey).values(last_used_at=world.now - DAY))
    world.session.commit()
    street.close(views)
    monkeypatch.setattr(sent_keys, "use_is_news", lambda *_, **__: True)
    bodies = [world.order(f"A-{number}", clicks=clicks) for number in range(6)]
    assert [each.status_code for each in answers_of(street, world, bodies)] == [201] * 6
    assert len(views) == 1
    world.session.rollback()
    used_at = world.session.scalar(sa.select(ApiKey.last_used_at))
    assert before is not None
    assert used_at is not None
    assert used_at > world.now - timedelta(minutes=2)


def test_a_buyer_is_touched_only_by_an_order_that_says_something_new(world: World) -> None:
    read = sa.text(
        "SELECT xmin::text::bigint, first_ordered_at, email_hash IS NOT NULL FROM customers"
    )

    def buyer(order_id: str, **said: Any) -> tuple[int, Any, bool]:
        at = said.pop("placed_at", world.now).isoformat()
        body = world.order(order_id, placed_at=at, customer={"id": "C-1", **said})
        assert world.post(body).status_code == 201
        world.session.rollback()
        [found] = world.session.execute(read).all()
        tied = world.session.scalar(sa.select(Order.customer_id).where(Order.order_id == order_id))
        assert tied is not None
        return tuple(found)  # type: ignore[return-value]

    email = email_sha256("olga@mail.example")
    first = buyer("A-1")
    assert buyer("A-2") == first
    assert buyer("A-3", placed_at=world.now + timedelta(seconds=1)) == first
    earlier = buyer("A-4", placed_at=world.now - DAY)
    assert earlier[0] != first[0]
    assert earlier[1] == world.now - DAY
    addressed = buyer("A-5", email_sha256=email)
    assert addressed[0] != earlier[0]
    assert addressed[1:] == (world.now - DAY, True)
    assert buyer("A-6", email_sha256=email) == addressed
    assert buyer("A-7") == addressed, "an order without the address takes none away"


def _view(world: World) -> dict[str, str]:
    return {**world.headers, "Idempotency-Key": '"a-key-of-the-shop"'}


@pytest.mark.parametrize("headers", [lambda world: world.headers, _view], ids=["plain", "view"])
@pytest.mark.parametrize(
    ("change", "found"),
    [
        # As `customers.forget_customer` and erasure do it.
        ("UPDATE customers SET first_ordered_at = NULL", (1, 1)),
        ("UPDATE customers SET shop_id = NULL, email_hash = NULL", (2, 1)),
    ],
    ids=["forgotten", "erased"],
)
def test_a_buyer_who_is_changed_meanwhile_is_waited_for(
    world: World,
    engine: sa.Engine,
    change: str,
    found: tuple[int, int],
    headers: Callable[[World], dict[str, str]],
) -> None:
    """(rows of buyers, rows that say since when this buyer buys)"""
    at = (world.now - DAY).isoformat()
    first = world.order("A-1", placed_at=at, customer={"id": "C-1"})
    assert world.post(first).status_code == 201
    body = world.order("A-2", customer={"id": "C-1"})
    waits = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
        "AND datname = current_database()"
    )
    with engine.connect() as other, ThreadPoolExecutor(1) as threads:
        other.execute(sa.text(change))
        future = threads.submit(world.post, body, headers=headers(world))
        pause = threading.Event()
        while not other.scalar(waits):
            assert not future.done(), "it has passed by"
            pause.wait(0.005)
        other.commit()
        assert future.result(WAIT_S).status_code == 201
    world.session.rollback()
    now = sa.text(
        "SELECT count(*), count(*) FILTER (WHERE shop_id = 'C-1' AND first_ordered_at = :now) "
        "FROM customers"
    )
    assert tuple(world.session.execute(now, {"now": world.now}).one()) == found


def test_a_mistake_with_one_order_is_that_orders_alone(
    world: World, street: Street, views: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    street.open()
    clicks = earners(world)
    street.close(views)
    judge = plain.judge_known

    def mistaken(known: Any, **asked: Any) -> Any:
        if asked["evidence"]["server"]["coupon"]:
            raise ValueError("with this order alone")
        return judge(known, **asked)

    monkeypatch.setattr(plain, "judge_known", mistaken)
    bodies = [
        world.order(f"A-{number}", clicks=clicks, coupon="BAD" if number == 2 else None)
        for number in range(4)
    ]
    assert [each.status_code for each in answers_of(street, world, bodies)] == [201] * 4
    assert views == ["A-2"]


def test_a_mistake_with_the_whole_set_leaves_each_to_the_view(
    world: World, street: Street, views: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    street.open()
    clicks = earners(world)
    street.close(views)

    def mistaken(inserts: Sequence[Any]) -> Any:
        raise TypeError("with these orders")

    monkeypatch.setattr(plain, "plain_inserts", mistaken)
    bodies = [world.order(f"A-{number}", clicks=clicks) for number in range(4)]
    assert [each.status_code for each in answers_of(street, world, bodies)] == [201] * 4
    assert sorted(views) == ["A-0", "A-1", "A-2", "A-3"]


def test_two_processes_and_many_callers_keep_the_books(world: World, settings: Settings) -> None:
    """Ids that repeat, a few buyers, two levels, several days, all at once."""
    other = create_app(settings)
    anna = world.affiliate("anna", recruiter=world.affiliate("rita"))
    boris = world.affiliate("boris", recruiter=anna)
    clicks = [
        world.click(world.link(each), ago=10 * DAY, visitor=bytes([number]) * 16)
        for number, each in enumerate((anna, boris))
    ]
    for number, click in enumerate(clicks):
        assert world.post(world.order(f"B-{number}", clicks=[click])).status_code == 201
    with other.app_context():
        sent, now = world.headers["Authorization"], clock.real_now()
        key = sent_keys.authenticate(world.session, authorization=sent, now=now)
        other.extensions[plain.EXTENSION].remember(sent, key)
        world.session.rollback()
    drawn = random.Random(7)

    def body(number: int) -> dict[str, Any]:
        return world.order(
            f"A-{number}",
            customer={"id": f"C-{number % 12}"},
            placed_at=(world.now - (number % 5) * DAY).isoformat(),
            clicks=[clicks[number % 2]] if number % 3 else None,
        )

    numbers = [drawn.randrange(100) for _ in range(160)]

    def report(place: int) -> TestResponse:
        with (world.app if place % 2 else other).test_client() as client:
            client.environ_base["HTTP_HOST"] = "127.0.0.1:8000"
            sent = body(numbers[place])
            return client.post("/api/v1/orders", json=sent, headers=world.headers)

    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(report, range(len(numbers))))
    for number, each in zip(numbers, answers, strict=True):
        told = each.get_json()
        assert each.status_code in (200, 201), each.text
        assert told["order_id"] == f"A-{number}"
        assert len(told["commissions"]) == (2 if number % 3 else 0)
    made = sum(each.status_code == 201 for each in answers)
    assert made == len(set(numbers))
    counted = (
        ("orders", made + 2),
        ("order_reports WHERE outcome = 'created'", made + 2),
        ("decisions", made + 2),
        (
            "customers c WHERE first_ordered_at <> "
            "(SELECT min(placed_at) FROM orders WHERE customer_id = c.id)",
            0,
        ),
        (
            "orders o JOIN customers c ON c.id = o.customer_id "
            "WHERE c.shop_id <> o.evidence -> 'server' -> 'customer' ->> 'id'",
            0,
        ),
        (
            "(SELECT FROM ledger_entries GROUP BY transaction_id "
            "HAVING sum(amount_micros) <> 0 OR count(*) <> 2) wrong",
            0,
        ),
    )
    for what, number in counted:
        count = sa.text(f"SELECT count(*) FROM {what}")
        assert world.session.scalar(count) == number, what
    with other.app_context():
        db.engine.dispose()


def questions_of(world: World, bodies: Sequence[dict[str, Any]], reach: Reach) -> list[Question]:
    schema = OrderIn()
    with world.app.app_context():
        keys = order_keys()
        found = []
        for body in bodies:
            report: OrderReportIn = schema.read(body, "raise")
            found.append(
                ask(
                    program_id=world.program.id,
                    placed_at=report.placed_at,
                    evidence={"server": evidence_of(report, keys)},
                    reach=reach,
                    keys=keys,
                )
            )
        return found


def prefix_of(world: World) -> str:
    return world.headers["Authorization"].split("_")[1]


def joint_rows(
    engine: sa.Engine, world: World, questions: Sequence[Question]
) -> dict[int, list[Any]]:
    asked = [PlainQuestion(question, prefix_of(world)) for question in questions]
    rows: dict[int, list[Any]] = {n: [] for n in range(len(questions))}
    with Connection(engine) as connection:
        for found in connection.trip(*plain_questions(asked, production=False))[1:]:
            for n, *row in found:
                rows[n].append(row)
    return rows


def test_what_is_read_together_is_what_each_would_read_alone(
    world: World, engine: sa.Engine
) -> None:
    rita, lena = world.affiliate("rita"), world.affiliate("lena")
    anna, boris = world.affiliate("anna", recruiter=rita), world.affiliate("boris", recruiter=lena)
    links = [world.link(anna), world.link(boris), world.link(rita, disabled_at=world.now - DAY)]
    tokens = [
        world.click(link, ago=(number + 1) * 3 * DAY, visitor=bytes([number]) * 16)
        for number, link in enumerate(links)
    ]
    late = world.click(links[1], loaded=False, visitor=b"v" * 16)
    old = world.click(links[0], ago=60 * DAY, visitor=b"o" * 16)
    world.coupon(anna, "ANNA10")
    world.coupon(lena, "LENA5", disabled_at=world.now - DAY)
    email, payment = email_sha256("olga@mail.example"), "ab" * 32
    bought = {"id": "C-1", "email_sha256": email}
    assert world.post(world.order("B-1", clicks=[tokens[0]], customer=bought)).status_code == 201
    assert world.post(world.order("B-2", coupon="LENA5", customer={"id": "C-2"})).status_code == 201
    evidence: list[dict[str, Any]] = [
        {},
        {"clicks": [tokens[0]]},
        {"clicks": [tokens[1]]},
        {"clicks": [tokens[2]], "customer": {"id": "C-9"}},
        {"clicks": [tokens[1]], "customer": {"id": "C-1"}},
        {"clicks": [tokens[0]], "customer": {"id": "C-2"}},
        {"clicks": tokens},
        {"clicks": [late]},
        {"clicks": [old]},
        {"clicks": [old, tokens[0]], "coupon": "anna10"},
        {"coupon": "LENA5"},
        {"coupon": "ANNA10", "customer": {"email_sha256": email}},
        {"clicks": [tokens[0]], "customer": {"id": "C-1", "payment_sha256": payment}},
        {"customer": {"id": "C-1", "email_sha256": email}, "visitor": "of-the-shop"},
        {"visitor": "00000000-0000-0000-0000-000000000000", "ip": "203.0.113.7"},
    ]
    bodies = [
        world.order(f"A-{n}", placed_at=(world.now - n * timedelta(minutes=1)).isoformat(), **said)
        for n, said in enumerate(evidence)
    ]
    for reach in (Reach(timedelta(days=30)), Reach(timedelta(days=7), True, True)):
        questions = questions_of(world, bodies, reach)
        rows = joint_rows(engine, world, questions)
        known = 0
        for n, question in enumerate(questions):
            found = plain_answer(question, rows[n])
            assert found is not None
            alone = answer(world.session, question).found
            assert sorted(found.known.found, key=repr) == sorted(alone, key=repr), evidence[n]
            assert found.program.slug == world.program.slug
            known += len(alone)
        assert known > len(questions), "there was something to read"


def test_every_value_of_a_question_has_a_type_it_is_read_as(world: World) -> None:
    [question] = questions_of(world, [world.order("A-1")], Reach(timedelta(days=30)))
    assert set(question.values) - set(asking._TYPES) == set()
    for row in Row._fields:
        assert row.isidentifier()


def test_only_the_months_of_the_clicks_that_are_meant_are_opened(
    world: World, engine: sa.Engine
) -> None:
    """Of the plan that is kept for all values, most parts are put aside before it begins."""
    link = world.link(world.affiliate("anna"))
    clicks = [world.click(link, ago=ago * timedelta(hours=1)) for ago in (1, 2)]
    bodies = [world.order(f"A-{n}", clicks=[click]) for n, click in enumerate(clicks)]
    questions = questions_of(world, bodies, Reach(timedelta(hours=3)))
    asked = [PlainQuestion(question, prefix_of(world)) for question in questions]
    [(begin, _), (text, values)] = plain_questions(asked, production=True)
    statement, names = numbered(text)
    told = [f"'{values[name]}'" for name in names]
    with engine.connect() as connection:
        connection.exec_driver_sql(begin)
        connection.exec_driver_sql(f"PREPARE kept AS {statement.decode()}")
        read = connection.exec_driver_sql(f"EXPLAIN EXECUTE kept ({', '.join(told)})")
        plan = "\n".join(line for (line,) in read)
        count = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'clicks'::regclass"
        parts = connection.exec_driver_sql(count).scalar_one()
    opened = set(re.findall(r" on (clicks_\w+)", plan))
    assert plan.count("Subplans Removed") == 2, "of a click by its id, and of a visitor's"
    assert 1 <= len(opened) < parts - 2, plan


def test_what_the_view_writes_is_planned_for_one_order(world: World, engine: sa.Engine) -> None:
    ask = (f"EXPLAIN {records._INSERT}", {"document": "{}"})
    with Connection(engine) as connection:
        [_, plan] = connection.trip((f"SELECT {PLANNED_ONCE}", {}), ask)
    told = "\n".join(line for (line,) in plan)
    assert "Nested Loop Anti Join" in told, told
    assert not re.search(r"Hash \w* ?Anti Join", told), "it would read all orders for each"


@pytest.mark.parametrize("tokens", [1, 2])
def test_what_is_joined_to_documents_is_looked_up_row_by_row(
    world: World, engine: sa.Engine, tokens: int
) -> None:
    """For a hundred rows, which it expects, the planner would read whole tables."""
    link = world.link(world.affiliate("anna"))
    clicks = [world.click(link, visitor=bytes([number]) * 16) for number in range(tokens)]
    bodies = [world.order("A-1", clicks=clicks, customer={"id": "C-1"})]
    questions = questions_of(world, bodies, Reach(timedelta(days=30), True, True))
    asked = [PlainQuestion(question, prefix_of(world)) for question in questions]
    begin, (text, values) = plain_questions(asked, production=False)
    lock, (insert, documents) = joint.plain_inserts([])
    waits: Statement = ("SELECT current_setting('lock_timeout')", {})
    with Connection(engine) as connection:
        [[(before,)]] = connection.trip(waits)
        [_, read] = connection.trip(begin, (f"EXPLAIN {text}", values))
        [locked, written] = connection.trip(
            (lock[0], {"ids": "[]"}), (f"EXPLAIN {insert}", {"documents": "[]"})
        )
        [[(afterwards,)]] = connection.trip(waits)
    assert documents == {"documents": "[]"}
    assert f"{JOINT_WAIT_MS}ms" in locked[0]
    assert afterwards == before != f"{JOINT_WAIT_MS}ms"
    for plan in (read, written):
        told = "\n".join(line for (line,) in plan)
        assert "Hash Join" not in told, told
        assert "Merge Join" not in told, told
        assert "Materialize" not in told, told
        assert "Seq Scan" not in told, told


class Line:
    """What granian hands its wrapper for one request: the first answer counts."""

    def __init__(self) -> None:
        self.answered = threading.Event()
        self.status = 0

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        if not self.answered.is_set():
            self.status = status
            self.answered.set()


def test_where_many_wait_further_ones_hold_up_their_threads(
    world: World, street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    street.open()
    clicks = earners(world)
    street.close()
    monkeypatch.setattr(plain, "PUT_OFF_MAX", 2)
    lines = [Line() for _ in range(5)]

    def report(number: int) -> TestResponse:
        sent = world.order(f"A-{number}", clicks=clicks)
        with street.app.test_client() as client:
            client.environ_base["HTTP_HOST"] = "127.0.0.1:8000"
            client.environ_base[deferred.KEY] = deferred.Deferred(lines[number])  # type: ignore[arg-type]
            return client.post("/api/v1/orders", json=sent, headers=world.headers)

    with ThreadPoolExecutor(len(lines)) as threads:
        futures = [threads.submit(report, 0)]
        assert street._begun.wait(WAIT_S)
        for number in range(1, 5):
            futures.append(threads.submit(report, number))
            street._stands(number)
        taken = [future.result(WAIT_S).status_code for future in futures[:3]]
        assert taken == [202] * 3, "their threads are free"
        assert not any(future.done() for future in futures[3:])
        street.open()
        assert [future.result(WAIT_S).status_code for future in futures[3:]] == [201, 201]
    for line in lines[:3]:
        assert line.answered.wait(WAIT_S)
    assert [line.status for line in lines] == [201, 201, 201, 0, 0]


@pytest.mark.parametrize("broken", ["the view", "who asks it", "the answer"])
def test_what_cannot_be_answered_is_an_error_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """Nobody hangs on an answer that was put off."""
    assert world.post(world.order("A-0")).status_code == 201
    orders = world.app.extensions[plain.EXTENSION]

    def fail(*_: Any, **__: Any) -> Any:
        raise SystemExit(broken)

    if broken == "the view":
        monkeypatch.setattr(orders, "_inner", fail)
    elif broken == "who asks it":
        monkeypatch.setattr(orders._views, "submit", fail)
    else:
        monkeypatch.setattr(orders, "_headers_of", fail)
    line = Line()
    new = "A-1" if broken == "the answer" else "A-0"
    with world.app.test_client() as client:
        client.environ_base["HTTP_HOST"] = "127.0.0.1:8000"
        client.environ_base[deferred.KEY] = deferred.Deferred(line)  # type: ignore[arg-type]
        client.post("/api/v1/orders", json=world.order(new), headers=world.headers)
    assert line.answered.wait(WAIT_S)
    assert line.status == 500
