"""One seed, one run: some days of a program's payouts in which everything goes wrong.

The seed decides who goes on, who dies where, what the provider does, how time passes and what
people do. Then the faults end, the sweeper runs until nothing moves, and the oracle looks.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from rq.timeouts import JobTimeoutException

from affiliate.core.db import session_for
from payouts.batches import jobs
from payouts.commissions.release import release_due
from tests.payouts.simulation.acts import Acts
from tests.payouts.simulation.conductor import Actor, Cut, Died
from tests.payouts.simulation.house import House
from tests.payouts.simulation.oracle import waiting_items
from tests.payouts.simulation.provider import SECRET_KEY, Fault
from tests.payouts.simulation.town import CURRENCY, EPOCH, Backup, Town

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
IN_FLIGHT_MAX = 2 * MINUTE
"""A request that is on its way for longer was lost, or has been executed."""
RESTORED_WITHIN = 20 * HOUR
"""A restored backup is compared with the provider within the life of the keys."""
PLENTY_MINOR = 10_000_000
ROUNDS_MAX = 40
QUIET_PAUSES_MIN = (2, 10, 30, 90, 180, 360, 600)
"""How long the sweeper's rounds at the end are apart; afterwards the last for ever."""


@dataclass(frozen=True)
class Weather:
    """How bad it is in this run; drawn first, so that runs differ in kind."""

    affiliates: int
    steps: int
    crashes: float
    cuts: float
    statements: float
    faults: float
    kinds: tuple[Fault, ...]
    lost_jobs: float
    doubled_jobs: float
    workers: int
    list_lag: timedelta
    long_waits: float
    person_reviews: bool

    @classmethod
    def of(cls, chance: random.Random) -> Weather:
        kinds = list(Fault)
        return cls(
            affiliates=chance.randint(2, 4),
            steps=chance.choice((40, 70, 110)),
            crashes=chance.choice((0.0, 0.01, 0.03, 0.08)),
            cuts=chance.choice((0.0, 0.0, 0.02, 0.06)),
            statements=chance.choice((0.0, 0.0, 0.02, 0.1)),
            faults=chance.choice((0.0, 0.15, 0.5)),
            kinds=tuple(chance.sample(kinds, chance.randint(1, len(kinds)))),
            lost_jobs=chance.choice((0.0, 0.1, 0.5)),
            doubled_jobs=chance.choice((0.0, 0.2, 0.6)),
            workers=chance.randint(1, 4),
            list_lag=chance.choice((0, 0, 10, 90, 900)) * SECOND,
            long_waits=chance.choice((0.0, 0.05, 0.25)),
            person_reviews=chance.random() < 0.5,
        )


@dataclass
class Simulation:
    """A run from its seed."""

    house: House
    seed: int
    story: list[str] = field(default_factory=list)
    promised: list[int] = field(default_factory=list)
    """Withdrawals that an affiliate was told of."""
    violations: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.house.fresh()
        self.house.conductor.seed = self.seed
        self.chance = random.Random(self.seed)
        self.weather = Weather.of(self.chance)
        self.provider = self.house.provider
        self.conductor = self.house.conductor
        self.town = Town(session_for(self.house.engine), self.provider)
        self.acts = Acts(self)
        self.queue: list[tuple[Any, tuple[Any, ...]]] = []
        self.backup: tuple[Backup, int, datetime] | None = None
        self.restored = False
        self.suspended: set[str] = set()
        """Whoever may be suspended."""
        self.resting = False
        """The faults are over."""
        self._numbers: Counter[str] = Counter()
        self.house.wake = self._wake
        self.conductor.sleep = self._sleep

    @property
    def now(self) -> datetime:
        return self.house.now

    @property
    def luck(self) -> random.Random:
        """The dice of whoever asks: an actor's own, else those of the run."""
        actor = self.conductor.me
        return actor.chance if actor else self.chance

    def run(self) -> None:
        """Found the program, let it be hurt, bring it to rest."""
        self._found()
        self.provider.draw = self._draw
        self.provider.list_lag = self.weather.list_lag
        self.conductor.at_statement = lambda: self.luck.random() < self.weather.statements
        for _ in range(self.weather.steps):
            self._step()
        self.end_faults()
        self.come_to_rest()

    def say(self, line: str) -> None:
        passed = self.now - EPOCH
        hours, rest = divmod(int(passed.total_seconds()), 3600)
        self.story.append(f"{hours:4}:{rest // 60:02}:{rest % 60:02}  {line}")

    def _found(self) -> None:
        names = ["anna", "boris", "clara", "denis"][: self.weather.affiliates]
        self.town.found(
            names,
            weekday=self.chance.choice((5, 5, 5, 6, 0)),
            hour=self.chance.randrange(24),
            time_zone=self.chance.choice(("UTC", "Europe/Moscow", "America/New_York")),
            key=f"s{self.seed}",
            now=self.now,
        )
        self.provider.balance_minor[CURRENCY] = PLENTY_MINOR
        with self.town.sessions.begin() as session:
            for name in names:
                sold = self.town.sell(name, self.chance.randrange(1, 20_000) * 1_000)
                self.town.earn(session, sold, now=self.now)
                sold.heard = True
            release_due(session, now=self.now)
        self.say(f"seed {self.seed}: {', '.join(names)}; {self.weather}")
        for name in names:
            if self.chance.random() < 0.7:
                self._alone(f"affiliate {name}", lambda n=name: self.acts.withdraw(n))
        for _ in range(self.chance.randint(0, len(names))):
            self._alone("finance", lambda: self.acts.approve(self.luck.choice(self.town.finance)))

    def _step(self) -> None:
        """Somebody goes on, somebody begins, something happens, or time passes."""
        self.house.now += self.chance.randint(1, 900) * timedelta(milliseconds=1)
        ready = self.conductor.ready()
        if ready and self.chance.random() < 0.8:
            self._go_on(self.chance.choice(ready))
            return
        acts, weights = zip(*self._happenings(), strict=True)
        self.chance.choices(acts, weights)[0]()

    def _go_on(self, actor: Actor) -> None:
        """One step of one process, now and then its last."""
        weather, chance = self.weather, self.chance
        blow: BaseException | None = None
        cut: Cut | None = None
        if chance.random() < weather.crashes:
            timed_out = actor.name.startswith("worker") and chance.random() < 0.3
            blow = JobTimeoutException("job took too long") if timed_out else Died()
        elif actor.at == "commit" and chance.random() < weather.cuts:
            cut = chance.choice(list(Cut))
        self.let_go_on(actor, blow=blow, cut=cut)

    def let_go_on(
        self, actor: Actor, *, blow: BaseException | None = None, cut: Cut | None = None
    ) -> None:
        stood = actor.at
        self.conductor.step(actor, blow=blow, cut=cut)
        what = f"dies of {type(blow).__name__}" if blow else f"is cut {cut}" if cut else ""
        self.counts["blows"] += bool(blow or cut)
        if actor.state == "done":
            self._ended(actor, f"{what} at {stood!r}: " if what else "")
        else:
            waits = " and waits for a lock" if actor.state == "blocked" else ""
            self.say(f"{actor.name}: {what or 'from'} {stood!r} to {actor.at!r}{waits}")

    def _ended(self, actor: Actor, what: str) -> None:
        error = actor.error
        self.say(f"{actor.name}: {what}{actor.result if error is None else repr(error)[:200]}")
        self.house.notice(error, actor.name)
        abandoned = isinstance(error, Died | JobTimeoutException)
        again = actor.job
        if abandoned and again is not None and self.chance.random() < 0.5:
            self.queue.append(again)  # RQ runs an abandoned job anew, or has lost it.

    def _start(self, name: str, act: Callable[[], Any]) -> Actor:
        self._numbers[name] += 1
        return self.conductor.start(f"{name} {self._numbers[name]}", act)

    def _alone(self, name: str, act: Callable[[], Any]) -> Actor:
        """To its end with nobody in between."""
        actor = self._start(name, act)
        while actor.state != "done":
            ready = [actor] if actor.state == "ready" else self.conductor.ready()
            self.let_go_on(ready[0])
        return actor

    def _happenings(self) -> list[tuple[Callable[[], Any], float]]:
        """What may begin or happen now, and how often it does."""
        names = list(self.town.enrollments)
        busy = [a.name for a in self.conductor.alive()]
        workers = sum(name.startswith("worker") for name in busy)
        may_work = bool(self.queue) and workers < self.weather.workers

        def somebody() -> str:
            return self.luck.choice(names)

        def person(name: str, act: Callable[[], str]) -> Callable[[], Any]:
            return lambda: self._start(name, act)

        def finance() -> int:
            return self.luck.choice(self.town.finance)

        free = 1.0 if len(busy) < 8 else 0.0
        waits = self.house.books.waiting()
        frozen, queued, review = bool(waits.frozen), bool(waits.queued), bool(waits.review)
        return [
            (self._begin_work, 14.0 * may_work),
            (self._tick, 3.0),
            (person("affiliate", lambda: self.acts.withdraw(somebody())), 2.5 * free),
            (person("affiliate", lambda: self.acts.change_payee(somebody())), 0.3 * free),
            (
                person("finance", lambda: self.acts.approve(finance())),
                (0.2 + 8.0 * frozen) * free,
            ),
            (person("finance", lambda: self.acts.hold(finance())), 0.5 * free * queued),
            (
                person("finance", lambda: self.acts.cancel(finance())),
                0.4 * free * frozen,
            ),
            (
                person("finance", lambda: self.acts.review(finance())),
                3.0 * free * review,
            ),
            (person("manager", self._suspend), 0.3 * free),
            (person("shop", self._sell), 0.6 * free),
            (person("shop", self._refund), 0.5 * free),
            (self._storm, 1.0),
            (self._calm, 1.0),
            (self._account_changes, 0.4),
            (self._queue_suffers, 0.4),
            (self._postgres_restarts, 0.15),
            (self._back_up, 0.3),
            (self._restore, 0.3),
            (self._land, 4.0 * bool(self.provider.flying)),
            (self._time_passes, 4.0),
        ]

    # What processes do.

    def _begin_work(self) -> None:
        job, args = self.queue.pop(self.chance.randrange(len(self.queue)))
        actor = self._start("worker", lambda: self.acts.work(job, args))
        actor.job = (job, args)
        self.say(f"{actor.name} takes {job.function.__name__}{args}")

    def _tick(self) -> None:
        """One scheduler rings, or several at once."""
        for _ in range(self.chance.choice((1, 1, 2, 3))):
            jobs.sweep.wake()
            jobs.draft_weekly_batches.wake()

    def _wake(self, job: Any, args: tuple[Any, ...]) -> None:
        """The bell: rung once, twice, or heard by nobody."""
        if self.resting:
            if (job, args) not in self.queue:
                self.queue.append((job, args))
            return
        if self.luck.random() < self.weather.lost_jobs:
            return
        times = 2 if self.luck.random() < self.weather.doubled_jobs else 1
        self.queue.extend([(job, args)] * times)

    def _sleep(self, seconds: float) -> None:
        self.house.now += seconds * SECOND
        self.conductor.point("waited its turn")

    def _sell(self) -> str:
        name = self.luck.choice(list(self.town.enrollments))
        return self.acts.report(self.town.sell(name, self.luck.randrange(1, 20_000) * 1_000))

    def _refund(self) -> str:
        open_sales = [sold for sold in self.town.sales if not sold.taken_back]
        if not open_sales:
            return "nothing to refund"
        sold = self.luck.choice(open_sales)
        sold.taken_back, sold.heard = True, False
        return self.acts.take_back(sold)

    def _suspend(self) -> str:
        name = self.luck.choice(list(self.town.enrollments))
        self.suspended.add(name)
        return self.acts.stand(name, self.luck.choice(("suspended", "active", "active")))

    # What happens to them.

    def _draw(self) -> Fault | None:
        if self.luck.random() < self.weather.faults:
            return self.luck.choice(self.weather.kinds)
        return None

    def _storm(self) -> None:
        kind = self.chance.choice(("key", "list", "funds"))
        self.say(f"provider: {kind} gone")
        if kind == "key":
            self.provider.api_key = "sk_rolled"
        elif kind == "list":
            self.provider.list_away = True
        else:
            self.provider.balance_minor[CURRENCY] = self.chance.choice((0, 1, 700))

    def _calm(self) -> None:
        self.say("provider: all is well again")
        self.provider.api_key = SECRET_KEY
        self.provider.list_away = False
        self.provider.balance_minor[CURRENCY] = PLENTY_MINOR

    def _account_changes(self) -> None:
        name = self.chance.choice(list(self.provider.accounts))
        account = self.provider.accounts[name]
        if self.chance.random() < 0.15:
            account.closed = True
        else:
            account.transfers = self.chance.choice(("active", "inactive"))
            account.payouts_enabled = self.chance.random() < 0.8
        self.say(f"provider: {name} is {account}")

    def _queue_suffers(self) -> None:
        what = self.chance.choice(("flushed", "doubled", "turned round"))
        self.say(f"queue: {what}")
        if what == "flushed":
            self.queue.clear()
        elif what == "doubled":
            self.queue *= 2
        else:
            self.queue.reverse()

    def _postgres_restarts(self) -> None:
        self.say("PostgreSQL restarts")
        self.conductor.end_connections()

    def _land(self) -> None:
        """A request whose sender died or waits is executed, or never arrives."""
        if self.provider.flying:
            self._resolve(self.chance.choice(self.provider.flying))

    def _resolve(self, request: Any) -> None:
        if self.chance.random() < 0.6:
            self.provider.execute(request)
            self.say(f"provider: executes {request.key}: {request.answer}")
        else:
            self.provider.drop(request)
            self.say(f"provider: never sees {request.key}")

    def _time_passes(self) -> None:
        chance = self.chance
        by = chance.choice((2 * SECOND, 30 * SECOND, 65 * SECOND, 3 * MINUTE, 11 * MINUTE))
        if chance.random() < self.weather.long_waits:
            by = chance.choice((1, 5, 12, 23, 25, 26, 49, 170)) * HOUR
        self.advance(by)

    def advance(self, by: timedelta) -> None:
        if by > SECOND * 30:
            for request in list(self.provider.flying):
                if self.now + by - request.began > IN_FLIGHT_MAX:
                    self._resolve(request)
        self.house.now += by
        self.say(f"-- {by} pass --")

    def _back_up(self) -> None:
        if not self.restored:
            self.say("a backup is taken")
            self.backup = (self.house.books.copy(), self.house.books.waiting().batches, self.now)

    def _restore(self) -> None:
        """The database of an hour ago takes the place of today's; sometimes nobody says so.

        A backup from before a batch was frozen is another story: what it paid belongs to no
        item any more, and only a person can tell (docs/operations.md, "Restore").
        """
        if self.backup is None or self.restored:
            return
        copy, batches, at = self.backup
        if batches != self.house.books.waiting().batches or self.now - at > RESTORED_WITHIN:
            return
        self.restored = True
        self.say("every process dies; the backup is restored")
        self.conductor.kill_all()
        for request in list(self.provider.flying):
            self._resolve(request)
        sent = {t.order.item_id for t in self.provider.transfers}
        self.house.books.put_back(copy)
        for sold in self.town.sales:
            sold.heard = False
        self.suspended.update(self.town.enrollments)
        self.house.engine.dispose()
        forgotten = self._forgotten(sent)
        posts = len(self.provider.posts)
        for _ in range(3):
            self._tick()
            while self.queue:
                job, args = self.queue.pop(0)
                self._alone("worker", lambda j=job, a=args: self.acts.work(j, a))
        again = [key for _, key in self.provider.posts[posts:]]
        for item_id in forgotten:
            if any(f":{item_id}:" in key for key in again):
                self.violations.append(f"item {item_id} was sent anew by a restored database")
        self._alone("owner", self.acts.unlock)

    def _forgotten(self, sent: set[int]) -> list[int]:
        """Items whose transfer the database knows nothing of."""
        with self.town.sessions() as session:
            known = waiting_items(session, "queued")
            return [item_id for item_id in known if item_id in sent and not known[item_id].attempts]

    # The end.

    def end_faults(self) -> None:
        """From here on nothing fails; whoever was under way comes to an end, or dies."""
        self.say("== the faults end ==")
        self.conductor.at_statement = lambda: False
        self.resting = True
        self.weather = replace(self.weather, statements=0.0, faults=0.0)
        self.provider.list_lag = timedelta()
        self._calm()
        for account in self.provider.accounts.values():
            account.transfers, account.payouts_enabled = "active", True
        while alive := self.conductor.alive():
            ready = self.conductor.ready()
            assert ready, [(a.name, a.at, a.state) for a in alive]
            actor = self.chance.choice(ready)
            self.let_go_on(actor, blow=Died() if self.chance.random() < 0.05 else None)
        for request in list(self.provider.flying):
            self._resolve(request)
        for name in sorted(self.suspended):
            self._alone("manager", lambda n=name: self.acts.stand(n, "active"))
        for sold in [each for each in self.town.sales if not each.heard]:
            act = self.acts.take_back if sold.taken_back else self.acts.report
            self._alone("shop", lambda s=sold, a=act: a(s))

    def come_to_rest(self) -> None:
        """Sweep until nothing moves; people do what waits for people."""
        for round_ in range(ROUNDS_MAX):
            jobs.sweep.wake()
            jobs.draft_weekly_batches.wake()
            while self.queue:
                job, args = self.queue.pop(0)
                self._alone("worker", lambda j=job, a=args: self.acts.work(j, a))
            self._people()
            if not self.queue and self._is_quiet():
                return
            minutes = QUIET_PAUSES_MIN[min(round_, len(QUIET_PAUSES_MIN) - 1)]
            self.advance(minutes * MINUTE)
        self.violations.append(f"nothing has come to rest after {ROUNDS_MAX} rounds")

    def _people(self) -> None:
        finance = self.town.finance
        for _ in range(self.house.books.waiting().frozen):
            approved = self._alone("finance", lambda: self.acts.approve(self.luck.choice(finance)))
            # The account was named lately, or taken back in its wait: what is asked for anew
            # goes to the one that holds.
            if "safety_wait" in str(approved.result):
                self._alone("finance", lambda: self.acts.cancel(finance[0]))
        with self.town.sessions() as session:
            items = waiting_items(session)
        for item in items.values():
            if item.reason in ("payee_changed", "not_active"):
                self._alone("finance", lambda: self.acts.hold(finance[0], parked_alone=True))
            elif item.status == "needs_review" and self.weather.person_reviews:
                self._alone("finance", lambda: self.acts.review(finance[1]))

    def _is_quiet(self) -> bool:
        with self.town.sessions() as session:
            waiting = waiting_items(session)
            return self.house.books.waiting().frozen == 0 and all(
                item.status == "needs_review" and not self.weather.person_reviews
                for item in waiting.values()
            )
