"""Columns and rows that are packed at once arrive in PostgreSQL as what they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tracker.clicks.arrays import bigints, column, copy_rows
from tracker.clicks.database import libpq_url
from tracker.clicks.rows import BEGIN, END

LEAST, MOST = -(2**63), 2**63 - 1
BYTES = bytes(range(16))


@pytest.fixture
def database(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(libpq_url(database_url), options="-c timezone=UTC") as connection:
        yield connection


@pytest.mark.parametrize(
    ("kind", "values", "there"),
    [
        ("bigint", [0, 1, -1, 256, LEAST, MOST], None),
        ("date", [date(2000, 1, 1), date(1999, 12, 31), date(2026, 11, 28)], None),
        (
            "timestamptz",
            [datetime(2000, 1, 1, tzinfo=UTC), datetime(1999, 1, 1, 0, 0, 0, 1, tzinfo=UTC)],
            None,
        ),
        ("uuid", [BYTES], [UUID(bytes=BYTES)]),
        ("text", ["", "a", "ü–я", '{"x",NULL}'], None),
        *((kind, [], None) for kind in ("bigint", "date", "timestamptz", "uuid", "text")),
    ],
)
def test_a_column_is_an_array_of_its_values(
    database: psycopg.Connection, kind: str, values: Sequence[Any], there: Sequence[Any] | None
) -> None:
    packed = [column(kind, values)]
    row = database.execute(f"SELECT %b::{kind}[]".encode(), packed).fetchone()
    assert row == (list(values if there is None else there),)


@pytest.mark.parametrize("number", [MOST + 1, LEAST - 1])
def test_a_number_that_is_no_bigint_is_refused_before_it_is_sent(number: int) -> None:
    with pytest.raises(OverflowError):
        bigints([1, number])
    with pytest.raises(OverflowError):
        copy_rows([1], [number])


def test_rows_of_bigints_are_copied(database: psycopg.Connection) -> None:
    first, second = list(range(1_000)), [LEAST, MOST, *range(-998, 0)]
    database.execute("CREATE TEMP TABLE copied (first bigint, second bigint)")
    statement = "COPY copied FROM STDIN (FORMAT binary)"
    with database.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(BEGIN)
        copy.write(copy_rows(first, second))
        copy.write(END)
    rows = database.execute("SELECT first, second FROM copied ORDER BY first").fetchall()
    assert rows == list(zip(first, second, strict=True))
