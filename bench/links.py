"""The benchmark of links in memory: a web process of a program with a million links.

    python -m bench.links [--links 1000000] [--rounds 5] [--seconds 2]

What a granian worker weighs, how soon it redirects after a restart with its servers up and
down, what finding a link costs by where it is found, and what clicks notice while all links
are read anew. Rounds are interleaved; what is printed are medians.
"""

from __future__ import annotations

import argparse
import http.client
import os
import platform
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

import psycopg

from affiliate.core import log
from affiliate.core.config import ROOT, Settings
from affiliate.core.embedded.servers import running
from bench import fixtures
from bench.clicks import flask
from bench.load import generator, load
from bench.measuring import cpu_s, free_port, granian
from tracker.clicks.database import libpq_url
from tracker.clicks.freshness import LinkRefresher
from tracker.clicks.front import ClickFront
from tracker.clicks.links import LinkTable
from tracker.clicks.snapshot import SNAPSHOT, SnapshotReader, is_whole

CLICKED = 100_000
"""As many links are in memory in the heavy case: the default of KOPECK_LINKS_IN_MEMORY_MAX."""
WARM = "KOPECK_BENCH_LINKS_CLICKED"
NOWHERE = {
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none",
    "REDIS_URL": "redis://127.0.0.1:9",
}
QUIET_CONNECTIONS = 4
"""Few: below saturation the p99 shows waiting, not queues."""
LOOKUPS = 20_000
BUILD_TIMEOUT_S = 300

MAKE_LINKS = """
    INSERT INTO links (program_id, enrollment_id, code, destination, s1, created_at)
    SELECT program_id, enrollment_id, 'b' || lpad(to_hex(n), 7, '0'),
           'https://shop.example/goods/' || n %% 20000 || '?ref=partners',
           CASE WHEN n %% 10 = 0 THEN 'blog-' || n %% 500 END, now()
      FROM links, generate_series(1, %s) AS n
     WHERE code = %s
"""


def code_of(number: int) -> str:
    """The code that MAKE_LINKS gives to its n-th link."""
    return f"b{number:07x}"


def front() -> ClickFront:
    """Kopeck's front, with as many links in memory as if they had been clicked."""
    settings = Settings.from_environ(os.environ)
    log.set_up(settings.log_level)
    made = ClickFront(flask, settings)
    if clicked := int(os.environ.get(WARM, "0")):
        made.start()
        for number in range(1, clicked + 1):
            made.table.find(code_of(number))
    return made


def keep_snapshot() -> None:
    """What the loader does for links, until it is killed."""
    LinkRefresher(None, Settings.from_environ(os.environ)).start()
    signal.pause()


def main() -> None:
    arguments = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="kpk-bench-"))
    try:
        with running(folder / "servers", keep=False) as servers:
            few = fixtures.front_environment(servers, folder / "few")
            many = fixtures.front_environment(servers, folder / "many")
            print(
                f"{platform.machine()}, {os.cpu_count()} cores, Python "
                f"{platform.python_version()}, {generator()}; {arguments.links:,} links; "
                f"{arguments.rounds} rounds of {arguments.seconds} s; medians\n"
            )
            _make_links(many["DATABASE_URL"], arguments.links)
            for environment in (few, many):
                _build_snapshot(environment)
            _weigh(few, many, arguments)
            _restart(few, many, arguments)
            _find(many, arguments)
            _read_anew(many, arguments)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make_links(url: str, links: int) -> None:
    with psycopg.connect(libpq_url(url), autocommit=True) as connection:
        connection.execute(MAKE_LINKS, (links, fixtures.CODE))
        connection.execute("VACUUM ANALYZE links")


def _build_snapshot(environment: dict[str, str]) -> None:
    """Let the loader read all links; say how long it took and what it weighs."""
    path = Path(environment["KOPECK_DATA_DIR"]) / SNAPSHOT
    began = time.monotonic()
    with _loader(environment) as pid:
        before = cpu_s(pid)
        _wait_until(lambda: is_whole(path))
        taken_s, spent_s = time.monotonic() - began, cpu_s(pid) - before
    with closing(sqlite3.connect(path)) as file:
        (links,) = file.execute("SELECT count(*) FROM links").fetchone()
    print(
        f"snapshot of {links:,} links: read in {taken_s:.1f} s ({spent_s:.1f} s of CPU), "
        f"{path.stat().st_size / 1e6:,.1f} MB, {path.stat().st_size / links:,.0f} bytes a link"
    )


def _weigh(few: dict[str, str], many: dict[str, str], arguments: argparse.Namespace) -> None:
    clicked = min(CLICKED, arguments.links)
    cases = [
        ("one link", few),
        (f"{arguments.links:,} links, none clicked", many),
        (f"{arguments.links:,} links, {clicked:,} clicked", {**many, WARM: str(clicked)}),
        (
            f"{arguments.links:,} links, all clicked, no cap",
            {**many, WARM: str(arguments.links)}
            | {"KOPECK_LINKS_IN_MEMORY_MAX": str(arguments.links * 2 + 2)},
        ),
    ]
    print(f"\n{'a web process (granian worker)':42}{'RSS MB':>9}{'more MB':>9}{'bytes/link':>12}")
    lightest = 0.0
    for name, environment in cases:
        with _served(environment) as (_, worker, _took):
            weight = _rss_bytes(worker)
        lightest = lightest or weight
        links = int(environment.get(WARM, "0"))
        more = weight - lightest
        print(
            f"{name:42}{weight / 1e6:9.1f}{more / 1e6:9.1f}"
            + (f"{more / links:12,.0f}" if links else "")
        )


def _restart(few: dict[str, str], many: dict[str, str], arguments: argparse.Namespace) -> None:
    cases = [
        ("one link, servers up", few),
        (f"{arguments.links:,} links, servers up", many),
        (f"{arguments.links:,} links, servers down", {**many, **NOWHERE}),
    ]
    taken: dict[str, list[float]] = {name: [] for name, _ in cases}
    for _ in range(arguments.rounds):
        for name, environment in cases:
            with _served(environment) as (_, _, took):
                taken[name].append(took)
    print(f"\n{'first redirect after a restart':42}{'s':>9}{'min-max':>14}")
    for name, seconds in taken.items():
        spread = f"{min(seconds):.2f}-{max(seconds):.2f}"
        print(f"{name:42}{statistics.median(seconds):9.2f}{spread:>14}")


def _find(many: dict[str, str], arguments: argparse.Namespace) -> None:
    """What finding a link costs, by where it is found."""
    path = Path(many["KOPECK_DATA_DIR"]) / SNAPSHOT
    step = max(1, arguments.links // LOOKUPS)
    codes = [code_of(number) for number in range(1, arguments.links + 1, step)][:LOOKUPS]
    table = LinkTable(path, links_max=len(codes) * 4)
    table.look_at_snapshot()
    with psycopg.connect(libpq_url(many["DATABASE_URL"]), autocommit=True) as connection:
        asked = LinkTable(links_max=LOOKUPS * 4)
        rows: list[tuple[str, Callable[[str], object]]] = [
            ("in the snapshot (the first click)", table.find),
            ("in memory (every other click)", table.links.get),
            ("nowhere: no such code", lambda code: table.find(code + "-")),
            ("in PostgreSQL", lambda code: asked.look_up(connection, code)),
        ]
        print(f"\n{'finding a link':42}{'us each':>9}")
        for name, find in rows:
            began = time.perf_counter()
            for code in codes:
                find(code)
            each_us = (time.perf_counter() - began) / len(codes) * 1e6
            print(f"{name:42}{each_us:9.2f}")
    assert len(table.links) == len(codes)
    table.snapshot.close()


def _read_anew(many: dict[str, str], arguments: argparse.Namespace) -> None:
    """p50 and p99 of redirects: alone, while the loader and while the process itself reads."""
    names = ("nothing else", "the loader reads all links", "the web process reads all links")
    p50: dict[str, list[float]] = {name: [] for name in names}
    p99: dict[str, list[float]] = {name: [] for name in names}
    path = Path(many["KOPECK_DATA_DIR"]) / SNAPSHOT
    with _served(many) as (port, _, _):
        for _ in range(arguments.rounds):
            for name in names:
                with _loader(many) if name == names[1] else nullcontext():
                    if name != names[0]:
                        _order_reading(path)
                    measured = load(
                        port,
                        fixtures.CLICK,
                        connections=QUIET_CONNECTIONS,
                        seconds=arguments.seconds,
                    )
                    if name != names[0] and _head(path)["position"] < 0:
                        print(f"(the reading was over before the round: {name})")
                    _wait_until(lambda: _head(path)["position"] < 0)
                p50[name].append(measured.p50_ms)
                p99[name].append(measured.p99_ms)
    print(f"\n{'clicks while':42}{'p50 ms':>9}{'p99 ms':>9}")
    for name in names:
        print(f"{name:42}{statistics.median(p50[name]):9.2f}{statistics.median(p99[name]):9.2f}")


def _order_reading(path: Path) -> None:
    """Begin an urgent reading of all links, as after an absence of the database.

    Nobody seems to have kept the snapshot for long, so the web process does if it is alone.
    """
    with closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as file:
        file.execute(
            "UPDATE head SET value = CASE name WHEN 'urgent' THEN 1 ELSE 0 END"
            " WHERE name IN ('position', 'urgent', 'refreshed_ms')"
        )
    _wait_until(lambda: _head(path)["position"] > 0)


def _head(path: Path) -> dict[str, int]:
    reader = SnapshotReader(path)
    if not reader.look():
        return {}
    reader.close()
    return {name: getattr(reader.head, name) for name in type(reader.head).__slots__}


def _wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + BUILD_TIMEOUT_S
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit("it took too long")
        time.sleep(0.02)


@contextmanager
def _loader(environment: dict[str, str]) -> Iterator[int]:
    """A process with the loader's part that keeps the snapshot, at work; its pid."""
    command = [sys.executable, "-c", "from bench.links import keep_snapshot; keep_snapshot()"]
    process = subprocess.Popen(command, env=environment, cwd=ROOT)
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


@contextmanager
def _served(environment: dict[str, str]) -> Iterator[tuple[int, int, float]]:
    """A front on granian: port, the worker's pid, seconds until its first redirect."""
    port = free_port()
    began = time.monotonic()
    with granian(
        "bench.links:front", "--factory", port=port, workers=1, threads=1, environment=environment
    ) as pid:
        while not _redirects(port):
            if _has_ended(pid) or time.monotonic() - began > BUILD_TIMEOUT_S:
                raise SystemExit("the front did not redirect")
            time.sleep(0.005)
        took = time.monotonic() - began
        yield port, _worker_of(pid), took


def _redirects(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=BUILD_TIMEOUT_S)
    try:
        connection.request("GET", fixtures.CLICK.path, headers=dict(fixtures.CLICK.headers))
        return connection.getresponse().status == 302
    except OSError:
        return False
    finally:
        connection.close()


def _has_ended(pid: int) -> bool:
    """Whether a child of ours has ended, as one that nobody has waited for yet."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def _worker_of(pid: int) -> int:
    """The heaviest process below granian's own."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return max(map(int, children), key=_rss_bytes)


def _rss_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--links", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
