"""What is done to the installation, in which order: one seed, one schedule."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from affiliate.core.metrics import FOLDER as COUNTERS
from affiliate.core.metrics import Tally
from tests.faults.stage import Process, Stage

OUTAGE_ANSWERS_MIN = 20
"""So many clicks must be answered within each outage before it may end."""
OUTAGE_WAIT_S = 30.0
AFTER_NOWHERE_S = 5.0
"""For so long after disk and database are back a front may still believe them away: it asks
again every second, and a database that recovers from a crash is slow at first."""
SETTLE_S = 1.0
FILL_BYTES = 1 << 20


class Blow(StrEnum):
    """One thing that goes wrong."""

    WORKER = "kill -9 a web worker"
    LOADER = "kill -9 the loader"
    WEB = "kill -9 all of the web"
    EVERYTHING = "kill -9 web and loader, PostgreSQL at once"
    POSTGRES = "PostgreSQL restarted at once"
    BLACKOUT = "PostgreSQL and Valkey away, a worker killed"
    VALKEY = "Valkey stopped, started, flushed"
    DISK_FULL = "no space for the journal"
    NOWHERE = "no space for the journal, PostgreSQL away"
    PAUSE = "the loader stopped in its tracks (SIGSTOP)"
    TWO_LOADERS = "two loaders at once, one killed"


@dataclass(frozen=True)
class Sizes:
    """How much of each; what a kill is made of is drawn by chance."""

    kills: int = 200
    restarts: int = 20
    valkey: int = 4
    disk_full: int = 6
    loaders: int = 6
    outage_s: float = 2.0


def schedule(sizes: Sizes, chance: random.Random) -> list[Blow]:
    """All blows of a campaign in their order."""
    kinds = [Blow.WORKER, Blow.LOADER, Blow.WEB, Blow.EVERYTHING]
    each = kinds[: sizes.kills]
    kills = [*each, *chance.choices(kinds, [55, 35, 8, 2], k=sizes.kills - len(each))]
    blackouts = max(1, sizes.restarts // 5)
    blows = [
        *kills,
        *[Blow.POSTGRES] * (sizes.restarts - blackouts),
        *[Blow.BLACKOUT] * blackouts,
        *[Blow.VALKEY] * sizes.valkey,
        *[Blow.DISK_FULL] * (sizes.disk_full - sizes.disk_full // 2),
        *[Blow.NOWHERE] * (sizes.disk_full // 2),
        *[Blow.PAUSE] * (sizes.loaders - sizes.loaders // 2),
        *[Blow.TWO_LOADERS] * (sizes.loaders // 2),
    ]
    chance.shuffle(blows)
    return blows


class Disk(Protocol):
    """Something that can leave the journal no room."""

    name: str

    def press(self) -> None:
        """Take all room that there is now."""

    def release(self) -> None:
        """Give it back."""


class SmallFilesystem:
    """The journal on a tmpfs of its own (root alone may mount): a real ENOSPC for everybody."""

    def __init__(self, journal: Path, size_mb: int) -> None:
        self.name = f"a tmpfs of {size_mb} MB, filled up (ENOSPC)"
        self._filler = journal / "filler"

    def press(self) -> None:
        with self._filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            for size in (FILL_BYTES, 4096, 1):
                with contextlib.suppress(OSError):
                    while file.write(bytes(size)) == size:
                        pass

    def release(self) -> None:
        self._filler.unlink(missing_ok=True)


class FileSizeLimit:
    """No file of the web's processes may grow (RLIMIT_FSIZE: EFBIG); needs no privilege."""

    name = "a file size limit on the web's processes (EFBIG)"

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def press(self) -> None:
        self._limit(0)

    def release(self) -> None:
        self._limit(resource.RLIM_INFINITY)

    def _limit(self, soft: int) -> None:
        web = self._stage.web
        for pid in [web.pid, *web.children()] if web.runs else []:
            with contextlib.suppress(ProcessLookupError):
                hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (min(soft, hard) if soft else 0, hard))


@contextmanager
def disk_for(stage: Stage, *, size_mb: int, may_mount: bool) -> Iterator[Disk]:
    """The best way that this machine lets us fill the journal's disk."""
    if may_mount and os.geteuid() == 0 and shutil.which("mount"):
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m,mode=0700", "kopeck-faults"]
        if subprocess.run([*command, stage.journal], check=False).returncode == 0:
            try:
                yield SmallFilesystem(stage.journal, size_mb)
            finally:
                subprocess.run(["umount", "--lazy", stage.journal], check=False)
            return
    yield FileSizeLimit(stage)


@dataclass
class Nemesis:
    """Deals the blows and remembers what they were."""

    stage: Stage
    disk: Disk
    sizes: Sizes
    chance: random.Random
    totals: Callable[[], dict[str, int]]
    """What the clients have seen so far."""
    dealt: Counter[Blow] = field(default_factory=Counter)
    kills: int = 0
    restarts: int = 0
    nowhere: list[tuple[float, float]] = field(default_factory=list)
    """When (monotonic) neither journal nor database could take a click."""
    dealt_at: list[tuple[Blow, float, float]] = field(default_factory=list)
    """Each blow, when (monotonic) it fell and when all was back."""
    violations: list[str] = field(default_factory=list)

    def answered(self) -> int:
        """How many clicks were answered so far, recorded or not."""
        totals = self.totals()
        return totals["acked"] + totals["unrecorded"]

    def during(self, at: float) -> str:
        """What was going on at an instant, for whoever reads a violation."""
        for blow, began, ended in self.dealt_at:
            if began <= at <= ended:
                return f"{at - began:.2f} s into '{blow.value}'"
        before = [(blow, ended) for blow, _, ended in self.dealt_at if ended < at]
        return f"{at - before[-1][1]:.2f} s after '{before[-1][0].value}'" if before else "early"

    def deal(self, blow: Blow) -> None:
        """One blow; returns when everything that it took away is back."""
        self.dealt[blow] += 1
        began = time.monotonic()
        {
            Blow.WORKER: self._kill_worker,
            Blow.LOADER: self._kill_loader,
            Blow.WEB: lambda: self._kill(self.stage.web),
            Blow.EVERYTHING: self._everything,
            Blow.POSTGRES: self._restart_postgres,
            Blow.BLACKOUT: self._blackout,
            Blow.VALKEY: self._valkey,
            Blow.DISK_FULL: self._disk_full,
            Blow.NOWHERE: self._nowhere,
            Blow.PAUSE: self._pause,
            Blow.TWO_LOADERS: self._two_loaders,
        }[blow]()
        self.stage.supervise()
        # The clock of the next blow runs only while somebody answers.
        self.stage.wait_for(f"the web after: {blow}", self.stage.answers)
        self.dealt_at.append((blow, began, time.monotonic()))

    def _kill(self, process: Process) -> None:
        process.kill()
        self.kills += 1

    def _kill_worker(self) -> None:
        workers = self.stage.web.children()
        if not workers:
            self._kill(self.stage.web)
            return
        # granian starts it again by itself; its neighbour goes on answering.
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.chance.choice(workers), signal.SIGKILL)
            self.kills += 1

    def _kill_loader(self) -> None:
        self._kill(self.stage.loader)

    def _everything(self) -> None:
        self._kill(self.stage.web)
        self._kill(self.stage.loader)
        self._restart_postgres()

    def _restart_postgres(self) -> None:
        """Immediate shutdown: no checkpoint, no goodbye; the start recovers from its log."""
        self.stage.postgres.stop(signal.SIGQUIT)
        if self.chance.random() < 0.3:
            self._kill_loader()
            self.stage.supervise()
        if self.chance.random() < 0.3:
            self._outage("PostgreSQL away")
        self.stage.postgres.start()
        self.restarts += 1

    def _blackout(self) -> None:
        self.stage.postgres.stop(signal.SIGQUIT)
        self.stage.valkey.stop(signal.SIGKILL)
        # A process that starts now knows the links from the node's snapshot alone.
        self._kill_worker()
        self._outage("PostgreSQL and Valkey away")
        self.stage.valkey.start()
        self.stage.postgres.start()
        self.restarts += 1

    def _valkey(self) -> None:
        self.stage.valkey.stop(signal.SIGKILL)
        self._outage("Valkey away")
        self.stage.valkey.start()
        self.stage.flush_valkey()

    def _disk_full(self) -> None:
        spilled = self._spilled()
        try:
            self._outage("the journal's disk full", self.disk.press)
        finally:
            self.disk.release()
        if self._spilled() == spilled:
            self.violations.append("the disk was full and no click went to the database")
        # Who was on the way to the database may still arrive there.
        time.sleep(SETTLE_S)

    def _nowhere(self) -> None:
        began = time.monotonic()
        before = self.totals()["unrecorded"]
        self.stage.postgres.stop(signal.SIGQUIT)
        try:
            self._outage("nowhere to record", self.disk.press)
        finally:
            self.disk.release()
            self.stage.postgres.start()
            self.restarts += 1
        self.nowhere.append((began, time.monotonic() + AFTER_NOWHERE_S))
        if self.totals()["unrecorded"] == before:
            self.violations.append("there was nowhere to record and no token said so")

    def _spilled(self) -> int:
        return Tally(self.stage.data_dir / COUNTERS).totals()["kopeck_clicks_spilled"]

    def _pause(self) -> None:
        self.stage.loader.signal(signal.SIGSTOP)
        self._outage("the loader stopped")
        self.stage.loader.signal(signal.SIGCONT)

    def _two_loaders(self) -> None:
        self.stage.second_loader.start()
        time.sleep(self.sizes.outage_s)
        self._kill(self.chance.choice([self.stage.loader, self.stage.second_loader]))
        self.stage.supervise()
        time.sleep(self.sizes.outage_s / 2)
        self.stage.second_loader.kill()

    def _outage(self, name: str, keep: Callable[[], None] | None = None) -> None:
        """Let something be away for a while; clicks must be answered all the while."""
        before, began = self.answered(), time.monotonic()
        while True:
            if keep is not None:
                keep()
            passed = time.monotonic() - began
            more = self.answered() - before
            if passed >= self.sizes.outage_s and more >= OUTAGE_ANSWERS_MIN:
                return
            if passed > OUTAGE_WAIT_S:
                self.violations.append(f"{name}: {more} clicks answered in {passed:.0f} s")
                return
            self.stage.supervise()
            time.sleep(0.02)
