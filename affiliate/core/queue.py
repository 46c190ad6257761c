"""Jobs that are woken after the outermost commit; RQ only rings the bell.

A job takes ids, calls one operation and commits. Nothing is lost when Valkey is away:
whatever a job should do is a row that a periodic sweep finds (docs/reliability.md).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import update_wrapper
from typing import Any, Generic, ParamSpec

import sqlalchemy as sa
import structlog
from redis import Redis
from redis.exceptions import RedisError
from rq import Queue, SimpleWorker, Worker
from sqlalchemy.orm import Session

from affiliate.core.db import db, unit_of_work

PAYOUTS = "payouts"
GENERAL = "general"
HISTORY = "history"
"""What may take minutes and that nothing waits for: it has a worker of its own."""
QUEUES = (PAYOUTS, GENERAL, HISTORY)
JOB_TIMEOUT_S = 600
HISTORY_TIMEOUT_S = 6 * 3_600
RESULT_TTL_S = 0
FAILURE_TTL_S = 86_400
WORKER_TTL_S = 30
MAINTENANCE_INTERVAL_S = 15
REDIS_TIMEOUT_S = 2.0
_PENDING = "kopeck.after_commit"

P = ParamSpec("P")

log = structlog.get_logger(__name__)


@dataclass
class _Bell:
    """The one Redis of this process; None until `use` was called."""

    redis: Redis | None = None


_bell = _Bell()


@dataclass
class _Stop:
    """Whether a SIGTERM came."""

    asked: bool = False


_stop = _Stop()


def connect(redis_url: str, *, socket_timeout_s: float | None = REDIS_TIMEOUT_S) -> Redis:
    """A client; opens nothing until the first command."""
    return Redis.from_url(
        redis_url, socket_connect_timeout=REDIS_TIMEOUT_S, socket_timeout=socket_timeout_s
    )


def use(redis: Redis) -> None:
    """Name the Redis that this process wakes jobs through."""
    _bell.redis = redis


class Job(Generic[P]):
    """A function that a worker runs in one unit of work; it must be safe to run twice."""

    def __init__(self, function: Callable[P, Any], queue: str) -> None:
        self.function = function
        self.queue = queue
        self.path = f"{function.__module__}.{function.__qualname__}"
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Run now, in a unit of work of its own; called by the worker."""
        with unit_of_work():
            self.function(*args, **kwargs)

    def after_commit(self, session: Session, *args: P.args, **kwargs: P.kwargs) -> None:
        """Wake the job once the session's outermost transaction is committed."""
        if kwargs:
            raise TypeError("jobs take plain positional ids")
        pending = session.info.setdefault(_PENDING, [])
        if (self, args) not in pending:
            pending.append((self, args))

    def wake(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Ring the bell now. False, and a log line, when Valkey does not answer."""
        if _bell.redis is None:
            return False
        try:
            queue_on(_bell.redis, self.queue).enqueue(
                self.path,
                args=args,
                job_timeout=HISTORY_TIMEOUT_S if self.queue == HISTORY else JOB_TIMEOUT_S,
                result_ttl=RESULT_TTL_S,
                failure_ttl=FAILURE_TTL_S,
            )
        except (RedisError, OSError) as error:
            log.warning("queue.unreachable", job=self.path, error=str(error))
            return False
        return True


def job(queue: str) -> Callable[[Callable[P, Any]], Job[P]]:
    """Make a function a job of that queue."""
    if queue not in QUEUES:
        raise ValueError(f"{queue!r} has no worker; queues are {', '.join(QUEUES)}")

    def make(function: Callable[P, Any]) -> Job[P]:
        return Job(function, queue)

    return make


def queue_on(redis: Redis, name: str) -> Queue:
    """The queue with the JSON serializer: pickles would let Redis run code in workers."""
    return Queue(name, connection=redis, serializer="json")


@sa.event.listens_for(Session, "after_commit")
def _ring(session: Session) -> None:
    if session.in_nested_transaction():
        return  # A released savepoint fires the event too, and is no commit.
    for entry, args in session.info.pop(_PENDING, []):
        entry.wake(*args)


@sa.event.listens_for(Session, "after_soft_rollback")
def _forget(session: Session, previous: Any) -> None:
    """A rolled-back savepoint keeps the list: running a job for nothing is harmless."""
    if previous.parent is None:
        session.info.pop(_PENDING, None)


class ForkWorker(Worker):
    """Forks a work-horse per job; the child opens its own database connections."""

    def main_work_horse(self, job: Any, queue: Any) -> None:
        db.engine.dispose(close=False)
        super().main_work_horse(job, queue)

    def setup_work_horse_signals(self) -> None:
        """A horse that is told to stop ends what is under way; RQ's would die at this line."""
        super().setup_work_horse_signals()  # type: ignore[no-untyped-call]
        signal.signal(signal.SIGTERM, _note_stop)

    def handle_warm_shutdown_request(self) -> None:
        """Tell the horse as well: a job that goes on for minutes ends after its current items."""
        super().handle_warm_shutdown_request()  # type: ignore[no-untyped-call]
        if self.horse_pid:
            # The process alone: right after the fork its group is still ours.
            with suppress(ProcessLookupError):
                os.kill(self.horse_pid, signal.SIGTERM)


def stopping() -> bool:
    """Whether this process was told to stop: a long job ends what it has begun, no more."""
    return _stop.asked


def _note_stop(_number: int, _frame: Any) -> None:
    # An attribute, no lock: the handler may strike while the same thread holds any lock.
    _stop.asked = True


def work(redis_url: str, name: str, *, burst: bool = False, fork: bool = True) -> None:
    """Work on one queue until told to stop.

    One queue a worker: only then RQ moves a job by BLMOVE and cannot lose it when the
    worker dies between taking and registering (docs/reliability.md, "RQ").
    """
    redis = connect(redis_url, socket_timeout_s=None)
    kind = ForkWorker if fork else SimpleWorker
    worker = kind(
        [queue_on(redis, name)],
        connection=redis,
        serializer="json",
        worker_ttl=WORKER_TTL_S,
        maintenance_interval=MAINTENANCE_INTERVAL_S,
    )
    use(connect(redis_url))
    worker.work(burst=burst, with_scheduler=False)
