"""Executing a batch against the Stripe double by the real worker and scheduler.

    python -m bench.payouts [--items 10000] [--unknown 0.05]

Valkey, PostgreSQL, one payout worker, the scheduler and the double are processes of their own.
Of the transfers a share is accepted without an answer and another is not accepted without one;
nobody lends a hand. The bar: until each item has been sent once, calls to the provider come at
95 % of the pace or more. At the end the double's own books are compared: one transfer an item.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import requests
from sqlalchemy.orm import Session

from affiliate.core import queue
from affiliate.core.config import ROOT, Settings
from affiliate.core.db import engine_for
from affiliate.core.embedded.servers import create_database, running
from bench.book import Book, make_book
from bench.measuring import cpu_s
from payouts.audit.checks import CHECKS
from payouts.audit.run import run
from payouts.batches.approve import approve
from payouts.batches.draft import draft_weekly, open_periods, undrafted
from payouts.batches.models import PayoutBatch
from payouts.batches.pace import PACE_PER_S
from payouts.rails.registry import rails
from tracker.clicks.database import libpq_url

KEY = "sk_test_bench"
BAR = 0.95
LOOK_S = 0.5
AFTER_S_MAX = 900
"""How long the unknown ones may take to come to their end after the last was sent."""
MAKERS = 8


def main() -> None:
    arguments = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="kpk-bench-"))
    try:
        with running(folder / "servers", keep=False) as servers, _double(folder) as double:
            os.environ.update(
                {
                    "KOPECK_MODE": "test",
                    "DATABASE_URL": create_database(servers.database_url, "bench_payouts"),
                    "REDIS_URL": servers.redis_url,
                    "KOPECK_SECRET": "a-secret-for-the-benchmark-0123456789",
                    "KOPECK_PUBLIC_URL": "http://127.0.0.1:8000",
                    "KOPECK_DATA_DIR": str(folder / "data"),
                    "KOPECK_LOG_LEVEL": "CRITICAL",
                    "KOPECK_STRIPE_API_KEY": KEY,
                    "KOPECK_STRIPE_API_BASE": double,
                }
            )
            _measure(double, arguments)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _double(folder: Path) -> Iterator[str]:
    """The Stripe double with money enough; its address."""
    command = [sys.executable, "-m", "sandbox.stripe", "--port", "0", "--key", KEY]
    command += ["--data", str(folder / "double"), "--balance", "eur=100000000000"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()


@contextmanager
def _process(*words: str) -> Iterator[int]:
    with subprocess.Popen(
        [sys.executable, "-m", "wsgi", *words], cwd=ROOT, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield process.pid
        finally:
            process.terminate()


def _measure(double: str, arguments: argparse.Namespace) -> None:
    url = os.environ["DATABASE_URL"]
    book = make_book(url, affiliates=arguments.items, commissions=1, batches=0, rail="stripe")
    _accounts(double, arguments.items)
    share = arguments.unknown / 2
    for number, kind in enumerate(("accept-then-drop", "refuse-drop")):
        rule = {"kind": kind, "times": None, "probability": share, "seed": number}
        requests.post(f"{double}/_double/faults", json=rule, timeout=20).raise_for_status()
    settings = Settings.from_environ(os.environ)
    queue.use(queue.connect(settings.redis_url))
    with _process("worker", "payouts") as worker, _process("scheduler"):
        batch_id = _approved(settings, book)
        approved = time.perf_counter()
        woken_s = _first_call_s(url, approved)
        began, cpu = time.perf_counter(), cpu_s(worker)
        sent_s, calls, answers = _until_sent(url, batch_id, double, began)
        worker_cpu = cpu_s(worker) - cpu
        done_s = _until_done(url, batch_id, began)
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; "
        f"one worker, pace {PACE_PER_S} a second"
    )
    reached = calls / sent_s / PACE_PER_S
    print(
        f"{arguments.items:,} payouts were sent in {sent_s:.0f} s by {calls:,} calls: "
        f"{calls / sent_s:.2f} a second, {reached:.1%} of the pace (bar {BAR:.0%})"
    )
    print(f"the first was claimed {woken_s:.1f} s after the approval")
    print(f"unanswered: {answers:,}; all at their end after {done_s:.0f} s")
    print(f"worker's CPU: {worker_cpu / calls * 1000:.1f} ms a call")
    wrong = _compare(url, double, settings, arguments.items)
    print(f"bar: {'held' if reached >= BAR else 'missed'}")
    if wrong:
        raise SystemExit(wrong)


def _accounts(double: str, count: int) -> None:
    def make(number: int) -> None:
        account = {"id": f"acct_bench{number}"}
        requests.post(f"{double}/_double/accounts", json=account, timeout=60).raise_for_status()

    with ThreadPoolExecutor(MAKERS) as pool:
        list(pool.map(make, range(1001, 1001 + count)))


def _approved(settings: Settings, book: Book) -> int:
    """Drafted by us or, if it was quicker, by the scheduler; approved, so that sending begins."""
    known, now = rails(settings), datetime.now(UTC)
    with Session(engine_for(settings), expire_on_commit=False) as session:
        open_periods(session, now=now)
        session.commit()
        for period_id in undrafted(session):
            draft_weekly(session, period_id=period_id, rails=known, now=now)
            session.commit()
        while (batch := session.query(PayoutBatch).filter_by(status="frozen").first()) is None:
            session.rollback()
            time.sleep(LOOK_S)
        approve(
            session, batch_id=batch.id, by_user_id=book.finance_id, seen_hash=batch.hash or "",
            rails=known, now=now,
        )  # fmt: skip
        session.commit()
        return batch.id


def _until_sent(url: str, batch_id: int, double: str, began: float) -> tuple[float, int, int]:
    """Seconds, calls and unanswered ones until no item waits for its first call."""
    query = """
        SELECT count(*) FILTER (WHERE i.status IN ('queued', 'sending')
                                AND coalesce(a.tries, 1) = 1 AND a.error_code IS NULL)
        FROM payout_items i LEFT JOIN payout_attempts a ON a.item_id = i.id WHERE batch_id = %s
    """
    with psycopg.connect(libpq_url(url), autocommit=True) as connection:
        while _one(connection, query, batch_id):
            time.sleep(LOOK_S)
        unanswered = "SELECT count(*) FROM payout_attempts WHERE tries > 1 OR status = 'unknown'"
        return time.perf_counter() - began, _calls(double), _one(connection, unanswered)


def _until_done(url: str, batch_id: int, began: float) -> float:
    with psycopg.connect(libpq_url(url), autocommit=True) as connection:
        end = time.perf_counter() + AFTER_S_MAX
        status = "SELECT count(*) FROM payout_batches WHERE id = %s AND status = 'done'"
        while not _one(connection, status, batch_id):
            if time.perf_counter() > end:
                raise SystemExit("the batch did not come to its end")
            time.sleep(LOOK_S)
        return time.perf_counter() - began


def _calls(double: str) -> int:
    """Transfers posted and lists read so far, as the double logged them."""
    told = requests.get(f"{double}/_double/requests", timeout=120).json()
    return sum(each["path"].startswith("/v1/transfers") for each in told["requests"])


def _first_call_s(url: str, began: float) -> float:
    """Seconds until the first attempt was on disk: what the start of a worker's job takes."""
    with psycopg.connect(libpq_url(url), autocommit=True) as connection:
        while not _one(connection, "SELECT count(*) FROM payout_attempts"):
            time.sleep(0.02)
        return time.perf_counter() - began


def _compare(url: str, double: str, settings: Settings, items: int) -> str:
    """What is wrong between the double's books and ours; empty when nothing is."""
    told: dict[str, Any] = requests.get(f"{double}/_double/transfers", timeout=120).json()
    by_item = told["by_item"]
    with psycopg.connect(libpq_url(url)) as connection:
        paid = _one(connection, "SELECT count(*) FROM payout_items WHERE status = 'paid'")
        micros = _one(connection, "SELECT sum(amount_micros) FROM payout_items")
    with Session(engine_for(settings)) as session:
        broken = run(session, CHECKS, real_now=datetime.now(UTC))
    doubled = sum(count != 1 for count in by_item.values())
    moved = sum(transfer["amount"] for transfer in told["transfers"]) * 10_000
    print(
        f"transfers at the double: {len(by_item):,} items, {doubled} with more than one; "
        f"paid in the books: {paid:,}; checks broken: {len(broken)}"
    )
    if doubled or len(by_item) != items or paid != items or moved != micros or broken:
        return f"the books differ from the provider's: {moved} and {micros} micros, {broken[:1]}"
    return ""


def _one(connection: psycopg.Connection[Any], query: str, *values: object) -> int:
    row = connection.execute(query, values).fetchone()  # type: ignore[call-overload]
    assert row is not None
    return int(row[0])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--unknown", type=float, default=0.05, help="share of the transfers")
    return parser.parse_args()


if __name__ == "__main__":
    main()
