"""Who writes the node's snapshot of links: the loader, and any web process when it is away.

What to do next stands in the file's head, so whoever holds the lock goes on where the last
one stopped, and a killed keeper leaves nothing behind.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg

from tracker.clicks import link_rows
from tracker.clicks.link_rows import MANY_ROWS_PER_READ, ROWS_PER_READ, Moment, Overlap
from tracker.clicks.snapshot_writer import SnapshotWriter

LOCK_SUFFIX: Final = ".lock"
WHOLE_INTERVAL_S: Final = 600.0
"""All links are compared this often, for what no change told of (a restored database)."""
GENTLE_REST_SHARE: Final = 1.0
"""A reading of all links rests after each stretch as long as that took, times this: clicks are
answered on the same cores, and here by the same process."""
REST_SHARE: Final = 0.5
"""The same for a process that answers no clicks."""
SLICE_S: Final = 0.05
"""How long the routine comparison may go on in one round."""
URGENT_SLICE_S: Final = 0.5


class SnapshotKeeper:
    """Brings the snapshot up to date, a round at a time, when no other process does."""

    def __init__(self, path: Path, *, gentle: bool = False) -> None:
        """``gentle``: the same process answers clicks, which must not wait for this."""
        self._path = path
        self._rows_max = ROWS_PER_READ if gentle else MANY_ROWS_PER_READ
        self._rest_share = GENTLE_REST_SHARE if gentle else REST_SHARE
        self._writer: SnapshotWriter | None = None
        self._overlap = Overlap()
        self._distrust = False

    def distrust(self) -> None:
        """The database was away; another one may have come back: compare all links soon."""
        self._distrust = True

    def round(
        self, connection: psycopg.Connection, *, demo_clock: bool, slice_s: float | None = None
    ) -> bool:
        """Take over changes and compare a stretch; True when the rest should not wait.

        Does nothing while another process is at it. Raises psycopg.Error, OSError and
        sqlite3.Error; whatever was done until then holds.
        """
        with self._locked() as ours:
            if not ours:
                return False
            writer = self._opened()
            moment = self._begin(writer, connection, demo_clock=demo_clock)
            self._take_changes(writer, connection)
            writer.head.watermark_us = moment.now_us
            self._compare(writer, connection, slice_s)
            with writer.step():
                writer.head.refreshed_ms = time.time_ns() // 1_000_000
            return bool(writer.head.urgent)

    def close(self) -> None:
        """Let the file go; the next round would open it again."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _begin(
        self, writer: SnapshotWriter, connection: psycopg.Connection, *, demo_clock: bool
    ) -> Moment:
        head = writer.head
        programs = link_rows.programs(connection)
        offset_ms = link_rows.clock_offset_ms(connection) if demo_clock else 0
        moment = link_rows.moment(connection)
        with writer.step():
            writer.put_programs(programs)
            head.offset_ms = offset_ms
            if self._distrust or moment.newest_us < head.newest_us:
                # Perhaps an older database: what was read of the newer one does not hold.
                head.position, head.urgent = 0, 1
            elif head.position < 0 and _whole_is_due(head.whole_ms):
                head.position = 0
            # At first all is about to be read anyway; a clock may also have been put back.
            head.watermark_us = min(head.watermark_us or moment.now_us, moment.now_us)
            head.newest_us = moment.newest_us
        self._distrust = False
        return moment

    def _take_changes(self, writer: SnapshotWriter, connection: psycopg.Connection) -> None:
        if not writer.head.complete and not writer.head.position:
            return  # Nothing is in it that could have changed.
        since_us = self._overlap.since_us(writer.head.watermark_us)
        for rows in link_rows.changed_links(connection, since_us, self._rows_max):
            began = time.monotonic()
            with writer.step():
                writer.put_changed(rows)
            self._rest(began)

    def _compare(
        self, writer: SnapshotWriter, connection: psycopg.Connection, slice_s: float | None
    ) -> None:
        """Go on comparing all links with the database, for as long as a round may take."""
        head = writer.head
        if slice_s is None:
            slice_s = URGENT_SLICE_S if head.urgent else SLICE_S
        end = time.monotonic() + slice_s
        while head.position >= 0 and time.monotonic() < end:
            began = time.monotonic()
            rows = link_rows.links_after(connection, head.position, self._rows_max)
            last = len(rows) < self._rows_max
            with writer.step():
                writer.put_stretch(head.position, rows, last=last)
                head.position = -1 if last else rows[-1].link_id
                if last:
                    _finish(writer)
            self._rest(began)

    def _rest(self, began: float) -> None:
        time.sleep((time.monotonic() - began) * self._rest_share)

    def _opened(self) -> SnapshotWriter:
        if self._writer is not None and not self._writer.in_place:
            self.close()
        if self._writer is None:
            self._writer = SnapshotWriter(self._path)
        else:
            self._writer.reread_head()
        return self._writer

    @contextmanager
    def _locked(self) -> Iterator[bool]:
        """A lock on a file beside the snapshot; it ends with the process that held it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(f"{self._path}{LOCK_SUFFIX}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(lock)


def _finish(writer: SnapshotWriter) -> None:
    """All links were compared: note it, and make the others forget what was wrong."""
    head = writer.head
    if head.complete and head.differences:
        head.generation += 1
    head.complete, head.urgent, head.differences = 1, 0, 0
    head.whole_ms = time.time_ns() // 1_000_000


def _whole_is_due(whole_ms: int) -> bool:
    return abs(time.time() - whole_ms / 1000) > WHOLE_INTERVAL_S
