"""The node's snapshot of all links: an SQLite file that every process of the node looks into.

One process of the node writes it (tracker.clicks.keeper); all others read single rows out of
it, so that no process needs all links in its memory, and a restarted one redirects at once
while PostgreSQL and Valkey are away. SQLite's write-ahead log makes each change whole or not
at all, whenever the writer dies. Each row carries a checksum: a row that rotted on the disk
is not believed.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final
from zlib import crc32

import structlog

from tracker.clicks.link_rows import LinkProgram, LinkRow

SNAPSHOT: Final = "links.snapshot"
SNAPSHOT_FORMAT: Final = 2
"""SQLite's user_version. Format 1 was lines of JSON and is replaced like any broken file."""
FRESH_S: Final = 10.0
"""A snapshot that was brought up to date this long ago or less is believed at once."""
BUSY_WAIT_S: Final = 0.25

ROWS: Final = """
    SELECT id, code, vanity, program_id, destination, s1, s2, s3, s4, s5, disabled, active,
           updated_us, checksum
      FROM links
"""
BY_CODE: Final = ROWS + " WHERE code = ?"
BY_FOLDED: Final = ROWS + " WHERE vanity AND lower(code) = ?"

log = structlog.get_logger(__name__)


class SnapshotBroken(Exception):
    """The file is not a snapshot of this format, or rotted."""


@dataclass(slots=True)
class Head:
    """What the file says of itself."""

    complete: int = 0
    """1 as soon as all links were read into it once."""
    generation: int = 0
    """Grows when links turned out wrong that no change had told of: forget what came from it."""
    offset_ms: int = 0
    watermark_us: int = 0
    """By the database's clock, when changes were last read; 0: never."""
    newest_us: int = 0
    """The last change that the database had then."""
    refreshed_ms: int = 0
    """By this machine's clock, when it was last brought up to date."""
    position: int = -1
    """How far a reading of all links has come, by id; -1: none is under way."""
    differences: int = 0
    """How many links that reading has found wrong so far."""
    urgent: int = 0
    """1: that reading should not take its time."""
    whole_ms: int = 0
    """When the last such reading ended."""


def checksum_of(row: LinkRow) -> int:
    """A row's checksum; the fields are whole numbers, texts and None, so `repr` is exact."""
    return crc32(repr(tuple(row)).encode("utf-8", "surrogatepass"))


class SnapshotReader:
    """Looks single links up, from any thread. Never raises for what is wrong with the file."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._frozen = False
        """True while it is read as it lies there, past what is being written."""
        self._lock = threading.Lock()
        self._fresh_until = 0.0
        self._complained = False
        self.head = Head()

    @property
    def whole(self) -> bool:
        """Whether what it does not know cannot have been a link when it was last refreshed."""
        return self._file is not None and bool(self.head.complete)

    @property
    def fresh(self) -> bool:
        """Whether it is whole and was brought up to date within the last seconds."""
        return time.monotonic() < self._fresh_until and self.whole

    def look(self) -> bool:
        """Open it, or its successor, and read its head; called every second.

        False: there is none to be read; what was opened before goes on answering.
        A file that took this one's place is used when it is complete: until then the old
        one, which has no name any more, knows more.
        """
        if self._path is None:
            return False
        try:
            self._open_successor(self._path)
            with self._lock:
                if self._file is None:
                    return False
                self.head = read_head(self._file)
        except FileNotFoundError:
            return False
        except (OSError, sqlite3.Error, SnapshotBroken) as error:
            self._complain(error)
            return False
        age_s = abs(time.time() - self.head.refreshed_ms / 1000)
        self._fresh_until = time.monotonic() + FRESH_S - age_s
        return True

    def find(self, code: str) -> LinkRow | None:
        """The row of a code, or of a vanity code in another case of letters."""
        row = self._one(BY_CODE, code)
        return row if row is not None else self._one(BY_FOLDED, code.lower())

    def programs(self) -> list[LinkProgram]:
        """All programs; none when the file cannot be read."""
        if self._file is None:
            return []
        try:
            with self._lock:
                return read_programs(self._file)
        except (sqlite3.Error, ValueError) as error:
            self._complain(error)
            return []

    def close(self) -> None:
        """Let the file go; the next look would open it again."""
        with self._lock:
            if self._file is not None:
                self._file.close()
            self._file = None

    def _one(self, statement: str, code: str) -> LinkRow | None:
        try:
            with self._lock:
                if self._file is None:
                    return None
                found = self._file.execute(statement, (code,)).fetchone()
            if found is None:
                return None
            row = LinkRow._make(found[:-1])
            if checksum_of(row) != found[-1]:
                raise SnapshotBroken("a row's checksum is wrong")
        except (sqlite3.Error, SnapshotBroken) as error:
            self._complain(error)
            return None
        return row

    def _open_successor(self, path: Path) -> None:
        identity = identity_of(path)
        if self._file is not None and identity == self._identity and not self._frozen:
            return
        frozen = False
        try:
            opened = open_snapshot(path, "mode=ro")
        except sqlite3.OperationalError:
            # On a full disk nobody can make the files that readers and writer share. What
            # the file itself holds is then better than nothing.
            if self._file is not None:
                return
            opened, frozen = open_snapshot(path, "immutable=1"), True
        if self._file is not None and not self._frozen and not _is_complete(opened):
            opened.close()
            return
        with self._lock:
            previous, self._file = self._file, opened
            self._identity, self._frozen = identity, frozen
        if previous is not None:
            previous.close()
        self._complained = False

    def _complain(self, error: Exception) -> None:
        if not self._complained:
            log.error("the link snapshot cannot be read", error=str(error))
        self._complained = True


def is_whole(path: Path) -> bool:
    """Whether a snapshot lies there that has all links."""
    reader = SnapshotReader(path)
    reader.look()
    whole = reader.whole
    reader.close()
    return whole


def read_head(file: sqlite3.Connection) -> Head:
    """Raises SnapshotBroken when the file has none that we understand."""
    names = {field.name for field in fields(Head)}
    values = dict(file.execute("SELECT name, value FROM head"))
    if not names <= values.keys():
        raise SnapshotBroken("the head is not whole")
    return Head(**{name: int(values[name]) for name in names})


def read_programs(file: sqlite3.Connection) -> list[LinkProgram]:
    """All programs of a snapshot."""
    rows = file.execute(
        "SELECT id, slug, status, landing_url, allowed_sites, closes_ms FROM programs"
    )
    return [
        LinkProgram(number, slug, status, landing_url, tuple(json.loads(sites)), closes_ms)
        for number, slug, status, landing_url, sites, closes_ms in rows
    ]


def open_snapshot(path: Path, access: str) -> sqlite3.Connection:
    """Open a snapshot of this format; ``access`` as in SQLite's "URI filenames".

    Raises FileNotFoundError, SnapshotBroken or sqlite3.Error.
    """
    path.stat()
    file = sqlite3.connect(
        f"{path.absolute().as_uri()}?{access}",
        uri=True,
        isolation_level=None,
        timeout=BUSY_WAIT_S,
        check_same_thread=False,
    )
    try:
        (version,) = file.execute("PRAGMA user_version").fetchone()
        if version != SNAPSHOT_FORMAT:
            raise SnapshotBroken(f"format {version}")
    except BaseException:
        file.close()
        raise
    return file


def identity_of(path: Path) -> tuple[int, int]:
    """Which file a name leads to now."""
    status = path.stat()
    return status.st_dev, status.st_ino


def _is_complete(file: sqlite3.Connection) -> bool:
    try:
        return bool(read_head(file).complete)
    except (sqlite3.Error, SnapshotBroken):
        return False
