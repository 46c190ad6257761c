"""The click benchmark: the front against a bare Flask redirect and a bare WSGI callable.

    python -m bench.clicks [--rounds 7] [--seconds 2] [--connections 32] [--workers 1] [--threads 1]

All run on granian with the same options, in interleaved rounds; what is printed are medians of
the rounds and their ratios. Each round loads a server as much as it can take, and then all
with the same number of requests a second, far below that, for the latencies that people meet.
The load comes from wrk where it is on PATH, else from a generator of our own, which is slower
than the servers and says so.
Every click of the front is complete: filters, cookie, token signature, journal record. In
the last variant loader and PostgreSQL work on the same cores; what they load of a round is
waited for, and what that costs them is in its CPU time and not in its requests per second.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from flask import Flask, redirect
from werkzeug import Response

from affiliate.core import log
from affiliate.core.config import Settings
from affiliate.core.embedded.servers import running
from bench.fixtures import (
    CLICK,
    CLICK_FROM_ANYWHERE,
    DESTINATION,
    check_clicks,
    drain,
    front_environment,
    loader,
)
from bench.load import Measured, Request, generator, load, paced, wait_for
from bench.measuring import cpu_s, free_port, granian
from tracker.clicks.compiled import COMPILED
from tracker.clicks.database import libpq_url
from tracker.clicks.front import ClickFront

COUNTED = "SELECT coalesce(sum(clicks + duplicates + dropped), 0) FROM program_days"
SINGLE_CLICKS = 15


def bare(_environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """The least that a redirect can cost on this server."""
    start_response("302 Found", [("Location", DESTINATION), ("Content-Length", "0")])
    return [b""]


RECORD = bytes(290)
"""As long as the journal's record of the click that is asked for."""
ANSWER = [
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "strict-origin-when-cross-origin"),
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Length", "0"),
    ("Location", f"{DESTINATION}&kpk={'A' * 104}"),
    ("Set-Cookie", f"kpk_v={'A' * 43}; Max-Age=34128000; Path=/r/; HttpOnly; SameSite=Lax"),
]
"""What the front says, as long as it says it, and always the same."""


def least() -> Callable[..., list[bytes]]:
    """The least that answers as the front does and appends as much before it.

    No link is looked up, nothing is judged, signed or hashed: what is left between this and
    the bare callable no front can save that records a click with a write of its own.
    """
    folder = Path(os.environ["KOPECK_DATA_DIR"])
    segment = os.open(folder / "least", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def application(_environ: dict[str, Any], start_response: Any) -> list[bytes]:
        os.write(segment, RECORD)
        start_response("302 Found", [*ANSWER])
        return [b""]

    return application


flask = Flask(__name__)


@flask.get("/r/<code>")
def redirect_view(code: str) -> Response:  # noqa: ARG001 -- Flask passes it by name
    """What a Flask application would do at the very least: no look-up, no record."""
    return redirect(DESTINATION)


def front() -> ClickFront:
    """Kopeck's front, as wsgi.make_application puts it before Flask."""
    settings = Settings.from_environ(os.environ)
    log.set_up(settings.log_level)
    return ClickFront(flask, settings)


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
    calm: list[Measured] = field(default_factory=list)
    """The rounds at the same load for all."""

    def median(self, of: Callable[[Measured], float]) -> float:
        return statistics.median(of(measured) for measured in self.rounds)


def main() -> None:
    arguments = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="kpk-bench-"))
    try:
        with running(folder / "servers", keep=False) as servers, ExitStack() as stack:
            settings = front_environment(servers, folder / "front")
            loaded_settings = front_environment(servers, folder / "loaded")
            variants = [
                Variant("bare WSGI callable", "bench.clicks:bare", dict(os.environ)),
                Variant("bare Flask redirect", "bench.clicks:flask", dict(os.environ)),
                Variant("same answer, one append", "bench.clicks:least", settings, ("--factory",)),
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
                stack.enter_context(_served(variant, arguments))
            loading = stack.enter_context(loader(loaded_settings))
            postgres = servers.pids["postgres"]
            for number in range(arguments.rounds):
                for variant in (
                    variants[number % len(variants) :] + variants[: number % len(variants)]
                ):
                    variant.rounds.append(_round(variant, arguments, loading, postgres))
                    variant.calm.append(_calm_round(variant, arguments, loading))
            _print(variants, arguments)
            _print_bars(variants)
            delays_s = _delays_s(variants[-1], loading)
            print(
                f"from the answer to the statistics: {statistics.median(delays_s):.2f} s, at most "
                f"{max(delays_s):.2f} s of {len(delays_s)} clicks (bar 1.00)"
            )
            answered = variants[-1].rounds + variants[-1].calm
            asked = sum(measured.requests for measured in answered) + len(delays_s)
            check_clicks(loaded_settings, asked)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _round(
    variant: Variant, arguments: argparse.Namespace, loading: int, postgres: int
) -> Measured:
    """One measurement; the loader sleeps while it is not its variant's turn."""
    before = cpu_s(variant.pid), cpu_s(loading), cpu_s(postgres)
    if variant.loaded:
        os.kill(loading, signal.SIGCONT)
    measured = load(
        variant.port,
        _click(arguments),
        connections=arguments.connections,
        seconds=arguments.seconds,
    )
    measured.server_cpu_s = cpu_s(variant.pid) - before[0]
    if variant.loaded:
        began = time.monotonic()
        drain(variant.environment)
        measured.drain_s = time.monotonic() - began
        os.kill(loading, signal.SIGSTOP)
        measured.loader_cpu_s = cpu_s(loading) - before[1]
        measured.postgres_cpu_s = cpu_s(postgres) - before[2]
    return measured


def _calm_round(variant: Variant, arguments: argparse.Namespace, loading: int) -> Measured:
    """Latencies at a load that all can take; the loader works while it is its variant's turn."""
    if variant.loaded:
        os.kill(loading, signal.SIGCONT)
    measured = paced(
        variant.port,
        _click(arguments),
        per_second=arguments.pace,
        connections=arguments.connections,
        seconds=arguments.seconds,
    )
    if variant.loaded:
        drain(variant.environment)
        os.kill(loading, signal.SIGSTOP)
    return measured


def _delays_s(variant: Variant, loading: int) -> list[float]:
    """How long single clicks take to be counted, on a machine that does nothing else."""
    os.kill(loading, signal.SIGCONT)
    delays_s = []
    with psycopg.connect(libpq_url(variant.environment["DATABASE_URL"]), autocommit=True) as asking:

        def counted() -> int:
            row = asking.execute(COUNTED).fetchone()
            return int(row[0]) if row else 0

        for _ in range(SINGLE_CLICKS):
            before = counted()
            wait_for(variant.port, CLICK)
            answered = time.monotonic()
            while counted() == before:
                time.sleep(0.005)
            delays_s.append(time.monotonic() - answered)
    return delays_s


def _click(arguments: argparse.Namespace) -> Request:
    return CLICK_FROM_ANYWHERE if arguments.anywhere else CLICK


@contextmanager
def _served(variant: Variant, arguments: argparse.Namespace) -> Iterator[None]:
    """The variant's granian, in a process group of its own."""
    variant.port = free_port()
    with granian(
        variant.target,
        *variant.options,
        port=variant.port,
        workers=arguments.workers,
        threads=arguments.threads,
        environment=variant.environment,
    ) as variant.pid:
        wait_for(variant.port, CLICK)
        yield


def _print(variants: list[Variant], arguments: argparse.Namespace) -> None:
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"{generator()}"
        f"; {arguments.rounds} rounds of {arguments.seconds} s, {arguments.connections} "
        f"connections, {arguments.workers} workers, {arguments.threads} threads; medians; "
        f"calm: {arguments.pace:,} req/s for all; clicks from "
        f"{'anywhere' if arguments.anywhere else 'one address'}; "
        f"front {'compiled' if COMPILED else 'not compiled'}"
    )
    print(
        f"{'':26}{'req/s':>8}{'min-max':>16}{'/Flask':>8}{'/bare':>7}{'p50 ms':>8}{'p99 ms':>8}"
        f"{'calm p50':>10}{'calm p99':>10}{'server us':>11}{'loader':>8}{'postgres':>10}"
        f"{'all us':>8}{'/Flask':>8}{'/bare':>7}{'drain s':>9}"
    )
    bare_rps, flask_rps = (variant.median(lambda m: m.rps) for variant in variants[:2])
    bare_us, flask_us = (_cpu_us(variant) for variant in variants[:2])
    for variant in variants:
        rates = sorted(measured.rps for measured in variant.rounds)
        rps, all_us = statistics.median(rates), _cpu_us(variant)
        server_us = variant.median(lambda m: m.server_cpu_s / m.requests * 1e6)
        loader_us = variant.median(lambda m: m.loader_cpu_s / m.requests * 1e6)
        postgres_us = variant.median(lambda m: m.postgres_cpu_s / m.requests * 1e6)
        drain_s = variant.median(lambda m: m.drain_s)
        print(
            f"{variant.name:26}{rps:8,.0f}{f'{rates[0]:,.0f}-{rates[-1]:,.0f}':>16}"
            f"{rps / flask_rps:8.2f}{rps / bare_rps:7.2f}"
            f"{variant.median(lambda m: m.p50_ms):8.2f}{variant.median(lambda m: m.p99_ms):8.2f}"
            f"{_calm_ms(variant, 50):10.2f}{_calm_ms(variant, 99):10.2f}"
            f"{server_us:11.1f}{loader_us:8.1f}{postgres_us:10.1f}"
            f"{all_us:8.1f}{flask_us / all_us:8.2f}{bare_us / all_us:7.2f}{drain_s:9.2f}"
        )


def _print_bars(variants: list[Variant]) -> None:
    """What was promised and what was measured, by requests per second and by CPU."""
    bare, flask_, least_, alone, loaded = variants
    for name, variant, flask_bar, bare_bar in (
        ("front", alone, 4.5, 0.7),
        ("with loader and PostgreSQL", loaded, 3.0, 0.5),
    ):
        rps = variant.median(lambda m: m.rps)
        by_flask, by_bare = (rps / other.median(lambda m: m.rps) for other in (flask_, bare))
        cpu_flask, cpu_bare = (_cpu_us(other) / _cpu_us(variant) for other in (flask_, bare))
        print(
            f"{name}: {by_flask:.2f} x Flask (bar {flask_bar}, by CPU {cpu_flask:.2f}), "
            f"{by_bare:.2f} of bare (bar {bare_bar}, by CPU {cpu_bare:.2f})"
        )
    of_bare = least_.median(lambda m: m.rps) / bare.median(lambda m: m.rps)
    print(
        f"the least that answers and appends the same: {of_bare:.2f} of bare, "
        f"by CPU {_cpu_us(bare) / _cpu_us(least_):.2f}"
    )
    allowed = 2 * _calm_ms(bare, 99) + 2
    print(f"calm p99: front {_calm_ms(alone, 99):.2f} ms, allowed {allowed:.2f} ms")


def _cpu_us(variant: Variant) -> float:
    """CPU time of a request, of all who had to do with it."""
    return variant.median(
        lambda m: (m.server_cpu_s + m.loader_cpu_s + m.postgres_cpu_s) / m.requests * 1e6
    )


def _calm_ms(variant: Variant, percentile: int) -> float:
    return statistics.median(m.p50_ms if percentile == 50 else m.p99_ms for m in variant.calm)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--workers", type=int, default=1, help="granian's processes")
    parser.add_argument("--threads", type=int, default=1, help="granian's blocking threads")
    parser.add_argument("--anywhere", action="store_true", help="each click from another address")
    parser.add_argument("--pace", type=int, default=2000, help="requests a second when calm")
    return parser.parse_args()


if __name__ == "__main__":
    main()
