"""Sealing a million transactions beside one sum over the same entries: `python -m bench.seals`.

A book of transactions with two entries each is made in PostgreSQL, a thousand enrollments have
them. Then it is sealed block by block in a process of its own, at a quarter of the book and at
all of it (for the memory), every entry is compared with its leaf, and an audit's share of that is
timed with the look for what is unsealed. Each stands beside one sum grouped by account over all
entries, the median of several taken in the same run.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.clock import real_now
from affiliate.core.config import ROOT
from affiliate.core.embedded.servers import create_database, running
from affiliate.core.migrate import upgrade
from affiliate.core.snapshot import read_once
from payouts.audit import sealed
from payouts.ledger.seals import walk
from payouts.ledger.seals.sealing import seal_next
from tracker.clicks.database import libpq_url

SUMS = 5
# Triggers and foreign keys are off: what is measured begins when the book is there.
BOOK = """
    SET session_replication_role = replica;
    INSERT INTO ledger_accounts (kind, program_id, enrollment_id, currency)
    SELECT 'pending', 1, n, 'EUR' FROM generate_series(1, 1000) AS n
    UNION ALL SELECT 'expense', 1, NULL, 'EUR';
    INSERT INTO ledger_transactions (kind, reference, reason, occurred_at)
    SELECT 'earn', 'earn:commission:' || n, 'earned', now() FROM generate_series(1, {count}) AS n;
    INSERT INTO ledger_entries (transaction_id, account_id, currency, amount_micros)
    SELECT t.id, CASE side WHEN 1 THEN 1001 ELSE 1 + t.id % 1000 END, 'EUR',
           CASE side WHEN 1 THEN -1 ELSE 1 END * (1 + t.id % 9000000)
    FROM ledger_transactions t, generate_series(1, 2) AS side ORDER BY t.id, side;
"""
SUM = "SELECT count(*) FROM (SELECT sum(amount_micros) FROM ledger_entries GROUP BY account_id) s"


def main() -> None:
    arguments = _arguments()
    if arguments.child:
        print(json.dumps(_seal_and_compare(arguments.child)))
        return
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; "
        f"{arguments.transactions:,} transactions"
    )
    folder = Path(tempfile.mkdtemp(prefix="kpk-bench-"))
    try:
        with running(folder / "servers", keep=False) as servers:
            for share in (4, 1):
                url = create_database(servers.database_url, f"bench_seals_{share}")
                upgrade(url)
                _measure(url, arguments.transactions // share)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measure(url: str, transactions: int) -> None:
    with psycopg.connect(libpq_url(url), autocommit=True) as connection:
        connection.execute(BOOK.format(count=transactions))  # type: ignore[arg-type]
        connection.execute("VACUUM ANALYZE")
        one_sum_s = statistics.median(
            _seconds(lambda: connection.execute(SUM)) for _ in range(SUMS)
        )
        done = _child(url)
        size = connection.execute(
            "SELECT pg_total_relation_size('ledger_seals'),"
            " pg_total_relation_size('ledger_entries') + "
            " pg_total_relation_size('ledger_transactions')"
        ).fetchone()
    assert size is not None
    assert done["sealed"] == transactions
    assert done["findings"] == 0
    print(f"{transactions:,} transactions in {done['seals']:,} seals; one sum: {one_sum_s:.3f} s")
    print(f"{'':26}{'s':>9}{'x sum':>9}{'own CPU s':>11}{'per s':>9}{'peak MiB':>10}")
    for name, key in (
        ("sealing", "seal"),
        ("comparing every entry", "compare"),
        ("an hourly audit's checks", "audit"),
    ):
        seconds, cpu_s = done[f"{key}_s"], done[f"{key}_cpu_s"]
        rate = f"{transactions / seconds:,.0f}" if key != "audit" else ""
        peak = f"{done['peak_kib'] / 1024:.0f}" if key == "seal" else ""
        print(f"{name:26}{seconds:9.2f}{seconds / one_sum_s:9.1f}{cpu_s:11.2f}{rate:>9}{peak:>10}")
    print(f"seals take {size[0] / size[1]:.2f} of the room of transactions and entries")


def _child(url: str) -> dict[str, Any]:
    """Seal and compare in a process of its own, for its peak of memory."""
    command = [sys.executable, "-m", "bench.seals", "--child", url]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(f"sealing failed:\n{ended.stderr}")
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def _seal_and_compare(url: str) -> dict[str, Any]:
    engine = sa.create_engine(url)
    found: dict[str, Any] = {"sealed": 0}

    def seal() -> None:
        with Session(engine) as session:
            while transactions := seal_next(session, real_now=real_now()):
                session.commit()
                found["sealed"] += transactions

    def compare() -> None:
        with read_once(engine) as session:
            found["seals"] = walk.last_number(session)
            broken = [*walk.broken_links(session)]
            broken += walk.changed_entries(session, first=1, last=found["seals"])
            found["findings"] = len(broken)

    def audit() -> None:
        with read_once(engine) as session:
            for check in (sealed.changed_entries, sealed.changed_heads, sealed.unsealed_for_long):
                found["findings"] += len(list(check(session, real_now())))

    for name, work in (("seal", seal), ("compare", compare), ("audit", audit)):
        found[f"{name}_s"], found[f"{name}_cpu_s"] = _both(work)
    found["peak_kib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _both(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock, and of this process's own CPU: neighbours make the first one long."""
    cpu_s = time.process_time()
    return _seconds(work), time.process_time() - cpu_s


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--transactions", type=int, default=1_000_000)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
