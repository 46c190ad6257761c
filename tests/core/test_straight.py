"""Statements straight to libpq: one round trip, one transaction, one commit."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest
import sqlalchemy as sa

from affiliate.core.config import Settings
from affiliate.core.db import engine_for
from affiliate.core.straight import PLANNED_ONCE, Connection

INSERT = "INSERT INTO things (name) VALUES (%(name)s) RETURNING id"
NOON = datetime(2026, 11, 26, 12, 0, 0, 5, tzinfo=UTC)


@pytest.fixture
def pool(settings: Settings) -> Iterator[sa.Engine]:
    engine = engine_for(settings)
    with engine.begin() as connection:
        connection.execute(
            sa.text("CREATE TABLE things (id bigserial PRIMARY KEY, name text UNIQUE)")
        )
    yield engine
    engine.dispose()


def names(pool: sa.Engine) -> list[str]:
    with pool.connect() as connection:
        return list(connection.scalars(sa.text("SELECT name FROM things ORDER BY id")))


def test_a_trip_commits_all_of_its_statements(pool: sa.Engine) -> None:
    with Connection(pool) as connection:
        found = connection.trip((INSERT, {"name": "a"}), (INSERT, {"name": "b"}))
        assert found == [[(1,)], [(2,)]]
        assert names(pool) == ["a", "b"], "seen by others while the connection is still held"


def test_an_error_takes_all_of_the_trip_back_and_the_connection_goes_on(pool: sa.Engine) -> None:
    with Connection(pool) as connection:
        connection.trip((INSERT, {"name": "a"}))
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.trip((INSERT, {"name": "b"}), (INSERT, {"name": "a"}))
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.trip((INSERT, {"name": "c"}), ("SELECT * FROM nowhere", {}))
        connection.trip((INSERT, {"name": "d"}))
    assert names(pool) == ["a", "d"]


def test_values_arrive_as_what_they_are(pool: sa.Engine) -> None:
    one = UUID(int=1)
    values: dict[str, Any] = {
        "text": "Žofie '\"\\", "bytes": b"\x00\xff", "number": -(10**17), "moment": NOON,
        "nothing": None, "id": one, "ids": [one, UUID(int=2)], "numbers": [1, 2], "flag": True,
        "moments": [NOON],
    }  # fmt: skip
    types = {
        "text": "text", "bytes": "bytea", "number": "bigint", "moment": "timestamptz",
        "nothing": "text", "id": "uuid", "ids": "uuid[]", "numbers": "bigint[]",
        "flag": "boolean", "moments": "timestamptz[]",
    }  # fmt: skip
    columns = ", ".join(f"CAST(%({name})s AS {type_})" for name, type_ in types.items())
    with Connection(pool) as connection:
        [[found]] = connection.trip((f"SELECT {columns}", values))
    assert dict(zip(types, found, strict=True)) == values


@pytest.mark.parametrize("value", ["a\0b", 1.5, {"a": 1}, ["text"]])
def test_what_has_no_exact_text_is_refused_before_it_is_sent(pool: sa.Engine, value: Any) -> None:
    with Connection(pool) as connection:
        with pytest.raises((psycopg.DataError, TypeError)):
            connection.trip((INSERT, {"name": "a"}), (INSERT, {"name": value}))
        connection.trip((INSERT, {"name": "b"}))
    assert names(pool) == ["b"]


def test_what_is_larger_than_the_socket_arrives(pool: sa.Engine) -> None:
    large = "x" * 8_000_000
    ask = ("SELECT length(%(text)s), CAST(%(text)s AS text)", {"text": large})
    with Connection(pool) as connection:
        found = connection.trip(ask, ask, ask)
    assert found == [[(len(large), large)]] * 3


def test_statements_are_prepared_once_a_connection(pool: sa.Engine) -> None:
    for name in "abc":
        with Connection(pool) as connection:
            connection.trip((INSERT, {"name": name}))
    with Connection(pool) as connection:
        prepared = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'INSERT%%'"
        assert connection.trip((prepared, {}), (prepared, {})) == [[(1,)], [(1,)]]


def test_what_psycopg_has_deallocated_is_prepared_again(pool: sa.Engine) -> None:
    with Connection(pool) as connection:
        connection.trip((INSERT, {"name": "a"}))
    with pool.connect() as used_after:
        # As psycopg does after a rollback, where it has prepared something of its own.
        used_after.exec_driver_sql("DEALLOCATE ALL")
    with Connection(pool) as connection:
        connection.trip(("SELECT 1", {}), (INSERT, {"name": "b"}))
        connection.trip((INSERT, {"name": "c"}))
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.trip((INSERT, {"name": "a"}))
    assert names(pool) == ["a", "b", "c"]


def test_planned_once_holds_for_the_trip_alone(pool: sa.Engine) -> None:
    ask = ("SELECT current_setting('plan_cache_mode'), current_setting('enable_seqscan')", {})
    with Connection(pool) as connection:
        found = connection.trip((f"SELECT {PLANNED_ONCE}", {}), ask)
        assert found[1] == [("force_generic_plan", "off")]
        assert connection.trip(ask) == [[("auto", "on")]]


def test_a_plan_made_while_a_table_is_small_is_right_when_it_has_grown(pool: sa.Engine) -> None:
    ask = ("EXPLAIN (COSTS off) SELECT id FROM things WHERE name = 'a'", {})
    with Connection(pool) as connection:
        connection.trip((INSERT, {"name": "a"}), ("ANALYZE things", {}))
        [left_to_choose] = connection.trip(ask)
        [_, planned] = connection.trip((f"SELECT {PLANNED_ONCE}", {}), ask)
    assert "Seq Scan" in str(left_to_choose)
    assert "Index" in str(planned)


def test_a_lost_connection_is_an_error_and_leaves_the_pool(pool: sa.Engine) -> None:
    end = ("SELECT pg_terminate_backend(pg_backend_pid())", {})
    with Connection(pool) as connection, pytest.raises(psycopg.Error):
        connection.trip((INSERT, {"name": "a"}), end, (INSERT, {"name": "b"}))
    with Connection(pool) as connection:
        connection.trip((INSERT, {"name": "c"}))
    assert names(pool) == ["c"]
