"""Old months of raw clicks: detached by policy, their counters and their evidence kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
import sqlalchemy as sa
from click_support import Shop, rows
from flask import Flask
from sqlalchemy.orm import Session
from test_click_rollups import load, raw_click

from affiliate.core.config import Settings
from affiliate.programs.models import RuleVersion
from tracker.clicks import rebuild, retention
from tracker.clicks.database import libpq_url
from tracker.clicks.partitions import ensure_partitions
from tracker.clicks.receipts import receipt
from tracker.clicks.records import scan
from tracker.clicks.retention import MonthIsNeeded, MonthStatus, NoSuchMonth
from tracker.clicks.upkeep_cli import partitions_group, rollups_group

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
OLD = datetime(2025, 9, 10, 12, 0, tzinfo=UTC)
"""In a month that ended more than 400 days before NOW."""
SEPTEMBER = date(2025, 9, 1)
WAIT_S = 30


@pytest.fixture
def database(settings: Settings) -> Iterator[psycopg.Connection]:
    with psycopg.connect(libpq_url(settings.database_url), autocommit=True) as connection:
        yield connection


@pytest.fixture
def old_click(database: psycopg.Connection, session: Session, shop: Shop) -> bytes:
    """A click of September 2025, in a partition of its month."""
    ensure_partitions(session, now=OLD)
    ensure_partitions(session, now=NOW)
    session.commit()
    raw = raw_click(shop.link_id, OLD, address=1, s1="a")
    load(database, [raw])
    return scan(raw, ended=True).records[0].click_id


def rules(session: Session, shop: Shop, *, window: int, hold: int, at: datetime) -> None:
    """A version of the program's rules with these terms."""
    number = session.scalar(sa.select(sa.func.count()).select_from(RuleVersion)) or 0
    session.add(
        RuleVersion(
            program_id=shop.program_id,
            number=number + 1,
            terms={"attribution": {"window_days": window}, "payout": {"hold_days": hold}},
            effective_at=at,
            announced_at=at,
            created_at=at,
        )
    )
    session.commit()


def detach_old(session: Session, settings: Settings, now: datetime = NOW) -> list[str]:
    done = retention.detach_old(session, settings=settings, now=now)
    session.commit()
    return done


def statuses(session: Session) -> dict[date, MonthStatus]:
    session.rollback()
    return {month.begin: month.status for month in retention.months(session)}


def counters(session: Session) -> list[tuple[Any, ...]]:
    return rows(session, "SELECT day, clicks, uniques FROM link_days ORDER BY day")


class TestPolicy:
    def test_a_month_past_its_time_is_detached_and_still_counted(
        self, session: Session, settings: Settings, old_click: bytes
    ) -> None:
        before = counters(session)
        assert detach_old(session, settings) == ["clicks_2025_08", "clicks_2025_09"]
        assert statuses(session)[SEPTEMBER] is MonthStatus.DETACHED
        assert counters(session) == before == [(OLD.date(), 1, 1)]
        assert rows(session, "SELECT count(*) FROM clicks") == [(0,)]
        assert rows(session, "SELECT count(*) FROM clicks_2025_09") == [(1,)]
        assert receipt(session, click_id=UUID(bytes=old_click)) is None
        # Again: nothing is left to do, and the months ahead are still made.
        assert detach_old(session, settings) == []
        assert ensure_partitions(session, now=NOW) == []

    @pytest.mark.usefixtures("old_click")
    @pytest.mark.parametrize(
        ("days", "window", "hold", "detached"),
        [
            # September ended 416 days and 9 hours before NOW.
            (416, 30, 14, True),
            (417, 30, 14, False),
            (0, 30, 14, False),
            # No date lies so far back: for ever as well.
            (999_999, 30, 14, False),
            # 1 day of clicks would do, but orders need theirs for longer.
            (1, 400, 16, True),
            (1, 400, 17, False),
            (1, 3650, 0, False),
        ],
    )
    def test_clicks_are_kept_for_the_setting_and_never_less_than_orders_need_them(
        self,
        session: Session,
        settings: Settings,
        shop: Shop,
        days: int,
        window: int,
        hold: int,
        detached: bool,
    ) -> None:
        rules(session, shop, window=window, hold=hold, at=OLD)
        done = detach_old(session, replace(settings, clicks_keep_days=days))
        assert ("clicks_2025_09" in done) is detached

    @pytest.mark.usefixtures("old_click")
    @pytest.mark.parametrize(("ago", "detached"), [(499, False), (501, True)])
    def test_a_version_that_was_replaced_is_needed_for_its_own_time(
        self, session: Session, settings: Settings, shop: Shop, ago: int, detached: bool
    ) -> None:
        rules(session, shop, window=450, hold=50, at=NOW - timedelta(days=900))
        rules(session, shop, window=30, hold=14, at=NOW - timedelta(days=ago))
        assert ("clicks_2025_09" in detach_old(session, settings)) is detached

    def test_old_clicks_without_a_month_of_their_own_get_one(
        self, session: Session, settings: Settings, shop: Shop, database: psycopg.Connection
    ) -> None:
        load(database, [raw_click(shop.link_id, OLD), raw_click(shop.link_id, NOW)])
        assert detach_old(session, settings) == ["clicks_2025_09"]
        assert rows(session, "SELECT count(*) FROM clicks_default") == [(1,)]

    def test_a_late_click_of_a_detached_month_still_counts(
        self,
        session: Session,
        settings: Settings,
        shop: Shop,
        database: psycopg.Connection,
        old_click: bytes,
        app: Flask,
    ) -> None:
        detach_old(session, settings)
        load(database, [raw_click(shop.link_id, OLD + timedelta(hours=1), address=2)])
        assert counters(session) == [(OLD.date(), 2, 2)]
        assert rows(session, "SELECT count(*) FROM clicks_default") == [(1,)]
        assert detach_old(session, settings) == []
        # A recount would take the detached click away: the day is left alone.
        whole, gone = rebuild.days_of(database)
        assert (whole, [one.day for one in gone]) == ([], [OLD.date()])
        said = app.test_cli_runner().invoke(cli=rollups_group, args=["rebuild"])
        assert said.exit_code == 0
        assert "1 days lie in detached months" in said.output
        assert counters(session) == [(OLD.date(), 2, 2)]

    def test_whoever_reads_clicks_is_waited_for_and_the_month_tried_again(
        self,
        session: Session,
        settings: Settings,
        database: psycopg.Connection,
        old_click: bytes,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(retention, "LOCK_TIMEOUT", sa.text("SET LOCAL lock_timeout = '100ms'"))
        with database.transaction():
            database.execute("SELECT count(*) FROM clicks")
            assert detach_old(session, settings) == []
        assert detach_old(session, settings) == ["clicks_2025_08", "clicks_2025_09"]


class TestByHand:
    def test_months_are_listed_detached_and_dropped(
        self, session: Session, app: Flask, shop: Shop, old_click: bytes
    ) -> None:
        rules(session, shop, window=30, hold=14, at=OLD)

        def say(*words: str, exit_code: int = 0) -> str:
            said = app.test_cli_runner().invoke(cli=partitions_group, args=words, input="y\n")
            assert said.exit_code == exit_code, said.output
            return said.output

        assert "2025-09  attached" in say("list")
        assert "No month 2025-09 is detached" in say("drop-detached", "2025-09", exit_code=1)
        assert "clicks_2025_09 is detached" in say("detach", "2025-09")
        assert "2025-09  detached" in say("list")
        assert "clicks_2025_09 is dropped" in say("drop-detached", "2025-09")
        assert "2025-09  dropped" in say("list")
        assert rows(session, "SELECT to_regclass('clicks_2025_09')") == [(None,)]
        assert counters(session) == [(OLD.date(), 1, 1)]
        actions = rows(session, "SELECT action FROM audit_log WHERE subject = 'clicks_2025_09'")
        assert sorted(actions) == [("partition.detach",), ("partition.drop",)]

    def test_a_month_that_orders_need_is_refused(
        self, session: Session, shop: Shop, old_click: bytes
    ) -> None:
        rules(session, shop, window=400, hold=60, at=OLD)
        with pytest.raises(MonthIsNeeded):
            retention.detach(session, begin=SEPTEMBER, by="cli", now=NOW)
        with pytest.raises(NoSuchMonth):
            retention.detach(session, begin=date(2020, 1, 1), by="cli", now=NOW)


class TestKilled:
    """F44: a kill in the middle of upkeep leaves all of it or nothing."""

    @contextmanager
    def running(self, settings: Settings, program: str) -> Iterator[subprocess.Popen[bytes]]:
        head = (
            "import os, psycopg, sqlalchemy as sa\n"
            "from dataclasses import replace\n"
            "from datetime import UTC, datetime\n"
            "from sqlalchemy.orm import Session\n"
            "from affiliate.core.config import Settings\n"
            "from tracker.clicks import rebuild, retention\n"
            "settings = Settings.from_environ(os.environ)\n"
        )
        environment = {
            **os.environ,
            "KOPECK_MODE": "test",
            "DATABASE_URL": settings.database_url,
            "REDIS_URL": settings.redis_url,
            "KOPECK_SECRET": settings.secrets[0],
            "KOPECK_PUBLIC_URL": settings.public_url,
            "KOPECK_DATA_DIR": str(settings.data_dir),
        }
        process = subprocess.Popen([sys.executable, "-c", head + program], env=environment)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def kill_while_it_waits(
        self, process: subprocess.Popen[bytes], database: psycopg.Connection
    ) -> None:
        """Until it stands before a lock in the middle of its transaction; then kill -9."""
        waiting = (
            "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
            "AND datname = current_database()"
        )
        deadline = time.monotonic() + WAIT_S
        while (row := database.execute(waiting).fetchone()) is None:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        # PostgreSQL notices the death when the wait is over; the lock is released by then.
        database.execute("SELECT pg_terminate_backend(%s, 5000)", row)

    def test_in_the_middle_of_a_detach(
        self,
        session: Session,
        settings: Settings,
        database: psycopg.Connection,
        old_click: bytes,
    ) -> None:
        program = (
            "retention.LOCK_TIMEOUT = sa.text(\"SET LOCAL lock_timeout = '60s'\")\n"
            "with Session(sa.create_engine(settings.database_url)) as session:\n"
            f"    now = datetime.fromisoformat('{NOW.isoformat()}')\n"
            "    retention.detach_old(session, settings=settings, now=now)\n"
            "    session.commit()\n"
        )
        with psycopg.connect(libpq_url(settings.database_url)) as reader:
            reader.execute("SELECT count(*) FROM clicks")
            with self.running(settings, program) as process:
                self.kill_while_it_waits(process, database)
        assert statuses(session)[SEPTEMBER] is MonthStatus.ATTACHED
        assert rows(session, "SELECT count(*) FROM clicks") == [(1,)]
        assert detach_old(session, settings) == ["clicks_2025_08", "clicks_2025_09"]
        assert counters(session) == [(OLD.date(), 1, 1)]

    def test_in_the_middle_of_a_rebuild(
        self,
        session: Session,
        settings: Settings,
        database: psycopg.Connection,
        old_click: bytes,
    ) -> None:
        database.execute("UPDATE link_days SET clicks = 7")
        database.execute("UPDATE program_hours SET clicks = 7")
        program = (
            "url = settings.database_url.replace('+psycopg', '')\n"
            "with psycopg.connect(url) as connection:\n"
            "    (one,) = rebuild.days_of(connection)[0]\n"
            "    rebuild.rebuild(connection, one)\n"
        )
        with psycopg.connect(libpq_url(settings.database_url)) as holder:
            # link_days is written anew before program_hours, at whose row it then waits.
            holder.execute("SELECT * FROM program_hours FOR UPDATE")
            with self.running(settings, program) as process:
                self.kill_while_it_waits(process, database)
        assert counters(session) == [(OLD.date(), 7, 1)]
        (one,) = rebuild.days_of(database)[0]
        with database.transaction():
            assert len(rebuild.rebuild(database, one)) == 2
        assert counters(session) == [(OLD.date(), 1, 1)]
