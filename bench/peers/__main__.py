"""Kopeck beside two affiliate packages for Django: clicks and purchases under the same load.

    python -m bench.peers [--rounds 7] [--seconds 2]

pinax-referrals and django-affiliate-system, pinned in requirements.txt, are served as a
production would: granian as for Kopeck (same version, same options), DEBUG off, the same
PostgreSQL with a database of their own, persistent connections, tables by their own migrate.
Rounds are interleaved, medians are printed. Kopeck's front takes its clicks while its loader
works on the same cores. The peers wait for PostgreSQL in each click, so that more blocking
threads help them where they cannot help Kopeck: they are measured with Kopeck's options and
again with --peer-threads. Orders are measured over a grid of threads and connections, so that each
side is found where it takes most: the capacity of one beside the capacity of the other. Every cell
of the grid is printed with its own ratio. At the end each side's rows are counted.

Workarounds: none in the packages. One address in the README of django-affiliate-system is
another one in its code (projects/affiliate_project/urls.py).
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from affiliate.core.embedded.programs import WEB_THREADS, WEB_WORKERS
from affiliate.core.embedded.servers import Servers, running
from bench import fixtures
from bench import shop as shops
from bench.load import Measured, Request, generator, load, wait_for
from bench.measuring import cpu_s, free_port, granian
from bench.peers import environment, packages


@dataclass
class Row:
    """A server under one kind of load, and its rounds."""

    name: str
    workers: int
    threads: int
    pid: int
    ask: Callable[[int], Measured]
    """Load it for so many seconds."""
    peer: packages.Peer | None = None
    """None: it is Kopeck."""
    loader: int | None = None
    """The pid of the loader that works behind it."""
    answered: int = 0
    """With success, the warm-up's included."""
    rounds: list[Measured] = field(default_factory=list)

    @property
    def rps(self) -> float:
        return statistics.median(measured.rps for measured in self.rounds)

    def median(self, name: str) -> float:
        return float(statistics.median(getattr(measured, name) for measured in self.rounds))

    def cpu_us(self, *names: str) -> float:
        """Median over the rounds of what these used for one request, together."""
        spent_us = [
            sum(getattr(m, f"{name}_cpu_s") for name in names) / m.requests * 1e6
            for m in self.rounds
        ]
        return float(statistics.median(spent_us))

    @property
    def all_cpu_us(self) -> float:
        return self.cpu_us("server", "loader", "postgres")


def main() -> None:
    arguments = _arguments()
    python = environment.python()
    folder = Path(tempfile.mkdtemp(prefix="kpk-bench-"))
    try:
        with running(folder / "servers", keep=False) as servers:
            pinax = packages.pinax_referrals(python, servers)
            system = packages.affiliate_system(python, servers)
            _print_machine(arguments)
            _clicks(servers, folder, [pinax, system], arguments)
            _purchases(servers, folder, system, arguments)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _clicks(
    servers: Servers, folder: Path, peers: Sequence[packages.Peer], arguments: argparse.Namespace
) -> None:
    """Kopeck's front with its loader, and each peer's redirect."""
    front = fixtures.front_environment(servers, folder / "front")
    with ExitStack() as stack:
        rows = [_front(stack, front, arguments)]
        for threads in dict.fromkeys((arguments.threads, arguments.peer_threads)):
            for peer in peers:
                port, pid = stack.enter_context(peer.served(threads=threads, asked=packages.CLICK))
                ask = _asking(port, packages.CLICK, arguments.connections)
                rows.append(Row(peer.name, 1, threads, pid, ask, peer))
        _measure(rows, servers, arguments)
        kopeck, *others = rows
        print(f"\nClicks, {arguments.connections} connections")
        _print(rows)
        fastest = max(others, key=lambda row: row.rps)
        same = max((row for row in others if row.threads == kopeck.threads), key=lambda r: r.rps)
        print(
            f"click front: {kopeck.rps / same.rps:.1f} x the faster peer with the same options "
            f"({same.name}), {kopeck.rps / fastest.rps:.1f} x the fastest of all rows "
            f"({fastest.name}, {fastest.threads} threads)"
        )
        fixtures.check_clicks(front, kopeck.answered)
        _check(peers[0], others, "SELECT count(*) FROM referrals_referralresponse", "responses")
        _check(
            peers[1],
            others,
            "SELECT count(*) FROM affiliates_referralaction WHERE action_type = 'click'",
            "clicks",
        )


def _front(stack: ExitStack, front: dict[str, str], arguments: argparse.Namespace) -> Row:
    """As `bench.clicks` serves it; the loader sleeps while it is not Kopeck's turn."""
    port = free_port()
    pid = stack.enter_context(
        granian(
            "bench.clicks:front",
            "--factory",
            port=port,
            workers=1,
            threads=arguments.threads,
            environment=front,
        )
    )
    wait_for(port, fixtures.CLICK)
    loading = stack.enter_context(fixtures.loader(front))
    ask = _asking(port, fixtures.CLICK, arguments.connections)

    def ask_and_drain(seconds: int) -> Measured:
        os.kill(loading, signal.SIGCONT)
        measured = ask(seconds)
        fixtures.drain(front)
        os.kill(loading, signal.SIGSTOP)
        return measured

    return Row(
        "Kopeck: front, journal, loader", 1, arguments.threads, pid, ask_and_drain, None, loading
    )


@dataclass(frozen=True)
class Served:
    """How both sides are served for orders."""

    workers: int
    threads: int

    def __str__(self) -> str:
        return f"{self.workers} x {self.threads} threads"


FEW, MANY = 2, 2 * WEB_THREADS
"""Threads of a worker, beside those that `kopeck run` gives it."""
GRID = {
    Served(1, 4): (8, 32),
    **{Served(WEB_WORKERS, threads): (16, 32, 64) for threads in (FEW, WEB_THREADS, MANY)},
}
"""By how many connections each is asked."""


@dataclass(frozen=True)
class Cell:
    """A cell of the grid, both sides of it."""

    name: str
    kopeck: Sequence[Row]
    peer: Row


def _purchases(
    servers: Servers, folder: Path, peer: packages.Peer, arguments: argparse.Namespace
) -> None:
    """Kopeck's orders, as `bench.orders` sends them, and the package's purchase event."""
    shop = shops.make_shop(servers, folder)
    with ExitStack() as stack:
        cells = [
            cell
            for served, connections in GRID.items()
            for cell in _cells(stack, shop, peer, served, connections)
        ]
        kopeck = [row for cell in cells for row in cell.kopeck]
        for row in kopeck:
            row.answered += row.ask(arguments.warm_up).requests
        # As the peer is analysed: with rows in it, not while it is empty.
        shops.read_rows(shop)
        rows = [row for cell in cells for row in (*cell.kopeck, cell.peer)]
        _measure(rows, servers, arguments)
        print("\nOrders")
        for cell in cells:
            print(cell.name)
            _print([*cell.kopeck, cell.peer])
        for cell in cells:
            intake = ", ".join(
                f"{row.rps / cell.peer.rps:.2f} x ({row.name})" for row in cell.kopeck
            )
            print(f"order intake, {cell.name}: {intake} the purchase call of {peer.name}")
        _print_capacity(cells)
        shops.check_orders(shop, sum(row.answered for row in kopeck))
        for what, query in (
            (
                "purchases",
                "SELECT count(*) FROM affiliates_referralaction "
                "WHERE action_type = 'purchase' AND is_converted",
            ),
            ("commissions", "SELECT count(*) FROM affiliates_commission WHERE amount > 0"),
        ):
            _check(peer, [cell.peer for cell in cells], query, what)


def _print_capacity(cells: Sequence[Cell]) -> None:
    """Each kind of orders where most of them are taken, beside the package where it takes most."""
    at = max(cells, key=lambda cell: cell.peer.rps)
    for number, first in enumerate(cells[0].kopeck):
        best = max(cells, key=lambda cell: cell.kopeck[number].rps)
        row = best.kopeck[number]
        print(
            f"capacity for {first.name.partition(': ')[2]}: {row.rps / at.peer.rps:.2f} x (bar 5), "
            f"by CPU {at.peer.all_cpu_us / row.all_cpu_us:.2f} x; {row.rps:,.0f} a second "
            f"({best.name}) of {at.peer.rps:,.0f} ({at.name})"
        )


def _cells(
    stack: ExitStack,
    shop: shops.Shop,
    peer: packages.Peer,
    served: Served,
    connections: Sequence[int],
) -> Iterator[Cell]:
    """One server of each side, asked by several numbers of connections."""
    port = free_port()
    pid = stack.enter_context(
        granian(
            "wsgi:make_application",
            "--factory",
            port=port,
            workers=served.workers,
            threads=served.threads,
            environment=shop.environment,
        )
    )
    wait_for(port, shop.orders(shops.DISTINCT))
    peer_port, peer_pid = stack.enter_context(
        peer.served(workers=served.workers, threads=served.threads, asked=packages.PURCHASE)
    )

    def kopeck(recruiters: str, number: int) -> Row:
        def ask(seconds: int) -> Measured:
            return load(port, shop.orders(recruiters), connections=number, seconds=seconds)

        return Row(f"Kopeck: orders, {recruiters}", served.workers, served.threads, pid, ask)

    for number in connections:
        ask = _asking(peer_port, packages.PURCHASE, number)
        yield Cell(
            f"{served}, {number} connections",
            [kopeck(recruiters, number) for recruiters in (shops.DISTINCT, shops.ONE)],
            Row(f"{peer.name}: purchase", served.workers, served.threads, peer_pid, ask, peer),
        )


def _asking(port: int, request: Request, connections: int) -> Callable[[int], Measured]:
    return lambda seconds: load(port, request, connections=connections, seconds=seconds)


def _measure(rows: Sequence[Row], servers: Servers, arguments: argparse.Namespace) -> None:
    """A warm-up of each, statistics for the planner, then the rounds, interleaved."""
    for row in rows:
        row.answered += row.ask(arguments.warm_up).requests
        if row.peer:
            row.peer.analyze()
    for number in range(arguments.rounds):
        start = number % len(rows)
        for row in [*rows[start:], *rows[:start]]:
            measured = _round(row, servers.pids["postgres"], arguments.seconds)
            row.rounds.append(measured)
            row.answered += measured.requests


def _round(row: Row, postgres: int, seconds: int) -> Measured:
    pids = (row.pid, postgres, row.loader)
    before = [cpu_s(pid) if pid else 0.0 for pid in pids]
    measured = row.ask(seconds)
    after = [cpu_s(pid) if pid else 0.0 for pid in pids]
    measured.server_cpu_s, measured.postgres_cpu_s, measured.loader_cpu_s = (
        now - then for now, then in zip(after, before, strict=True)
    )
    return measured


def _print_machine(arguments: argparse.Namespace) -> None:
    versions = dict(pin.split("==") for pin in environment.pins())
    named = (packages.PINAX, packages.AFFILIATE_SYSTEM, "Django", "granian", "psycopg")
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"{generator()}; {arguments.rounds} rounds of {arguments.seconds} s; medians\n"
        f"{', '.join(f'{name} {versions[name]}' for name in named)}"
    )


def _print(rows: Sequence[Row]) -> None:
    """Ratios read "Kopeck's first row is so many times this row"."""
    print(
        f"{'':36}{'workers':>8}{'threads':>8}{'req/s':>9}{'min-max':>16}{'ratio':>8}"
        f"{'p50 ms':>8}{'p99 ms':>8}{'server us':>11}{'loader us':>11}{'postgres us':>13}"
        f"{'all us':>9}{'CPU ratio':>11}"
    )
    kopeck = rows[0]
    for row in rows:
        rates = sorted(measured.rps for measured in row.rounds)
        print(
            f"{row.name:36}{row.workers:8}{row.threads:8}{row.rps:9,.0f}"
            f"{f'{rates[0]:,.0f}-{rates[-1]:,.0f}':>16}{kopeck.rps / row.rps:8.2f}"
            f"{row.median('p50_ms'):8.2f}{row.median('p99_ms'):8.2f}"
            f"{row.cpu_us('server'):11,.1f}{row.cpu_us('loader'):11,.1f}"
            f"{row.cpu_us('postgres'):13,.1f}{row.all_cpu_us:9,.1f}"
            f"{row.all_cpu_us / kopeck.all_cpu_us:11.2f}"
        )


def _check(peer: packages.Peer, rows: Sequence[Row], query: str, what: str) -> None:
    """What a peer answered it must have recorded, or it is not recording that was measured."""
    answered = sum(row.answered for row in rows if row.peer is peer)
    recorded = peer.count(query)
    print(f"{peer.name}: answered {answered:,}, {what} recorded {recorded:,}")
    if recorded < answered:
        raise SystemExit(f"{peer.name}: {answered - recorded} {what} are missing")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--warm-up", type=int, default=1, help="seconds before the first round")
    parser.add_argument("--connections", type=int, default=32, help="that click")
    parser.add_argument("--threads", type=int, default=1, help="granian's, for clicks")
    parser.add_argument("--peer-threads", type=int, default=4, help="once more for the peers")
    return parser.parse_args()


if __name__ == "__main__":
    main()
