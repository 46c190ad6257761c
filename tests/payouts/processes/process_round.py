"""One round: batches, kills and a bad wire; then silence, and everything comes to its end."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from payouts.batches.review import try_again
from tests.payouts.processes import verdict
from tests.payouts.processes.bad_wire import Wire
from tests.payouts.processes.playhouse import House
from tests.payouts.processes.reaper import Reaper
from tests.payouts.processes.round_books import FINANCE, Books, Desk, Size, prepare
from tests.payouts.processes.verdict import Outcome

ENDS_S = 300.0
"""From the last fault: by then nothing waits for anything but a person or the end of a key."""
HURT_S = 90.0
"""Kills and faults last for so long. Tries that fail are then at most the second of their
attempt, and its pause ends within ENDS_S."""
AT_ONCE = 2
"""Knives that lie there before the first job begins."""
LONGER = 1.2
FAR_LONGER = 6
LONGER_WIRE = 3
AFTER_S = 15.0
NEXT_S = 5.0
PAST_KEYS_S = 24.2 * 3_600
"""Beyond what the provider remembers."""
SECOND_LOOK_S = 1.1 * 3_600
LOOKED_S = 300.0
"""A sweep a minute, and what it rings for."""
SETTLE_S = 40.0
POLL_S = 0.5
DOOMED = 3
"""Items of each kind that are left without an answer until their keys are old."""


@dataclass(frozen=True)
class Plan:
    """How a round goes."""

    seed: str
    size: Size = field(default_factory=Size)
    hurt_s: float = HURT_S
    kills_min: int = 0
    """Where a machine is too busy for so many in that time, it takes longer."""
    pause_s: tuple[float, float] = (0.5, 1.8)
    """Between two blows."""
    wire_s: float = 30.0
    """The bad wire alone, for those who come to it only now that nobody is killed."""
    calls_min: int = 30
    """So many transfers are asked for while the wire is bad, else that takes longer too."""
    old_keys: bool = False
    left_out: tuple[str, ...] = ()
    ring_s: float = 0.0
    """Ring the sweep so often besides; 0: only the scheduler does."""


def play(house: House, plan: Plan, say: Callable[[str], None]) -> Outcome:
    """Play a round and judge it."""
    chance = random.Random(plan.seed)
    outcome = Outcome(plan.seed)
    house.tell("left-out", [])
    books = prepare(house, plan.seed.replace(":", "-"), plan.size, chance)
    desk = Desk(books, plan.size, chance.randrange(1 << 30))
    desk.enter()
    house.tell("left-out", list(plan.left_out))
    wire = Wire(house, chance, old_keys=plan.old_keys)
    if plan.old_keys:
        doomed = chance.sample(books.weekly_items(), 2 * DOOMED)
        wire.nothing_moved, wire.moved_unseen = doomed[:DOOMED], doomed[DOOMED:]
    reaper = Reaper(house, chance)
    began = time.time()
    wire.begin()
    desk.start()
    _hurt(house, plan, wire, reaper, desk, chance, say)
    desk.closed.set()
    wire.calm()
    reaper.count()
    quiet = time.monotonic()
    waits_for = set(wire.nothing_moved + wire.moved_unseen) if plan.old_keys else set()
    _recover(house, plan, books, desk, waits_for, outcome, quiet)
    outcome.faults = dict(verdict.faults_since(house, began)) | {
        f"storm of {kind}": number for kind, number in wire.storms.items()
    }
    if plan.old_keys:
        _grow_old(house, plan, books, wire, outcome, say)
    outcome.kills, outcome.steps = dict(reaper.killed), dict(reaper.at_steps)
    outcome.acts = dict(reaper.acts)
    _judge(house, books, desk, outcome)
    if outcome.reviews and not outcome.violations:
        _decide(house, plan, books, outcome)
    return outcome


def _hurt(
    house: House, plan: Plan, wire: Wire, reaper: Reaper, desk: Desk, chance: random.Random,
    say: Callable[[str], None],
) -> None:  # fmt: skip
    """Blow after blow, for the time of the plan, and longer while a slow machine still approves.

    Then the provider's faults alone.
    """
    began = said = time.monotonic()
    ring = _Ring(plan.ring_s)
    ends = began + plan.hurt_s
    for _ in range(AT_ONCE):
        reaper.lay_knife()
    while time.monotonic() < ends:
        if desk.is_alive():
            ends = max(ends, min(time.monotonic() + AFTER_S, began + plan.hurt_s * LONGER))
        reaper.strike()
        if reaper.kills < plan.kills_min:
            ends = max(ends, min(time.monotonic() + NEXT_S, began + plan.hurt_s * FAR_LONGER))
        strike_next = time.monotonic() + chance.uniform(*plan.pause_s)
        while time.monotonic() < min(strike_next, ends):
            house.tend()
            wire.tick()
            ring.tick()
            time.sleep(0.05)
        if time.monotonic() - said > 20:
            said = time.monotonic()
            say(f"{plan.seed}: {reaper.kills} kills in {said - began:.0f} s")
    reaper.sheathe()
    silent, wire_ends = time.monotonic(), plan.wire_s
    while (lasts := time.monotonic() - silent) < wire_ends:
        if lasts + NEXT_S > wire_ends and wire.calls() < plan.calls_min:
            wire_ends = min(wire_ends + NEXT_S, plan.wire_s * LONGER_WIRE)
        house.tend()
        wire.tick()
        ring.tick()
        time.sleep(0.05)


class _Ring:
    """A bell more for the sweep, where a test cannot wait for the minute."""

    def __init__(self, every_s: float) -> None:
        self.every_s, self.at = every_s, time.monotonic() + every_s

    def tick(self) -> None:
        if self.every_s and time.monotonic() > self.at:
            from payouts.batches.jobs import sweep

            self.at = time.monotonic() + self.every_s
            sweep.wake()


def _recover(
    house: House, plan: Plan, books: Books, desk: Desk, waits_for: set[int], outcome: Outcome,
    quiet: float,
) -> None:  # fmt: skip
    """Wait, without a hand, until nothing is open but what waits for the end of its key."""
    ring = _Ring(plan.ring_s)
    while True:
        house.tend()
        ring.tick()
        open_items = set(books.open_items()) - _without_an_answer(house, waits_for)
        if not desk.is_alive() and not open_items and not books.open_batches():
            break
        if time.monotonic() - quiet > ENDS_S:
            outcome.violations.append(
                f"after {ENDS_S:.0f} s still open: items {sorted(open_items)}, "
                f"batches {books.open_batches()}, desk at work: {desk.is_alive()}"
            )
            break
        time.sleep(POLL_S)
    outcome.recovered_s = round(time.monotonic() - quiet, 1)


def _without_an_answer(house: House, waits_for: set[int]) -> set[int]:
    """Those of them that were sent, and nobody knows what came of it."""
    rows = house.rows(verdict.ITEMS) if waits_for else []
    return {row.id for row in rows if row.id in waits_for and row.status == "unknown"}


def _grow_old(
    house: House, plan: Plan, books: Books, wire: Wire, outcome: Outcome,
    say: Callable[[str], None],
) -> None:  # fmt: skip
    """A day passes for everybody. Then only the list can tell, and it does not at once."""
    waiting = books.open_items()
    keys = {row.key for row in house.rows(verdict.ITEMS) if row.id in waiting and row.key}
    outcome.counts["items left without an answer for a day"] = len(waiting)
    house.move_clocks(PAST_KEYS_S)
    # Whoever had been on the wire at that very instant is not meant.
    time.sleep(1.0)
    since = time.time()
    say(f"{plan.seed}: {len(waiting)} items have keys that are past their life")
    _until(house, plan, lambda: all(row.missed for row in _rows(house, waiting)))
    wire.show()
    house.move_clocks(SECOND_LOOK_S)
    _until(house, plan, lambda: not books.open_items())
    outcome.violations += verdict.late_posts(house, keys, since)
    wire.heal()
    found = [row for row in _rows(house, waiting) if row.status == "paid"]
    outcome.counts["found in the list after their key's life"] = len(found)


def _rows(house: House, item_ids: list[int]) -> list[Any]:
    return [row for row in house.rows(verdict.ITEMS) if row.id in item_ids]


def _until(house: House, plan: Plan, look: Callable[[], bool]) -> None:
    ring = _Ring(plan.ring_s)
    deadline = time.monotonic() + LOOKED_S
    while not look() and time.monotonic() < deadline:
        house.tend()
        ring.tick()
        time.sleep(POLL_S)


def _judge(house: House, books: Books, desk: Desk, outcome: Outcome) -> None:
    """Everything that must hold; what does not is a sentence."""
    if desk.failed is not None:
        outcome.violations.append(f"the desk gave up: {desk.failed!r}"[:2_000])
    # What orphans and last webhooks still have to say is heard first.
    time.sleep(1.0)
    outcome.violations += verdict.payments(house)
    outcome.violations += verdict.ends(books, outcome)
    outcome.violations += verdict.locked(house)
    approved = {
        row.id for row in house.rows("SELECT id FROM payout_batches WHERE approved_at IS NOT NULL")
    }
    lost = desk.acknowledged - approved
    outcome.violations += [
        f"the approval of batch {each} was answered and is lost" for each in lost
    ]
    withdrawn = {row.enrollment_id for row in house.rows("SELECT enrollment_id FROM withdrawals")}
    outcome.violations += [
        f"the withdrawal of enrollment {each} is lost" for each in desk.asked - withdrawn
    ]
    outcome.counts["approvals that were answered"] = len(desk.acknowledged)
    outcome.counts["withdrawals"] = len(desk.asked)
    outcome.violations += verdict.audit(house)


def _decide(house: House, plan: Plan, books: Books, outcome: Outcome) -> None:
    """Finance has made sure that nothing was sent, and lets what is on the desk be tried anew."""
    with house.sessions.begin() as session:
        user_id = session.scalars(
            sa.text("SELECT id FROM users WHERE email LIKE :who ORDER BY id LIMIT 1"),
            {"who": f"{FINANCE}%@demo.example"},
        ).one()
        for row in _rows(house, [row.id for row in house.rows(verdict.ITEMS)]):
            if row.status == "needs_review" and row.program_id in books.programs:
                try_again(
                    session, item_id=row.id, by_user_id=user_id,
                    why="The provider's list has nothing of it.", now=house.now(session),
                )  # fmt: skip
    _until(house, plan, lambda: not books.open_items() and not books.open_batches())
    left = books.open_items()
    outcome.violations += [f"item {each} was tried anew and is open" for each in left]
    outcome.counts["paid by a new attempt that a person ordered"] = len(outcome.reviews) - len(left)
    outcome.violations += verdict.payments(house)
    outcome.violations += verdict.locked(house)
