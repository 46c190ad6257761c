"""Plain orders: taken before Flask in two round trips, and like any other in all else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.config import Settings
from affiliate.core.straight import Connection
from affiliate.people import api_keys, sent_keys
from affiliate.people.models import ApiKey
from payouts.commissions.models import Commission
from payouts.ledger.models import LedgerEntry
from tests.orders.shop_world import DAY, World, affiliates_of, email_sha256, of, rub
from tracker.attribution.models import Decision
from tracker.orders import intake, plain
from tracker.orders.models import Order, OrderReport
from tracker.orders.refunds import refund_order
from tracker.orders.rules import RefundIn

WRITTEN = (Order, OrderReport, Decision, Commission, LedgerEntry)
Trips = list[tuple[str, ...]]


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> Trips:
    """The statements of each round trip that was made before Flask."""
    made: Trips = []
    trip = Connection.trip

    def note(connection: Connection, *statements: Any, **more: Any) -> Any:
        made.append(tuple(text for text, _ in statements))
        return trip(connection, *statements, **more)

    monkeypatch.setattr(Connection, "trip", note)
    return made


@pytest.fixture(autouse=True)
def _nothing_is_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs have the same ids in every test's database."""
    monkeypatch.setattr(intake, "_reaches", {})


def rows_of(session: Session) -> list[int]:
    session.rollback()
    return [session.scalar(sa.select(sa.func.count()).select_from(each)) or 0 for each in WRITTEN]


def accounts_of(world: World) -> list[str]:
    """An affiliate with a recruiter who have both earned before; the clicks of a buyer."""
    anna = world.affiliate("anna", recruiter=world.affiliate("rita"))
    clicks = [world.click(world.link(anna))]
    assert world.post(world.order("A-0", clicks=clicks)).status_code == 201
    return clicks


def test_a_plain_order_takes_two_round_trips_and_no_view(
    world: World, trips: Trips, views: list[str]
) -> None:
    clicks = accounts_of(world)
    trips.clear()
    views.clear()
    buyer = {"id": "C-1", "email_sha256": email_sha256("olga@mail.example"), "is_new": True}
    answer = world.post(world.order("A-1", clicks=clicks, customer=buyer))
    assert answer.status_code == 201
    assert (len(trips), views) == (2, [])
    assert len(answer.get_json()["commissions"]) == 2


def test_it_answers_what_the_view_answers_headers_included(
    world: World, views: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clicks = accounts_of(world)
    views.clear()
    body = world.order("A-1", clicks=clicks, customer={"id": "C-1"}, metadata={"weight": 1.5})
    plainly = world.post(body)
    with monkeypatch.context() as patched:
        patched.setattr(plain, "PATH", "/nowhere")
        viewed = world.post({**body, "order_id": "A-2"})
    assert len(views) == 1
    assert plainly.get_json() | {"order_id": "A-2"} == viewed.get_json()

    def headers(answer: Any) -> dict[str, str]:
        differ = ("X-Request-Id", "Content-Length", "RateLimit")
        assert all(answer.headers[name] for name in differ)
        # Flask says "Vary: Cookie" wherever a session was opened, even where none is read.
        differ += ("Vary",)
        return {name: value for name, value in answer.headers.items() if name not in differ}

    assert headers(plainly) == headers(viewed)
    read = world.get("A-1")
    for line in read["attribution"]["trace"]:
        del line["text"]
    assert plainly.get_json() == read


def test_https_is_said_as_the_view_says_it(app: Flask, production_settings: Settings) -> None:
    made = plain.PlainOrders(app, production_settings)
    assert ("Strict-Transport-Security", "max-age=31536000") in made._headers
    assert "Strict-Transport-Security" not in dict(plain.PlainOrders(app, _plain(app))._headers)


def _plain(app: Flask) -> Settings:
    found: Settings = app.extensions["kopeck.settings"]
    return found


def _revoke(world: World) -> int:
    key = world.session.scalars(sa.select(ApiKey)).one()
    api_keys.revoke_key(
        world.session, program_id=key.program_id, key_id=key.id, by=None, now=clock.real_now()
    )
    return 401


def _expire(world: World) -> int:
    now = clock.real_now()
    world.session.execute(sa.update(ApiKey).values(expires_at=now - timedelta(seconds=1)))
    return 401


def _take_scope(world: World) -> int:
    world.session.execute(sa.update(ApiKey).values(scopes=["orders:read"]))
    return 403


def _change_secret(world: World) -> int:
    world.session.execute(sa.update(ApiKey).values(secret_hash=bytes(32)))
    return 401


@pytest.mark.parametrize("change", [_revoke, _expire, _take_scope, _change_secret])
def test_a_key_that_holds_no_longer_is_refused_at_once_and_before_its_body(
    world: World, change: Callable[[World], int]
) -> None:
    clicks = accounts_of(world)
    status = change(world)
    world.session.commit()
    before = rows_of(world.session)
    assert world.post(world.order("A-1", clicks=clicks)).status_code == status
    wrong = world.order("A-2", clicks=clicks, total="much")
    assert world.post(wrong).status_code == status, "not a 422"
    assert world.post(b"{").status_code == status, "not a 400"
    assert rows_of(world.session) == before


def test_another_secret_under_a_known_prefix_asks_nothing_of_the_quick_path(
    world: World, trips: Trips
) -> None:
    key = world.headers["Authorization"]
    forged = {"Authorization": key[:-4] + ("aaaa" if key[-4:] != "aaaa" else "bbbb")}
    assert world.post(world.order("A-1"), headers=forged).status_code == 401
    assert trips == []


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"total": rub("4490.01"), "items": []}, 201),
        ({"total": rub("1.00")}, 422),
        ({"total": {"amount": "4490.00", "currency": "EUR"}}, 422),
        ({"placed_at": "2001-01-01T00:00:00Z"}, 422),
        ({"placed_at": "1999-01-01T00:00:00Z"}, 422),
        ({"placed_at": "2099-01-01T00:00:00Z"}, 422),
        ({"placed_at": "0001-01-01T00:00:00Z"}, 422),
        ({"placed_at": "9999-12-31T23:59:59Z"}, 422),
        ({"surprise": 1}, 422),
        ({"customer": {"email_sha256": email_sha256("olga@mail.example")}}, 201),
    ],
)
def test_what_is_not_plain_is_answered_by_the_view(
    world: World, changes: dict[str, Any], status: int
) -> None:
    clicks = accounts_of(world)
    before = rows_of(world.session)
    answer = world.post(world.order("A-1", clicks=clicks, **changes))
    assert answer.status_code == status, answer.text
    assert (rows_of(world.session) == before) == (status == 422)


def test_hosts_queries_and_other_types_are_the_views(world: World, trips: Trips) -> None:
    body = world.order("A-1")
    assert world.post(body, environ_overrides={"HTTP_HOST": "evil.example"}).status_code == 400
    assert world.post(body, environ_overrides={"HTTP_HOST": "\u00e9vil"}).status_code == 400
    assert world.post(body, environ_overrides={"CONTENT_TYPE": "text/plain"}).status_code == 415
    assert world.post(body, query_string={"a": "b"}).status_code == 201
    assert trips == []


def test_a_replay_and_a_conflict_are_answered_as_ever(world: World) -> None:
    clicks = accounts_of(world)
    body = world.order("A-1", clicks=clicks)
    first, again = world.post(body), world.post(body)
    other = world.post({**body, "metadata": {"other": True}})
    assert [each.status_code for each in (first, again, other)] == [201, 200, 409]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert first.get_json() == again.get_json()


def test_one_order_reported_eight_times_at_once_is_one(world: World, app: Flask) -> None:
    body = world.order("A-1", clicks=accounts_of(world))
    before = rows_of(world.session)
    start, statuses = threading.Barrier(8), []

    def report() -> None:
        with app.test_client() as client:
            client.environ_base["HTTP_HOST"] = "127.0.0.1:8000"
            start.wait()
            answer = client.post("/api/v1/orders", json=body, headers=world.headers)
            statuses.append(answer.status_code)

    threads = [threading.Thread(target=report) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] * 7 + [201]
    one_more = [count - was for count, was in zip(rows_of(world.session), before, strict=True)]
    assert one_more == [1, 1, 1, 2, 4]


def test_accounts_that_are_missing_are_made_by_the_view(world: World, views: list[str]) -> None:
    accounts_of(world)
    boris = world.affiliate("boris")
    clicks = [world.click(world.link(boris), visitor=b"another visitor!")]
    views.clear()
    for order_id in ("A-1", "A-2"):
        answer = world.post(world.order(order_id, clicks=clicks))
        assert (answer.status_code, affiliates_of(answer.get_json())) == (201, [of(boris)])
    assert len(views) == 1, "the second one is plain"


def test_an_order_of_nobody_is_plain(world: World, views: list[str]) -> None:
    answer = world.post(world.order("A-1"))
    assert (answer.status_code, views) == (201, [])
    assert answer.get_json()["attribution"]["reason"] == "no_evidence"
    assert world.get("A-1")["commissions"] == []


def test_a_refund_that_came_before_is_applied(world: World, views: list[str]) -> None:
    clicks = accounts_of(world)
    refund = {"refund_id": "R-1", "amount": rub("4490.00")}
    assert world.post(refund, "/A-1/refunds").status_code == 202
    answer = world.post(world.order("A-1", clicks=clicks))
    assert (answer.status_code, len(views)) == (201, 2), "the first made the accounts"
    assert answer.get_json()["refunded"]["amount"] == "4490.00"
    assert {each["status"] for each in answer.get_json()["commissions"]} == {"reversed"}


def test_a_refund_that_is_being_parked_is_waited_for(
    world: World, app: Flask, engine: sa.Engine
) -> None:
    """The snapshot of what is written is taken under the id's lock, not before it."""
    clicks = accounts_of(world)
    answers: list[Any] = []

    def report() -> None:
        with app.test_client() as client:
            client.environ_base["HTTP_HOST"] = "127.0.0.1:8000"
            body = world.order("A-1", clicks=clicks)
            answers.append(client.post("/api/v1/orders", json=body, headers=world.headers))

    with Session(engine) as other:
        refund_order(
            other,
            program_id=world.program.id,
            order_id="A-1",
            refund=RefundIn("R-1"),
            now=world.now,
        )
        thread = threading.Thread(target=report)
        thread.start()
        _wait_for_a_waiter(world.session)
        assert answers == []
        other.commit()
    thread.join()
    [answer] = answers
    assert answer.status_code == 201
    assert answer.get_json()["refunded"]["amount"] == "4490.00"


def _wait_for_a_waiter(session: Session) -> None:
    query = sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    deadline = time.monotonic() + 10
    while not session.scalar(query):
        assert time.monotonic() < deadline, "nobody waits for the id's lock"
        session.rollback()
        time.sleep(0.01)
    session.rollback()


def test_a_window_that_is_not_the_guessed_one_is_the_views(
    app: Flask, settings: Settings, client: FlaskClient, session: Session, views: list[str]
) -> None:
    terms = {
        "model": "last_click", "window_days": 7, "coupon": "loses",
        "existing_customer": "pays", "self_purchase": "refuses",
    }  # fmt: skip
    world = World.build(app, settings, client, session, attribution=terms)
    anna = world.affiliate("anna")
    late = [world.click(world.link(anna), ago=10 * DAY)]
    for order_id in ("A-1", "A-2"):
        answer = world.post(world.order(order_id, clicks=late)).get_json()
        assert answer["attribution"]["reason"] == "outside_window"
    assert len(views) == 1, "by then the window is known"


def test_the_use_of_a_key_is_noted_by_the_view(world: World, views: list[str]) -> None:
    assert world.post(world.order("A-1")).status_code == 201
    world.session.execute(sa.update(ApiKey).values(last_used_at=world.now - DAY))
    world.session.commit()
    assert world.post(world.order("A-2")).status_code == 201
    assert len(views) == 1
    world.session.rollback()
    used_at = world.session.scalar(sa.select(ApiKey.last_used_at))
    assert used_at is not None
    assert used_at > world.now - DAY


COMMIT_FAILS = """
    CREATE FUNCTION fail_at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'no commit today'; END $$;
    CREATE CONSTRAINT TRIGGER fails AFTER INSERT ON orders
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fail_at_commit();
"""


def test_a_commit_that_fails_answers_an_error_and_writes_nothing(
    world: World, trips: Trips
) -> None:
    clicks = accounts_of(world)
    before = rows_of(world.session)
    world.session.execute(sa.text(COMMIT_FAILS))
    world.session.commit()
    trips.clear()
    answer = world.post(world.order("A-1", clicks=clicks))
    assert (answer.status_code, len(trips)) == (500, 2), "the view has tried it as well"
    assert rows_of(world.session) == before
    world.session.execute(sa.text("DROP TRIGGER fails ON orders"))
    world.session.commit()
    trips.clear()
    assert world.post(world.order("A-1", clicks=clicks)).status_code == 201
    assert len(trips) == 2, "the connection is as good as before"


def test_an_answer_that_is_lost_after_the_commit_is_found_by_the_view(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    clicks = accounts_of(world)
    before = rows_of(world.session)
    trip = Connection.trip

    def cut(connection: Connection, *statements: Any, **more: Any) -> Any:
        found = trip(connection, *statements, **more)
        if "INSERT INTO orders" in statements[-1][0]:
            raise sa.exc.OperationalError("the line is dead", None, OSError())
        return found

    monkeypatch.setattr(Connection, "trip", cut)
    answer = world.post(world.order("A-1", clicks=clicks))
    assert (answer.status_code, answer.headers["Idempotent-Replayed"]) == (200, "true")
    one_more = [count - was for count, was in zip(rows_of(world.session), before, strict=True)]
    assert one_more == [1, 1, 1, 2, 4]


def test_connections_that_the_server_ended_do_not_lose_an_order(world: World) -> None:
    clicks = accounts_of(world)
    for number in range(3):
        world.session.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
        world.session.commit()
        assert world.post(world.order(f"A-{number + 1}", clicks=clicks)).status_code == 201


def test_the_memory_of_keys_is_bounded(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "KEYS_REMEMBERED_MAX", 2)
    made = plain.PlainOrders(app, _plain(app))
    identity = sent_keys.ApiKeyIdentity(1, 1, "abcd", frozenset())
    for letter in "abc":
        made.remember(f"Bearer kpk_abcd_{letter * 30}", identity)
    made.remember("Basic nothing", identity)
    assert len(made._programs) == 1
