"""The loader: one process a node, carries the journal's segments into PostgreSQL.

It works from files and from rows that say how far each file is loaded, so it may be killed
at any instant, run twice at once, or find the database gone: the next round goes on where
the last commit stood.
"""

from __future__ import annotations

import fcntl
import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Final

import psycopg
import structlog
from sqlalchemy.exc import SQLAlchemyError

from affiliate.core import clock, metrics
from affiliate.core.config import Settings
from affiliate.core.db import engine_for, session_for
from tracker.clicks import counts
from tracker.clicks.database import connect
from tracker.clicks.floods import FloodLimits, FloodWatch
from tracker.clicks.freshness import LinkRefresher
from tracker.clicks.journal import FOLDER, SEGMENT_SECONDS_MAX, SUFFIX
from tracker.clicks.judging import LinkFacts
from tracker.clicks.loading import load_records, quarantine, rejected
from tracker.clicks.partitions import ensure_partitions
from tracker.clicks.reading import Reading
from tracker.clicks.records import ClickRecord, Reject, RejectReason, Scan, scan
from tracker.clicks.retention import detach_old
from tracker.clicks.watch import LOADED, Watch

IDLE_WAIT_S: Final = 0.1
BUSY_WAIT_S: Final = 0.25
"""After a round of at least `BUSY_ROWS`: the next then has more rows, which makes each cheaper."""
BUSY_ROWS: Final = 2_000
AWAY_WAIT_S: Final = 1.0
BATCH_ROWS_MAX: Final = 20_000
"""More rows make a row cheaper, for each link's counters are written once a batch; a batch
must stay below a second, for which other nodes wait with clicks of the same programs."""
CHUNK_BYTES: Final = 8 * 1024 * 1024
RETENTION_DAYS: Final = 7
"""A database restored from a backup of this age finds its clicks in the journal again."""
UPKEEP_INTERVAL_S, UPKEEP_RETRY_S = 600, 60
REPORT_INTERVAL_S: Final = 10
RECORDED_WITHIN: Final = timedelta(minutes=1)
"""From the instant that a click carries to its record in the journal, at the most."""
NODE_FORGOTTEN_DAYS: Final = 8
"""A node that has not reported for longer is gone: its journals would not be kept either."""
FACTS_SECONDS: Final = 10
SPILL: Final = "spill"

AHEAD = "SELECT seconds FROM clock_offset WHERE id = 1"
SEEN = "SELECT loaded_offset FROM click_segments WHERE segment = %s"
SEEN_OF = "SELECT segment, loaded_offset FROM click_segments WHERE segment = ANY(%s)"
ADOPT = """
    INSERT INTO click_segments (segment, node, loaded_offset, seen_at) VALUES (%s, %s, 0, %s)
    ON CONFLICT (segment) DO NOTHING
"""
LOCK_SEGMENT = "SELECT loaded_offset FROM click_segments WHERE segment = %s FOR UPDATE"
ADVANCE = """
    UPDATE click_segments SET loaded_offset = %s, clicks = clicks + %s, node = %s, seen_at = %s
     WHERE segment = %s
"""
REPORT = """
    INSERT INTO click_nodes (node, loaded_until, reported_at) VALUES (%s, %s, %s)
    ON CONFLICT (node) DO UPDATE
       SET loaded_until = excluded.loaded_until, reported_at = excluded.reported_at
"""
FORGET = "DELETE FROM click_nodes WHERE reported_at < %s"
FINISH = "UPDATE click_segments SET finished_at = %s WHERE segment = %s"
TAKE_SPILL = """
    DELETE FROM click_spill WHERE id IN (
        SELECT id FROM click_spill ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
    ) RETURNING id, record
"""
UNACCEPTABLE: Final = (psycopg.DataError, psycopg.IntegrityError, ValueError, OverflowError)
"""What one record can be at fault for: the table refuses it, or it names an absurd instant."""

log = structlog.get_logger(__name__)


class Loader:
    """Loads what the journal of this node has; ``round`` once, ``run`` until told to stop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = settings.data_dir / FOLDER
        self._node = socket.gethostname()
        self._connection: psycopg.Connection | None = None
        self._offsets: dict[str, int] = {}
        self._floods = FloodWatch(FloodLimits.of(settings))
        self._facts: dict[int, LinkFacts] = {}
        self._facts_read = 0.0
        self._upkeep_due = 0.0
        self._passed_over: set[str] = set()
        self._left_over = False
        self._report_due = 0.0
        self._rows_max = BATCH_ROWS_MAX
        self._away = False
        self._watch: Watch | None = None
        self._ahead_ms = 0

    def run(self, stop: threading.Event) -> None:
        """Load until ``stop`` is set, whatever becomes of the database meanwhile."""
        self._watch = Watch(self._settings)
        refresher = LinkRefresher(None, self._settings)
        refresher.start()
        try:
            while not stop.is_set():
                wait_s = self._round_or_wait()
                self._look()
                stop.wait(wait_s)
            self._round_or_wait()
        finally:
            refresher.stop()
            self.close()

    def round(self) -> int:
        """Load everything that is there now; returns how many records that was.

        Raises psycopg.OperationalError when the database is away; nothing is lost by it.
        """
        connection = self._connected()
        if time.monotonic() >= self._upkeep_due:
            self._keep_up_or_later()
        began, self._left_over = clock.real_now(), False
        loaded = sum(self._load_or_pass_over(connection, path) for path in self._segments())
        loaded += self._load_spill(connection)
        self._report(connection, began)
        return loaded

    def close(self) -> None:
        """Hang up; what was not committed is loaded the next time."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _report(self, connection: psycopg.Connection, began: datetime) -> None:
        """Say how far this node is loaded; nothing while a segment could not be read.

        Whoever pays for the clicks of a day waits for it. What the journal had when the round
        began is in the table now.
        """
        if self._left_over or time.monotonic() < self._report_due:
            return
        ahead = timedelta(milliseconds=self._ahead_ms)
        node = f"{self._node}:{self._folder.resolve()}"
        with connection.transaction():
            connection.execute(REPORT, (node, began + ahead - RECORDED_WITHIN, began))
            connection.execute(FORGET, (began - timedelta(days=NODE_FORGOTTEN_DAYS),))
        self._report_due = time.monotonic() + REPORT_INTERVAL_S

    def _round_or_wait(self) -> float:
        try:
            loaded = self.round()
        except (psycopg.Error, OSError) as error:
            self.close()
            if not self._away:
                log.error("clicks wait in the journal: they cannot be loaded", error=str(error))
            self._away = True
            return AWAY_WAIT_S
        if self._away:
            log.info("clicks are loaded again")
        self._away = False
        if loaded >= BATCH_ROWS_MAX:
            return 0.0
        return BUSY_WAIT_S if loaded >= BUSY_ROWS else IDLE_WAIT_S

    def _look(self) -> None:
        if self._watch is not None:
            self._watch.look(self._offsets, ahead_ms=self._ahead_ms)

    def _connected(self) -> psycopg.Connection:
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._settings.database_url, name="kopeck loader")
            # Another database may answer now, an older one even: believe its rows alone.
            self._offsets.clear()
            self._facts.clear()
            self._floods.clear()
            self._take_back(self._connection)
            # All at once: what is not known here counts as not loaded in the watch's lag.
            names = [path.stem for path in self._segments()]
            self._offsets.update(self._connection.execute(SEEN_OF, (names,)).fetchall())
        if time.monotonic() - self._facts_read > FACTS_SECONDS:
            self._facts.clear()
            self._facts_read = time.monotonic()
            self._ahead_ms = self._read_ahead_ms(self._connection)
        return self._connection

    def _read_ahead_ms(self, connection: psycopg.Connection) -> int:
        """How far the demo clock runs ahead, by which the age of a click is too young."""
        if self._settings.production:
            return 0
        row = connection.execute(AHEAD).fetchone()
        return 0 if row is None else int(row[0]) * 1000

    def _segments(self) -> list[Path]:
        return sorted(self._folder.glob(f"*{SUFFIX}"))

    def _load_or_pass_over(self, connection: psycopg.Connection, path: Path) -> int:
        """A segment that cannot be read or put away must not hold up those behind it."""
        try:
            return self._load_segment(connection, path)
        except OSError as error:
            if path.name not in self._passed_over:
                log.error("a segment is passed over", segment=path.stem, error=str(error))
            self._passed_over.add(path.name)
            self._left_over = True
            return 0

    def _load_segment(self, connection: psycopg.Connection, path: Path) -> int:
        """Load what a segment has beyond its offset; put it away when nothing will follow."""
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return 0
        loaded = 0
        with file:
            # The order matters: once the lock is ours nobody writes, so the size is final.
            ended = _writer_is_gone(file)
            size = os.fstat(file.fileno()).st_size
            offset = self._offset(connection, path.stem)
            reading = None
            while offset < size:
                # What lay behind the last batch was read while that was written; unless the
                # batch was refused, or another loader has moved the offset.
                if reading is None or reading.offset != offset:
                    reading = self._reading(file, offset, size, ended)
                found = reading.whole()
                if not found.consumed:
                    break
                reading = self._reading(file, offset + found.consumed, size, ended)
                moved = self._load_scan(connection, path.stem, offset, found, reading.go_on)
                if moved:
                    loaded += len(found.records)
                # A long backlog is one round: it must not look like a silent loader.
                self._look()
                offset = self._offset(connection, path.stem)
            if ended and offset >= size:
                self._put_away(connection, path, size)
        return loaded

    def _reading(self, file: BinaryIO, offset: int, size: int, ended: bool) -> Reading:
        """A batch that begins there, as long as the segment has it; nothing is parsed yet."""
        file.seek(offset)
        data = file.read(min(CHUNK_BYTES, size - offset))
        at_end = ended and offset + len(data) == size
        return Reading(data, offset, ended=at_end, records_max=self._rows_max)

    def _offset(self, connection: psycopg.Connection, segment: str) -> int:
        if segment not in self._offsets:
            row = connection.execute(SEEN, (segment,)).fetchone()
            self._offsets[segment] = 0 if row is None else int(row[0])
        return self._offsets[segment]

    def _load_scan(
        self,
        connection: psycopg.Connection,
        segment: str,
        offset: int,
        found: Scan,
        meanwhile: Callable[[], None],
    ) -> bool:
        """One transaction: rows, marks, counters, quarantine, offset. False: come again."""
        records = found.records
        rejects = [Reject(offset + r.offset, r.raw, r.reason) for r in found.rejects]
        check_present = False
        while True:
            try:
                with connection.transaction():
                    if not self._lock(connection, segment, offset):
                        return False
                    lost = self._load(
                        connection, segment, offset, records, rejects, check_present, meanwhile
                    )
                    advanced = offset + found.consumed
                    values = (advanced, len(records), self._node, clock.real_now(), segment)
                    connection.execute(ADVANCE, values)
                self._floods.keep()
                self._offsets[segment] = advanced
                self._rows_max = min(BATCH_ROWS_MAX, self._rows_max * 2)
                _count(len(records), lost)
                return True
            except psycopg.errors.QueryCanceled:
                # A database so slow that a whole batch outlasts the time limit would cancel
                # the same batch for ever.
                self._rows_max = max(1, min(self._rows_max, len(records)) // 4)
                raise
            except psycopg.errors.UniqueViolation:
                if check_present:
                    raise
                check_present = True
            except UNACCEPTABLE as error:
                # A record that the table refuses must not hold up those behind it: halve
                # the batch until it stands alone, then put it into quarantine.
                log.error("a batch of clicks was refused", rows=len(records), error=str(error))
                if len(records) != 1:
                    self._rows_max = max(1, min(self._rows_max, len(records)) // 2)
                    return False
                rejects += rejected(records, offset, RejectReason.UNREADABLE)
                records = []

    def _lock(self, connection: psycopg.Connection, segment: str, offset: int) -> bool:
        """Take the segment's row; False when another loader has moved it meanwhile."""
        connection.execute(ADOPT, (segment, self._node, clock.real_now()))
        row = connection.execute(LOCK_SEGMENT, (segment,)).fetchone()
        assert row is not None
        self._offsets[segment] = int(row[0])
        return int(row[0]) == offset

    def _load(
        self,
        connection: psycopg.Connection,
        source: str,
        offset: int,
        records: list[ClickRecord],
        rejects: list[Reject],
        check_present: bool,
        meanwhile: Callable[[], None] | None = None,
    ) -> list[Reject]:
        """The batch into the open transaction; returns what went to quarantine."""
        homeless: list[ClickRecord] = []
        if records:
            homeless = load_records(
                connection,
                records,
                self._facts,
                check_present=check_present,
                floods=self._floods,
                meanwhile=meanwhile,
            )
        lost = [*rejects, *rejected(homeless, offset, RejectReason.UNKNOWN_LINK)]
        if lost:
            log.error("a journal has bytes that are no click", source=source, pieces=len(lost))
            quarantine(connection, source, lost, found_at=clock.real_now())
        return lost

    def _load_spill(self, connection: psycopg.Connection) -> int:
        """Load what the fronts wrote to the database because their journals failed."""
        rows_max, check_present = BATCH_ROWS_MAX, False
        while True:
            try:
                with connection.transaction():
                    rows = connection.execute(TAKE_SPILL, (rows_max,)).fetchall()
                    if not rows:
                        return 0
                    records, rejects = _read_spilled(rows)
                    lost = self._load(connection, SPILL, 0, records, rejects, check_present)
                self._floods.keep()
                _count(len(records), lost)
                return len(rows)
            except psycopg.errors.UniqueViolation:
                if check_present:
                    raise
                check_present = True
            except UNACCEPTABLE as error:
                log.error("a batch of spilled clicks was refused", error=str(error))
                if rows_max == 1:
                    return self._reject_spilled(connection)
                rows_max = max(1, min(rows_max, len(rows)) // 2)

    def _reject_spilled(self, connection: psycopg.Connection) -> int:
        """Put the first spilled record, which the table refuses, into quarantine."""
        with connection.transaction():
            rows = connection.execute(TAKE_SPILL, (1,)).fetchall()
            records, rejects = _read_spilled(rows)
            lost = [*rejects, *rejected(records, 0, RejectReason.UNREADABLE)]
            quarantine(connection, SPILL, lost, found_at=clock.real_now())
        _count(0, lost)
        return len(rows)

    def _put_away(self, connection: psycopg.Connection, path: Path, size: int) -> None:
        """Keep a loaded segment for as long as a backup of the database may be old."""
        if not size:
            path.unlink(missing_ok=True)
            return
        connection.execute(FINISH, (clock.real_now(), path.stem))
        kept = self._folder / LOADED
        kept.mkdir(exist_ok=True)
        try:
            os.utime(path)
            path.rename(kept / path.name)
        except FileNotFoundError:
            log.info("another loader has put the segment away", segment=path.stem)
        self._offsets.pop(path.stem, None)

    def _take_back(self, connection: psycopg.Connection) -> None:
        """After a connect: segments that this database has not got whole are loaded again."""
        for path in sorted((self._folder / LOADED).glob(f"*{SUFFIX}")):
            if self._offset(connection, path.stem) < path.stat().st_size:
                log.warning("a segment that was loaded is loaded again", segment=path.stem)
                path.rename(self._folder / path.name)
        self._offsets.clear()

    def _keep_up_or_later(self) -> None:
        """Clicks do not wait for the upkeep: a full disk, a lock or a fault in it may last."""
        try:
            self._keep_up()
        except (SQLAlchemyError, psycopg.Error, OSError) as error:
            log.error("the loader's upkeep failed and is tried again", error=str(error))
            self._upkeep_due = time.monotonic() + UPKEEP_RETRY_S

    def _oldest_waiting(self, now: datetime) -> datetime | None:
        """About when the oldest click in a segment was made; None when there is none."""
        written = [path.stat().st_mtime for path in self._segments()]
        if not written:
            return None
        return now - timedelta(seconds=time.time() - min(written) + SEGMENT_SECONDS_MAX)

    def _keep_up(self) -> None:
        """Partitions ahead, old segments gone. Needs no haste, so once in ten minutes."""
        engine = engine_for(self._settings)
        try:
            with session_for(engine)() as session:
                now: datetime = clock.now(session, self._settings)
                made = ensure_partitions(session, now=now, since=self._oldest_waiting(now))
                session.commit()
                detached = detach_old(session, settings=self._settings, now=now)
                session.commit()
        finally:
            engine.dispose()
        if made:
            log.info("partitions made", names=made)
        if detached:
            log.info("old months of clicks detached", names=detached)
        oldest = time.time() - RETENTION_DAYS * 86_400
        for path in (self._folder / LOADED).glob(f"*{SUFFIX}"):
            if path.stat().st_mtime < oldest:
                path.unlink(missing_ok=True)
        metrics.fold_dead(self._settings.data_dir)
        self._upkeep_due = time.monotonic() + UPKEEP_INTERVAL_S


def _read_spilled(rows: list[tuple[int, bytes]]) -> tuple[list[ClickRecord], list[Reject]]:
    """Spilled rows as records, each placed by its row's number."""
    records: list[ClickRecord] = []
    rejects: list[Reject] = []
    for number, raw in rows:
        found = scan(raw, ended=True)
        records += [r._replace(offset=number) for r in found.records]
        rejects += [Reject(number, r.raw, r.reason) for r in found.rejects]
    return records, rejects


def _count(loaded: int, lost: list[Reject]) -> None:
    """For /metrics, once the transaction stands."""
    if loaded:
        counts.count("loaded", loaded)
    for each in lost:
        counts.count("quarantined", reason=each.reason.value)


def _writer_is_gone(file: BinaryIO) -> bool:
    """Whether no process writes the segment any more; holds the lock while the file is open."""
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
