"""`kopeck audit` over a large book, beside one sum grouped by account over its entries.

    python -m bench.audit [--entries 5000000] [--rounds 3]

Every registered check runs, those of orders and clicks over empty tables. The bar: all of them
together take at most twenty times the plain sum. Then corruptions are planted one after another,
each in a transaction of its own that is rolled back, and the check that must see it has to.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from affiliate.core.db import engine_for
from affiliate.core.embedded.servers import create_database, running
from bench.book import Book, make_book
from payouts.audit.run import Check, passes, registered, run
from tracker.clicks.database import libpq_url

BAR = 20.0
AFFILIATES = 50_000
BATCHES = 5
ENTRIES_PER_PAYOUT = 4
ENTRIES_PER_COMMISSION = 3.8
SLOWEST_SHOWN = 6
PLAIN = "SELECT account_id, sum(amount_micros) FROM ledger_entries GROUP BY account_id"

_ENTRY = "(SELECT min(id) + 1000 FROM ledger_entries)"
_ITEM = "(SELECT min(id) + 100 FROM payout_items)"
_SETTLED = f"(SELECT settle_transaction_id FROM payout_items WHERE id = {_ITEM})"
_RESERVED = f"(SELECT reserve_transaction_id FROM payout_items WHERE id = {_ITEM})"
PLANTED: tuple[tuple[str, str], ...] = (
    ("L1", f"UPDATE ledger_entries SET amount_micros = amount_micros + 1 WHERE id = {_ENTRY}"),
    ("L2", f"UPDATE ledger_entries SET amount_micros = amount_micros + 1 WHERE id = {_ENTRY}"),
    ("L3", "DELETE FROM ledger_entries WHERE transaction_id = 17"),
    ("L4", f"UPDATE ledger_entries SET currency = 'RUB' WHERE id = {_ENTRY}"),
    (
        "L6",
        "UPDATE ledger_transactions SET reverses_id = 17 WHERE reference = 'earn:commission:77'",
    ),
    (
        "L7",
        "UPDATE ledger_entries SET amount_micros = -amount_micros "
        "WHERE account_id = 10012 AND amount_micros > 0",
    ),
    ("L8", "UPDATE ledger_balances SET amount_micros = amount_micros + 1 WHERE account_id = 10011"),
    ("L9", "UPDATE ledger_accounts SET program_id = 999 WHERE id = 10010"),
    ("C5", "UPDATE commissions SET amount_micros = amount_micros + 1 WHERE id = 77"),
    ("C6", "DELETE FROM commissions WHERE id = 77"),
    ("C7", "UPDATE commissions SET reversed_micros = 1 WHERE id = 77"),
    ("C8", "UPDATE commissions SET released_at = NULL WHERE id = 77"),
    ("P1", "UPDATE payout_batches SET approved_count = approved_count + 1 WHERE id = 1"),
    ("P4", f"UPDATE payout_attempts SET destination = 'acct_other' WHERE item_id = {_ITEM}"),
    ("P6", f"UPDATE payout_attempts SET status = 'failed' WHERE item_id = {_ITEM}"),
    ("P9", f"UPDATE ledger_entries SET amount_micros = amount_micros * 2 "
           f"WHERE transaction_id = {_RESERVED}"),
    ("P10", f"UPDATE ledger_entries SET amount_micros = amount_micros * 2 "
            f"WHERE transaction_id = {_SETTLED}"),
    ("P11", f"UPDATE payout_items SET status = 'queued' WHERE id = {_ITEM}"),
    ("P12", "UPDATE ledger_entries SET amount_micros = amount_micros - 900000000 "
            "WHERE account_id = 10011"),
    ("P14", "UPDATE payout_items SET currency = 'RUB' WHERE id = " + _ITEM),
    ("P16", f"UPDATE payout_items SET destination = 'acct_other' WHERE id = {_ITEM}"),
)  # fmt: skip


def main() -> None:
    arguments = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="kpk-bench-"))
    try:
        with running(folder / "servers", keep=False) as servers:
            os.environ.update(
                {
                    "KOPECK_MODE": "test",
                    "REDIS_URL": servers.redis_url,
                    "KOPECK_SECRET": "a-secret-for-the-benchmark-0123456789",
                    "KOPECK_PUBLIC_URL": "http://127.0.0.1:8000",
                    "KOPECK_DATA_DIR": str(folder / "data"),
                    "KOPECK_LOG_LEVEL": "ERROR",
                }
            )
            url = create_database(servers.database_url, "bench_audit")
            _measure(url, arguments)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measure(url: str, arguments: argparse.Namespace) -> None:
    from wsgi import create_app

    book, made_s = _book(url, arguments.entries)
    settings = Settings.from_environ({**os.environ, "DATABASE_URL": url})
    checks = registered(create_app(settings))
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; "
        f"{arguments.rounds} rounds; medians"
    )
    print(f"{book.entries:,} entries, made in {made_s:.0f} s; {len(checks)} checks")
    engine = engine_for(settings)
    plain, whole = [], []
    each_s: dict[str, list[float]] = {_name(group): [] for group in passes(checks)}
    for _ in range(arguments.rounds):
        plain.append(_plain(url))
        with Session(engine) as session:
            whole.append(_audit(session, checks, each_s))
    base, total = statistics.median(plain), statistics.median(whole)
    print(f"one sum grouped by account: {base:.2f} s")
    print(f"the whole audit: {total:.2f} s, {total / base:.1f} x (bar {BAR:.0f})")
    medians = {name: statistics.median(times) for name, times in each_s.items()}
    slowest = sorted(medians, key=lambda name: -medians[name])[:SLOWEST_SHOWN]
    print("slowest: " + ", ".join(f"{name} {medians[name] / base:.1f} x" for name in slowest))
    missed = _plant(engine, checks)
    print(f"planted corruptions: {len(PLANTED)}, found {len(PLANTED) - len(missed)}")
    print(f"bar: {'held' if total / base <= BAR else 'missed'}")
    if missed:
        raise SystemExit(f"not found: {', '.join(missed)}")


def _book(url: str, entries: int) -> tuple[Book, float]:
    began = time.perf_counter()
    affiliates = max(100, AFFILIATES * entries // 5_000_000)
    left = entries - affiliates * BATCHES * ENTRIES_PER_PAYOUT
    commissions = max(1, round(left / (affiliates * ENTRIES_PER_COMMISSION)))
    book = make_book(
        url, affiliates=affiliates, commissions=commissions, batches=BATCHES, rail="manual"
    )
    return book, time.perf_counter() - began


def _plain(url: str) -> float:
    with psycopg.connect(libpq_url(url)) as connection:
        connection.execute("SET jit = off")
        began = time.perf_counter()
        connection.execute(f"SELECT count(*), sum(sum) FROM ({PLAIN}) AS each").fetchone()
        return time.perf_counter() - began


def _audit(session: Session, checks: Sequence[Check], each_s: dict[str, list[float]]) -> float:
    """All checks over one session, as the command runs them; SystemExit when one is broken."""
    now, whole_s = datetime.now(UTC), 0.0
    for group in passes(checks):
        began = time.perf_counter()
        found = run(session, group, real_now=now)
        taken_s = time.perf_counter() - began
        each_s[_name(group)].append(taken_s)
        whole_s += taken_s
        if found:
            raise SystemExit(f"the book is not good: {found[0]}")
    return whole_s


def _name(group: Sequence[Check]) -> str:
    return "+".join(check.name for check in group)


def _plant(engine: sa.Engine, checks: Sequence[Check]) -> list[str]:
    """The corruptions that their check did not find."""
    by_name, missed = {check.name: check for check in checks}, []
    for name, statement in PLANTED:
        with Session(engine) as session:
            session.execute(sa.text("SET LOCAL session_replication_role = replica"))
            planted = session.execute(sa.text(statement))
            if not planted.rowcount:  # type: ignore[attr-defined]
                raise SystemExit(f"{name}: the corruption met no row")
            if not run(session, [by_name[name]], real_now=datetime.now(UTC)):
                missed.append(name)
            session.rollback()
    return missed


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--entries", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
