"""The links in a process's memory: those that are clicked, ready to redirect.

All others are found in the node's snapshot (tracker.clicks.snapshot) when they are first
clicked, and in PostgreSQL when they are newer than that. docs/decisions/0006-links-in-memory.md
has the reasons.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import psycopg

from tracker.clicks import link_rows
from tracker.clicks.destinations import split_destination
from tracker.clicks.link_rows import PAUSE_S, LinkRow, Overlap
from tracker.clicks.link_rows import LinkProgram as LinkProgram  # noqa: PLC0414
from tracker.clicks.rules import DropReason
from tracker.clicks.snapshot import SNAPSHOT as SNAPSHOT  # noqa: PLC0414 -- the front's word too
from tracker.clicks.snapshot import SnapshotReader

LINKS_IN_MEMORY_MAX: Final = 100_000
SHARED_MAX: Final = 4096
"""Equal destinations and sub-ids are kept once, as far as this many go."""
ANSWERING_S: Final = 5.0
"""A database that answered this long ago or less is asked before an old snapshot is."""


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
    updated_us: int
    """When it was last changed: of two readings of a link the younger holds."""


def memory_link(row: LinkRow, program: LinkProgram) -> MemoryLink:
    """The one place where a row becomes what a click needs."""
    prefix, suffix = _halves(row.destination)
    texts, texts_bytes = _sub_ids(row.s1, row.s2, row.s3, row.s4, row.s5)
    return MemoryLink(
        row.link_id, program, prefix, suffix, texts, texts_bytes, _barred(row), row.updated_us
    )


class LinkTable:
    """Code → link, and the demo clock's offset. A hit takes no lock: dict reads are atomic.

    At most ``links_max`` links are kept, in two generations. ``links`` is the younger one;
    when it has half of them it becomes the older one, whose links come back when they are
    clicked and are forgotten with the next change of generations. A hit so costs nothing to
    remember, and whatever was clicked lately stays.
    """

    def __init__(
        self, snapshot: Path | None = None, *, links_max: int = LINKS_IN_MEMORY_MAX
    ) -> None:
        self.links: dict[str, MemoryLink] = {}
        self.programs: dict[int, LinkProgram] = {}
        self.offset_ms = 0
        self.snapshot = SnapshotReader(snapshot)
        self._generation_max = max(1, links_max // 2)
        self._older: dict[str, MemoryLink] = {}
        self._folded: dict[str, str] = {}
        self._watermark_us = 0
        self._newest_us = 0
        self._overlap = Overlap()
        self._seen_generation: int | None = None
        self._answered_at = float("-inf")
        self._lock = threading.Lock()

    @property
    def loaded(self) -> bool:
        """True as soon as memory and snapshot together know all links."""
        return self.snapshot.whole

    @property
    def answering(self) -> bool:
        """Whether the database answered this process's thread within the last seconds."""
        return time.monotonic() - self._answered_at < ANSWERING_S

    def find(self, code: str) -> MemoryLink | None:
        """The link of a code, a vanity code in any case of letters; memory, then snapshot.

        A snapshot that is not kept up to date is passed over while the database answers: then
        a look-up there comes first (UnknownCodes), and ``find_in_snapshot`` last.
        """
        link = self._recall(code)
        if link is None and (self.snapshot.fresh or not self.answering):
            link = self.find_in_snapshot(code)
        return link

    def find_in_snapshot(self, code: str) -> MemoryLink | None:
        """What the snapshot says of a code, however old it is."""
        row = self.snapshot.find(code)
        if row is None:
            return None
        if row.program_id not in self.programs:
            self._learn(self.snapshot.programs())
        return self._keep(row)

    def look_up(self, connection: psycopg.Connection, code: str) -> MemoryLink | None:
        """Ask the database for one code; nothing of it waits for the thread that refreshes."""
        for row in link_rows.links_of_code(connection, code):
            if row.program_id not in self.programs:
                self._learn(link_rows.programs(connection))
            self._keep(row)
        return self._recall(code)

    def look_up_programs(self, connection: psycopg.Connection) -> None:
        """Ask the database for the programs, before the thread that refreshes does."""
        self._learn(link_rows.programs(connection))

    def look_at_snapshot(self) -> None:
        """Open the snapshot as soon as there is one; forget what it found out to be wrong."""
        if not self.snapshot.look():
            return
        head = self.snapshot.head
        if not self._watermark_us:
            self._watermark_us, self._newest_us = head.watermark_us, head.newest_us
        if self._answered_at == float("-inf"):
            # Programs and clock come from here until the database has told of them.
            self._learn(self.snapshot.programs())
            self.offset_ms = head.offset_ms
        if head.generation != self._seen_generation:
            if self._seen_generation is not None:
                self._forget_all()
            self._seen_generation = head.generation

    def refresh(self, connection: psycopg.Connection, *, demo_clock: bool) -> None:
        """Read what changed since the last time. Raises psycopg.Error; one thread alone calls.

        New and changed links are kept as if they had been clicked; of very many changes at
        once only as many as take no room from others.
        """
        self._learn(link_rows.programs(connection))
        self.offset_ms = link_rows.clock_offset_ms(connection) if demo_clock else 0
        moment = link_rows.moment(connection)
        if moment.newest_us < self._newest_us:
            # An older database answers: what is in memory is not its.
            self._forget_all()
        self._newest_us = moment.newest_us
        self._answered_at = time.monotonic()
        if self._watermark_us:  # Else nothing is in memory that could have changed.
            self._read_changes(connection, min(self._watermark_us, moment.now_us))
        self._watermark_us = moment.now_us

    def _read_changes(self, connection: psycopg.Connection, watermark_us: int) -> None:
        since_us = self._overlap.since_us(watermark_us)
        for number, rows in enumerate(link_rows.changed_links(connection, since_us)):
            for row in rows:
                self._renew(row, always=number == 0)
            self._answered_at = time.monotonic()
            time.sleep(PAUSE_S)

    def _recall(self, code: str) -> MemoryLink | None:
        link = self.links.get(code)
        if link is not None:
            return link
        if code in self._older:
            return self._rejuvenate(code)
        spelled = self._folded.get(code.lower())
        if spelled is None:
            return None
        return self.links.get(spelled) or self._rejuvenate(spelled)

    def _rejuvenate(self, code: str) -> MemoryLink | None:
        with self._lock:
            link = self._older.pop(code, None)
            if link is None:
                return self.links.get(code)
            self._put(code, link)
            return link

    def _renew(self, row: LinkRow, *, always: bool) -> None:
        code = row.code
        known = self.links.get(code) or self._older.get(code)
        if known is not None:
            if known.updated_us < row.updated_us:
                self._keep(row)
        elif always or len(self.links) < self._generation_max:
            self._keep(row)

    def _keep(self, row: LinkRow) -> MemoryLink | None:
        """Put a row into memory, unless a younger reading of it is there already."""
        program = self.programs.get(row.program_id)
        if program is None:
            # Made together with its program a moment after the programs were read: the next
            # round reads the program first and, by the overlap, this link again.
            return None
        link = memory_link(row, program)
        with self._lock:
            known = self.links.get(row.code) or self._older.get(row.code)
            if known is not None and known.updated_us > link.updated_us:
                return known
            self._older.pop(row.code, None)
            if row.vanity:
                self._folded[row.code.lower()] = row.code
            self._put(row.code, link)
        return link

    def _put(self, code: str, link: MemoryLink) -> None:
        """Under the lock. ``links`` stays the same object: the front holds on to it."""
        if len(self.links) >= self._generation_max and code not in self.links:
            self._older = self.links.copy()
            self.links.clear()
            self._folded = {
                folded: spelled
                for folded, spelled in self._folded.items()
                if spelled in self._older or spelled == code
            }
        self.links[code] = link

    def _forget_all(self) -> None:
        with self._lock:
            self._older = {}
            self._folded = {}
            self.links.clear()

    def _learn(self, programs: list[LinkProgram]) -> None:
        """Change the programs in place: links hold on to them."""
        for fresh in programs:
            known = self.programs.get(fresh.program_id)
            if known is None:
                self.programs[fresh.program_id] = fresh
            elif known != fresh:
                for name in LinkProgram.__slots__:
                    setattr(known, name, getattr(fresh, name))


@lru_cache(maxsize=SHARED_MAX)
def _halves(destination: str) -> tuple[str, str]:
    return split_destination(destination)


@lru_cache(maxsize=SHARED_MAX)
def _sub_ids(*texts: str | None) -> tuple[tuple[str, ...], bytes]:
    whole = tuple(text or "" for text in texts)
    return whole, "\0".join(whole).encode("utf-8", "replace")


def _barred(row: LinkRow) -> DropReason | None:
    if not row.active:
        return DropReason.AFFILIATE_INACTIVE
    return DropReason.LINK_DISABLED if row.disabled else None
