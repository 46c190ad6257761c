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
