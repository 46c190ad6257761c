"""A scenario told by hand: who does what, who stops where, and what the oracle then sees.

A guard's scenario sets everything else out of force (`payout_guards.py`) and lets one fault
happen; the oracle's sentences are the verdict.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from affiliate.core.db import session_for
from payouts.batches import execute, jobs
from tests.payouts.simulation.acts import Acts
from tests.payouts.simulation.conductor import Actor, Died
from tests.payouts.simulation.house import House
from tests.payouts.simulation.oracle import Item, items_of, judge
from tests.payouts.simulation.provider import Fault
from tests.payouts.simulation.simulation import PLENTY_MINOR
from tests.payouts.simulation.town import CURRENCY, Backup, Town

EURO = 1_000_000


class Scene:
    """One program with anna and boris, who have earned seven and five euros."""

    def __init__(self, house: House) -> None:
        house.fresh()
        self.house = house
        self.provider, self.conductor = house.provider, house.conductor
        self.conductor.sleep = lambda _seconds: None
        self.luck = random.Random(0)
        self.town = Town(session_for(house.engine), self.provider)
        self.promised: list[int] = []
        self.violations: list[str] = []
        self.acts = Acts(self)
        self.queue: list[tuple[Any, tuple[Any, ...]]] = []
        house.wake = lambda job, args: self.queue.append((job, args))
        self.town.found(
            ["anna", "boris"], weekday=0, hour=9, time_zone="UTC", key="scene", now=self.now
        )
        self.provider.balance_minor = Counter({CURRENCY: PLENTY_MINOR})
        with self.town.sessions.begin() as session:
            for name, euros in (("anna", 7), ("boris", 5)):
                self.town.report(session, self.town.sell(name, euros * EURO), now=self.now)

    @property
    def now(self) -> Any:
        return self.house.now

    def wait(self, **delta: float) -> None:
        self.house.now += timedelta(**delta)

    def start(self, name: str, act: Callable[[], Any]) -> Actor:
        return self.conductor.start(name, act)

    def alone(self, act: Callable[[], Any]) -> Any:
        """To its end with nobody in between; what it answers. Its error is raised here."""
        actor = self.start("alone", act)
        self.conductor.finish(actor)
        if actor.error is not None:
            raise actor.error
        return actor.result

    def until(self, actor: Actor, place: str) -> None:
        """Let it go on until it stands there."""
        for _ in range(500):
            if actor.at == place and actor.state == "ready":
                return
            assert actor.state == "ready", (actor.name, actor.state, actor.at, actor.error)
            self.conductor.step(actor)
        raise AssertionError(f"{actor.name} never came to {place}")

    def dies(self, actor: Actor) -> None:
        self.conductor.step(actor, blow=Died())
        assert actor.state == "done", actor.at

    def withdrawn(self, name: str = "anna") -> int:
        """A withdrawal of everything; its item's id."""
        self.alone(lambda: self.acts.withdraw(name))
        return max(self.items())

    def approved(self, name: str = "anna") -> int:
        """A withdrawal that finance has approved; its item's id."""
        item_id = self.withdrawn(name)
        self.alone(lambda: self.acts.approve(self.town.finance[0]))
        self.queue.clear()
        return item_id

    def worker(self, item_id: int, name: str = "worker") -> Actor:
        """A process that moves one item, standing before its first line."""
        sending = self.house.sending()

        def move() -> bool:
            with self.house.app.app_context():
                return execute.move_item(sending, item_id=item_id, rail=sending.rails["stripe"])

        return self.start(name, move)

    def moved(self, item_id: int) -> None:
        """One worker moves the item from begin to end."""
        worker = self.worker(item_id)
        self.conductor.finish(worker)
        if worker.error is not None:
            raise worker.error

    def fail_next(self, fault: Fault) -> None:
        """The next call, and that one alone."""

        def draw() -> Fault | None:
            self.provider.draw = lambda: None
            return fault

        self.provider.draw = draw

    def sweep(self) -> None:
        """The scheduler's tick, and all that it rings for."""
        self.queue = [(jobs.sweep, ()), (jobs.draft_weekly_batches, ())]
        while self.queue:
            job, args = self.queue.pop(0)
            self.alone(lambda j=job, a=args: self.acts.work(j, a))

    def items(self) -> dict[int, Item]:
        with self.town.sessions() as session:
            return items_of(session)

    def item(self, item_id: int) -> Item:
        return self.items()[item_id]

    def paid(self, item_id: int) -> int:
        """How many transfers the provider has made for an item."""
        return len(self.provider.by_item().get(item_id, []))

    def sql(self, statement: str) -> None:
        """As somebody with a database client would."""
        with self.house.engine.begin() as connection:
            connection.execute(sa.text(statement))

    def backup(self) -> Backup:
        return self.house.books.copy()

    def restore(self, backup: Backup) -> None:
        """Every process is gone, and the database is an older one; nobody was told."""
        self.conductor.kill_all()
        self.house.books.put_back(backup)
        self.house.engine.dispose()
        self.queue.clear()

    def verdict(self) -> list[str]:
        """What the oracle says: nothing, when all is as it must be."""
        return judge(self)
