"""State on disk: one SQLite file, written through before anything is answered.

``synchronous=FULL`` makes each commit wait for the disk, so that an accepted transfer outlives a
kill of this process and of the machine. One process owns a folder at a time: which keys are in
flight is known in memory alone, and two owners would each let the same key through.
"""

from __future__ import annotations

import fcntl
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BUSY_TIMEOUT_S = 30.0
PLATFORM = ""
"""The owner of what belongs to the platform itself, not to a connected account."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    owner TEXT NOT NULL,
    created INTEGER NOT NULL,
    destination TEXT,
    transfer_group TEXT,
    parent TEXT,
    topic TEXT,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS objects_by_kind ON objects (kind, owner, seq);
CREATE TABLE IF NOT EXISTS balances (
    owner TEXT NOT NULL,
    currency TEXT NOT NULL,
    available_minor INTEGER NOT NULL CHECK (available_minor >= 0),
    PRIMARY KEY (owner, currency)
) STRICT;
CREATE TABLE IF NOT EXISTS keys (
    owner TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    created REAL NOT NULL,
    request_id TEXT NOT NULL,
    status INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (owner, key)
) STRICT;
CREATE INDEX IF NOT EXISTS keys_by_age ON keys (created);
CREATE TABLE IF NOT EXISTS deliveries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    event TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    due REAL NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    status INTEGER,
    done REAL
) STRICT;
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (due) WHERE done IS NULL;
CREATE INDEX IF NOT EXISTS deliveries_by_event ON deliveries (event);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""


class FolderInUse(Exception):
    """Another double already owns the folder."""


class Store:
    """Opens the folder, hands out transactions and tells the (movable) time."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = folder / "stripe.sqlite3"
        self._owner = (folder / "owner.lock").open("w")
        try:
            fcntl.flock(self._owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as cause:
            self._owner.close()
            raise FolderInUse(f"another Stripe double already uses {folder}") from cause
        # SQLite's own busy waiting is unfair under many threads; one writer at a time is enough.
        self._writer = threading.Lock()
        # One connection stays open: when the last one closes, SQLite folds its log back into the
        # file, and every request would pay for that.
        self._open = self._connect()
        self._open.execute("PRAGMA journal_mode=WAL")
        self._open.executescript(SCHEMA)

    def _connect(self) -> sqlite3.Connection:
        con = sqlite3.connect(self._file, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        con.row_factory = sqlite3.Row
        con.execute("PRAGMA synchronous=FULL")
        return con

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A read transaction: one consistent picture."""
        con = self._connect()
        try:
            con.execute("BEGIN")
            yield con
        finally:
            con.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A write transaction: committed to disk when the block ends, rolled back if it raises."""
        with self._writer:
            con = self._connect()
            try:
                con.execute("BEGIN IMMEDIATE")
                yield con
                con.execute("COMMIT")
            finally:
                con.close()


def setting(con: sqlite3.Connection, name: str, default: str) -> str:
    row = con.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
    return default if row is None else str(row["value"])


def keep_setting(con: sqlite3.Connection, name: str, value: str) -> None:
    con.execute(
        "INSERT INTO settings (name, value) VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value),
    )


def now(con: sqlite3.Connection) -> float:
    """Unix time in seconds by this double's clock: the machine's, moved by a test or a demo."""
    return time.time() + float(setting(con, "clock_offset_s", "0"))


def add(
    con: sqlite3.Connection,
    kind: str,
    body: dict[str, Any],
    *,
    owner: str = PLATFORM,
    parent: str | None = None,
) -> None:
    con.execute(
        "INSERT INTO objects (id, kind, owner, created, destination, transfer_group, parent,"
        " topic, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            body["id"],
            kind,
            owner,
            body["created"],
            body.get("destination"),
            body.get("transfer_group"),
            parent,
            body.get("type") if kind == "event" else None,
            json.dumps(body),
        ),
    )


def change(con: sqlite3.Connection, body: dict[str, Any]) -> None:
    con.execute("UPDATE objects SET body = ? WHERE id = ?", (json.dumps(body), body["id"]))


def find(
    con: sqlite3.Connection, kind: str, object_id: str, *, owner: str = PLATFORM
) -> dict[str, Any] | None:
    row = con.execute(
        "SELECT body FROM objects WHERE id = ? AND kind = ? AND owner = ?",
        (object_id, kind, owner),
    ).fetchone()
    return None if row is None else dict(json.loads(row["body"]))


def every(con: sqlite3.Connection, kind: str, *, limit: int = -1) -> list[dict[str, Any]]:
    """All objects of a kind of every owner, newest first; a limit of -1 is none."""
    rows = con.execute(
        "SELECT body FROM objects WHERE kind = ? ORDER BY seq DESC LIMIT ?", (kind, limit)
    )
    return [dict(json.loads(row["body"])) for row in rows]
