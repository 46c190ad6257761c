"""Counters of all processes of a node, for /metrics.

Each process counts in a small file of its own under the data folder. A count is in the
file's shared pages at once, so it survives kill -9, and whichever web process is asked
adds all files up. The room is taken when the file is made: a disk that fills later cannot
take a counter's page from under a process (with prometheus_client's own multiprocess files
that is a SIGBUS, in the very moment in which something is worth counting).

A process holds an flock on its file. A file without one belongs to the dead: its numbers go
into `ended.json`, so that neither files nor numbers depend on how often processes restart.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import Struct
from typing import Final

import structlog
from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric

FOLDER: Final = "counters"
SUFFIX: Final = ".kpc"
ENDED: Final = "ended.json"
SLOT: Final = Struct("=120sQ")
"""A counter's name with its labels, NUL padded, and its number."""
SLOTS_MAX: Final = 128
SEPARATOR: Final = "\x1f"
RETRY_INTERVAL_S: Final = 5.0

log = structlog.get_logger(__name__)
_help: dict[str, str] = {}


def declare(name: str, text: str) -> str:
    """Name a counter (without `_total`) and say what it counts; returns the name."""
    _help[name] = text
    return name


def use(data_dir: Path) -> None:
    """Say where this process counts. Opens nothing before the first count."""
    _tally.use(data_dir / FOLDER)


def begin(data_dir: Path) -> None:
    """Say where this process counts, and take the room for it now, while there is some."""
    _tally.use(data_dir / FOLDER)
    _tally.begin()


def count(name: str, amount: int = 1, **labels: str) -> None:
    """Add to a declared counter. Labels must be of a closed set. Never raises."""
    assert name in _help, f"{name} is not declared"
    _tally.add(_key(name, labels), amount)


def counted() -> Iterable[Metric]:
    """Every declared counter over all processes, for prometheus_client's exposition."""
    totals = _tally.totals()
    for name, text in sorted(_help.items()):
        found = [(key.split(SEPARATOR), number) for key, number in totals.items()]
        mine = [(parts[1:], number) for parts, number in found if parts[0] == name]
        pairs = [dict(part.split("=", 1) for part in parts) for parts, _ in mine]
        family = CounterMetricFamily(name, text, labels=sorted(pairs[0]) if pairs else ())
        for labels, (_, number) in zip(pairs, mine, strict=True):
            family.add_metric([labels[label] for label in sorted(labels)], number)
        if not mine:
            family.add_metric([], 0)
        yield family


def fold_dead(data_dir: Path) -> int:
    """Add up what ended processes counted and remove their files; returns how many."""
    return Tally(data_dir / FOLDER).fold()


def _key(name: str, labels: dict[str, str]) -> str:
    return SEPARATOR.join([name, *(f"{label}={labels[label]}" for label in sorted(labels))])


class Tally:
    """One process's counters in one file; in memory alone while there can be no file."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._pid = 0
        self._tried = 0.0
        self._numbers: Counter[str] = Counter()
        self._slots: dict[str, int] = {}
        self._map: mmap.mmap | None = None
        self._fd = -1

    def use(self, folder: Path) -> None:
        """Count in this folder from now on."""
        with self._lock:
            if folder != self._folder:
                self._folder, self._pid = folder, 0

    def begin(self) -> None:
        """Open this process's file."""
        with self._lock:
            self._ready()

    def add(self, key: str, amount: int) -> None:
        """Add to one number."""
        with self._lock:
            self._ready()
            self._numbers[key] += amount
            self._show(key)

    def totals(self) -> Counter[str]:
        """The numbers of all processes, dead ones included."""
        if self._folder is None or not self._folder.is_dir():
            return Counter(self._numbers)
        with _exclusive(self._folder):
            totals = _read_ended(self._folder)[0]
            for path in self._folder.glob(f"*{SUFFIX}"):
                totals.update(_read(path))
        if self._map is None:
            totals.update(self._numbers)
        return totals

    def fold(self) -> int:
        """Take the files of dead processes into `ended.json`."""
        if self._folder is None or not self._folder.is_dir():
            return 0
        with _exclusive(self._folder):
            dead = [path for path in self._folder.glob(f"*{SUFFIX}") if _is_dead(path)]
            for path in dead:
                totals, last = _read_ended(self._folder)
                if last != path.name:
                    totals.update(_read(path))
                    _write_ended(self._folder, totals, path.name)
                path.unlink(missing_ok=True)
        return len(dead)

    def _ready(self) -> None:
        """A file of this process's own, if there can be one; tried again every few seconds."""
        if self._pid != os.getpid():
            self._pid, self._tried = os.getpid(), 0.0
            self._numbers, self._slots, self._map = Counter(), {}, None
            if self._fd >= 0:
                # In a forked child: the parent's file and lock are the parent's.
                os.close(self._fd)
                self._fd = -1
        if self._map is not None or self._folder is None:
            return
        now = time.monotonic()
        if self._tried and now - self._tried < RETRY_INTERVAL_S:
            return
        self._tried = now
        try:
            self._fd, self._map = _new_file(self._folder)
        except OSError as error:
            log.warning("counters are kept in memory alone", error=str(error))
            return
        for key in self._numbers:
            self._show(key)

    def _show(self, key: str) -> None:
        """Write the number into the file's shared page."""
        if self._map is None:
            return
        slot = self._slots.get(key)
        if slot is None:
            if len(self._slots) >= SLOTS_MAX:
                return
            slot = self._slots[key] = len(self._slots)
        SLOT.pack_into(self._map, slot * SLOT.size, key.encode()[:120], self._numbers[key])


def _new_file(folder: Path) -> tuple[int, mmap.mmap]:
    """A file whose room is taken, locked before others can see it."""
    name = secrets.token_hex(8)
    hidden = folder / f".{name}"
    folder.mkdir(parents=True, exist_ok=True)
    fd = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
    try:
        os.posix_fallocate(fd, 0, SLOT.size * SLOTS_MAX)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        made = mmap.mmap(fd, SLOT.size * SLOTS_MAX)
        hidden.rename(folder / f"{name}{SUFFIX}")
    except OSError:
        os.close(fd)
        hidden.unlink(missing_ok=True)
        raise
    return fd, made


def _read(path: Path) -> Counter[str]:
    found: Counter[str] = Counter()
    data = path.read_bytes()
    for name, number in SLOT.iter_unpack(data[: len(data) // SLOT.size * SLOT.size]):
        if name[0]:
            found[name.rstrip(b"\0").decode("utf-8", "replace")] += number
    return found


def _is_dead(path: Path) -> bool:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def _read_ended(folder: Path) -> tuple[Counter[str], str]:
    """The sums of the dead, and which file was added last."""
    try:
        said = json.loads((folder / ENDED).read_text())
    except (OSError, ValueError):
        return Counter(), ""
    return Counter(said["totals"]), str(said["last"])


def _write_ended(folder: Path, totals: Counter[str], last: str) -> None:
    """The name of the file stands beside the sums: a death between the rename here and the
    file's end does not count it twice."""
    beside = folder / f".{ENDED}"
    beside.write_text(json.dumps({"totals": totals, "last": last}))
    beside.replace(folder / ENDED)


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Sums and files are read and changed by one process at a time."""
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


_tally = Tally()
