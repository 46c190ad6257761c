"""Business time and jobs after commit, on real servers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from flask import Flask
from redis import Redis
from sqlalchemy.orm import Session

from affiliate.core import audit, clock, outbox, queue
from affiliate.core.config import Settings
from affiliate.core.db import db, session_for

SOON = timedelta(seconds=5)


def test_the_moved_clock_is_seen_by_every_session(
    session: Session, engine: sa.Engine, settings: Settings
) -> None:
    clock.advance(session, by=timedelta(days=14), settings=settings)
    clock.advance(session, by=timedelta(hours=1), settings=settings)
    session.commit()
    with session_for(engine)() as other:
        ahead = clock.now(other, settings) - datetime.now(UTC)
    assert timedelta(days=14, hours=1) - SOON < ahead < timedelta(days=14, hours=1) + SOON


@pytest.mark.parametrize("by", [timedelta(days=-1), timedelta(days=3_700)])
def test_the_clock_goes_neither_back_nor_beyond_ten_years(
    session: Session, settings: Settings, by: timedelta
) -> None:
    with pytest.raises(clock.ClockRefused):
        clock.advance(session, by=by, settings=settings)


def test_production_refuses_to_move_the_clock_and_ignores_a_moved_one(
    session: Session, settings: Settings, production_settings: Settings
) -> None:
    with pytest.raises(clock.ClockRefused):
        clock.advance(session, by=timedelta(days=1), settings=production_settings)
    clock.advance(session, by=timedelta(days=1), settings=settings)
    assert clock.now(session, production_settings) - datetime.now(UTC) < SOON


def _jobs(redis_url: str) -> list[str]:
    with Redis.from_url(redis_url) as redis:
        return list(queue.queue_on(redis, queue.GENERAL).get_job_ids())


def test_a_job_is_woken_after_the_outermost_commit_and_only_then(
    app: Flask, redis_url: str
) -> None:
    with app.app_context():
        session = db.session()
        session.execute(sa.text("SELECT 1"))
        outbox.deliver_due.after_commit(session)
        with session.begin_nested():
            outbox.deliver_due.after_commit(session)
        assert _jobs(redis_url) == []
        session.commit()
        assert len(_jobs(redis_url)) == 1


def test_a_rolled_back_transaction_wakes_nobody(app: Flask, redis_url: str) -> None:
    with app.app_context():
        session = db.session()
        session.execute(sa.text("SELECT 1"))
        outbox.deliver_due.after_commit(session)
        session.rollback()
        session.execute(sa.text("SELECT 1"))
        session.commit()
    assert _jobs(redis_url) == []


@pytest.mark.abuse("A47")
def test_jobs_travel_as_json_with_plain_ids(app: Flask, redis_url: str) -> None:
    with app.app_context():
        outbox.deliver_due.wake()
    with Redis.from_url(redis_url) as redis:
        (job_id,) = queue.queue_on(redis, queue.GENERAL).get_job_ids()
        data = redis.hget(f"rq:job:{job_id}", "data")
    assert isinstance(data, bytes)
    assert b"affiliate.core.outbox.deliver_due" in __import__("zlib").decompress(data)
    with pytest.raises(TypeError, match="ids"):
        outbox.deliver_due.after_commit(db.session, key=1)  # type: ignore[call-arg]


@pytest.mark.abuse("A49")
def test_a_commit_succeeds_while_valkey_is_away(app: Flask, engine: sa.Engine) -> None:
    queue.use(queue.connect("redis://127.0.0.1:9/0"))
    with app.app_context():
        session = db.session()
        audit.record(
            session, actor="cli", action="test.write", subject="test", now=clock.real_now()
        )
        outbox.deliver_due.after_commit(session)
        session.commit()
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM audit_log")) == 1


def test_settings_stay_frozen(settings: Settings) -> None:
    with pytest.raises(AttributeError):
        settings.mode = "production"  # type: ignore[misc]
    assert replace(settings, mode="production").production
