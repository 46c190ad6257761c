"""The loader's watch over its node's journal: room, lag, alarms; and the file that says so.

It needs no database: a lag is measured, and room is made, above all while the database is
away. The state is one block of a file whose room was taken once, written in place, so that a
full disk cannot silence it.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import structlog

from affiliate.core.config import Settings
from tracker.clicks import counts
from tracker.clicks.journal import FOLDER, SUFFIX
from tracker.clicks.records import BODY, HEAD, MAGIC
from tracker.clicks.room import (
    MB,
    SILENT_S,
    Alarm,
    Budget,
    Taken,
    alarms_of,
    how_many_to_give_up,
)
from tracker.clicks.tokens import clicked_ms_of

LOADED: Final = "loaded"
STATE: Final = "loader.json"
STATE_BYTES: Final = 4096
LOOK_INTERVAL_S: Final = 1.0
KEPT_INTERVAL_S: Final = 10.0
"""Thousands of kept segments need not be listed every second."""
REMIND_INTERVAL_S: Final = 60.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class State:
    """What the loader said last."""

    at: float
    """Real time, seconds since the epoch."""
    taken: Taken
    alarms: tuple[Alarm, ...]

    @property
    def silent(self) -> bool:
        return time.time() - self.at > SILENT_S


class Watch:
    """Looks at the journal of this node once a second."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.data_dir / FOLDER
        self._state = settings.data_dir / STATE
        self._budget = budget_of(settings)
        self._looked = self._listed = self._reminded = float("-inf")
        self._kept: list[tuple[float, str, int]] = []
        self._alarms: list[Alarm] = []

    def look(self, offsets: Mapping[str, int], *, ahead_ms: int = 0) -> None:
        """Measure, make room, raise or end alarms, say so. At most once a second.

        ``offsets``: how far each segment is loaded, as far as the loader knows. ``ahead_ms``: how
        far business time runs ahead of the machine's (demo and test mode).
        """
        now = time.monotonic()
        if now - self._looked < LOOK_INTERVAL_S:
            return
        self._looked = now
        try:
            taken = self._measure(offsets, now, ahead_ms)
            number = how_many_to_give_up([size for _, _, size in self._kept], taken, self._budget)
            if number:
                self._give_up(number)
                taken = self._measure(offsets, now, ahead_ms)
            alarms = alarms_of(taken, self._budget)
            self._remind(alarms, taken, now)
            _write(self._state, State(time.time(), taken, tuple(alarms)))
        except OSError as error:
            log.error("the journal cannot be watched", error=str(error))

    def _measure(self, offsets: Mapping[str, int], now: float, ahead_ms: int) -> Taken:
        waiting = in_use = 0
        oldest = float("inf")
        for path in self._folder.glob(f"*{SUFFIX}"):
            try:
                size = path.stat().st_size
                offset = offsets.get(path.stem, 0)
                in_use += size
                if size > offset:
                    waiting += size - offset
                    oldest = min(oldest, _written_at(path, offset, ahead_ms))
            except FileNotFoundError:
                continue
        if now - self._listed >= KEPT_INTERVAL_S:
            self._listed = now
            self._kept = sorted(_kept_in(self._folder / LOADED))
        # Before the first click there is no folder yet; its file system is there all the same.
        there = next(each for each in (self._folder, *self._folder.parents) if each.exists())
        free = shutil.disk_usage(there).free
        lag_s = max(0.0, time.time() - oldest) if waiting else 0.0
        return Taken(waiting, in_use, sum(size for _, _, size in self._kept), free, lag_s)

    def _give_up(self, number: int) -> None:
        gone, self._kept = self._kept[:number], self._kept[number:]
        for _, name, _ in gone:
            (self._folder / LOADED / name).unlink(missing_ok=True)
        counts.count("given_up", number)
        log.warning("loaded segments are given up: the journal has no room", segments=number)

    def _remind(self, alarms: list[Alarm], taken: Taken, now: float) -> None:
        """An alarm is said when it begins and every minute, and when all are over."""
        if self._alarms and not alarms:
            log.info("the journal is well again")
        elif alarms and (alarms != self._alarms or now - self._reminded >= REMIND_INTERVAL_S):
            self._reminded = now
            for alarm in alarms:
                log.error(alarm.sentence, alarm=alarm.value, **asdict(taken))
        self._alarms = alarms


def budget_of(settings: Settings) -> Budget:
    """The settings' megabytes in bytes."""
    return Budget(settings.journal_mb_max * MB, settings.journal_free_mb_min * MB)


def read_state(data_dir: Path) -> State | None:
    """What this node's loader said last; None when none ever ran here."""
    try:
        said = json.loads((data_dir / STATE).read_bytes().rstrip())
        alarms = tuple(Alarm(name) for name in said["alarms"])
        return State(float(said["at"]), Taken(**said["taken"]), alarms)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(path: Path, state: State) -> None:
    said = {"at": state.at, "taken": asdict(state.taken), "alarms": state.alarms}
    block = json.dumps(said).encode().ljust(STATE_BYTES)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        os.pwrite(fd, block, 0)
    finally:
        os.close(fd)


def _kept_in(folder: Path) -> list[tuple[float, str, int]]:
    found = []
    for path in folder.glob(f"*{SUFFIX}"):
        try:
            about = path.stat()
        except FileNotFoundError:
            continue
        found.append((about.st_mtime, path.name, about.st_size))
    return found


def _written_at(path: Path, offset: int, ahead_ms: int) -> float:
    """When (real time) the first record behind the offset was written.

    Its click id says so; where no record can be read, the segment's last write does.
    """
    written = path.stat().st_mtime
    try:
        with path.open("rb") as file:
            file.seek(offset)
            head = file.read(HEAD.size + BODY.size)
    except FileNotFoundError:
        raise
    except OSError:
        # One segment that cannot be read must not end the watch over all the others.
        return written
    if len(head) == HEAD.size + BODY.size and head.startswith(MAGIC):
        click_id = BODY.unpack_from(head, HEAD.size)[0]
        return (clicked_ms_of(click_id) - ahead_ms) / 1000
    return written
