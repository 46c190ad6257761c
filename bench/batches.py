"""Drafting and freezing a large batch, beside one INSERT … SELECT over the raw entries.

    python -m bench.batches [--affiliates 100000] [--commissions 5] [--rounds 3]

Both write the same items into the same table, with its indexes and foreign keys, in
transactions that are rolled back. The bars: items and hash within 1.5 of the plain statement,
everything with the postings of the reserves within 4 of it; the drafting process does not grow
with the number of affiliates. At last a batch is drafted for good, the books are looked at, and
it is cancelled.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.config import ROOT, Settings
from affiliate.core.db import engine_for
from affiliate.core.embedded.servers import create_database, running
from bench.book import Book, make_book
from payouts.audit.checks import CHECKS
from payouts.audit.run import run
from payouts.batches import booking
from payouts.batches.cancel import cancel_batch
from payouts.batches.draft import draft_weekly, open_periods, undrafted
from payouts.batches.models import PayoutBatch, PayoutItem
from payouts.rails.registry import rails
from tracker.clicks.database import libpq_url

ITEMS_BAR, ALL_BAR, MEMORY_MIB_BAR = 1.5, 4.0, 16.0
SMALL_SHARE = 10
"""Memory is also taken at a tenth of the affiliates."""

PLAIN = """
    INSERT INTO payout_items (batch_id, enrollment_id, currency, amount_micros, destination, status)
    SELECT %(batch)s, a.enrollment_id, a.currency, sum(e.amount_micros) / 10000 * 10000,
           p.destination, 'queued'
    FROM ledger_entries e
    JOIN ledger_accounts a ON a.id = e.account_id
    JOIN enrollments n ON n.id = a.enrollment_id
    JOIN payee_accounts p ON p.affiliate_id = n.affiliate_id AND p.replaced_at IS NULL
    WHERE a.kind = 'available' AND n.status = 'active' AND p.ready_at IS NOT NULL
    GROUP BY a.enrollment_id, a.currency, p.destination
    HAVING sum(e.amount_micros) >= 10000
"""


def main() -> None:
    arguments = _arguments()
    if arguments.child:
        print(json.dumps(_child(arguments.child, keep=arguments.keep)))
        return
    folder = Path(tempfile.mkdtemp(prefix="kpk-bench-"))
    try:
        with running(folder / "servers", keep=False) as servers:
            os.environ.update(_environment(servers.redis_url, folder))
            print(
                f"{platform.machine()}, {os.cpu_count()} cores, "
                f"Python {platform.python_version()}; {arguments.rounds} rounds; medians"
            )
            books = [
                _book(servers.database_url, arguments, arguments.affiliates // share)
                for share in (SMALL_SHARE, 1)
            ]
            _measure(books[0], books[1], arguments)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _environment(redis_url: str, folder: Path) -> dict[str, str]:
    return {
        "KOPECK_MODE": "test",
        "REDIS_URL": redis_url,
        "KOPECK_SECRET": "a-secret-for-the-benchmark-0123456789",
        "KOPECK_PUBLIC_URL": "http://127.0.0.1:8000",
        "KOPECK_DATA_DIR": str(folder / "data"),
        "KOPECK_LOG_LEVEL": "ERROR",
    }


def _book(url: str, arguments: argparse.Namespace, affiliates: int) -> Book:
    made = create_database(url, f"bench_batches_{affiliates}")
    book = make_book(
        made, affiliates=affiliates, commissions=arguments.commissions, batches=0, rail="manual"
    )
    print(f"a book of {affiliates:,} affiliates, {book.entries:,} entries")
    return book


def _measure(small: Book, large: Book, arguments: argparse.Namespace) -> None:
    plain, drafts = [], []
    for _ in range(arguments.rounds):
        plain.append(_plain(large))
        drafts.append(_in_child(large))
    base = statistics.median(plain)
    print(f"{'':46}{'s':>8}{'ratio':>8}{'bar':>6}")
    print(f"{'one INSERT … SELECT over the raw entries':46}{base:8.2f}{1:8.2f}")
    rows = (
        ("drafted: locks, items, reserves booked, hash", "items_s", ITEMS_BAR),
        ("drafted and frozen: with the entries as well", "all_s", ALL_BAR),
    )
    held = True
    for name, key, bar in rows:
        taken = statistics.median(each[key] for each in drafts)
        held &= taken / base <= bar
        print(f"{name:46}{taken:8.2f}{taken / base:8.2f}{bar:6.1f}")
    peak = statistics.median(each["grown_kib"] for each in drafts) / 1024
    before = _in_child(small)["grown_kib"] / 1024
    print(
        f"memory that drafting added: {before:.0f} MiB at {small_count(arguments):,} affiliates, "
        f"{peak:.0f} MiB at {arguments.affiliates:,}"
    )
    held &= peak - before <= MEMORY_MIB_BAR
    final = _in_child(large, keep=True)
    print(
        f"drafted for good: {final['items']:,} items in {final['all_s']:.2f} s, "
        f"{final['broken']} checks broken; cancelled in {final['cancel_s']:.2f} s, "
        f"{final['broken_after']} broken"
    )
    print(f"bars: {'held' if held else 'missed'}")
    if final["broken"] or final["broken_after"] or final["items"] != arguments.affiliates:
        raise SystemExit("the batch is not what the books say")


def small_count(arguments: argparse.Namespace) -> int:
    return int(arguments.affiliates) // SMALL_SHARE


def _plain(book: Book) -> float:
    """The plain statement, rolled back; what it leaves is swept away."""
    with psycopg.connect(libpq_url(book.database_url)) as connection:
        row = connection.execute(
            "INSERT INTO payout_batches (program_id, number, kind, currency, rail, status, "
            "created_at) VALUES (%s, 1, 'on_demand', 'EUR', 'manual', 'draft', now()) "
            "RETURNING id",
            [book.program_id],
        ).fetchone()
        assert row is not None
        began = time.perf_counter()
        connection.execute(PLAIN, {"batch": row[0]})
        taken_s = time.perf_counter() - began
        connection.rollback()
        connection.autocommit = True
        connection.execute("VACUUM payout_items")
    return taken_s


def _in_child(book: Book, *, keep: bool = False) -> dict[str, Any]:
    """A draft in a process of its own, so that its memory can be told."""
    command = [sys.executable, "-m", "bench.batches", "--child", book.database_url]
    ended = subprocess.run(
        [*command, *(["--keep"] if keep else [])],
        env={**os.environ, "DATABASE_URL": book.database_url},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise SystemExit(f"drafting failed:\n{ended.stderr}")
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def _child(database_url: str, *, keep: bool) -> dict[str, Any]:
    settings = Settings.from_environ({**os.environ, "DATABASE_URL": database_url})
    engine, entering_s = engine_for(settings), [0.0]

    def timed(session: Session, *, batch: PayoutBatch) -> None:
        began = time.perf_counter()
        enter(session, batch=batch)
        entering_s[0] += time.perf_counter() - began

    enter, booking.enter_reserves = booking.enter_reserves, timed
    now = datetime.now(UTC)
    with Session(engine, expire_on_commit=False) as session:
        open_periods(session, now=now)
        session.commit()
        period_id = undrafted(session)[0]
        known = rails(settings)
        before = _forget_peak_kib()
        began = time.perf_counter()
        batch_id = draft_weekly(session, period_id=period_id, rails=known, now=now)
        all_s = time.perf_counter() - began
        found: dict[str, Any] = {
            "all_s": all_s,
            "items_s": all_s - entering_s[0],
            "grown_kib": _status_kib("VmHWM") - before,
        }
        assert batch_id is not None
        if keep:
            found |= _kept(session, batch_id, now)
        else:
            session.rollback()
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("SET statement_timeout = 0"))
        for table in ("payout_items", "ledger_transactions", "ledger_entries", "ledger_balances"):
            connection.execute(sa.text(f"VACUUM {table}"))
    return found


def _forget_peak_kib() -> int:
    """Let the process's peak begin anew (proc(5), clear_refs); what it holds now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status_kib("VmRSS")


def _status_kib(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise KeyError(name)


def _kept(session: Session, batch_id: int, now: datetime) -> dict[str, Any]:
    """Commit, audit, cancel, audit."""
    session.commit()
    count = session.scalar(
        sa.select(sa.func.count()).select_from(PayoutItem).where(PayoutItem.batch_id == batch_id)
    )
    broken = len(run(session, CHECKS, real_now=now))
    finance_id = session.scalar(sa.text("SELECT id FROM users WHERE fs_uniquifier = 'finance'"))
    began = time.perf_counter()
    cancel_batch(session, batch_id=batch_id, by_user_id=finance_id, why="bench", now=now)
    session.commit()
    return {
        "items": count,
        "broken": broken,
        "cancel_s": time.perf_counter() - began,
        "broken_after": len(run(session, CHECKS, real_now=now)),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--affiliates", type=int, default=100_000)
    parser.add_argument("--commissions", type=int, default=5, help="of each affiliate")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--keep", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
