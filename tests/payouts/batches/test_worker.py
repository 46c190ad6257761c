"""The real worker process: killed at any moment, with an emptied queue, it pays once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from paying import Pay
from redis import Redis
from stripe_double import DEADLINE_S, KEY, ROOT

from affiliate.core.config import Settings


@pytest.fixture
def kopeck(by_stripe: Pay, settings: Settings) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start `kopeck …` on this test's servers, in a process group of its own."""
    assert by_stripe.double is not None
    environ = {
        "PATH": os.environ["PATH"],
        "KOPECK_MODE": "test",
        "DATABASE_URL": settings.database_url.replace("postgresql+psycopg", "postgresql"),
        "REDIS_URL": settings.redis_url,
        "KOPECK_SECRET": settings.secrets[0],
        "KOPECK_PUBLIC_URL": settings.public_url,
        "KOPECK_DATA_DIR": str(settings.data_dir),
        "KOPECK_STRIPE_API_KEY": KEY,
        "KOPECK_STRIPE_API_BASE": by_stripe.double.url,
    }
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "wsgi", *words],
            cwd=ROOT,
            env=environ,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait(DEADLINE_S)


def eventually(what: Callable[[], bool], within_s: float = 60.0) -> None:
    end = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < end, "it did not come to pass in time"
        time.sleep(0.1)


def in_flight(pay: Pay) -> bool:
    assert pay.double is not None
    return bool(pay.double.control("GET", "/state")["in_flight"])


@pytest.mark.slow
def test_a_worker_killed_while_stripe_works_and_an_emptied_queue_pay_once(
    by_stripe: Pay, kopeck: Callable[..., subprocess.Popen[bytes]], settings: Settings
) -> None:
    assert by_stripe.double is not None
    by_stripe.affiliate("anna", "5.00")
    by_stripe.double.fault("accept-then-hang", hang_s=20.0)
    made = by_stripe.approved("anna", "5.00")
    from payouts.batches.jobs import execute_batch

    with Redis.from_url(settings.redis_url) as redis:
        from affiliate.core import queue

        queue.use(redis)
        assert execute_batch.wake(made.batch_id)
        first = kopeck("worker", "payouts")
        eventually(lambda: len(by_stripe.attempts(made.item_id)) == 1)
        eventually(lambda: len(by_stripe.transfers(made.item_id)) == 1)
        # Worker and work-horse die between Stripe's acceptance and its answer.
        horse = int(subprocess.check_output(["pgrep", "-P", str(first.pid)]).split()[0])
        os.kill(horse, signal.SIGKILL)
        first.kill()
        first.wait(DEADLINE_S)
        assert by_stripe.item(made.item_id).status == "sending"
        redis.flushall()
        by_stripe.double.control("DELETE", "/faults")
        # A minute later the sweeper finds the row; here the lease is ended by hand.
        from payouts.batches.models import PayoutItem

        item = by_stripe.item(made.item_id)
        assert isinstance(item, PayoutItem)
        item.next_try_at = item.next_try_at and item.next_try_at.replace(year=2020)
        by_stripe.session.commit()
        from payouts.batches.jobs import sweep

        kopeck("worker", "payouts")
        assert sweep.wake()
        eventually(lambda: by_stripe.item(made.item_id).status == "paid")
    by_stripe.paid_once(made)
    assert by_stripe.attempts(made.item_id)[0].tries == 2


@pytest.mark.slow
@pytest.mark.parametrize("who", ["worker", "horse"])
def test_a_worker_that_gets_sigterm_ends_its_current_items_and_leaves_the_rest(
    by_stripe: Pay, kopeck: Callable[..., subprocess.Popen[bytes]], settings: Settings, who: str
) -> None:
    """The warm stop of a deploy; what was claimed and not sent waits for no lease."""
    from test_many_senders import approved_batch, items_of

    from affiliate.core import queue
    from payouts.batches.jobs import execute_batch

    assert by_stripe.double is not None
    batch_id = approved_batch(by_stripe, 40)
    by_stripe.double.fault("delay", delay_s=1.0, times=None)
    with Redis.from_url(settings.redis_url) as redis:
        queue.use(redis)
        assert execute_batch.wake(batch_id)
        worker = kopeck("worker", "payouts")
        eventually(lambda: in_flight(by_stripe))
        horse = int(subprocess.check_output(["pgrep", "-P", str(worker.pid)]).split()[0])
        if who == "horse":
            os.kill(horse, signal.SIGTERM)
            eventually(lambda: not in_flight(by_stripe))
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0
    statuses = [item.status for item in items_of(by_stripe, batch_id)]
    if who == "worker":
        assert set(statuses) == {"paid", "queued"}
    assert "sending" not in statuses
    by_stripe.double.control("DELETE", "/faults")
    while by_stripe.run(batch_id):
        pass
    items = items_of(by_stripe, batch_id)
    assert {item.status for item in items} == {"paid"}
    assert [len(by_stripe.transfers(item.id)) for item in items] == [1] * 40
    by_stripe.sound()
