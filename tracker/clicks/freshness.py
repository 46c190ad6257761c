"""What keeps the links fresh: a patient thread a process, and few hasty look-ups."""

from __future__ import annotations

import sqlite3
import threading
import time
from typing import Final

import psycopg
import structlog

from affiliate.core.config import Settings
from tracker.clicks.database import DatabaseAway, QuickDatabase, connect
from tracker.clicks.keeper import SnapshotKeeper
from tracker.clicks.links import LinkTable, MemoryLink
from tracker.clicks.snapshot import SNAPSHOT, SnapshotBroken

REFRESH_INTERVAL_S: Final = 1.0
FIRST_SLICE_S: Final = 1.0
"""How long a process that finds no snapshot reads links before it takes requests: the rest
of a big installation's follows behind them."""
KEEPER_AWAY_S: Final = 5.0
"""A snapshot that nobody refreshed for this long is refreshed by whoever sees it first."""
LOOKUPS_PER_SECOND_MAX: Final = 50
LONELY_LOOKUPS_PER_SECOND_MAX: Final = 1_000
"""While there is no whole snapshot, so that the database alone knows the links."""
UNKNOWN_SECONDS: Final = 5.0
UNKNOWN_CODES_MAX: Final = 10_000

log = structlog.get_logger(__name__)


class LinkRefresher:
    """A thread that keeps a table and the node's snapshot fresh, whatever is away.

    Without a table (the loader's) it keeps the snapshot always, with one (a web process's)
    only while no other process does.
    """

    def __init__(self, table: LinkTable | None, settings: Settings) -> None:
        self._table = table
        self._settings = settings
        self._keeper = SnapshotKeeper(settings.data_dir / SNAPSHOT, gentle=table is not None)
        self._connection: psycopg.Connection | None = None
        self._away = False
        self._unwritable = False
        self._hurry = False
        """True while a reading of all links that cannot wait is under way here."""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Find the snapshot, or read what a second allows; the rest in a thread."""
        self._stop.clear()
        if self._table is not None:
            self._table.look_at_snapshot()
            if not self._table.loaded:
                self.refresh_once(slice_s=FIRST_SLICE_S)
        self._thread = threading.Thread(target=self._run, name="click-links", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and let go of connection and files."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=10)
            self._thread = None
        self._hang_up()
        if self._table is not None:
            self._table.snapshot.close()
        # Last, so that a snapshot that nobody has open any more is one file.
        self._keeper.close()

    def refresh_once(self, *, slice_s: float | None = None) -> bool:
        """One round; False when the database is away (said once per absence)."""
        demo_clock = not self._settings.production
        if self._table is not None:
            self._table.look_at_snapshot()
        try:
            if self._connection is None or self._connection.closed:
                self._connection = connect(self._settings.database_url, name="kopeck links")
            if self._table is not None:
                self._table.refresh(self._connection, demo_clock=demo_clock)
            if self._is_ours_to_keep():
                self._keep(self._connection, demo_clock, slice_s)
        except psycopg.Error as error:
            self._hang_up()
            if not self._away:
                log.error("links go on from the snapshot: the database is away", error=str(error))
            self._away = True
            self._hurry = False
            self._keeper.distrust()
            return False
        if self._away:
            log.info("links are read from the database again")
        self._away = False
        return True

    def _is_ours_to_keep(self) -> bool:
        if self._table is None or self._hurry:
            return True
        refreshed_s = self._table.snapshot.head.refreshed_ms / 1000
        return abs(time.time() - refreshed_s) > KEEPER_AWAY_S

    def _keep(
        self, connection: psycopg.Connection, demo_clock: bool, slice_s: float | None
    ) -> None:
        try:
            self._hurry = self._keeper.round(connection, demo_clock=demo_clock, slice_s=slice_s)
        except (OSError, sqlite3.Error, SnapshotBroken) as error:
            self._keeper.close()
            self._hurry = False
            if not self._unwritable:
                log.error("the link snapshot cannot be written", error=str(error))
            self._unwritable = True
            return
        self._unwritable = False
        if self._table is not None:
            self._table.look_at_snapshot()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.refresh_once()
            except Exception:
                log.exception("links could not be refreshed")
                self._hurry = False
            self._stop.wait(0.0 if self._hurry else REFRESH_INTERVAL_S)

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class UnknownCodes:
    """Look-ups of codes that memory does not have: few, short, and remembered for a while."""

    def __init__(self, table: LinkTable, database: QuickDatabase) -> None:
        self._table = table
        self._database = database
        self._unknown: dict[str, float] = {}
        self._second = 0
        self._asked = 0

    def find(self, code: str) -> MemoryLink | None:
        """The link, or None: unknown, asked too often, or the database is away.

        When the database does not say, an old snapshot does: a link that was ever known here
        redirects.
        """
        now = time.monotonic()
        if self._unknown.get(code, 0.0) > now:
            return None
        if not self._may_ask(now):
            return self._table.find_in_snapshot(code)
        try:
            with self._database.connection() as connection:
                link = self._table.look_up(connection, code)
        except DatabaseAway:
            return self._table.find_in_snapshot(code)
        if link is None:
            self._remember(code, now)
        return link

    def learn_programs(self, test_code: str) -> None:
        """Ask for the programs, as a test link is of one that is not known yet.

        It may have been made within the last second. As few questions as ``find``'s.
        """
        now = time.monotonic()
        if self._unknown.get(test_code, 0.0) > now or not self._may_ask(now):
            return
        try:
            with self._database.connection() as connection:
                self._table.look_up_programs(connection)
        except DatabaseAway:
            return
        self._remember(test_code, now)

    def is_sure(self, code: str) -> bool:
        """Whether a code that was not found is no link's, as far as anybody can know."""
        return self._table.loaded or self._unknown.get(code, 0.0) > time.monotonic()

    def _remember(self, code: str, now: float) -> None:
        if len(self._unknown) >= UNKNOWN_CODES_MAX:
            self._unknown.clear()
        self._unknown[code] = now + UNKNOWN_SECONDS

    def _may_ask(self, now: float) -> bool:
        second = int(now)
        if second != self._second:
            self._second, self._asked = second, 0
        self._asked += 1
        lonely = not self._table.loaded
        return self._asked <= (LONELY_LOOKUPS_PER_SECOND_MAX if lonely else LOOKUPS_PER_SECOND_MAX)
