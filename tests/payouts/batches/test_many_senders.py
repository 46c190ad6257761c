"""Batches that are sent by several threads: groups, stops, poison, cut connections."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from money_world import NOW
from paying import Pay
from redis import Redis
from rq.timeouts import JobTimeoutException
from sqlalchemy.engine import make_url
from stripe_double import DEADLINE_S, until

from affiliate.core import audit as audit_log
from affiliate.core import queue
from affiliate.core.db import committed, session_for
from payouts.batches import execute, fence, intents
from payouts.batches.approve import NotFinance
from payouts.batches.cancel import ItemAlreadySent, hold_item
from payouts.batches.claims import RAISES_MAX, release
from payouts.batches.draft import draft_weekly, open_periods, undrafted
from payouts.batches.intents import NOT_SENT, claim, claim_group
from payouts.batches.jobs import sweep
from payouts.batches.locks import LockReason, lock
from payouts.batches.models import Pace, PayoutItem
from payouts.batches.pace import AHEAD_S_MAX, PACE_PER_S, take_slot
from payouts.batches.pause import (
    NotStoppable,
    NotStopped,
    StoppedAlready,
    pause_batch,
    resume_batch,
)
from payouts.batches.review import mark_paid, try_again
from payouts.batches.sending import SENDERS


def approved_batch(pay: Pay, count: int, amount: str = "1.00") -> int:
    """A weekly batch of so many, approved."""
    for number in range(count):
        pay.affiliate(f"p{number}", amount)
    open_periods(pay.session, now=NOW)
    made = [
        draft_weekly(pay.session, period_id=p, rails=pay.rails, now=NOW)
        for p in undrafted(pay.session)
    ]
    pay.session.commit()
    (batch_id,) = [b for b in made if b]
    pay.approve(batch_id)
    return batch_id


def items_of(pay: Pay, batch_id: int) -> list[PayoutItem]:
    pay.session.rollback()
    query = sa.select(PayoutItem).where(PayoutItem.batch_id == batch_id).order_by(PayoutItem.id)
    return list(pay.session.scalars(query.execution_options(populate_existing=True)))


def each_paid_once(pay: Pay, batch_id: int) -> None:
    items = items_of(pay, batch_id)
    assert {item.status for item in items} == {"paid"}
    assert [len(pay.transfers(item.id)) for item in items] == [1] * len(items)
    assert pay.batch(batch_id).status == "done"
    pay.sound()


def stop(pay: Pay, batch_id: int, session: Any = None) -> None:
    own = session or pay.session
    pause_batch(own, batch_id=batch_id, by_user_id=pay.finance, why="a call from the bank", now=NOW)
    own.commit()


def go_on(pay: Pay, batch_id: int) -> None:
    resume_batch(pay.session, batch_id=batch_id, by_user_id=pay.finance, why="settled", now=NOW)
    pay.session.commit()


def test_a_batch_is_claimed_in_groups_and_the_fence_is_raised_once_for_each(
    by_stripe: Pay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execute, "ITEMS_MAX", 4)
    monkeypatch.setattr(execute, "REFILL_AT", 2)
    batch_id = approved_batch(by_stripe, 10)
    steps: list[str] = []
    by_stripe.run(batch_id, at=steps.append)
    assert steps.count("answer_committed") == 10
    assert steps.count("fence_raised") == 3  # 4, 4 and 2 items
    kept = fence.read(by_stripe.settings.data_dir)
    assert kept is not None
    highest = max(a.id for item in items_of(by_stripe, batch_id) for a in
                  by_stripe.attempts(item.id))  # fmt: skip
    assert kept.attempt == highest
    each_paid_once(by_stripe, batch_id)


@pytest.mark.parametrize("senders", [1, 8])
def test_a_worker_may_send_alone_or_with_others(by_stripe: Pay, senders: int) -> None:
    batch_id = approved_batch(by_stripe, 5)
    by_stripe.sending = replace(by_stripe.sending, senders=senders)
    assert not by_stripe.run(batch_id)
    each_paid_once(by_stripe, batch_id)


def test_senders_work_at_the_same_time(by_stripe: Pay) -> None:
    assert by_stripe.double is not None
    batch_id = approved_batch(by_stripe, 8)
    double = by_stripe.double
    double.fault("delay", delay_s=2.0, times=None)
    worker = threading.Thread(target=by_stripe.run, args=[batch_id])
    worker.start()
    until(lambda: double.control("GET", "/state")["in_flight"] >= 4)
    double.control("DELETE", "/faults")
    worker.join(DEADLINE_S)
    each_paid_once(by_stripe, batch_id)


def test_no_more_than_the_pace_leaves_in_a_second(by_stripe: Pay) -> None:
    assert by_stripe.double is not None
    batch_id = approved_batch(by_stripe, 24)
    began = time.monotonic()
    by_stripe.run(batch_id)
    assert time.monotonic() - began >= 23 / PACE_PER_S
    each_paid_once(by_stripe, batch_id)


def test_a_pace_that_was_left_far_ahead_by_a_wrong_clock_begins_anew(by_stripe: Pay) -> None:
    session = by_stripe.session
    assert take_slot(session, rail="stripe") == 0
    session.execute(
        sa.update(Pace).values(
            next_at=sa.func.clock_timestamp() + timedelta(seconds=AHEAD_S_MAX + 60)
        )
    )
    assert take_slot(session, rail="stripe") == 0
    assert 0 < take_slot(session, rail="stripe") <= 1 / PACE_PER_S
    session.commit()


def test_a_stopped_batch_begins_no_attempt_and_goes_on_where_it_was(by_stripe: Pay) -> None:
    batch_id = approved_batch(by_stripe, 3)
    stop(by_stripe, batch_id)
    assert not by_stripe.run(batch_id)
    assert all(by_stripe.attempts(i.id) == [] for i in items_of(by_stripe, batch_id))
    go_on(by_stripe, batch_id)
    by_stripe.run(batch_id)
    each_paid_once(by_stripe, batch_id)
    told = by_stripe.session.execute(
        sa.select(audit_log.AuditEntry.action, audit_log.AuditEntry.reason)
        .where(audit_log.AuditEntry.action.in_(("batch.stop", "batch.resume")))
        .order_by(audit_log.AuditEntry.id)
    ).all()
    assert [tuple(row) for row in told] == [
        ("batch.stop", "a call from the bank"),
        ("batch.resume", "settled"),
    ]


def test_a_stop_in_the_middle_gives_back_what_was_claimed_and_not_sent(by_stripe: Pay) -> None:
    """Claimed are all; the stop comes with the first call; what is not sent can be held."""
    batch_id = approved_batch(by_stripe, 12)
    by_stripe.sending = replace(by_stripe.sending, senders=1)
    once = iter([True])

    def stop_at_first(step: str) -> None:
        if step == "sending" and next(once, False):
            with session_for(by_stripe.engine)() as own:
                stop(by_stripe, batch_id, own)

    assert not by_stripe.run(batch_id, at=stop_at_first)
    items = items_of(by_stripe, batch_id)
    assert [item.status for item in items] == ["paid"] + ["queued"] * 11
    unsent = by_stripe.attempts(items[1].id)
    assert [(a.status, a.error_code) for a in unsent] == [("failed", NOT_SENT)]
    assert by_stripe.transfers(items[1].id) == []
    hold_item(
        by_stripe.session, item_id=items[1].id, by_user_id=by_stripe.finance, why="x", now=NOW
    )
    by_stripe.session.commit()
    go_on(by_stripe, batch_id)
    by_stripe.run(batch_id)
    items = items_of(by_stripe, batch_id)
    assert [item.status for item in items] == ["paid", "cancelled"] + ["paid"] * 10
    assert [len(by_stripe.transfers(i.id)) for i in items] == [1, 0] + [1] * 10
    assert [a.number for a in by_stripe.attempts(items[2].id)] == [1, 2]
    assert by_stripe.batch(batch_id).status == "done"
    by_stripe.sound()


def test_a_lock_in_the_middle_stops_the_rest_of_a_claimed_group(by_stripe: Pay) -> None:
    batch_id = approved_batch(by_stripe, 6)
    by_stripe.sending = replace(by_stripe.sending, senders=1)
    once = iter([True])

    def lock_at_first(step: str) -> None:
        if step == "answered" and next(once, False):
            with session_for(by_stripe.engine).begin() as own:
                lock(own, reason=LockReason.BY_HAND, detail="wait", now=NOW)

    by_stripe.run(batch_id, at=lock_at_first)
    assert sorted(i.status for i in items_of(by_stripe, batch_id)) == ["paid"] + ["queued"] * 5


def test_stopping_waits_for_claims_that_have_begun_and_none_begins_after_it(
    by_stripe: Pay,
) -> None:
    batch_id = approved_batch(by_stripe, 2)
    real_now = by_stripe.sending.real_now()
    stopped = threading.Event()

    def press() -> None:
        with session_for(by_stripe.engine)() as own:
            stop(by_stripe, batch_id, own)
            stopped.set()

    with session_for(by_stripe.engine)() as claiming:
        group = claim_group(claiming, batch_id=batch_id, now=NOW, real_now=real_now, items_max=1)
        assert len(group.claimed) == 1
        worker = threading.Thread(target=press)
        worker.start()
        assert not stopped.wait(0.5)
        claiming.commit()
        worker.join(DEADLINE_S)
        assert stopped.is_set()
        assert (
            claim_group(
                claiming, batch_id=batch_id, now=NOW, real_now=real_now, items_max=5
            ).claimed
            == ()
        )


@pytest.mark.parametrize("case", ["twice", "frozen", "not stopped", "stranger"])
def test_what_cannot_be_stopped_or_resumed_says_why(by_stripe: Pay, case: str) -> None:
    by_stripe.affiliate("anna", "5.00")
    made = by_stripe.withdraw("anna")
    common = {"batch_id": made.batch_id, "why": "x", "now": NOW}
    if case == "frozen":
        with pytest.raises(NotStoppable):
            pause_batch(by_stripe.session, by_user_id=by_stripe.finance, **common)
        return
    by_stripe.approve(made.batch_id)
    if case == "not stopped":
        with pytest.raises(NotStopped):
            resume_batch(by_stripe.session, by_user_id=by_stripe.finance, **common)
    elif case == "stranger":
        with pytest.raises(NotFinance):
            pause_batch(by_stripe.session, by_user_id=by_stripe.world.users["anna"], **common)
    else:
        stop(by_stripe, made.batch_id)
        with pytest.raises(StoppedAlready):
            pause_batch(by_stripe.session, by_user_id=by_stripe.finance, **common)


def test_a_worker_that_is_told_to_stop_ends_what_is_under_way_and_nothing_else(
    by_stripe: Pay,
) -> None:
    batch_id = approved_batch(by_stripe, 8)
    told = threading.Event()
    by_stripe.sending = replace(by_stripe.sending, senders=2, stopping=told.is_set)
    assert by_stripe.run(batch_id, at=lambda step: told.set() if step == "answered" else None)
    statuses = [item.status for item in items_of(by_stripe, batch_id)]
    assert set(statuses) == {"paid", "queued"}
    assert 1 <= statuses.count("paid") <= 2
    by_stripe.sending = replace(by_stripe.sending, stopping=lambda: False)
    by_stripe.run(batch_id)
    each_paid_once(by_stripe, batch_id)


def test_a_time_out_of_the_job_ends_the_calls_under_way_and_begins_none(by_stripe: Pay) -> None:
    """RQ's time-out strikes the claiming thread; the senders' items are told apart from it."""
    assert by_stripe.double is not None
    batch_id = approved_batch(by_stripe, 30)
    by_stripe.double.fault("delay", delay_s=0.5, times=None)
    waited = execute.wait

    def strike(busy: Any, **named: Any) -> Any:
        done = waited(busy, **named)
        if done[0] and named.get("return_when"):
            raise JobTimeoutException
        return done

    execute.wait = strike  # type: ignore[assignment]
    try:
        with pytest.raises(JobTimeoutException):
            by_stripe.run(batch_id)
    finally:
        execute.wait = waited
    statuses = [item.status for item in items_of(by_stripe, batch_id)]
    assert set(statuses) == {"paid", "sending"}
    assert statuses.count("paid") <= 2 * SENDERS
    by_stripe.double.control("DELETE", "/faults")
    by_stripe.wait(minutes=2)
    by_stripe.run(batch_id)
    each_paid_once(by_stripe, batch_id)


def test_the_sweep_rings_for_no_batch_that_a_run_is_sending(
    by_stripe: Pay, app: Flask, redis_url: str
) -> None:
    by_stripe.affiliate("anna", "5.00")
    made = by_stripe.approved("anna", "5.00")
    with session_for(by_stripe.engine).begin() as own:
        assert claim(own, item_id=made.item_id, now=NOW, real_now=by_stripe.sending.real_now())
    with Redis.from_url(redis_url) as redis, app.app_context():
        redis.flushall()
        sweep()
        assert queue.queue_on(redis, queue.PAYOUTS).count == 0
        item = by_stripe.item(made.item_id)
        item.next_try_at = by_stripe.sending.real_now() - timedelta(seconds=1)
        by_stripe.session.commit()
        sweep()
        assert queue.queue_on(redis, queue.PAYOUTS).count == 1


def test_an_item_that_somebody_else_claimed_since_is_not_given_back(by_stripe: Pay) -> None:
    """The lease ran out, another worker sent it under the same key: ours must not fail it."""
    by_stripe.affiliate("anna", "5.00")
    made = by_stripe.approved("anna", "5.00")
    now = by_stripe.sending.real_now()
    with session_for(by_stripe.engine).begin() as own:
        mine = claim(own, item_id=made.item_id, now=NOW, real_now=now)
    assert mine is not None
    later = now + timedelta(seconds=intents.LEASE_S + 1)
    with session_for(by_stripe.engine).begin() as own:
        theirs = claim(own, item_id=made.item_id, now=NOW, real_now=later)
    assert theirs is not None
    assert (theirs.key, theirs.tries) == (mine.key, 2)
    with session_for(by_stripe.engine).begin() as own:
        release(own, claimed=mine, now=NOW, real_now=later)
    (attempt,) = by_stripe.attempts(made.item_id)
    assert attempt.status == "sent"
    with session_for(by_stripe.engine).begin() as own:
        release(own, claimed=theirs, now=NOW, real_now=later)
    # It may have been on the wire: its question stays, and it can be asked at once.
    (attempt,) = by_stripe.attempts(made.item_id)
    assert attempt.status == "sent"
    assert by_stripe.item(made.item_id).next_try_at == later


def test_nothing_is_sent_when_little_of_the_lease_is_left(by_stripe: Pay) -> None:
    by_stripe.affiliate("anna", "5.00")
    made = by_stripe.approved("anna", "5.00")

    def stall(step: str) -> None:
        if step == "fence_raised":
            by_stripe.wait(seconds=intents.LEASE_S - intents.CALL_S + 1)

    by_stripe.run(made.batch_id, at=stall)
    assert by_stripe.transfers(made.item_id) == []
    assert [a.error_code for a in by_stripe.attempts(made.item_id)] == [NOT_SENT]
    by_stripe.run(made.batch_id)
    by_stripe.paid_once(made)


def poisoned(pay: Pay, batch_id: int, at: str) -> int:
    """Run until the first item, whose move raises each time, is set aside; its id."""
    target = items_of(pay, batch_id)[0].id
    armed = threading.local()

    def poison(step: str) -> None:
        if step == at and armed.__dict__.get("item") == target:
            raise ZeroDivisionError

    original = execute.Sender.act

    def act(self: execute.Sender, task: Any) -> None:
        armed.item = task if isinstance(task, int) else task.item_id
        original(self, task)

    execute.Sender.act = act  # type: ignore[method-assign]
    try:
        for _ in range(RAISES_MAX + 1):
            pay.run(batch_id, at=poison)
            pay.wait(minutes=45)
    finally:
        execute.Sender.act = original  # type: ignore[method-assign]
    return target


@pytest.mark.parametrize("at", ["sending", "answer_written"])
def test_a_poison_item_is_set_aside_and_the_batch_completes_without_it(
    by_stripe: Pay, at: str, caplog: pytest.LogCaptureFixture
) -> None:
    batch_id = approved_batch(by_stripe, 4)
    target = poisoned(by_stripe, batch_id, at)
    items = items_of(by_stripe, batch_id)
    assert [i.status for i in items] == ["needs_review", "paid", "paid", "paid"]
    item = by_stripe.item(target)
    assert (item.reason, item.raised, item.next_try_at) == ("set_aside", RAISES_MAX, None)
    assert len(by_stripe.attempts(target)) == 1
    by_stripe.sound()
    with pytest.raises(ItemAlreadySent):
        hold_item(by_stripe.session, item_id=target, by_user_id=by_stripe.finance, why="x", now=NOW)
    by_stripe.session.rollback()
    if at == "sending":
        try_again(
            by_stripe.session, item_id=target, by_user_id=by_stripe.finance, why="mended", now=NOW
        )
        by_stripe.session.commit()
        by_stripe.run(batch_id)
    else:
        (transfer,) = by_stripe.transfers(target)
        mark_paid(
            by_stripe.session, item_id=target, reference=transfer["id"],
            by_user_id=by_stripe.finance, rails=by_stripe.rails, now=NOW,
        )  # fmt: skip
        by_stripe.session.commit()
    each_paid_once(by_stripe, batch_id)


@pytest.mark.parametrize("ends", ["held", "again"])
def test_an_item_that_cannot_even_be_claimed_is_set_aside_before_its_first_attempt(
    by_stripe: Pay, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    batch_id = approved_batch(by_stripe, 3)
    target = items_of(by_stripe, batch_id)[1].id
    written = intents._attempt

    def attempt(item: PayoutItem, *rest: Any) -> Any:
        if item.id == target:
            raise ZeroDivisionError
        return written(item, *rest)

    monkeypatch.setattr(intents, "_attempt", attempt)
    for _ in range(RAISES_MAX + 1):
        by_stripe.run(batch_id)
        by_stripe.wait(minutes=45)
    assert [i.status for i in items_of(by_stripe, batch_id)] == ["paid", "needs_review", "paid"]
    assert by_stripe.attempts(target) == []
    monkeypatch.setattr(intents, "_attempt", written)
    word = {"item_id": target, "by_user_id": by_stripe.finance, "why": "x", "now": NOW}
    if ends == "held":
        hold_item(by_stripe.session, **word)
        by_stripe.session.commit()
        assert by_stripe.batch(batch_id).status == "done"
        by_stripe.sound()
        return
    try_again(by_stripe.session, **word)
    by_stripe.session.commit()
    by_stripe.run(batch_id)
    each_paid_once(by_stripe, batch_id)


class Proxy:
    """Between us and PostgreSQL: cuts a connection at a COMMIT, once it is on its way."""

    def __init__(self, folder: str, port: int) -> None:
        self.target = f"{folder}/.s.PGSQL.{port}"
        self.cuts, self.seen = 0, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self.target)
            self.open += [client, server]
            threading.Thread(target=self._up, args=[client, server], daemon=True).start()
            threading.Thread(target=self._pump, args=[server, client], daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        try:
            while data := client.recv(65_536):
                cut = False
                if re.search(rb"\bCOMMIT\b", data):
                    self.seen += 1
                    cut, self.cuts = self.cuts > 0, self.cuts - (self.cuts > 0)
                server.sendall(data)
                if cut:
                    # The server reads the COMMIT and acts on it; nobody hears of it.
                    time.sleep(0.2)
                    break
        except OSError:
            pass
        for end in (client, server):
            with_shutdown(end)

    def _pump(self, server: socket.socket, client: socket.socket) -> None:
        try:
            while data := server.recv(65_536):
                client.sendall(data)
        except OSError:
            pass
        with_shutdown(client)

    def close(self) -> None:
        self.listener.close()
        for each in self.open:
            each.close()


def with_shutdown(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


@contextmanager
def through_proxy(pay: Pay) -> Iterator[Proxy]:
    url = make_url(pay.settings.database_url)
    folder = str(url.query["host"])
    proxy = Proxy(folder, int(url.query.get("port", url.port or 5432)))
    query = {k: v for k, v in url.query.items() if k not in ("host", "port")}
    engine = sa.create_engine(
        url.set(host="127.0.0.1", port=proxy.port, query=query),
        connect_args={"options": "-c timezone=UTC", "sslmode": "disable"},
    )
    pay.sending = replace(pay.sending, sessions=session_for(engine), senders=1)
    try:
        yield proxy
    finally:
        engine.dispose()
        proxy.close()


@pytest.mark.parametrize("step", ["intent_written", "answer_written"])
def test_a_connection_cut_at_the_commit_pays_once(by_stripe: Pay, step: str) -> None:
    """F18: whether the COMMIT was done is not known; the whole transaction is safe to repeat."""
    batch_id = approved_batch(by_stripe, 3)
    once = iter([True])
    with through_proxy(by_stripe) as proxy:

        def cut(reached: str) -> None:
            if reached == step and next(once, False):
                proxy.cuts = 1

        by_stripe.run(batch_id, at=cut)
        assert proxy.cuts == 0
        assert proxy.seen > 3
        by_stripe.wait(minutes=2)
        by_stripe.run(batch_id)
    each_paid_once(by_stripe, batch_id)
    assert [i.raised for i in items_of(by_stripe, batch_id)] == [0, 0, 0]


@pytest.mark.parametrize("state", ["40001", "40P01"])
def test_a_move_that_lost_a_deadlock_is_done_again_as_a_whole(by_stripe: Pay, state: str) -> None:
    """F22: the server itself raises; item, attempt and postings stand there once."""
    batch_id = approved_batch(by_stripe, 2)
    by_stripe.session.execute(
        sa.text(
            f"""
            CREATE SEQUENCE losses;
            CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF NEW.status = 'paid' AND nextval('losses') <= 2 THEN
                    RAISE EXCEPTION 'lost' USING errcode = '{state}';
                END IF;
                RETURN NEW;
            END $$;
            CREATE TRIGGER lose BEFORE UPDATE ON payout_items
                FOR EACH ROW EXECUTE FUNCTION lose();
            """
        )
    )
    by_stripe.session.commit()
    by_stripe.run(batch_id)
    each_paid_once(by_stripe, batch_id)
    assert [len(by_stripe.attempts(i.id)) for i in items_of(by_stripe, batch_id)] == [1, 1]
    assert [i.raised for i in items_of(by_stripe, batch_id)] == [0, 0]


def test_two_real_sessions_in_a_circle_of_locks_both_end(by_stripe: Pay) -> None:
    """One is chosen by PostgreSQL and does its work again."""
    batch_id = approved_batch(by_stripe, 2)
    first, second = (item.id for item in items_of(by_stripe, batch_id))
    meet, tries = threading.Barrier(2, timeout=DEADLINE_S), []

    def work(ids: tuple[int, int], number: int) -> Callable[[Any], None]:
        def both(session: Any) -> None:
            tries.append(number)
            for place, item_id in enumerate(ids):
                session.execute(
                    sa.select(PayoutItem.id).where(PayoutItem.id == item_id).with_for_update()
                )
                if place == 0 and tries.count(number) == 1:
                    meet.wait()

        return both

    sessions = session_for(by_stripe.engine)
    threads = [
        threading.Thread(target=committed, args=[sessions, work(ids, number)])
        for number, ids in enumerate([(first, second), (second, first)])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert sorted(tries) in ([0, 0, 1], [0, 1, 1])


def test_a_server_that_ends_every_connection_mid_batch_costs_no_item(by_stripe: Pay) -> None:
    """F17: all sessions are ended while calls are under way; nothing is anybody's mistake."""
    batch_id = approved_batch(by_stripe, 6)
    once = iter([True])

    def end_all(step: str) -> None:
        if step == "answered" and next(once, False):
            with by_stripe.engine.connect() as connection:
                connection.execute(
                    sa.text(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    )
                )

    by_stripe.session.close()
    by_stripe.run(batch_id, at=end_all)
    by_stripe.wait(minutes=2)
    by_stripe.run(batch_id)
    each_paid_once(by_stripe, batch_id)
    assert {i.raised for i in items_of(by_stripe, batch_id)} == {0}
