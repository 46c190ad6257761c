"""The database: one declarative base, one Flask session, plain sessions for other processes.

Models are plain SQLAlchemy 2; Flask-SQLAlchemy gives the request's session and engine.
Rows that business time touches are written with `now` passed in (affiliate.core.clock).
"""

from __future__ import annotations

import random
import re
import select
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, TypeVar

import psycopg
import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session as FlaskSession
from psycopg.pq import ExecStatus, TransactionStatus
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Session, SessionTransaction, sessionmaker

from affiliate.core.config import Settings
from affiliate.core.errors import Refusal

STATEMENT_TIMEOUT_MS = 15_000
LOCK_TIMEOUT_MS = 10_000
REST_S_MAX = 30
"""A pooled connection that was not used for longer is asked before it is."""

TRIES_MAX = 5
FIRST_PAUSE_S = 0.2
"""Doubles from try to try: five tries last about three seconds, a restart's length."""
PASSING_STATES = frozenset({"40001", "40P01", "57P01", "57P02", "57P03", "08006", "08003"})
"""Serialization failure, deadlock, shutdowns and lost connections (errcodes of PostgreSQL)."""

T = TypeVar("T")

_CURSOR = "kopeck.cursor"
_BEGIN = b"BEGIN; SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off"
_VALUE = re.compile(r"%\((\w+)\)s")

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """A moment: timezone-aware, stored as timestamptz, always read back in UTC."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("a moment without a time zone cannot be stored")
        return value

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        return None if value is None else value.astimezone(UTC)


class Model(DeclarativeBase):
    """Base of every table."""

    metadata = sa.MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012 -- SQLAlchemy reads it as a class attribute
        datetime: UtcDateTime(),
        dict[str, Any]: JSONB,
        list[Any]: JSONB,
        int: sa.BigInteger,
        str: sa.Text,
        bytes: sa.LargeBinary,
    }


_HELD = "kopeck.held"


class WebSession(FlaskSession):
    """The web's session. Its commits can be held back, see `held`."""

    def commit(self) -> None:
        if _HELD in self.info:
            self.flush()
            self.info[_HELD] = True
        else:
            super().commit()

    def rollback(self) -> None:
        if _HELD in self.info:
            self.info[_HELD] = False
        super().rollback()


db = SQLAlchemy(metadata=Model.metadata, session_options={"class_": WebSession})


BESIDE_REQUESTS: Final = 5
"""Connections for threads that take no requests: who writes orders, and who asks views for them."""


def engine_options(settings: Settings) -> dict[str, Any]:
    """Pool and connection options, the same for the web and every other process."""
    return {
        "pool_size": settings.database_pool_size,
        "max_overflow": settings.database_pool_size + BESIDE_REQUESTS,
        "pool_events": [(_note_return, "checkin"), (_require_live, "checkout")],
        "pool_timeout": 10,
        # The connection that was used last: it has prepared what is asked most, and its server
        # process holds the catalogue in memory.
        "pool_use_lifo": True,
        # An error's text goes into the log; addresses and names that were bound do not.
        "hide_parameters": True,
        "connect_args": {
            "connect_timeout": 5,
            # A host that vanished without a word is given up after some twenty seconds, not after
            # the quarter of an hour that TCP takes. Sockets of the same machine know none of it.
            "tcp_user_timeout": 20_000,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "application_name": "kopeck",
            # Compiling a plan costs more than any of our questions saves by it.
            "options": f"-c timezone=UTC -c statement_timeout={STATEMENT_TIMEOUT_MS} "
            f"-c lock_timeout={LOCK_TIMEOUT_MS} -c jit=off",
        },
    }


def _note_return(_connection: Any, record: Any) -> None:
    record.info["returned_at_s"] = time.monotonic()


def _require_live(connection: Any, record: Any, _proxy: Any) -> None:
    """Before a pooled connection is used: is the server still at its other end?

    A server that ends a connection (restart, crash, pg_terminate_backend) leaves its last
    words or the end of the stream in our socket; a look there costs no round trip, unlike
    pool_pre_ping, which is a tenth of an order. A connection that rested for long is asked,
    because a firewall may have forgotten it without a word.
    """
    if connection.closed:
        raise sa.exc.InvalidatePoolError
    socket = select.poll()
    socket.register(connection.fileno(), select.POLLIN)
    rested_s = time.monotonic() - record.info.get("returned_at_s", 0.0)
    if rested_s < REST_S_MAX and not socket.poll(0):
        return
    try:
        connection.execute("SELECT 1")
        connection.rollback()
    except psycopg.Error as error:
        raise sa.exc.InvalidatePoolError from error


def engine_for(settings: Settings) -> sa.Engine:
    """An engine for a process without Flask (the loader, the click front)."""
    return sa.create_engine(settings.database_url, **engine_options(settings))


def session_for(engine: sa.Engine) -> sessionmaker[Session]:
    """Sessions that behave as the web's do."""
    return sessionmaker(engine, expire_on_commit=False)


def committed(
    sessions: sessionmaker[Session], work: Callable[[Session], T], *, tries: int = TRIES_MAX
) -> T:
    """Do the work in a transaction of its own and commit it; the whole again where that failed.

    Again after a deadlock, a failed serialization or a lost connection, with growing pauses. A
    connection that is cut during COMMIT leaves open whether it was committed, so the work must
    be safe to do twice. Raises what the last try raised.
    """
    for number in range(1, tries + 1):
        try:
            with sessions.begin() as session:
                return work(session)
        except sa.exc.DBAPIError as error:
            if number == tries or not passes(error):
                raise
            spread = random.uniform(0.5, 1.5)  # noqa: S311 -- keeps two losers apart
            time.sleep(FIRST_PAUSE_S * 2 ** (number - 1) * spread)
    raise AssertionError("unreachable")


def passes(error: BaseException) -> bool:
    """Whether an error is of the database's moment, not of what was asked of it."""
    if not isinstance(error, sa.exc.DBAPIError):
        return isinstance(error, sa.exc.TimeoutError)  # The pool had no connection to give.
    state = getattr(error.orig, "sqlstate", None)
    if error.connection_invalidated or state in PASSING_STATES:
        return True
    return isinstance(error, sa.exc.OperationalError) and state is None


def be_patient(session: Session, *, statement_s: int) -> None:
    """Let statements of this transaction run longer than a page would wait for."""
    session.execute(sa.text(f"SET LOCAL statement_timeout = '{statement_s:d}s'"))


_Known = tuple[SessionTransaction, sa.Connection, psycopg.RawCursor[Any]]


def rows(session: Session, statement: str, values: Mapping[str, Any]) -> list[Any]:
    """The rows of a statement that psycopg gets as it stands, values as `%(name)s`.

    For the statements of every order: SQLAlchemy's compilation, types and result objects
    cost more than the server's own work on the smaller ones. It is the session's connection
    and transaction, and errors are SQLAlchemy's, so that callers need not know. Rows are
    tuples, moments have a zone; nothing is flushed before.
    """
    text, names = numbered(statement)
    connection, cursor = _cursor(session)
    try:
        return cursor.execute(text, [values[name] for name in names]).fetchall()
    except psycopg.Error as error:
        raise _as_sqlalchemys(error, statement, connection, cursor.connection) from error


def begin_planned_once(session: Session) -> None:
    """Begin a transaction whose statements are planned once a connection; no more if it is begun.

    For work that looks rows up by their keys. Left to itself PostgreSQL plans a prepared
    statement anew for its values wherever that looks cheaper by the price of a plan, and it
    always does where the table has a year of monthly partitions: then a plan takes several
    times as long as the statement. Not for lists and sums, whose best plan depends on what
    was asked. It costs no round trip: a transaction must be begun by one anyway.

    Nor is any table read from end to end where an index can be used. A plan that is made while
    a table is small, and kept, would go on reading all of it when it has grown: in a new
    installation every order read all orders before it, until autovacuum came by.
    """
    connection, cursor = _cursor(session)
    driver = cursor.connection
    if driver.pgconn.transaction_status != TransactionStatus.IDLE:
        return
    try:
        result = driver.pgconn.exec_(_BEGIN)
        if result.status != ExecStatus.COMMAND_OK:
            raise psycopg.OperationalError(result.get_error_message())
    except psycopg.Error as error:
        raise _as_sqlalchemys(error, _BEGIN.decode(), connection, driver) from error


def _as_sqlalchemys(
    error: psycopg.Error,
    statement: str,
    connection: sa.Connection,
    driver: psycopg.Connection[Any],
) -> BaseException:
    if driver.closed:
        connection.invalidate(error)
    return sa.exc.DBAPIError.instance(
        statement,
        None,
        error,
        psycopg.Error,
        hide_parameters=True,
        connection_invalidated=driver.closed,
    )


def _cursor(session: Session) -> tuple[sa.Connection, psycopg.RawCursor[Any]]:
    """The connection of the session's transaction and a cursor on it, kept while that lasts.

    The innermost transaction counts: a savepoint is only set when the session is asked for
    its connection.
    """
    innermost = session.get_nested_transaction() or session.get_transaction()
    known: _Known | None = session.info.get(_CURSOR)
    if known is not None:
        transaction, connection, cursor = known
        if innermost is transaction and transaction.is_active:
            return connection, cursor
    connection = session.connection()
    driver: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
    cursor = psycopg.RawCursor(driver)
    innermost = session.get_nested_transaction() or session.get_transaction()
    session.info[_CURSOR] = (innermost, connection, cursor)
    return connection, cursor


@cache
def numbered(statement: str) -> tuple[bytes, tuple[str, ...]]:
    """PostgreSQL's own spelling ($1) and the names by number: psycopg reads none of it again.

    It would: what it remembers of a statement's text ends at 4,096 characters. As bytes,
    because it looks for what it has prepared by their hash, which bytes remember.
    """
    names: dict[str, int] = {}
    text = _VALUE.sub(lambda found: f"${names.setdefault(found[1], len(names) + 1)}", statement)
    return text.encode(), tuple(names)


@contextmanager
def held(session: Session) -> Iterator[None]:
    """Hold back every commit of the web's session until the end, and then commit once.

    For what has to be written in the transaction of a view that commits by itself. What the view
    committed before it refused is committed all the same; after any other error nothing is.
    """
    session.info[_HELD] = False
    try:
        yield
    except Refusal:
        if session.info.pop(_HELD):
            session.commit()
        raise
    else:
        session.info.pop(_HELD)
        session.commit()
    finally:
        session.info.pop(_HELD, None)


@contextmanager
def unit_of_work() -> Iterator[Session]:
    """The edge of a command or a job: commit once at the end, roll back on any error."""
    session: Session = db.session()
    try:
        yield session
        session.commit()
    except BaseException:
        session.rollback()
        raise
    finally:
        db.session.remove()
