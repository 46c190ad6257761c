"""The scheduler process: rings the bell of every periodic job; the rows decide what is due.

Any number of schedulers may run: a tick is harmless to repeat, and what must happen once
(a weekly batch) is held by a unique period row, not by this process.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from affiliate.core.queue import Job

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Periodic:
    """A job and how often its bell rings, in seconds of real time."""

    job: Job[[]] | Job[Any]
    every_s: int


def run(entries: Sequence[Periodic]) -> None:
    """Ring until SIGTERM or SIGINT. The first round comes at once: it catches up."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    due = [0.0] * len(entries)
    while not stop.is_set():
        tick = time.monotonic()
        for i, entry in enumerate(entries):
            if tick >= due[i]:
                entry.job.wake()
                due[i] = tick + entry.every_s
        stop.wait(0.5)
