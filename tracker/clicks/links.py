"""The links in a process's memory: read from PostgreSQL by change, kept in a snapshot file.

Every node's loader writes the snapshot; every process reads it at start, so that a
restarted one redirects while PostgreSQL and Valkey are away.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import psycopg
import structlog
from psycopg.rows import dict_row

from tracker.clicks.destinations import split_destination
from tracker.clicks.rules import DropReason

SNAPSHOT: Final = "links.snapshot"
SNAPSHOT_FORMAT: Final = "kopeck-links-1"
OVERLAP_S: Final = 30
"""A change is read again for this long, because a transaction that wrote its time early
may commit late."""
FULL_INTERVAL_S: Final = 600
"""Everything is read anew this often, for what no change told of (a restored database)."""
ROWS_PER_FETCH: Final = 10_000

log = structlog.get_logger(__name__)

LINK_COLUMNS = """
    SELECT links.id, links.program_id, links.code, links.vanity, links.destination,
           links.s1, links.s2, links.s3, links.s4, links.s5,
           links.disabled_at IS NOT NULL AS disabled, enrollments.status AS enrollment,
           links.updated_at
      FROM links JOIN enrollments ON enrollments.id = links.enrollment_id
"""
ALL_LINKS = LINK_COLUMNS
CHANGED_LINKS = LINK_COLUMNS + " WHERE links.updated_at > %(since)s"
ONE_LINK = LINK_COLUMNS + " WHERE links.code = %(code)s OR (vanity AND lower(code) = %(folded)s)"
PROGRAMS = "SELECT id, slug, status, landing_url, allowed_sites, closes_at FROM programs"
CLOCK = "SELECT seconds FROM clock_offset WHERE id = 1"


@dataclass(slots=True)
class LinkProgram:
    """What the front knows of a program. Shared by all its links, changed in place."""

    program_id: int
    slug: str
    status: str
    landing_url: str
    allowed_sites: tuple[str, ...]
    closes_ms: int | None
    """The first millisecond that no longer credits; None: none is set."""


@dataclass(slots=True)
class MemoryLink:
    """A link ready to redirect: everything that a click needs, computed beforehand."""

    link_id: int
    program: LinkProgram
    prefix: str
    suffix: str
    sub_ids: tuple[str, ...]
    """Five texts, empty where there is none."""
    sub_ids_bytes: bytes
    """The same as the journal wants them: joined by NUL."""
    barred: DropReason | None
    """Why its clicks never credit; None for a link in use."""


class LinkTable:
    """Code → link, and the demo clock's offset. Readers take no lock: dict reads are atomic."""

    def __init__(self) -> None:
        self.links: dict[str, MemoryLink] = {}
        self.programs: dict[int, LinkProgram] = {}
        self.offset_ms = 0
        self.loaded = False
        """True as soon as a snapshot or the database was read whole."""
        self.version = 0
        """Grows with every change that a snapshot would show."""
        self._folded: dict[str, str] = {}
        self._rows: dict[int, tuple[Any, ...]] = {}
        self._watermark: datetime | None = None
        self._read_whole = 0.0
        self._lock = threading.Lock()

    def find(self, code: str) -> MemoryLink | None:
        """The link of a code; a vanity code in any case of letters."""
        link = self.links.get(code)
        if link is None:
            spelled = self._folded.get(code.lower())
            link = None if spelled is None else self.links.get(spelled)
        return link

    def refresh(self, connection: psycopg.Connection, *, demo_clock: bool) -> None:
        """Read what changed since the last time; everything at first and now and then."""
        with self._lock:
            self._read_programs(connection)
            offset_ms = self._read_offset(connection) if demo_clock else 0
            whole = self._watermark is None or time.monotonic() - self._read_whole > FULL_INTERVAL_S
            if whole:
                self._read_all(connection)
            else:
                assert self._watermark is not None
                since = self._watermark - timedelta(seconds=OVERLAP_S)
                for row in _fetch(connection, CHANGED_LINKS, {"since": since}):
                    self._put(row)
            if offset_ms != self.offset_ms:
                self.offset_ms = offset_ms
                self.version += 1
            self.loaded = True

    def look_up(self, connection: psycopg.Connection, code: str) -> MemoryLink | None:
        """Ask the database for one code that memory does not have.

        Takes no lock: a request must not wait for a thread that reads a million links, and
        putting one more entry into a dictionary needs none.
        """
        values = {"code": code, "folded": code.lower()}
        for row in list(_fetch(connection, ONE_LINK, values)):
            if row["program_id"] not in self.programs:
                self._read_programs(connection)
            self._put(row, watermark=False)
        return self.find(code)

    def write_snapshot(self, path: Path) -> None:
        """Write all links beside the old snapshot, then put it in its place in one step."""
        with self._lock:
            head = {
                "offset_ms": self.offset_ms,
                "programs": [
                    [p.program_id, p.slug, p.status, p.landing_url, p.allowed_sites, p.closes_ms]
                    for p in self.programs.values()
                ],
            }
            rows = list(self._rows.values())
        path.parent.mkdir(parents=True, exist_ok=True)
        hidden = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        digest = sha256()
        try:
            with hidden.open("wb") as file:
                for value in _snapshot_lines(head, rows):
                    line = json.dumps(value, separators=(",", ":")).encode() + b"\n"
                    digest.update(line)
                    file.write(line)
                file.write(json.dumps({"sha256": digest.hexdigest()}).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            hidden.replace(path)
        finally:
            hidden.unlink(missing_ok=True)

    def read_snapshot(self, path: Path) -> bool:
        """Take over a snapshot; False when there is none or it is not whole."""
        try:
            lines = path.read_bytes().splitlines(keepends=True)
            checksum = json.loads(lines.pop())["sha256"]
            if sha256(b"".join(lines)).hexdigest() != checksum:
                raise ValueError("checksum")
            first = json.loads(lines[0])
            if first["format"] != SNAPSHOT_FORMAT:
                raise ValueError("format")
            rows = [json.loads(line) for line in lines[1:]]
        except FileNotFoundError:
            return False
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            log.error("the link snapshot cannot be read", error=str(error))
            return False
        with self._lock:
            self.offset_ms = first["offset_ms"]
            for fields in first["programs"]:
                program = LinkProgram(*fields)
                program.allowed_sites = tuple(program.allowed_sites)
                self.programs[program.program_id] = program
            for fields in rows:
                self._place(tuple(fields))
            self.loaded = True
        return True

    def _read_programs(self, connection: psycopg.Connection) -> None:
        for row in _fetch(connection, PROGRAMS, {}):
            closes_at: datetime | None = row["closes_at"]
            fresh = LinkProgram(
                row["id"],
                row["slug"],
                row["status"],
                row["landing_url"],
                tuple(row["allowed_sites"]),
                None if closes_at is None else int(closes_at.timestamp() * 1000),
            )
            known = self.programs.get(fresh.program_id)
            if known == fresh:
                continue
            self.version += 1
            if known is None:
                self.programs[fresh.program_id] = fresh
                continue
            for name in LinkProgram.__slots__:
                setattr(known, name, getattr(fresh, name))

    def _read_offset(self, connection: psycopg.Connection) -> int:
        row = connection.execute(CLOCK).fetchone()
        return 0 if row is None else int(row[0]) * 1000

    def _read_all(self, connection: psycopg.Connection) -> None:
        self._watermark = self._watermark or datetime.fromtimestamp(0, UTC)
        seen: set[int] = set()
        for row in _fetch(connection, ALL_LINKS, {}):
            seen.add(row["id"])
            self._put(row)
        for link_id in [link_id for link_id in self._rows if link_id not in seen]:
            self._forget(link_id)
        self._read_whole = time.monotonic()

    def _put(self, row: dict[str, Any], *, watermark: bool = True) -> None:
        if row["program_id"] not in self.programs:
            # Made together with its program a moment after the programs were read: the
            # next round reads the program first and, by the overlap, this link again.
            return
        if watermark and (self._watermark is None or row["updated_at"] > self._watermark):
            self._watermark = row["updated_at"]
        fields = (
            row["id"],
            row["program_id"],
            row["code"],
            row["vanity"],
            row["destination"],
            [row[name] or "" for name in ("s1", "s2", "s3", "s4", "s5")],
            _barred(disabled=row["disabled"], enrollment=row["enrollment"]),
        )
        if self._rows.get(row["id"]) != fields:
            self._place(fields)
            self.version += 1

    def _place(self, fields: tuple[Any, ...]) -> None:
        link_id, program_id, code, vanity, destination, sub_ids, barred = fields
        known = self._rows.get(link_id)
        if known is not None and known[2] != code:
            self._forget(link_id)
        prefix, suffix = split_destination(destination)
        texts = tuple(sub_ids)
        self._rows[link_id] = fields
        self.links[code] = MemoryLink(
            link_id,
            self.programs[program_id],
            prefix,
            suffix,
            texts,
            "\0".join(texts).encode("utf-8", "replace"),
            None if barred is None else DropReason(barred),
        )
        if vanity:
            self._folded[code.lower()] = code

    def _forget(self, link_id: int) -> None:
        fields = self._rows.pop(link_id, None)
        if fields is None:
            return
        self.links.pop(fields[2], None)
        if fields[3]:
            self._folded.pop(fields[2].lower(), None)
        self.version += 1


def _barred(*, disabled: bool, enrollment: str) -> str | None:
    if enrollment != "active":
        return DropReason.AFFILIATE_INACTIVE.value
    return DropReason.LINK_DISABLED.value if disabled else None


def _fetch(
    connection: psycopg.Connection, statement: str, values: dict[str, Any]
) -> Iterable[dict[str, Any]]:
    """Rows as dictionaries, a few thousand at a time, so that a million does not pile up."""
    with connection.transaction(), connection.cursor("links", row_factory=dict_row) as cursor:
        cursor.itersize = ROWS_PER_FETCH
        cursor.execute(statement, values)
        yield from cursor


def _snapshot_lines(head: dict[str, Any], rows: Sequence[tuple[Any, ...]]) -> Iterable[Any]:
    yield {"format": SNAPSHOT_FORMAT, **head}
    yield from rows
