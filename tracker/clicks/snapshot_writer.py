"""Writing the node's snapshot of links: every change is whole or not there."""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import astuple, fields
from pathlib import Path
from typing import Final

import structlog

from tracker.clicks.link_rows import LinkProgram, LinkRow
from tracker.clicks.snapshot import (
    ROWS,
    SNAPSHOT_FORMAT,
    Head,
    SnapshotBroken,
    checksum_of,
    identity_of,
    open_snapshot,
    read_head,
    read_programs,
)

SCHEMA: Final = f"""
    BEGIN IMMEDIATE;
    CREATE TABLE head (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE programs (
        id INTEGER PRIMARY KEY, slug TEXT NOT NULL, status TEXT NOT NULL,
        landing_url TEXT NOT NULL, allowed_sites TEXT NOT NULL, closes_ms INTEGER
    );
    CREATE TABLE links (
        id INTEGER PRIMARY KEY, code TEXT NOT NULL UNIQUE, vanity INTEGER NOT NULL,
        program_id INTEGER NOT NULL, destination TEXT NOT NULL,
        s1 TEXT, s2 TEXT, s3 TEXT, s4 TEXT, s5 TEXT,
        disabled INTEGER NOT NULL, active INTEGER NOT NULL, updated_us INTEGER NOT NULL,
        checksum INTEGER NOT NULL
    );
    CREATE INDEX links_folded ON links (lower(code)) WHERE vanity;
    PRAGMA user_version = {SNAPSHOT_FORMAT};
    COMMIT;
"""
BY_ID: Final = ROWS + " WHERE id = ?"
BETWEEN: Final = ROWS + " WHERE id > ? AND id <= ?"
PUT: Final = "INSERT OR REPLACE INTO links VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

log = structlog.get_logger(__name__)


class SnapshotWriter:
    """The file, open for writing. One process at a time: the keeper holds a lock."""

    def __init__(self, path: Path) -> None:
        """Open it, or begin anew where there is none or a broken one.

        Raises OSError and sqlite3.OperationalError when the disk does not let us.
        """
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._file = _open(path)
            row = self._file.execute("PRAGMA quick_check(1)").fetchone()
            if row[0] != "ok":
                raise SnapshotBroken(str(row[0]))
            self.head = read_head(self._file)
        except FileNotFoundError:
            self._begin_anew()
        except (SnapshotBroken, sqlite3.DatabaseError) as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            log.error("the link snapshot is broken and is made anew", error=str(error))
            self._begin_anew()
        self._identity = identity_of(path)

    @property
    def in_place(self) -> bool:
        """Whether the file's name still leads to this file."""
        try:
            return identity_of(self._path) == self._identity
        except FileNotFoundError:
            return False

    def reread_head(self) -> None:
        """Another process may have written since we last had the lock."""
        self.head = read_head(self._file)

    @contextmanager
    def step(self) -> Iterator[None]:
        """One transaction, with the head as it stands at its end."""
        self._file.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._file.executemany(
                "INSERT OR REPLACE INTO head (name, value) VALUES (?, ?)",
                zip((field.name for field in fields(Head)), astuple(self.head), strict=True),
            )
        except BaseException:
            self._file.execute("ROLLBACK")
            raise
        self._file.execute("COMMIT")

    def put_programs(self, programs: Sequence[LinkProgram]) -> None:
        """Make these all the programs there are."""
        with suppress(ValueError):  # One that rotted is made anew as well.
            if sorted(map(astuple, read_programs(self._file))) == sorted(map(astuple, programs)):
                return
        self._file.execute("DELETE FROM programs")
        self._file.executemany(
            "INSERT INTO programs VALUES (?, ?, ?, ?, ?, ?)",
            [
                (
                    p.program_id,
                    p.slug,
                    p.status,
                    p.landing_url,
                    json.dumps(p.allowed_sites),
                    p.closes_ms,
                )
                for p in programs
            ],
        )

    def put_changed(self, rows: Sequence[LinkRow]) -> None:
        """Take over rows that changed.

        What the others could not know, a code given up or a change without a trace, makes
        them forget.
        """
        known = {}
        for row in rows:
            found = self._file.execute(BY_ID, (row.link_id,)).fetchone()
            if found is not None:
                known[row.link_id] = found
                known_row = LinkRow._make(found[:-1])
                renamed = known_row.code != row.code
                untold = known_row.updated_us >= row.updated_us and known_row != row
                if renamed or untold:
                    self.head.generation += 1
        self._put_differing(rows, known)

    def put_stretch(self, after: int, rows: Sequence[LinkRow], *, last: bool) -> None:
        """Make ``rows`` all the links whose ids follow ``after``, up to the last row's own.

        ``last``: nothing follows them either. Counts in the head what differed although no
        change had told of it.
        """
        end = (1 << 63) - 1 if last else rows[-1].link_id
        known = {found[0]: found for found in self._file.execute(BETWEEN, (after, end))}
        differing = self._put_differing(rows, known)
        untold = sum(row.updated_us <= self.head.watermark_us for row in differing)
        gone = [(link_id,) for link_id in known.keys() - {row.link_id for row in rows}]
        self._file.executemany("DELETE FROM links WHERE id = ?", gone)
        self.head.differences += untold + len(gone)

    def close(self) -> None:
        self._file.close()

    def _put_differing(
        self, rows: Sequence[LinkRow], known: dict[int, tuple[object, ...]]
    ) -> list[LinkRow]:
        summed = [(*row, checksum_of(row)) for row in rows]
        differing = [values for values in summed if known.get(values[0]) != values]
        self._file.executemany(PUT, differing)
        return [LinkRow._make(values[:-1]) for values in differing]

    def _begin_anew(self) -> None:
        """Put a file without links in place; it appears with schema and head or not at all."""
        hidden = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}")
        self.head = Head(generation=time.time_ns() // 1_000_000, position=0, urgent=1)
        try:
            with closing(sqlite3.connect(hidden, isolation_level=None)) as self._file:
                self._file.executescript(SCHEMA)
                with self.step():
                    pass
            hidden.chmod(0o600)
            # The log of the file that stood here must not be taken for this one's.
            for suffix in ("-wal", "-shm"):
                Path(f"{self._path}{suffix}").unlink(missing_ok=True)
            hidden.replace(self._path)
        finally:
            hidden.unlink(missing_ok=True)
        self._file = _open(self._path)
        self._file.execute("PRAGMA journal_mode = WAL")


def _open(path: Path) -> sqlite3.Connection:
    file = open_snapshot(path, "mode=rw")
    file.execute("PRAGMA synchronous = NORMAL")
    # A text that rotted is to be compared and written anew, not to end the comparison.
    file.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return file
