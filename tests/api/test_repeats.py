"""`Idempotency-Key`: the same call again is answered as it was, whatever happened in between."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from affiliate.core import clock, repeats
from affiliate.core.config import Settings
from affiliate.core.db import db, held
from affiliate.core.repeats import StoredAnswer
from affiliate.links.models import Link
from affiliate.personal.retention import forget_old
from tests.orders.shop_world import World, of, rub
from tracker.orders.models import Order, OrderReport

FIRST = {"Idempotency-Key": "one-intent"}
FIRST_ = {"Idempotency_Key": "one-intent"}


@pytest.fixture
def world(app: Flask, settings: Settings, client: FlaskClient, session: Session) -> World:
    world = World.build(app, settings, client, session)
    world.headers = world.key(
        "orders:write", "orders:read", "affiliates:read", "affiliates:write", "withdrawals:write"
    )
    return world


@pytest.fixture
def links(world: World) -> str:
    """Where an affiliate's links are made; each call would make another."""
    return f"/api/v1/affiliates/{of(world.affiliate('anna'))}/links"


def post(world: World, path: str, body: Any, **headers: str) -> TestResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return world.client.post(path, json=body, headers=world.headers | named)


def count(session: Session, model: type[Any]) -> int:
    session.rollback()
    return session.scalar(sa.select(sa.func.count()).select_from(model)) or 0


def test_the_same_key_and_body_get_the_stored_answer(world: World, links: str) -> None:
    body = {"name": "Blog", "sub_ids": {"s1": "a", "s2": "b"}}
    first = world.client.post(links, json=body, headers=world.headers | FIRST)
    made = count(world.session, Link)
    again = world.client.post(links, json=body, headers=world.headers | FIRST)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.data == again.data
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert count(world.session, Link) == made


def test_another_spelling_of_the_same_body_is_the_same(world: World, links: str) -> None:
    headers = world.headers | FIRST | {"Content-Type": "application/json"}
    first = world.client.post(links, data='{"name": "Blog", "code": "BLOG-1"}', headers=headers)
    again = world.client.post(links, data='{ "code":"BLOG-1","name":"Blog" }', headers=headers)
    assert (first.status_code, again.headers.get("Idempotent-Replayed")) == (201, "true")


def test_a_key_in_quotes_is_the_key(world: World, links: str) -> None:
    assert post(world, links, {}, Idempotency_Key="k-1").status_code == 201
    again = post(world, links, {}, Idempotency_Key='"k-1"')
    assert again.headers["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize("other", ["body", "path"])
def test_the_same_key_with_another_request_is_refused(world: World, links: str, other: str) -> None:
    assert post(world, links, {"name": "Blog"}, **FIRST_).status_code == 201
    made = count(world.session, Link)
    boris = f"/api/v1/affiliates/{of(world.affiliate('boris'))}/links"
    made = count(world.session, Link)
    path, body = (boris, {"name": "Blog"}) if other == "path" else (links, {"name": "Shop"})
    refused = post(world, path, body, **FIRST_)
    assert (refused.status_code, refused.get_json()["code"]) == (422, "idempotency_key_reused")
    assert count(world.session, Link) == made


def test_a_key_belongs_to_its_api_key(world: World, links: str) -> None:
    assert post(world, links, {}, **FIRST_).status_code == 201
    world.headers = world.key("affiliates:write")
    answer = post(world, links, {}, **FIRST_)
    assert (answer.status_code, "Idempotent-Replayed" in answer.headers) == (201, False)


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "ключ", '""', '"a', 'a"', "a\xa0"])
def test_a_key_that_is_none_is_malformed(world: World, links: str, key: str) -> None:
    answer = world.client.post(
        links, json={}, headers=world.headers | {"Idempotency-Key": key.encode().decode("latin-1")}
    )
    assert (answer.status_code, answer.get_json()["code"]) == (400, "bad_idempotency_key")


def test_what_was_refused_is_judged_anew(world: World, links: str) -> None:
    assert post(world, links, {"code": "!"}, **FIRST_).status_code == 422
    assert count(world.session, StoredAnswer) == 0
    assert post(world, links, {"code": "BLOG-1"}, **FIRST_).status_code == 201


def test_an_order_under_a_key_is_stored_with_its_answer(world: World) -> None:
    """Its own id makes an order idempotent; the key gives the answer of that time."""
    body = world.order("A-1")
    first = post(world, "/api/v1/orders", body, **FIRST_)
    again = post(world, "/api/v1/orders", body, **FIRST_)
    without = world.post(body)
    assert (first.status_code, again.status_code, without.status_code) == (201, 201, 200)
    assert again.data == first.data
    assert without.headers["Idempotent-Replayed"] == "true"
    refund = {"refund_id": "R-1", "amount": rub("90.00")}
    made = [post(world, "/api/v1/orders/A-1/refunds", refund, Idempotency_Key="r") for _ in "12"]
    assert [each.status_code for each in made] == [201, 201]
    assert count(world.session, Order) == 1


def test_a_conflict_that_is_kept_for_a_person_is_kept_under_a_key_too(world: World) -> None:
    assert world.post(world.order("A-1")).status_code == 201
    reports = count(world.session, OrderReport)
    other = world.order("A-1", coupon="OTHER")
    assert post(world, "/api/v1/orders", other, **FIRST_).status_code == 409
    assert count(world.session, OrderReport) == reports + 1
    assert count(world.session, StoredAnswer) == 0


def test_the_write_and_its_answer_are_one_transaction(
    world: World, links: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any) -> None:
        raise MemoryError

    made = count(world.session, Link)
    with monkeypatch.context() as patched:
        patched.setattr(repeats, "_store", die)
        assert post(world, links, {}, **FIRST_).status_code == 500
    assert (count(world.session, Link), count(world.session, StoredAnswer)) == (made, 0)
    assert post(world, links, {}, **FIRST_).status_code == 201
    assert (count(world.session, Link), count(world.session, StoredAnswer)) == (made + 1, 1)


@pytest.fixture
def under_way(world: World, engine: sa.Engine) -> Iterator[Session]:
    """Another process answers the same call: it holds the key's lock."""
    world.session.rollback()
    key_id = world.session.scalar(sa.text("SELECT max(id) FROM api_keys"))
    with Session(engine) as other:
        assert repeats._lock(other, key_id or 0, "one-intent")
        yield other


def test_the_same_call_under_way_is_a_conflict_that_says_when(
    world: World, links: str, under_way: Session
) -> None:
    refused = post(world, links, {}, **FIRST_)
    assert (refused.status_code, refused.get_json()["code"]) == (409, "call_under_way")
    assert refused.headers["Retry-After"] == "1"
    under_way.rollback()
    assert post(world, links, {}, **FIRST_).status_code == 201


def test_eight_at_once_make_one(world: World, links: str, app: Flask) -> None:
    made = count(world.session, Link)
    start = threading.Barrier(8)
    answers: list[tuple[int, bytes]] = []

    def call() -> None:
        with app.test_client() as client:
            client.environ_base["HTTP_HOST"] = "127.0.0.1:8000"
            start.wait()
            answer = client.post(links, json={}, headers=world.headers | FIRST)
            answers.append((answer.status_code, answer.data))

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(world.session, Link) == made + 1
    assert {status for status, _ in answers} <= {201, 409}
    assert len({body for status, body in answers if status == 201}) == 1


def test_a_lock_that_a_rollback_lost_is_made_good_by_the_primary_key(
    world: World, app: Flask, links: str, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a deadlock, where the view begins again without the lock."""
    monkeypatch.setattr(repeats, "_lock", lambda *_: True)
    store = repeats._store

    def late(session: Session, key_id: int, *rest: Any) -> None:
        with Session(engine) as other:
            other.add(StoredAnswer(
                api_key_id=key_id, idempotency_key="one-intent", request_hash=b"x", status=201,
                headers={}, body=b"{}", stored_at=clock.real_now(),
            ))  # fmt: skip
            other.commit()
        store(session, key_id, *rest)

    made = count(world.session, Link)
    monkeypatch.setattr(repeats, "_store", late)
    assert post(world, links, {}, **FIRST_).status_code == 409
    assert count(world.session, Link) == made


def test_answers_are_kept_for_a_day_at_least_and_then_go(
    world: World, links: str, settings: Settings
) -> None:
    assert repeats.KEPT_H >= 24
    assert post(world, links, {}, **FIRST_).status_code == 201
    now = clock.real_now()
    for hours, left in ((24, 1), (repeats.KEPT_H, 1), (repeats.KEPT_H + 1, 0)):
        then = now + timedelta(hours=hours) - timedelta(minutes=1)
        forget_old(world.session, settings=settings, now=world.now, real_now=then)
        world.session.commit()
        assert count(world.session, StoredAnswer) == left


def test_a_held_commit_is_undone_by_what_goes_wrong_after_it(app: Flask, world: World) -> None:
    with app.app_context():
        session = db.session()
        with pytest.raises(ZeroDivisionError), held(session):
            session.execute(sa.text("UPDATE programs SET name = 'Other'"))
            session.commit()
            raise ZeroDivisionError
        session.rollback()
        assert session.scalar(sa.text("SELECT name FROM programs")) != "Other"
