"""What keeps the links in memory fresh: a patient thread, and few hasty look-ups."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Final

import psycopg
import structlog

from affiliate.core.config import Settings
from tracker.clicks.database import DatabaseAway, QuickDatabase, connect
from tracker.clicks.links import LinkTable, MemoryLink

REFRESH_INTERVAL_S: Final = 1.0
LOOKUPS_PER_SECOND_MAX: Final = 50
UNKNOWN_SECONDS: Final = 5.0
UNKNOWN_CODES_MAX: Final = 10_000

log = structlog.get_logger(__name__)


class LinkRefresher:
    """A thread that keeps a table fresh, and goes on while the database is away."""

    def __init__(
        self, table: LinkTable, settings: Settings, *, snapshot: Path | None = None
    ) -> None:
        self._table = table
        self._settings = settings
        self._snapshot = snapshot
        self._written_version = -1
        self._connection: psycopg.Connection | None = None
        self._away = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="click-links", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=10)
            self._thread = None
        self._hang_up()

    def refresh_once(self) -> bool:
        """One round; False when the database is away (said once per absence)."""
        try:
            if self._connection is None or self._connection.closed:
                self._connection = connect(self._settings.database_url, name="kopeck links")
            self._table.refresh(self._connection, demo_clock=not self._settings.production)
        except psycopg.Error as error:
            self._hang_up()
            if not self._away:
                log.error("links go on from memory: the database is away", error=str(error))
            self._away = True
            return False
        if self._away:
            log.info("links are read from the database again")
        self._away = False
        return True

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                if self.refresh_once():
                    self._save()
            except Exception:
                log.exception("links could not be refreshed")
            self._stop.wait(REFRESH_INTERVAL_S)

    def _save(self) -> None:
        if self._snapshot is None or self._written_version == self._table.version:
            return
        version = self._table.version
        try:
            self._table.write_snapshot(self._snapshot)
        except OSError as error:
            log.error("the link snapshot cannot be written", error=str(error))
            return
        self._written_version = version

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
        """The link, or None: unknown, asked too often, or the database is away."""
        now = time.monotonic()
        if self._unknown.get(code, 0.0) > now or not self._may_ask(now):
            return None
        try:
            with self._database.connection() as connection:
                link = self._table.look_up(connection, code)
        except DatabaseAway:
            return None
        if link is None:
            if len(self._unknown) >= UNKNOWN_CODES_MAX:
                self._unknown.clear()
            self._unknown[code] = now + UNKNOWN_SECONDS
        return link

    def _may_ask(self, now: float) -> bool:
        second = int(now)
        if second != self._second:
            self._second, self._asked = second, 0
        self._asked += 1
        return self._asked <= LOOKUPS_PER_SECOND_MAX
