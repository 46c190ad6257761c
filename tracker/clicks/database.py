"""The front's own road to PostgreSQL: one patient thread's, one impatient requests'.

A request never waits long for the database: one connection, a lock with a time limit, a
statement time-out, and after a failure nobody tries again for a second (F20, F21). A click
that cannot be recorded in about a second is redirected unrecorded: a visitor's patience is
shorter than a slow disk's.
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg

REQUEST_LOCK_S: Final = 0.5
"""Longer than the commit of a database whose disk stalls for a moment."""
REQUEST_STATEMENT_MS: Final = 500
REQUEST_CONNECT_S: Final = 1
RETRY_AFTER_S: Final = 1.0
PATIENT_STATEMENT_MS: Final = 60_000
PATIENT_CONNECT_S: Final = 5


class DatabaseAway(Exception):
    """PostgreSQL cannot be asked right now."""


def libpq_url(database_url: str) -> str:
    """SQLAlchemy's address as libpq reads it."""
    return database_url.replace("postgresql+psycopg://", "postgresql://", 1)


def connect(database_url: str, *, name: str) -> psycopg.Connection:
    """A patient connection for a thread or process of its own (autocommit)."""
    return _connect(
        database_url,
        name=name,
        connect_timeout_s=PATIENT_CONNECT_S,
        statement_timeout_ms=PATIENT_STATEMENT_MS,
    )


class QuickDatabase:
    """One connection that requests share; says DatabaseAway rather than let them wait."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._connection: psycopg.Connection | None = None
        self._lock = threading.Lock()
        self._away_until = 0.0

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection]:
        """The connection for one short statement; DatabaseAway when there is none in time."""
        if time.monotonic() < self._away_until or not self._lock.acquire(timeout=REQUEST_LOCK_S):
            raise DatabaseAway
        try:
            if time.monotonic() < self._away_until:
                # Whoever held the lock has just found out: not each in turn.
                raise DatabaseAway
            if self._connection is not None and _hung_up(self._connection):
                # A restart has ended it while it rested. To fail on it would cost a second.
                self._drop()
            if self._connection is None:
                self._connection = _connect(
                    self._url,
                    name="kopeck click",
                    connect_timeout_s=REQUEST_CONNECT_S,
                    statement_timeout_ms=REQUEST_STATEMENT_MS,
                )
            yield self._connection
        except psycopg.Error as error:
            self._away_until = time.monotonic() + RETRY_AFTER_S
            self._drop()
            raise DatabaseAway from error
        finally:
            self._lock.release()

    def close(self) -> None:
        """Hang up; the next request would connect again."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _hung_up(connection: psycopg.Connection) -> bool:
    """Whether the server has ended the connection: its last words lie unread in the socket."""
    if connection.closed:
        return True
    socket = select.poll()
    socket.register(connection.fileno(), select.POLLIN)
    return bool(socket.poll(0))


def _connect(
    database_url: str, *, name: str, connect_timeout_s: int, statement_timeout_ms: int
) -> psycopg.Connection:
    return psycopg.connect(
        libpq_url(database_url),
        autocommit=True,
        application_name=name,
        connect_timeout=connect_timeout_s,
        options=f"-c timezone=UTC -c statement_timeout={statement_timeout_ms} "
        f"-c lock_timeout={statement_timeout_ms} "
        # A stopped loader must not keep the locks of its batch from the others for ever.
        f"-c idle_in_transaction_session_timeout={statement_timeout_ms}",
    )
