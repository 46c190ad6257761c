"""Many processes in one, each a thread that runs only while it holds the baton.

The code under test is unchanged: real verbs, real sessions, a real PostgreSQL. A process of
the simulation (an `Actor`) stops at each point between two steps: before and after every
commit, at every step that `Sending.at` names, before and after the provider has accepted, and
now and then at a statement. The conductor alone lets one go on, so that one seed is one run.
At any point it may deal a blow: the process dies as by kill -9 (`Died`), RQ's time-out strikes,
a connection is cut before or after its COMMIT.

A real lock makes an actor wait inside PostgreSQL. The conductor asks PostgreSQL who blocks
whom, lets others go on, and waits for whoever a commit has let go before it chooses again.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.pq import TransactionStatus

PATIENCE_S = 0.004
"""After so long without a word an actor is looked for among those who wait for a lock."""
STUCK_S = 60.0
"""An actor that neither stops nor waits for a lock for so long: a fault of the simulation."""


class Died(BaseException):
    """The process is gone at this line."""


class Cut(StrEnum):
    """How a connection breaks around a COMMIT; the client cannot tell one from the other."""

    BEFORE = "before the COMMIT arrived"
    AFTER = "after the COMMIT was done"


class Stuck(AssertionError):
    """The simulation itself does not go on."""


@dataclass
class Actor:
    """One simulated process."""

    name: str
    conductor: Conductor
    at: str = "begin"
    """Where it stands."""
    chance: random.Random = field(default_factory=random.Random)
    """Its own dice: what it draws does not depend on who else runs."""
    job: Any = None
    """What a worker was started with."""
    state: str = "ready"
    """ready (stands at a point), running, blocked (waits for a lock in PostgreSQL), done.
    Written by the conductor alone."""
    blow: BaseException | None = None
    cut: Cut | None = None
    dead: bool = False
    error: BaseException | None = None
    """What it ended with."""
    result: Any = None
    connections: list[ConductedConnection] = field(default_factory=list)
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    thread: threading.Thread | None = None

    def strike(self) -> None:
        """Take the blow that was dealt for this point."""
        blow, self.blow = self.blow, None
        if blow is None:
            return
        if isinstance(blow, Died):
            self.dead = True
            for connection in self.connections:
                connection.forget()
        raise blow


class Conductor:
    """Lets one actor at a time go on to its next point."""

    def __init__(self, database_url: str) -> None:
        self.actors: list[Actor] = []
        self._reports: queue.SimpleQueue[tuple[Actor, str]] = queue.SimpleQueue()
        self.seed = 0
        self._here = threading.local()
        self._watch = psycopg.connect(database_url, autocommit=True)
        self.at_statement: Callable[[], bool] = lambda: False
        """Whether an actor stops at this statement too."""
        self.sleep: Callable[[float], None] = lambda _seconds: None
        self.waits = 0
        """How often an actor waited for a lock of another."""

    def close(self) -> None:
        self._watch.close()

    @property
    def me(self) -> Actor | None:
        """The actor whose thread asks; none for the conductor's own."""
        return getattr(self._here, "actor", None)

    def ready(self) -> list[Actor]:
        return [actor for actor in self.actors if actor.state == "ready"]

    def alive(self) -> list[Actor]:
        return [actor for actor in self.actors if actor.state != "done"]

    def start(self, name: str, act: Callable[[], Any]) -> Actor:
        """A new actor, standing before its first line."""
        dice = random.Random(f"{self.seed}/{name}/{len(self.actors)}")
        actor = Actor(name, self, chance=dice)

        def run() -> None:
            self._here.actor = actor
            actor.go.acquire()
            try:
                actor.strike()
                actor.result = act()
            except BaseException as error:  # noqa: BLE001 -- it is looked at by the conductor
                actor.error = error
            self._reports.put((actor, "done"))

        actor.thread = threading.Thread(target=run, name=name, daemon=True)
        actor.thread.start()
        self.actors.append(actor)
        return actor

    def point(self, place: str) -> None:
        """Called by actors between two steps: stop here until the conductor says go."""
        actor = self.me
        if actor is None:
            return
        if actor.dead:
            raise Died
        actor.at = place
        self._reports.put((actor, "ready"))
        actor.go.acquire()
        actor.strike()

    def step(
        self, actor: Actor, *, blow: BaseException | None = None, cut: Cut | None = None
    ) -> None:
        """Let this actor go on to its next point, with a blow if one is given."""
        assert actor.state == "ready", (actor.name, actor.state)
        actor.blow, actor.cut, actor.state = blow, cut, "running"
        actor.go.release()
        self._settle(actor)
        self._let_go()
        for done in [each for each in self.actors if each.state == "done"]:
            assert done.thread is not None
            done.thread.join()
            self.actors.remove(done)

    def finish(self, actor: Actor, steps_max: int = 10_000) -> None:
        """Let this actor go on to its end; others go on where it waits for their locks."""
        for _ in range(steps_max):
            if actor.state == "done":
                return
            if actor.state == "ready":
                self.step(actor)
            else:
                others = self.ready()
                if not others:
                    raise Stuck(f"{actor.name} waits for nobody at {actor.at}")
                self.step(others[0])
        raise Stuck(f"{actor.name} does not come to its end")

    def kill_all(self) -> None:
        """The machine is gone: every process at once, wherever it stands."""
        while alive := self.alive():
            ready = self.ready()
            if not ready:
                raise Stuck(f"nobody can go on: {[(a.name, a.at) for a in alive]}")
            self.step(ready[0], blow=Died())

    def end_connections(self) -> None:
        """PostgreSQL restarts: no connection survives, every open transaction is undone."""
        pids = [c.info.backend_pid for a in self.actors for c in a.connections if not c.closed]
        if pids:
            self._watch.execute(
                "SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) pid", [pids]
            )
            end = time.monotonic() + STUCK_S
            query = "SELECT 1 FROM pg_stat_activity WHERE pid = ANY (%s)"
            while self._watch.execute(query, [pids]).fetchone():
                if time.monotonic() > end:
                    raise Stuck("a connection survives its end")
                time.sleep(0.001)
        self._let_go()

    def _let_go(self) -> None:
        """Whoever waited for a lock that is free now goes on to its next point."""
        for waiting in [each for each in self.actors if each.state == "blocked"]:
            if waiting.state == "blocked" and not self._blockers(waiting):
                waiting.state = "running"
                self._settle(waiting)

    def _settle(self, actor: Actor) -> None:
        """Wait until it has stopped at a point, ended, or waits for somebody's lock."""
        end = time.monotonic() + STUCK_S
        patience_s = PATIENCE_S if self._somebody_holds(actor) else STUCK_S
        while actor.state == "running":
            try:
                told, state = self._reports.get(timeout=patience_s)
                told.state = state
            except queue.Empty:
                patience_s = min(2 * patience_s, STUCK_S)
                if self._blockers(actor):
                    actor.state = "blocked"
                    self.waits += 1
                elif time.monotonic() > end:
                    raise Stuck(f"{actor.name} neither stops nor waits, after {actor.at}") from None

    def _somebody_holds(self, actor: Actor) -> bool:
        """Whether another is inside of a transaction, so that there may be a lock to wait for."""
        return any(
            connection.pgconn.transaction_status != TransactionStatus.IDLE
            for other in self.actors
            if other is not actor and other.state != "done"
            for connection in other.connections
        )

    def _blockers(self, actor: Actor) -> list[int]:
        pids = [each.info.backend_pid for each in actor.connections if not each.closed]
        rows = self._watch.execute(
            "SELECT pg_blocking_pids(pid) FROM unnest(%s::int[]) pid", [pids]
        ).fetchall()
        return [pid for (found,) in rows for pid in found]


class ConductedConnection(psycopg.Connection[Any]):
    """A connection whose commits are points, and can be cut."""

    conductor: Conductor | None = None
    read_in_parts: Sequence[psycopg.ServerCursor[Any]] = ()

    def cursor(self, *args: Any, **values: Any) -> Any:
        made = super().cursor(*args, **values)
        if isinstance(made, psycopg.ServerCursor):
            # One whose reader died would complain when it is collected, in whichever test that is.
            open_ones = [each for each in self.read_in_parts if not each.closed]
            self.read_in_parts = [*open_ones, made]
        return made

    def commit(self) -> None:
        actor = self.conductor.me if self.conductor else None
        if actor is None:
            super().commit()
            return
        self.conductor.point("commit")  # type: ignore[union-attr]
        cut, actor.cut = actor.cut, None
        if cut is Cut.BEFORE:
            self.forget()
            self.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        super().commit()
        if cut is Cut.AFTER:
            self.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        self.conductor.point("committed")  # type: ignore[union-attr]

    def forget(self) -> None:
        """What PostgreSQL does when the process at the other end is gone."""
        if not self.closed:
            self.pgconn.exec_(b"ROLLBACK")

    def close(self) -> None:
        super().close()
        for cursor in self.read_in_parts:
            cursor.close()


@contextmanager
def conducted(engine: sa.Engine, conductor: Conductor) -> Iterator[None]:
    """Every connection of this engine is conducted while the block runs."""

    def connect(_dialect: Any, _record: Any, args: Any, values: Any) -> ConductedConnection:
        # Each connection plans a statement once: over so few rows the plan is most of its cost.
        options = f"{values['options']} -c plan_cache_mode=force_generic_plan"
        made = ConductedConnection.connect(*args, **{**values, "options": options})
        made.conductor = conductor
        made.prepare_threshold, made.prepared_max = 0, None
        return made  # type: ignore[return-value]

    def took(connection: Any, _record: Any, _proxy: Any) -> None:
        if (actor := conductor.me) is not None:
            actor.connections.append(connection)

    def returned(connection: Any, _record: Any) -> None:
        if (actor := conductor.me) is not None and connection in actor.connections:
            actor.connections.remove(connection)

    def asked(_c: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        actor = conductor.me
        if actor is None:
            return
        if actor.dead:
            raise Died
        if conductor.at_statement():
            conductor.point(" ".join(statement.split())[:60])

    hooks = (
        ("do_connect", connect),
        ("checkout", took),
        ("checkin", returned),
        ("before_cursor_execute", asked),
    )
    engine.dispose()
    for name, hook in hooks:
        sa.event.listen(engine, name, hook)
    try:
        yield
    finally:
        for name, hook in hooks:
            sa.event.remove(engine, name, hook)
        engine.dispose()
