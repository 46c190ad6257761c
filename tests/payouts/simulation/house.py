"""What a whole process of the simulation shares: the application, its books and its clock.

Only the outside is replaced: the machine's clock, the bell (RQ), the rails and `time.sleep`.
Jobs, verbs, sessions, SQL and PostgreSQL are the real ones.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import sqlalchemy as sa
from flask import Flask
from rq.timeouts import BaseTimeoutException

from affiliate.core import clock, queue
from affiliate.core import db as core_db
from affiliate.core.config import Settings
from affiliate.core.db import committed, db, session_for
from payouts.batches import execute, jobs
from payouts.batches import sending as sending_module
from payouts.batches.pace import PACE_PER_S, take_slot
from payouts.rails.protocol import Rail
from tests.payouts.simulation.conductor import Conductor, Died, conducted
from tests.payouts.simulation.provider import Provider, SimulatedRail
from tests.payouts.simulation.town import EPOCH, Books

POOL_SIZE = 16
INFRASTRUCTURE = (sa.exc.OperationalError, sa.exc.InternalError, BaseTimeoutException)
"""What a process may meet when connections are cut and time-outs strike; all else is a defect."""

_real_sleep = time.sleep


def settings_for(database_url: str, redis_url: str, data_dir: Path) -> Settings:
    """Test mode on these servers."""
    return Settings.from_environ(
        {
            "KOPECK_MODE": "test",
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "KOPECK_SECRET": "a-secret-for-the-simulation-that-is-long-enough-0123456789",
            "KOPECK_PUBLIC_URL": "http://127.0.0.1:8000",
            "KOPECK_DATA_DIR": str(data_dir),
            "KOPECK_LOG_LEVEL": "CRITICAL",
        }
    )


@dataclass
class House:
    """One process: everything that outlives a single run."""

    app: Flask
    engine: sa.Engine
    books: Books
    conductor: Conductor
    data_dir: Path
    now: datetime = EPOCH
    """The machine's clock, as every simulated process reads it."""
    provider: Provider = field(default_factory=lambda: Provider(now=lambda: EPOCH))
    wake: Callable[[Any, tuple[Any, ...]], None] = lambda _job, _args: None
    surprises: list[str] = field(default_factory=list)
    """Errors that the code under test caught and logged, other than those of the outside."""

    def real_now(self) -> datetime:
        return self.now

    def rails(self, _settings: Settings | None = None) -> dict[str, Rail]:
        return {"stripe": SimulatedRail(self.provider, self.conductor.point)}

    def sending(self) -> execute.Sending:
        """As a worker's job makes it, with a stop at every step."""
        return execute.Sending(
            sessions=session_for(self.engine),
            rails=self.rails(),
            data_dir=self.data_dir,
            now=clock.now,
            real_now=clock.real_now,
            at=self.conductor.point,
            senders=1,
        )

    def fresh(self) -> None:
        """Nothing is left of the run before."""
        self.books.empty()
        self.conductor.waits = 0
        self.conductor.at_statement = lambda: False
        self.now = EPOCH
        self.provider = Provider(now=self.real_now)
        self.wake = lambda _job, _args: None
        self.surprises.clear()
        for left in self.data_dir.glob("*fence*"):
            left.unlink()

    def notice(self, error: BaseException | None, where: str) -> None:
        """Keep what should not have happened."""
        if error is not None and not isinstance(error, (*INFRASTRUCTURE, Died)):
            self.surprises.append(f"{where}: {type(error).__name__}: {str(error)[:300]}")


class _Listener:
    """Takes the place of a module's log: a defect that is only logged is a defect."""

    def __init__(self, house: House) -> None:
        self._house = house

    def exception(self, event: str, **_facts: Any) -> None:
        self._house.notice(sys.exc_info()[1], event)

    def error(self, event: str, **facts: Any) -> None:
        self._house.notice(facts.get("exc_info"), event)

    def warning(self, event: str, **_facts: Any) -> None: ...

    info = debug = warning


@contextmanager
def opened(settings: Settings) -> Iterator[House]:
    """The house of this process on a migrated database of its own."""
    from wsgi import create_app

    app = create_app(replace(settings, database_pool_size=POOL_SIZE))
    with app.app_context():
        engine = db.engine
    books = Books(settings.database_url)
    conductor = Conductor(settings.database_url.replace("+psycopg", ""))
    house = House(app, engine, books, conductor, settings.data_dir)
    make_sending = jobs._sending

    def wake(job: queue.Job[Any], *args: Any) -> bool:
        house.wake(job, args)
        return True

    def sleep(seconds: float) -> None:
        if conductor.me is None:
            _real_sleep(seconds)
        else:
            conductor.sleep(seconds)

    def wait_for_slot(self: sending_module.Sender) -> bool:
        """The same slot, waited for by the simulated clock: a step, since what PostgreSQL's clock
        says of it is different in each run, and a seed is one run."""
        committed(self.sending.sessions, lambda session: take_slot(session, rail=self.rail.name))
        sleep(1 / PACE_PER_S)
        return self.goes_on()

    with ExitStack() as stack:
        stack.callback(conductor.close)
        stack.callback(books.close)
        stack.enter_context(conducted(engine, conductor))
        for target, name, value in (
            (clock, "real_now", house.real_now),
            (queue.Job, "wake", wake),
            (jobs, "rails", house.rails),
            (jobs, "_sending", lambda: replace(make_sending(), at=conductor.point, senders=1)),
            (jobs, "log", _Listener(house)),
            (execute, "log", _Listener(house)),
            (sending_module, "log", _Listener(house)),
            (sending_module.Sender, "wait_for_slot", wait_for_slot),
            (time, "sleep", sleep),
            # How far two who lost the same race keep apart; a seed is one run.
            (core_db.random, "uniform", lambda low, high: (low + high) / 2),
        ):
            stack.enter_context(patch.object(target, name, value))
        yield house
