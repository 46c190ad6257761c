"""A draft over 100,000 orders beside the order intake of the same run: `python -m bench.replay`.

Real orders come in over HTTP until the clock has run; the history is filled up with copies of
them, which have decisions, snapshots and commissions as theirs. Then rounds alternate: some
seconds of intake with one worker, and a whole trial of a draft (another model, monthly tiers, a
cap, level 2 on the commission) in one process, everything read anew. The draft's peak of memory
is taken at a quarter of the history and at all of it. At last the rules in force are replayed:
they must give what the books hold, to the micro.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa

from affiliate.core.config import ROOT, Settings
from affiliate.core.db import engine_for
from affiliate.core.embedded.servers import running
from affiliate.core.snapshot import read_once
from affiliate.programs import terms_document as terms_of
from affiliate.programs.models import Program
from bench.load import generator, load, wait_for
from bench.measuring import free_port, granian
from bench.shop import DISTINCT, Shop, make_shop, read_rows
from tracker.clicks.database import libpq_url
from tracker.demo.people import terms_document
from tracker.replay.booked import differences
from tracker.replay.history import Span, orders
from tracker.replay.trial import trial

COPY = """
    WITH b AS MATERIALIZED (
        SELECT * FROM orders WHERE order_id NOT LIKE 'copy-%%' ORDER BY id LIMIT %(most)s
    ), o AS (
        INSERT INTO orders ({columns})
        SELECT {selected} FROM b RETURNING id, order_id
    ), d AS (
        INSERT INTO decisions (order_id, number, rule_version_id, outcome, reason, shares, trace,
            snapshot, decided_at, click_check_due_at, review_reason)
        SELECT o.id, d.number, d.rule_version_id, d.outcome, d.reason, d.shares, d.trace,
            d.snapshot, d.decided_at + %(copy)s * interval '1 second',
            d.click_check_due_at, d.review_reason
        FROM o JOIN b ON o.order_id = 'copy-' || %(copy)s || '-' || b.order_id
        JOIN decisions d ON d.order_id = b.id AND d.voided_at IS NULL
    )
    INSERT INTO commissions (program_id, reference, decision, level, enrollment_id,
        via_enrollment_id, rule_version_id, currency, base_micros, rate_ppm, amount_micros, rule,
        trace, placed_at, earned_at, available_at, waits_for)
    SELECT c.program_id, 'order:' || o.id, c.decision, c.level, c.enrollment_id,
        c.via_enrollment_id, c.rule_version_id, c.currency, c.base_micros, c.rate_ppm,
        c.amount_micros, c.rule, c.trace, c.placed_at, c.earned_at, c.available_at, c.waits_for
    FROM o JOIN b ON o.order_id = 'copy-' || %(copy)s || '-' || b.order_id
    JOIN commissions c ON c.reference = 'order:' || b.id AND c.voided_at IS NULL
"""


def draft() -> dict[str, Any]:
    """Rules that share, count volumes and cap: more work than the demo's."""
    document = terms_document()
    document["attribution"]["model"] = "linear"
    document["commission"] |= {
        "level_1": {"kind": "percent", "rate_ppm": 100_000},
        "level_2": {"rate_ppm": 50_000, "of": "commission"},
        "tiers": {
            "measure": "sales",
            "period": "month",
            "apply": "marginal",
            "bands": [
                {"from": "0", "rate_ppm": 100_000},
                {"from": "50000.00", "rate_ppm": 120_000},
                {"from": "500000.00", "rate_ppm": 150_000},
            ],
        },
        "caps": {"per_order": None, "per_period": {"amount": "900000.00", "period": "month"}},
    }
    return document


def main() -> None:
    arguments = _arguments()
    if arguments.child:
        print(json.dumps(_trial(arguments.child)))
        return
    folder = Path(tempfile.mkdtemp(prefix="kpk-bench-"))
    try:
        with running(folder / "servers", keep=False) as servers:
            shop = make_shop(servers, folder)
            port = free_port()
            target = ("wsgi:make_application", "--factory")
            with granian(*target, port=port, workers=1, threads=4, environment=shop.environment):
                _measure(shop, port, arguments)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measure(shop: Shop, port: int, arguments: argparse.Namespace) -> None:
    wait_for(port, shop.orders(DISTINCT))

    def intake() -> float:
        asked = shop.orders(DISTINCT)
        return load(port, asked, connections=8, seconds=arguments.seconds).rps

    intake()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"{generator()}; {arguments.rounds} rounds, {arguments.seconds} s of intake each; medians"
    )
    memory = []
    for share in (4, 1):
        _fill(shop, arguments.orders // share)
        read_rows(shop)
        memory.append(_child(shop))
    rates, tried = [], []
    for _ in range(arguments.rounds):
        rates.append(intake())
        tried.append(_child(shop))
    intake_rate = statistics.median(rates)
    rate = statistics.median(each["orders"] / each["seconds"] for each in tried)
    print(f"{'orders':>12}{'s':>9}{'per s':>9}{'/intake':>9}{'peak MiB':>10}")
    for name, each in (("a quarter", memory[0]), ("all", memory[1])):
        print(
            f"{each['orders']:12,}{each['seconds']:9.1f}{each['orders'] / each['seconds']:9,.0f}"
            f"{each['orders'] / each['seconds'] / intake_rate:9.2f}{each['peak_kib'] / 1024:10.0f}"
            f"  {name} of the history, once"
        )
    print(f"order intake, one worker: {intake_rate:,.0f} a second")
    print(f"the draft, one process: {rate:,.0f} a second, {rate / intake_rate:.2f} x the intake")
    cpu_us = statistics.median(each["cpu_s"] / each["orders"] * 1e6 for each in tried)
    print(f"the draft's own CPU time: {cpu_us:,.0f} us an order, start included")
    print(f"of {tried[-1]['orders']:,} orders {tried[-1]['changed']:,} would earn otherwise")
    _books(shop)


def _fill(shop: Shop, wanted: int) -> None:
    """Copies of the real orders, until there are so many."""
    with psycopg.connect(libpq_url(shop.database_url), autocommit=True) as connection:
        columns = [
            name
            for (name,) in connection.execute(
                "SELECT column_name FROM information_schema.columns "
                "WHERE table_name = 'orders' AND column_name <> 'id' ORDER BY ordinal_position"
            )
        ]
        selected = [
            "'copy-' || %(copy)s || '-' || order_id" if name == "order_id" else name
            for name in columns
        ]
        statement = COPY.format(columns=", ".join(columns), selected=", ".join(selected))
        copy = _one(connection, "SELECT count(*) FROM orders WHERE order_id LIKE 'copy-%'")
        while (have := _one(connection, "SELECT count(*) FROM orders")) < wanted:
            copy += 1
            connection.execute(statement, {"copy": copy, "most": wanted - have})


def _one(connection: psycopg.Connection[Any], statement: str) -> int:
    row = connection.execute(statement).fetchone()  # type: ignore[call-overload]
    assert row is not None
    return int(row[0])


def _child(shop: Shop) -> dict[str, Any]:
    """A trial in a process of its own: time, orders and its peak of memory."""
    command = [sys.executable, "-m", "bench.replay", "--child", shop.database_url]
    ended = subprocess.run(
        command, env=shop.environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise SystemExit(f"the trial failed:\n{ended.stderr}")
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def _span(session: Any) -> Span:
    program = session.scalars(sa.select(Program)).one()
    begins = datetime.now(UTC) - timedelta(days=80)
    ends = begins + timedelta(days=90)
    return Span(program.id, program.currency, program.time_zone, begins, ends)


def _trial(database_url: str) -> dict[str, Any]:
    engine = engine_for(Settings.from_environ({**os.environ, "DATABASE_URL": database_url}))
    began = time.perf_counter()
    with read_once(engine) as session:
        span = _span(session)
        terms = terms_of.load(draft(), span.currency)
        found = trial(session, span, terms, now=datetime.now(UTC))
    return {
        "orders": found.orders,
        "changed": found.changed,
        "seconds": time.perf_counter() - began,
        "cpu_s": time.process_time(),
        "peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }


def _books(shop: Shop) -> None:
    """The rules in force against the books."""
    engine = engine_for(Settings.from_environ(shop.environment))
    began = time.perf_counter()
    with read_once(engine) as session:
        span = _span(session)
        looked_at = 0

        def counted() -> Any:
            nonlocal looked_at
            for batch in orders(session, span):
                looked_at += len(batch)
                yield batch

        wrong = list(differences(counted(), session))
    seconds = time.perf_counter() - began
    print(f"the rules in force: {looked_at / seconds:,.0f} a second, {len(wrong)} differences")
    if wrong:
        raise SystemExit(f"the books differ, first: {wrong[0].row()}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--orders", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
