"""Who is killed when: processes by name at any instant, work-horses and workers at each step."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.payouts.processes.playhouse import House
from tests.payouts.processes.puppet import BOTH, HORSE, ORPHAN, STEPS

KNIVES_MAX = 2
"""So many wait for somebody to come to their step. Seven were tried: nobody came past the earlier
steps to the later ones."""
ORPHAN_STAYS_MS = 70_000
"""Longer than the lease: its successor claims what the orphan holds, and both go on."""
INSIDE = ("intent_written", "answer_written")
"""Steps within a transaction: there an orphan stays for a moment only, as its locks do."""
HORSE_WAIT_S = 3.0
WEIGHTS = {
    "step": 40,
    "horse": 22,
    "postgres": 13,
    "valkey": 12,
    "worker": 8,
    "scheduler": 5,
    "web": 5,
    "other worker": 3,
}
REST_S = {
    "postgres": 7.0,
    "valkey": 4.0,
    "worker": 6.0,
    "scheduler": 12.0,
    "web": 20.0,
    "other worker": 20.0,
}
"""Killed again before it has started, a process would not have been killed in a batch."""


@dataclass(frozen=True)
class Child:
    pid: int
    parent: int
    command: bytes


def processes() -> list[Child]:
    """Every process of this machine with its parent (Linux)."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            found.append(Child(int(path.name), parent, (path / "cmdline").read_bytes()))
    return found


class Reaper:
    """The blows of one round."""

    def __init__(self, house: House, chance: random.Random) -> None:
        self.house, self.chance = house, chance
        self.killed: Counter[str] = Counter()
        self.last: dict[str, tuple[int, float]] = {}
        """Pid and time of the last kill by name."""
        self.number = 0
        self.at_steps: Counter[str] = Counter()
        self.acts: Counter[str] = Counter()
        self._dealt: set[str] = {path.name for path in (house.strings / "dealt").iterdir()}

    @property
    def kills(self) -> int:
        return sum(self.killed.values())

    def strike(self) -> None:
        """One blow of any kind, or a knife laid at the next step."""
        kind = self.chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        if kind == "step":
            self.lay_knife()
        elif kind == "horse":
            self._kill_horse()
        elif kind == "worker":
            self._kill_worker()
        elif kind == "web":
            self._kill_web()
        elif kind == "other worker":
            self._kill_named(self.chance.choice(("general", "history", "loader")), "other worker")
        else:
            self._kill_named(kind, kind)
        self.count()

    def lay_knife(self, step: str = "", act: str = "") -> None:
        """At the step where the fewest were struck; whoever comes to it first is."""
        lying = [path.name.split(".")[1] for path in (self.house.strings / "knives").iterdir()]
        if len(lying) >= KNIVES_MAX:
            return
        free = [each for each in STEPS if each not in lying]
        self.chance.shuffle(free)
        step = step or min(free, key=lambda each: self.at_steps[each])
        act = act or self.chance.choices((HORSE, BOTH, ORPHAN), (6, 3, 2))[0]
        if step == "wire":
            act, ms = (HORSE if act == ORPHAN else act), self.chance.randrange(700)
        else:
            ms = 1_000 if step in INSIDE else ORPHAN_STAYS_MS
        self.number += 1
        name = f"{time.time_ns()}{self.number:04}.{step}.{act}.{ms}"
        (self.house.strings / "knives" / name).touch()

    def count(self) -> None:
        """What the knives have done since."""
        for path in (self.house.strings / "dealt").iterdir():
            if path.name not in self._dealt:
                self._dealt.add(path.name)
                _, step, act, _ = path.name.split(".")
                self.at_steps[step] += 1
                self.acts[act] += 1
                self.killed["work-horse at a step"] += act != ORPHAN
                self.killed["worker at a step"] += act != HORSE

    def sheathe(self) -> None:
        """No knife lies anywhere any more."""
        for path in (self.house.strings / "knives").iterdir():
            path.unlink(missing_ok=True)
        # One that was being taken while it was put away counts as well.
        time.sleep(0.2)
        self.count()

    def horses(self) -> list[int]:
        """Work-horses of the payout workers, orphans included."""
        every = processes()
        pids = set(self._workers())
        mark = b"\0worker\0payouts\0"
        return [
            each.pid
            for each in every
            if each.pid not in pids
            and mark in each.command
            and (each.parent in pids or each.parent == 1)
            and self._ours(each.pid)
        ]

    def _ours(self, pid: int) -> bool:
        with suppress(OSError):
            return str(self.house.strings).encode() in Path(f"/proc/{pid}/environ").read_bytes()
        return False

    def _workers(self) -> dict[int, str]:
        known = {pid: each.name for each in self.house.beside if (pid := each.pid)}
        supervised = self.house.running.processes.get("payouts")
        return known | ({supervised: "payouts"} if supervised else {})

    def _kill_horse(self) -> None:
        """At whatever it is doing now."""
        deadline = time.monotonic() + HORSE_WAIT_S
        while not (found := self.horses()):
            if time.monotonic() > deadline:
                return
            self.house.tend()
            time.sleep(0.02)
        time.sleep(self.chance.uniform(0, 0.4))
        self._kill(self.chance.choice(found), "work-horse")

    def _kill_worker(self) -> None:
        workers = self._workers()
        if workers:
            pid = self.chance.choice(sorted(workers))
            if self._rested(workers[pid], "worker", pid):
                self._kill(pid, "worker", workers[pid])

    def _kill_web(self) -> None:
        """All of it, or one of its processes."""
        main = self.house.running.processes.get("web")
        if main is None or not self._rested("web", "web", main):
            return
        own = [each.pid for each in processes() if each.parent == main]
        whom = main if not own or self.chance.random() < 0.4 else self.chance.choice(own)
        if self._kill(whom, "web", "web"):
            self.last["web"] = (whom, time.monotonic())

    def _kill_named(self, name: str, kind: str) -> None:
        pid = self.house.running.processes.get(name)
        if pid is not None and self._rested(name, kind, pid):
            self._kill(pid, kind, name)

    def _rested(self, name: str, kind: str, pid: int) -> bool:
        """Whether it is another process than the one that was killed last, and has begun."""
        last_pid, at = self.last.get(name, (0, float("-inf")))
        return pid != last_pid and time.monotonic() - at > REST_S[kind]

    def _kill(self, pid: int, kind: str, name: str = "") -> bool:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        self.killed[kind] += 1
        if name:
            self.last[name] = (pid, time.monotonic())
        return True
