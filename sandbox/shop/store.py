"""The shop's own books: orders, and the calls to Kopeck that are still to be made (SQLite)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SCHEMA = """
CREATE TABLE IF NOT EXISTS customers (
    id INTEGER PRIMARY KEY AUTOINCREMENT, email TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS orders (
    id INTEGER PRIMARY KEY AUTOINCREMENT, placed_at TEXT NOT NULL, name TEXT NOT NULL,
    email TEXT NOT NULL, total INTEGER NOT NULL, refunded INTEGER NOT NULL DEFAULT 0,
    refunds INTEGER NOT NULL DEFAULT 0, cancelled INTEGER NOT NULL DEFAULT 0,
    currency TEXT NOT NULL, report TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS calls (
    id INTEGER PRIMARY KEY AUTOINCREMENT, order_id TEXT NOT NULL, what TEXT NOT NULL,
    path TEXT NOT NULL, body TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'waiting'
        CHECK (state IN ('waiting', 'done', 'refused')),
    tries INTEGER NOT NULL DEFAULT 0, due_at REAL NOT NULL DEFAULT 0,
    status INTEGER, answer TEXT);
CREATE INDEX IF NOT EXISTS calls_waiting ON calls (due_at) WHERE state = 'waiting';
CREATE INDEX IF NOT EXISTS calls_of_order ON calls (order_id, id);
"""
FIRST_NUMBER = 10_001
BUSY_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Order:
    order_id: str
    placed_at: datetime
    name: str
    email: str
    total: int
    refunded: int
    refunds: int
    cancelled: bool
    currency: str
    report: dict[str, Any]
    """The order as its browser may report it."""

    @property
    def left(self) -> int:
        """What can still be refunded, in hundredths."""
        return 0 if self.cancelled else self.total - self.refunded


@dataclass(frozen=True, slots=True)
class Call:
    id: int
    order_id: str
    what: str
    path: str
    body: str
    state: str
    tries: int
    status: int | None
    answer: str | None


class Store:
    """One SQLite file; every method is its own transaction unless it is given one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self.transaction() as db:
            db.execute("PRAGMA journal_mode = WAL")
        with self.transaction() as db:
            for statement in SCHEMA.split(";\n"):
                db.execute(statement)
            db.execute(
                "INSERT INTO sqlite_sequence (name, seq) SELECT 'orders', ? "
                "WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'orders')",
                (FIRST_NUMBER - 1,),
            )

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S)
        db.row_factory = sqlite3.Row
        try:
            with db:
                yield db
        finally:
            db.close()

    def customer(self, db: sqlite3.Connection, email: str) -> tuple[str, bool]:
        """The customer's id, and whether this is their first order."""
        row = db.execute("SELECT id FROM customers WHERE email = ?", (email,)).fetchone()
        if row:
            return f"c-{row['id']}", False
        made = db.execute("INSERT INTO customers (email) VALUES (?)", (email,))
        return f"c-{made.lastrowid}", True

    def add_order(
        self,
        db: sqlite3.Connection,
        *,
        placed_at: datetime,
        name: str,
        email: str,
        total: int,
        currency: str,
    ) -> str:
        """A new order's id; its report follows by set_report."""
        made = db.execute(
            "INSERT INTO orders (placed_at, name, email, total, currency, report) "
            "VALUES (?, ?, ?, ?, ?, '{}')",
            (placed_at.isoformat(), name, email, total, currency),
        )
        return f"LL-{made.lastrowid}"

    def set_report(self, db: sqlite3.Connection, order_id: str, report: dict[str, Any]) -> None:
        db.execute(
            "UPDATE orders SET report = ? WHERE id = ?", (json.dumps(report), _number(order_id))
        )

    def add_refund(self, db: sqlite3.Connection, order_id: str, amount: int) -> str | None:
        """Write a refund down and give its id; None when less than that is left."""
        row = db.execute(
            "UPDATE orders SET refunded = refunded + ?, refunds = refunds + 1 "
            "WHERE id = ? AND cancelled = 0 AND refunded + ? <= total RETURNING refunds",
            (amount, _number(order_id), amount),
        ).fetchone()
        return f"{order_id}-R{row['refunds']}" if row else None

    def set_cancelled(self, db: sqlite3.Connection, order_id: str) -> bool:
        """True when this call is the one that cancelled it."""
        done = db.execute(
            "UPDATE orders SET cancelled = 1 WHERE id = ? AND cancelled = 0", (_number(order_id),)
        )
        return done.rowcount == 1

    def add_call(
        self, db: sqlite3.Connection, order_id: str, what: str, path: str, body: dict[str, Any]
    ) -> None:
        db.execute(
            "INSERT INTO calls (order_id, what, path, body) VALUES (?, ?, ?, ?)",
            (order_id, what, path, json.dumps(body)),
        )

    def due_call(self, now_s: float, order_id: str | None = None) -> Call | None:
        """The next call to make: of an order always the oldest that still waits."""
        with self.transaction() as db:
            row = db.execute(
                "SELECT * FROM calls c WHERE state = 'waiting' AND due_at <= :now "
                "AND (:order_id IS NULL OR order_id = :order_id) AND NOT EXISTS ("
                " SELECT 1 FROM calls o WHERE o.order_id = c.order_id AND o.state = 'waiting' "
                " AND o.id < c.id) ORDER BY due_at, id LIMIT 1",
                {"now": now_s, "order_id": order_id},
            ).fetchone()
        return _call(row) if row else None

    def answered(
        self, call_id: int, *, state: str, status: int | None, answer: str, due_at: float
    ) -> None:
        with self.transaction() as db:
            db.execute(
                "UPDATE calls SET state = ?, status = ?, answer = ?, due_at = ?, "
                "tries = tries + 1 WHERE id = ?",
                (state, status, answer, due_at, call_id),
            )

    def orders(self) -> list[Order]:
        with self.transaction() as db:
            rows = db.execute("SELECT * FROM orders ORDER BY id DESC LIMIT 200").fetchall()
        return [_order(row) for row in rows]

    def order(self, order_id: str) -> Order | None:
        with self.transaction() as db:
            row = db.execute("SELECT * FROM orders WHERE id = ?", (_number(order_id),)).fetchone()
        return _order(row) if row else None

    def calls(self, order_id: str) -> list[Call]:
        with self.transaction() as db:
            rows = db.execute(
                "SELECT * FROM calls WHERE order_id = ? ORDER BY id", (order_id,)
            ).fetchall()
        return [_call(row) for row in rows]


def _number(order_id: str) -> int:
    digits = order_id.removeprefix("LL-")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 19 else 0


def _order(row: sqlite3.Row) -> Order:
    return Order(
        order_id=f"LL-{row['id']}",
        placed_at=datetime.fromisoformat(row["placed_at"]).astimezone(UTC),
        name=row["name"],
        email=row["email"],
        total=row["total"],
        refunded=row["refunded"],
        refunds=row["refunds"],
        cancelled=bool(row["cancelled"]),
        currency=row["currency"],
        report=json.loads(row["report"]),
    )


def _call(row: sqlite3.Row) -> Call:
    return Call(
        id=row["id"],
        order_id=row["order_id"],
        what=row["what"],
        path=row["path"],
        body=row["body"],
        state=row["state"],
        tries=row["tries"],
        status=row["status"],
        answer=row["answer"],
    )
