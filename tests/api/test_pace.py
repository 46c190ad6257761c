"""Limits of calls for each API key, told in standard headers, with Valkey and without."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis import Redis
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import TooMany
from affiliate.core.pace import EXTENSION, TELL_S, WINDOW_S, Pace
from tests.orders.shop_world import World

AT = 1_000_000 * WINDOW_S + 17.0
"""Seconds into a window: 43 are left of it."""


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as client:
        yield client


def used_up(pace: Pace, calls: int, *, now_s: float) -> None:
    for _ in range(calls):
        pace.count(1, now_s=now_s)


def test_the_last_call_of_the_minute_is_answered_and_the_next_is_not(redis: Redis) -> None:
    pace = Pace(3, redis)
    left = [standing.left for _ in range(3) if (standing := pace.count(1, now_s=AT))]
    assert left == [2, 1, 0]
    with pytest.raises(TooMany) as refused:
        pace.count(1, now_s=AT)
    assert refused.value.headers == {"Retry-After": "43"}
    assert pace.count(2, now_s=AT), "another key has its own"
    assert pace.count(1, now_s=AT + 43), "the next minute begins anew"


def test_headers_are_those_of_the_draft(redis: Redis) -> None:
    standing = Pace(100, redis).count(1, now_s=AT)
    assert standing is not None
    assert standing.headers == [
        ("RateLimit-Policy", '"calls";q=100;w=60'),
        ("RateLimit", '"calls";r=99;t=43'),
    ]


def test_processes_know_of_each_other_within_a_second(redis: Redis) -> None:
    one, other = Pace(10, redis), Pace(10, redis)
    used_up(one, 5, now_s=AT)
    used_up(one, 1, now_s=AT + TELL_S)
    standing = other.count(1, now_s=AT + TELL_S)
    assert standing is not None
    later = other.count(1, now_s=AT + 2 * TELL_S)
    assert later is not None
    assert later.left == 10 - 6 - 2


def test_calls_within_a_second_make_one_trip(redis: Redis) -> None:
    pace = Pace(1_000, redis)
    before = redis.info("commandstats").get("cmdstat_incrby", {"calls": 0})["calls"]
    used_up(pace, 500, now_s=AT)
    after = redis.info("commandstats")["cmdstat_incrby"]["calls"]
    assert after - before == 1


def test_without_valkey_each_process_holds_the_limit_by_itself() -> None:
    with Redis.from_url("redis://127.0.0.1:1", socket_connect_timeout=0.2) as nobody:
        pace = Pace(3, nobody)
        used_up(pace, 3, now_s=AT)
        with pytest.raises(TooMany):
            pace.count(1, now_s=AT + 2)


def test_zero_is_no_limit_and_no_headers(redis: Redis) -> None:
    assert Pace(0, redis).count(1) is None


@pytest.fixture
def world(app: Flask, settings: Settings, client: FlaskClient, session: Session) -> World:
    return World.build(app, settings, client, session)


def limit(world: World, most: int) -> None:
    pace: Pace = world.app.extensions[EXTENSION]
    pace.most = most


def test_answers_say_what_is_left_and_429_when_to_come_again(world: World) -> None:
    limit(world, 2)
    if time.time() % WINDOW_S > WINDOW_S - 5:
        time.sleep(6)  # Not over the end of a minute.
    assert world.post(world.order("A-1")).headers["RateLimit"].startswith('"calls";r=1;t=')
    answer = world.client.get("/api/v1/orders/A-9", headers=world.headers)
    assert (answer.status_code, answer.headers["RateLimit"][:11]) == (404, '"calls";r=0')
    for refused in (
        world.client.get("/api/v1/orders/A-1", headers=world.headers),
        world.post(world.order("A-2")),
    ):
        assert (refused.status_code, refused.get_json()["code"]) == (429, "too_many_requests")
        assert 0 < int(refused.headers["Retry-After"]) <= WINDOW_S
        assert refused.content_type == "application/problem+json"
    limit(world, 100)
    assert world.client.get("/api/v1/orders/A-2", headers=world.headers).status_code == 404


def test_whoever_has_no_key_is_not_counted(world: World) -> None:
    answer = world.client.get("/api/v1/orders/A-1")
    assert (answer.status_code, "RateLimit" in answer.headers) == (401, False)


def test_orders_go_on_while_valkey_is_away(settings: Settings, session: Session) -> None:
    from wsgi import create_app

    app = create_app(replace(settings, redis_url="redis://127.0.0.1:1"))
    client = app.test_client()
    client.environ_base["HTTP_HOST"] = "127.0.0.1:8000"
    try:
        world = World.build(app, settings, client, session)
        statuses = [world.post(world.order(each)).status_code for each in ("A-1", "A-2")]
    finally:
        with app.app_context():
            db.session.remove()
            db.engine.dispose()
    assert statuses == [201, 201]
