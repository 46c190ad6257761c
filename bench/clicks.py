"""The click benchmark: the front against a bare Flask redirect and a bare WSGI callable.

    python -m bench.clicks [--rounds 7] [--seconds 2] [--connections 32] [--threads 1]

All run on granian with the same options, one worker, in interleaved rounds; what is printed
are medians of the rounds and their ratios. The load comes from wrk where it is on PATH,
else from a generator of our own, which is slower than the servers and says so.
Every click of the front is complete: filters, cookie, token signature, journal record. In
the last variant loader and PostgreSQL work on the same cores, and what they load of a round
is waited for and counted in its CPU time, not in its requests per second.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from flask import Flask, redirect
from sqlalchemy.orm import Session
from werkzeug import Response

from affiliate.core.config import ROOT, Settings
from affiliate.core.embedded.servers import Servers, create_database, running
from affiliate.core.migrate import upgrade
from affiliate.links.models import Link
from affiliate.people.models import Affiliate, Enrollment, User
from affiliate.programs.models import Program
from bench.measuring import cpu_s, free_port, granian
from tracker.clicks.database import libpq_url
from tracker.clicks.front import ClickFront

CODE = "bench1"
DESTINATION = "https://shop.example/tea?a=1"
AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/141.0.0.0 Safari/537.36"
)
DRAIN_TIMEOUT_S = 120


def bare(_environ: dict[str, Any], start_response: Any) -> tuple[bytes]:
    """The least that a redirect can cost on this server."""
    start_response("302 Found", [("Location", DESTINATION), ("Content-Length", "0")])
    return (b"",)


flask = Flask(__name__)


@flask.get("/r/<code>")
def redirect_view(code: str) -> Response:  # noqa: ARG001 -- Flask passes it by name
    """What a Flask application would do at the very least: no look-up, no record."""
    return redirect(DESTINATION)


def front() -> ClickFront:
    """Kopeck's front, as wsgi.make_application puts it before Flask."""
    return ClickFront(flask, Settings.from_environ(os.environ))


@dataclass
class Measured:
    """One round of one variant."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    server_cpu_s: float
    loading_cpu_s: float = 0.0
    drain_s: float = 0.0

    @property
    def rps(self) -> float:
        return self.requests / self.seconds


@dataclass
class Variant:
    """A server under load, and its rounds."""

    name: str
    target: str
    environment: dict[str, str]
    options: tuple[str, ...] = ()
    loaded: bool = False
    port: int = 0
    pid: int = 0
    rounds: list[Measured] = field(default_factory=list)

    def median(self, of: Callable[[Measured], float]) -> float:
        return statistics.median(of(measured) for measured in self.rounds)


def main() -> None:
    arguments = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="kpk-bench-"))
    try:
        with running(folder / "servers", keep=False) as servers, ExitStack() as stack:
            settings = _environment(servers, folder / "front")
            loaded_settings = _environment(servers, folder / "loaded")
            _add_link(loaded_settings["DATABASE_URL"])
            variants = [
                Variant("bare WSGI callable", "bench.clicks:bare", dict(os.environ)),
                Variant("bare Flask redirect", "bench.clicks:flask", dict(os.environ)),
                Variant("front + journal", "bench.clicks:front", settings, ("--factory",)),
                Variant(
                    "front + journal + loader",
                    "bench.clicks:front",
                    loaded_settings,
                    ("--factory",),
                    loaded=True,
                ),
            ]
            for variant in variants:
                stack.enter_context(_served(variant, arguments.threads))
            loader = stack.enter_context(_loader(loaded_settings))
            postgres = servers.pids["postgres"]
            for number in range(arguments.rounds):
                for variant in variants[number % 4 :] + variants[: number % 4]:
                    variant.rounds.append(_round(variant, arguments, loader, postgres))
            _print(variants, arguments)
            _check(variants[3], loaded_settings["DATABASE_URL"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _round(variant: Variant, arguments: argparse.Namespace, loader: int, postgres: int) -> Measured:
    """One measurement; the loader sleeps while it is not its variant's turn."""
    before = cpu_s(variant.pid)
    loading_before = cpu_s(loader) + cpu_s(postgres)
    if variant.loaded:
        os.kill(loader, signal.SIGCONT)
    measured = _load(variant.port, arguments)
    measured.server_cpu_s = cpu_s(variant.pid) - before
    if variant.loaded:
        began = time.monotonic()
        _drain(variant.environment)
        measured.drain_s = time.monotonic() - began
        os.kill(loader, signal.SIGSTOP)
        measured.loading_cpu_s = cpu_s(loader) + cpu_s(postgres) - loading_before
    return measured


def _load(port: int, arguments: argparse.Namespace) -> Measured:
    if shutil.which("wrk"):
        return _load_by_wrk(port, arguments)
    return asyncio.run(_load_by_ourselves(port, arguments))


def _load_by_wrk(port: int, arguments: argparse.Namespace) -> Measured:
    run = subprocess.run(
        [
            *("wrk", "-t1", f"-c{arguments.connections}", f"-d{arguments.seconds}s", "--latency"),
            *("-H", f"User-Agent: {AGENT}", f"http://127.0.0.1:{port}/r/{CODE}"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    said = re.search(r"(\d+) requests in ([\d.]+)(m?s),", run.stdout)
    assert said, run.stdout
    assert "Non-2xx" not in run.stdout, run.stdout
    seconds = float(said[2]) / (1000 if said[3] == "ms" else 1)
    return Measured(int(said[1]), seconds, _latency(run.stdout, 50), _latency(run.stdout, 99), 0.0)


def _latency(text: str, percentile: int) -> float:
    said = re.search(rf"^\s*{percentile}%\s+([\d.]+)(us|ms|s)$", text, re.MULTILINE)
    assert said, text
    return float(said[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[said[2]]


async def _load_by_ourselves(port: int, arguments: argparse.Namespace) -> Measured:
    """Keep-alive connections that each ask again as soon as they are answered."""
    request = (
        f"GET /r/{CODE} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: {AGENT}\r\n\r\n"
    ).encode()
    times: list[float] = []
    end = time.perf_counter() + arguments.seconds

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (began := time.perf_counter()) < end:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            await reader.readexactly(int(length[1]) if length else 0)
            times.append(time.perf_counter() - began)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(arguments.connections)))
    taken = time.perf_counter() - began
    hundredths = statistics.quantiles(times, n=100)
    return Measured(len(times), taken, hundredths[49] * 1000, hundredths[98] * 1000, 0.0)


@contextmanager
def _served(variant: Variant, threads: int) -> Iterator[None]:
    """The variant's granian, in a process group of its own."""
    variant.port = free_port()
    with granian(
        variant.target,
        *variant.options,
        port=variant.port,
        workers=1,
        threads=threads,
        environment=variant.environment,
    ) as variant.pid:
        _wait_for(variant.port)
        yield


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", f"/r/{CODE}", headers={"User-Agent": AGENT})
            if connection.getresponse().status == 302:
                return
        except OSError:
            time.sleep(0.05)
        finally:
            connection.close()
    raise SystemExit(f"nothing redirects on port {port}")


@contextmanager
def _loader(environment: dict[str, str]) -> Iterator[int]:
    """The loader's process, asleep until its turn."""
    program = "from tracker.clicks.cli import loader; loader()"
    process = subprocess.Popen([sys.executable, "-c", program], env=environment, cwd=ROOT)
    try:
        _drain(environment)
        process.send_signal(signal.SIGSTOP)
        yield process.pid
    finally:
        process.kill()
        process.wait()


def _drain(environment: dict[str, str]) -> None:
    """Wait until the loader has everything that the journal has."""
    url = libpq_url(environment["DATABASE_URL"])
    journal = Path(environment["KOPECK_DATA_DIR"]) / "journal"
    deadline = time.monotonic() + DRAIN_TIMEOUT_S
    with psycopg.connect(url, autocommit=True) as connection:
        while time.monotonic() < deadline:
            written = sum(path.stat().st_size for path in journal.rglob("*.kpj"))
            row = connection.execute("SELECT sum(loaded_offset) FROM click_segments").fetchone()
            if row and row[0] == written:
                return
            time.sleep(0.02)
    raise SystemExit("the loader did not come to the end of the journal")


def _environment(servers: Servers, data_dir: Path) -> dict[str, str]:
    """A database and a data folder of its own for one front."""
    data_dir.mkdir(parents=True)
    name = f"bench_{data_dir.name}"
    url = create_database(servers.database_url, name)
    upgrade(url)
    _add_link(url)
    return {
        **os.environ,
        "KOPECK_MODE": "test",
        "DATABASE_URL": url,
        "REDIS_URL": servers.redis_url,
        "KOPECK_SECRET": "a-secret-for-the-benchmark-0123456789",
        "KOPECK_PUBLIC_URL": "http://127.0.0.1:8000",
        "KOPECK_DATA_DIR": str(data_dir),
        "KOPECK_LOG_LEVEL": "ERROR",
    }


def _add_link(url: str) -> None:
    """One program, one affiliate, one link."""
    now = datetime.now(UTC)
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with Session(engine) as session:
        if session.scalar(sa.select(Link.id)):
            return
        program = Program(
            slug="bench",
            name="Bench",
            currency="RUB",
            landing_url="https://shop.example/",
            allowed_sites=["shop.example"],
            created_at=now,
        )
        user = User(email="bench@blog.example", fs_uniquifier="bench", created_at=now)
        session.add_all([program, user])
        session.flush()
        affiliate = Affiliate(user_id=user.id, name="bench", created_at=now)
        session.add(affiliate)
        session.flush()
        enrollment = Enrollment(
            program_id=program.id,
            affiliate_id=affiliate.id,
            status="active",
            answers={},
            applied_at=now,
        )
        session.add(enrollment)
        session.flush()
        session.add(
            Link(
                program_id=program.id,
                enrollment_id=enrollment.id,
                code=CODE,
                destination=DESTINATION,
                created_at=now,
            )
        )
        session.commit()


def _print(variants: list[Variant], arguments: argparse.Namespace) -> None:
    load = "wrk" if shutil.which("wrk") else "our own load generator (slower than the servers)"
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {load}"
        f"; {arguments.rounds} rounds of {arguments.seconds} s, {arguments.connections} "
        f"connections, {arguments.threads} threads; medians"
    )
    print(
        f"{'':26}{'req/s':>8}{'min-max':>16}{'/Flask':>8}{'/bare':>7}{'p50 ms':>8}{'p99 ms':>8}"
        f"{'CPU us':>8}{'loading':>9}{'drain s':>9}"
    )
    bare_rps, flask_rps = (variant.median(lambda m: m.rps) for variant in variants[:2])
    for variant in variants:
        rates = sorted(measured.rps for measured in variant.rounds)
        rps = statistics.median(rates)
        loading = variant.median(lambda m: m.loading_cpu_s / m.requests * 1e6)
        print(
            f"{variant.name:26}{rps:8,.0f}{f'{rates[0]:,.0f}-{rates[-1]:,.0f}':>16}"
            f"{rps / flask_rps:8.2f}{rps / bare_rps:7.2f}"
            f"{variant.median(lambda m: m.p50_ms):8.2f}{variant.median(lambda m: m.p99_ms):8.2f}"
            f"{variant.median(lambda m: m.server_cpu_s / m.requests * 1e6):8.1f}"
            + (f"{loading:9.1f}{variant.median(lambda m: m.drain_s):9.2f}" if loading else "")
        )


def _check(variant: Variant, url: str) -> None:
    """Every redirect that was counted must be a row."""
    answered = sum(measured.requests for measured in variant.rounds)
    with psycopg.connect(libpq_url(url)) as connection:
        row = connection.execute("SELECT count(*) FROM clicks").fetchone()
    stored = int(row[0]) if row else 0
    print(f"redirects answered {answered:,}, clicks stored {stored:,}")
    if stored < answered:
        raise SystemExit(f"{answered - stored} clicks are missing")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1, help="granian's blocking threads")
    return parser.parse_args()


if __name__ == "__main__":
    main()
