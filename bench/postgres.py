"""What PostgreSQL does by itself: single-row commits, and what its connections wait for."""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg

from bench.load import Measured
from tracker.clicks.database import libpq_url

SAMPLE_INTERVAL_S = 0.005
_TABLE = """
    CREATE TABLE IF NOT EXISTS bench_rows (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        at timestamptz NOT NULL DEFAULT clock_timestamp(), delta bigint NOT NULL, filler text)
"""
_ROW = "INSERT INTO bench_rows (delta, filler) VALUES (%s, %s)"
_ACTIVE = """
    SELECT wait_event_type, wait_event FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
      AND backend_type = 'client backend' AND state IN ('active', 'idle in transaction')
"""


def single_row_commits(database_url: str, workers: int, seconds: int) -> Measured:
    """One row and one commit at a time, as fast as one connection of each worker goes."""
    url = libpq_url(database_url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_TABLE)
    began = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        found = pool.starmap(_commit, [(url, seconds)] * workers)
    times_s = [each for times, _ in found for each in times]
    hundredths = statistics.quantiles(times_s, n=100)
    # The processes' start is not the database's: each has committed for `seconds`.
    taken_s = min(float(seconds), time.perf_counter() - began)
    return Measured(
        len(times_s),
        taken_s,
        hundredths[49] * 1000,
        hundredths[98] * 1000,
        server_cpu_s=sum(cpu for _, cpu in found),
    )


def _commit(url: str, seconds: int) -> tuple[list[float], float]:
    """Seconds of each commit, and this process's CPU for all of them."""
    times_s: list[float] = []
    with psycopg.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        before = _own_cpu_s()
        end = time.perf_counter() + seconds
        while (began := time.perf_counter()) < end:
            cursor.execute(_ROW, (len(times_s), "x" * 80))
            times_s.append(time.perf_counter() - began)
        return times_s, _own_cpu_s() - before


def _own_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@dataclass
class Waits:
    """What busy connections were seen waiting for; Lock would be one intake for another."""

    name: str
    answered: int = 0
    samples: int = 0
    seen: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        busy = sum(self.seen.values())
        locks = sum(count for event, count in self.seen.items() if event.startswith("Lock:"))
        others = ", ".join(f"{event} {count}" for event, count in self.seen.most_common(6))
        return (
            f"{self.name}: {self.samples:,} samples, {busy:,} busy connections in them, of these "
            f"{locks} waiting for a lock ({others})"
        )


@contextmanager
def sampled_waits(name: str, database_url: str) -> Iterator[Waits]:
    """Look at all connections of this database every few milliseconds meanwhile."""
    waits, over = Waits(name), threading.Event()

    def sample() -> None:
        with psycopg.connect(libpq_url(database_url), autocommit=True) as connection:
            while not over.wait(SAMPLE_INTERVAL_S):
                waits.samples += 1
                for kind, event in connection.execute(_ACTIVE):
                    waits.seen[f"{kind}:{event}" if kind else "running"] += 1

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield waits
    finally:
        over.set()
        thread.join()
