"""Order intake over HTTP beside a no-op Flask POST: `python -m bench.orders`.

Both on the same server (granian) with the same options, with one worker and with two, in
interleaved rounds, and beside them what PostgreSQL alone takes: single rows, each with its
commit, over one connection for each worker (as pgbench would send them). An order is complete:
key, validation, click token, attribution, two commissions, their ledger entries, one commit
on a PostgreSQL that syncs. Then the waits of many intakes at once are sampled, and at the
end the books are counted: what was answered 201 must be there, with all that belongs to it.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from flask import Flask, Response, jsonify, request

from affiliate.core.embedded.programs import WEB_THREADS
from affiliate.core.embedded.servers import running
from bench.load import Measured, generator, load, wait_for
from bench.measuring import cpu_s, free_port, granian
from bench.postgres import Waits, sampled_waits, single_row_commits
from bench.shop import DISTINCT, ONE, PATH, Shop, check_orders, make_shop, read_rows

WORKERS = (1, 2)

flask = Flask(__name__)


@flask.post(PATH)
def nothing() -> tuple[Response, int]:
    """What a Flask application does for a POST at the very least: read it, answer."""
    return jsonify(order_id=request.get_json()["order_id"]), 201


@dataclass
class Variant:
    """Something under load, and its rounds."""

    name: str
    workers: int
    ask: Callable[[int], Measured]
    """Asks for so many seconds."""
    pid: int | None = None
    """The server's; None: what asks is measured itself."""
    orders: bool = False
    rounds: list[Measured] = field(default_factory=list)

    def median(self, of: Callable[[Measured], float]) -> float:
        return statistics.median(of(measured) for measured in self.rounds)

    @property
    def rps(self) -> float:
        return self.median(lambda m: m.rps)

    @property
    def server_us(self) -> float:
        return self.median(lambda m: m.server_cpu_s / m.requests * 1e6)

    @property
    def postgres_us(self) -> float:
        return self.median(lambda m: m.postgres_cpu_s / m.requests * 1e6)


def main() -> None:
    arguments = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="kpk-bench-"))
    try:
        with running(folder / "servers", keep=False) as servers, ExitStack() as stack:
            shop = make_shop(servers, folder)
            variants = list(_variants(stack, shop, arguments))
            answered = sum(v.ask(arguments.warm_up).requests for v in variants if v.orders)
            read_rows(shop)
            for number in range(arguments.rounds):
                start = number % len(variants)
                for variant in variants[start:] + variants[:start]:
                    variant.rounds.append(
                        _round(variant, arguments.seconds, servers.pids["postgres"])
                    )
            _print(variants, arguments)
            found = [_waits(v, shop, arguments) for v in variants if v.workers == WORKERS[-1]]
            answered += _print_waits([waits for waits in found if waits], arguments)
            answered += sum(m.requests for v in variants if v.orders for m in v.rounds)
            check_orders(shop, answered)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _variants(stack: ExitStack, shop: Shop, arguments: argparse.Namespace) -> Iterator[Variant]:
    """Two servers for each number of workers, and as many connections without any."""
    for workers in WORKERS:
        for noop in (True, False):
            port = free_port()
            target = ("bench.orders:flask",) if noop else ("wsgi:make_application", "--factory")
            pid = stack.enter_context(
                granian(
                    *target,
                    port=port,
                    workers=workers,
                    threads=arguments.threads,
                    environment=shop.environment,
                )
            )
            wait_for(port, shop.orders(DISTINCT))
            for recruiters in (DISTINCT,) if noop else (DISTINCT, ONE):

                def ask(seconds: int, port: int = port, recruiters: str = recruiters) -> Measured:
                    return load(
                        port,
                        shop.orders(recruiters),
                        connections=arguments.connections,
                        seconds=seconds,
                    )

                name = "no-op Flask POST" if noop else f"orders, {recruiters}"
                yield Variant(name, workers, ask, pid, orders=not noop)
        yield Variant(
            "single-row commits",
            workers,
            lambda seconds, workers=workers: single_row_commits(  # type: ignore[misc]
                shop.database_url, workers, seconds
            ),
        )


def _round(variant: Variant, seconds: int, postgres: int) -> Measured:
    before = cpu_s(variant.pid) if variant.pid else 0.0
    postgres_before = cpu_s(postgres)
    measured = variant.ask(seconds)
    if variant.pid:
        measured.server_cpu_s = cpu_s(variant.pid) - before
    measured.postgres_cpu_s = cpu_s(postgres) - postgres_before
    return measured


def _waits(variant: Variant, shop: Shop, arguments: argparse.Namespace) -> Waits | None:
    if not variant.orders:
        return None
    with sampled_waits(variant.name, shop.database_url) as waits:
        waits.answered = variant.ask(2 * arguments.seconds).requests
    return waits


def _print(variants: Sequence[Variant], arguments: argparse.Namespace) -> None:
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"{generator()}; {arguments.rounds} rounds of {arguments.seconds} s, "
        f"{arguments.connections} connections, {arguments.threads} threads; medians"
    )
    print(
        f"{'':28}{'workers':>8}{'per s':>8}{'min-max':>16}{'/no-op':>8}{'/commit':>9}{'p50 ms':>8}"
        f"{'p99 ms':>8}{'server us':>11}{'postgres us':>13}"
    )
    noop = {v.workers: v.rps for v in variants if v.name.startswith("no-op")}
    commits = {v.workers: v.rps for v in variants if v.name.startswith("single")}
    for variant in variants:
        rates = sorted(measured.rps for measured in variant.rounds)
        print(
            f"{variant.name:28}{variant.workers:8}{variant.rps:8,.0f}"
            f"{f'{rates[0]:,.0f}-{rates[-1]:,.0f}':>16}"
            f"{variant.rps / noop[variant.workers]:8.3f}"
            f"{variant.rps / commits[variant.workers]:9.3f}"
            f"{variant.median(lambda m: m.p50_ms):8.2f}{variant.median(lambda m: m.p99_ms):8.2f}"
            f"{variant.server_us:11,.0f}{variant.postgres_us:13,.0f}"
        )
    for one in (v for v in variants if v.workers == WORKERS[0]):
        two = next(v for v in variants if v.name == one.name and v.workers == WORKERS[1])
        print(f"{one.name}: {WORKERS[1]} workers do {two.rps / one.rps:.2f} x what one does")


def _print_waits(found: Sequence[Waits], arguments: argparse.Namespace) -> int:
    """What the intakes waited for; how many orders were answered meanwhile."""
    print(f"waits inside PostgreSQL, {arguments.connections} intakes at once:")
    for waits in found:
        print(f"  {waits}")
    return sum(waits.answered for waits in found)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=1)
    parser.add_argument("--warm-up", type=int, default=1, help="seconds before the first round")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument(
        "--threads", type=int, default=WEB_THREADS, help="granian's, of each worker"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
