"""Pooled connections: one that the server has ended is never given out."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import db
from affiliate.core.config import Settings
from affiliate.core.db import engine_for

END = sa.text("SELECT pg_terminate_backend(:pid, 5000)")
PID = sa.text("SELECT pg_backend_pid()")
LAST = sa.text("SELECT query FROM pg_stat_activity WHERE pid = :pid")


def test_every_connection_that_the_server_ended_is_replaced(
    settings: Settings, session: Session
) -> None:
    engine = engine_for(settings)
    with engine.connect() as one, engine.connect() as two:
        pids = [int(each.execute(PID).scalar_one()) for each in (one, two)]
    assert all(session.scalar(END, {"pid": pid}) for pid in pids)
    with engine.connect() as one, engine.connect() as two:
        now = {int(each.execute(PID).scalar_one()) for each in (one, two)}
    assert len(now) == 2 and not now & set(pids)
    engine.dispose()


@pytest.mark.parametrize(("rested", "last"), [(False, "COMMIT"), (True, "ROLLBACK")])
def test_only_a_connection_that_rested_is_asked(
    settings: Settings, session: Session, monkeypatch: pytest.MonkeyPatch, rested: bool, last: str
) -> None:
    engine = engine_for(settings)
    with engine.connect() as connection:
        pid = int(connection.execute(PID).scalar_one())
        connection.commit()
    if rested:
        monkeypatch.setattr(db, "REST_S_MAX", 0)
    with engine.connect():
        assert session.scalar(LAST, {"pid": pid}) == last
    engine.dispose()


def test_rows_come_in_the_sessions_own_transaction(session: Session) -> None:
    session.execute(sa.text("CREATE TEMPORARY TABLE kept (number int) ON COMMIT DROP"))
    insert = "INSERT INTO kept VALUES (%(one)s), (%(two)s), (%(one)s) RETURNING number"
    assert db.rows(session, insert, {"two": 2, "one": 1}) == [(1,), (2,), (1,)]
    with session.begin_nested() as savepoint:
        db.rows(session, insert, {"two": 4, "one": 3})
        savepoint.rollback()
    assert session.scalar(sa.text("SELECT count(*) FROM kept")) == 3
    session.commit()
    assert db.rows(session, "SELECT to_regclass('kept')", {}) == [(None,)]


def test_errors_of_rows_are_sqlalchemys_and_hide_what_was_bound(session: Session) -> None:
    with pytest.raises(sa.exc.DataError) as caught:
        db.rows(session, "SELECT 1 / (length(%(name)s) - 6)", {"name": "secret"})
    assert getattr(caught.value.orig, "sqlstate", None) == "22012"
    assert "secret" not in str(caught.value)
    session.rollback()
    assert db.rows(session, "SELECT 1", {}) == [(1,)]


def test_rows_of_an_ended_connection_raise_and_the_next_ones_come(
    session: Session, engine: sa.Engine
) -> None:
    [(pid,)] = db.rows(session, "SELECT pg_backend_pid()", {})
    with engine.connect() as other:
        assert other.scalar(END, {"pid": pid})
    with pytest.raises(sa.exc.OperationalError) as caught:
        db.rows(session, "SELECT 1", {})
    assert caught.value.connection_invalidated
    session.rollback()
    assert db.rows(session, "SELECT 1", {}) == [(1,)]


COUNTED = "SELECT count(*) FROM counted WHERE at BETWEEN %(since)s AND %(until)s"
PLANS = """
    SELECT generic_plans, custom_plans FROM pg_prepared_statements
    WHERE statement LIKE '%counted%'
"""


@pytest.mark.parametrize("planned_once", [True, False])
def test_a_transaction_can_have_its_statements_planned_once_a_connection(
    session: Session, planned_once: bool
) -> None:
    session.execute(sa.text("CREATE TEMPORARY TABLE counted (at int) PARTITION BY RANGE (at)"))
    for at in range(40):
        session.execute(
            sa.text(f"CREATE TEMPORARY TABLE c{at} PARTITION OF counted FOR VALUES FROM ({at}) "
                    f"TO ({at + 1})")
        )  # fmt: skip
    session.commit()
    if planned_once:
        db.begin_planned_once(session)
    for at in range(20):
        assert db.rows(session, COUNTED, {"since": at, "until": at}) == [(0,)]
    [(generic, custom)] = db.rows(session, PLANS, {})
    assert (custom == 0) is planned_once
    assert (generic > 0) is planned_once
    session.execute(sa.text("DROP TABLE counted"))
    session.commit()
    assert db.rows(session, "SHOW plan_cache_mode", {}) == [("auto",)]


def test_a_transaction_that_is_begun_is_not_begun_again(session: Session) -> None:
    [(first,)] = db.rows(session, "SELECT pg_current_xact_id()::text", {})
    db.begin_planned_once(session)
    assert db.rows(session, "SELECT pg_current_xact_id()::text", {}) == [(first,)]
    session.rollback()
    db.begin_planned_once(session)
    [(second,)] = db.rows(session, "SELECT pg_current_xact_id()::text", {})
    assert second != first
    assert db.rows(session, "SHOW plan_cache_mode", {}) == [("force_generic_plan",)]


def test_a_transaction_of_an_ended_connection_is_not_begun(
    session: Session, engine: sa.Engine
) -> None:
    [(pid,)] = db.rows(session, "SELECT pg_backend_pid()", {})
    # The session keeps its connection, idle, as one is while it is being given out.
    connection = session.connection()
    connection.connection.driver_connection.rollback()  # type: ignore[union-attr]
    with engine.connect() as other:
        assert other.scalar(END, {"pid": pid})
    with pytest.raises(sa.exc.OperationalError) as caught:
        db.begin_planned_once(session)
    assert caught.value.connection_invalidated
    session.rollback()
    db.begin_planned_once(session)
    assert db.rows(session, "SELECT 1", {}) == [(1,)]
