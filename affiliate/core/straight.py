"""Statements sent straight to libpq: several in one round trip, one transaction, one commit.

For the few calls that are mostly round trips and the layers between a view and the driver. It is
libpq's pipeline mode (PostgreSQL, "libpq: Pipeline Mode"): what stands before one Sync message is
one transaction, which the Sync commits or, after an error, has rolled back. So BEGIN and COMMIT
cost nothing of their own. Each statement has its own snapshot, as in any READ COMMITTED.
"""

from __future__ import annotations

import itertools
import select
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import psycopg
import sqlalchemy as sa
from psycopg.adapt import Transformer
from psycopg.pq import ConnStatus, ExecStatus, PipelineStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult

from affiliate.core.db import numbered

Statement = tuple[str, Mapping[str, Any]]
"""A text with values as `%(name)s`, and the values."""
PLANNED_ONCE: Final = (
    "set_config('plan_cache_mode', 'force_generic_plan', true), "
    "set_config('enable_seqscan', 'off', true)"
)
"""Columns of a trip's first statement: as `affiliate.core.db.begin_planned_once` says."""

_STATE: Final = "kopeck.straight"
_names = itertools.count(1)
_WELL: Final = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK)


class Connection:
    """A pooled connection of an engine, in no transaction between two trips."""

    def __init__(self, engine: sa.Engine) -> None:
        self._pooled = engine.raw_connection()
        self._driver: psycopg.Connection[Any] = self._pooled.driver_connection  # type: ignore[assignment]
        self._state: _State = self._pooled.info.get(_STATE) or self._pooled.info.setdefault(
            _STATE, _State(self._driver)
        )

    def trip(
        self, *statements: Statement, meanwhile: Callable[[], object] | None = None
    ) -> list[list[tuple[Any, ...]]]:
        """The rows of each statement; by then all that they did is committed.

        `meanwhile` is called while the server works; it must not raise.

        Raises psycopg.Error: then nothing of it was done. Only where the connection was lost
        may the commit have come to pass, as with any commit.
        """
        state = self._state
        try:
            return [state.rows(result) for result in state.trip(statements, meanwhile)]
        except BaseException:
            if state.is_busy:
                # Half a conversation may be in the socket: nobody shall go on with it.
                self._pooled.invalidate()
            raise

    def close(self) -> None:
        """Give it back to the pool."""
        if self._pooled.is_valid:
            self._pooled.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _State:
    """What is kept with a connection: the names of what it has prepared, its loaders."""

    def __init__(self, driver: psycopg.Connection[Any]) -> None:
        self._pgconn: PGconn = driver.pgconn
        self._loaders = Transformer(driver)
        self._prepared: dict[str, bytes] = {}
        self._poll = select.poll()
        self._socket = driver.fileno()

    def trip(
        self, statements: Sequence[Statement], meanwhile: Callable[[], object] | None = None
    ) -> list[PGresult]:
        """The result of each statement; the first error is raised."""
        pgconn = self._pgconn
        encoded = [_encoded(text, values) for text, values in statements]
        fresh: dict[str, bytes] = {}
        asked: list[bool] = []
        """Whether each result that will come is of a statement, or else of its preparation."""
        pgconn.enter_pipeline_mode()
        for text, values in encoded:
            name = self._prepared.get(text) or fresh.get(text)
            if name is None:
                # Never a name again, as a name stays taken when its transaction fails.
                name = fresh[text] = b"kopeck_%d" % next(_names)
                pgconn.send_prepare(name, numbered(text)[0])
                asked.append(False)
            pgconn.send_query_prepared(name, values)
            asked.append(True)
        pgconn.pipeline_sync()
        self._send()
        if meanwhile is not None:
            meanwhile()
        results = self._receive()
        pgconn.exit_pipeline_mode()
        failed = [result for result in results if result.status not in _WELL]
        if failed:
            error = psycopg.errors.error_from_result(failed[0])
            # psycopg has all of a connection deallocated after a rollback to a savepoint or a
            # change of a table, ours with its own. Nothing was done, so it is all sent again.
            if isinstance(error, psycopg.errors.InvalidSqlStatementName) and self._prepared:
                self._prepared.clear()
                return self.trip(statements)
            raise error
        self._prepared |= fresh
        return [result for result, wanted in zip(results, asked, strict=True) if wanted]

    @property
    def is_busy(self) -> bool:
        """Whether the last trip did not come to its end."""
        pgconn = self._pgconn
        return (
            pgconn.status != ConnStatus.OK
            or pgconn.pipeline_status != PipelineStatus.OFF
            or pgconn.transaction_status != TransactionStatus.IDLE
        )

    def rows(self, result: PGresult) -> list[tuple[Any, ...]]:
        self._loaders.set_pgresult(result)
        return self._loaders.load_rows(0, result.ntuples, tuple)

    def _send(self) -> None:
        """Until all is in the socket; what the server says meanwhile is taken in, or both wait."""
        while self._pgconn.flush():
            self._poll.register(self._socket, select.POLLIN | select.POLLOUT)
            if any(event & select.POLLIN for _, event in self._poll.poll()):
                self._pgconn.consume_input()
        self._poll.register(self._socket, select.POLLIN)

    def _receive(self) -> list[PGresult]:
        pgconn, poll = self._pgconn, self._poll.poll
        results: list[PGresult] = []
        while True:
            while pgconn.is_busy():
                poll()
                pgconn.consume_input()
            result = pgconn.get_result()
            if result is None:
                if pgconn.status != ConnStatus.OK:
                    raise psycopg.OperationalError(pgconn.get_error_message())
                continue  # the end of one statement's results
            if result.status == ExecStatus.PIPELINE_SYNC:
                break
            results.append(result)
        return results


def _encoded(text: str, values: Mapping[str, Any]) -> tuple[str, list[bytes | None]]:
    return text, [_text(values[name]) for name in numbered(text)[1]]


def _text(value: Any) -> bytes | None:
    """A value as PostgreSQL reads it out of text; its type is what the statement says."""
    if value is None:
        return None
    written = _TEXTS.get(type(value))
    if written is None:
        raise TypeError(f"{type(value).__name__} has no text form here")
    return written(value)


def _of_text(value: str) -> bytes:
    if "\0" in value:
        raise psycopg.DataError("PostgreSQL's texts cannot hold NUL")
    return value.encode()


def _of_list(value: list[Any]) -> bytes:
    return b"{" + b",".join(_element(each) for each in value) + b"}"


def _element(value: Any) -> bytes:
    """Of a list: what needs no quotes in an array."""
    if not isinstance(value, int | UUID | datetime):
        raise TypeError(f"{type(value).__name__} is not written in lists here")
    return b'"' + str(value).encode() + b'"'


_TEXTS: Final[dict[type, Callable[[Any], bytes]]] = {
    str: _of_text,
    bytes: lambda value: b"\\x" + value.hex().encode(),
    list: _of_list,
    datetime: lambda value: value.isoformat().encode(),
    int: lambda value: str(value).encode(),
    bool: lambda value: str(value).encode(),
    UUID: lambda value: str(value).encode(),
}
