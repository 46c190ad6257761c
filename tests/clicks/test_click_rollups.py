"""Counters: what the rows say, in whatever order and from however many loaders they come."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any
from uuid import UUID

import psycopg
import pytest
import sqlalchemy as sa
from click_support import CHROME, Shop, add_enrollment, add_link
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from affiliate.core.config import ROOT, Settings
from affiliate.programs.models import Program
from bench.loader import Traffic
from payouts.audit.run import run
from tracker.clicks import marks, rebuild, rollups
from tracker.clicks.checks import CHECKS
from tracker.clicks.database import libpq_url
from tracker.clicks.judging import LinkFacts, day_bounds, slot_of
from tracker.clicks.loading import load_records
from tracker.clicks.partitions import ensure_partitions
from tracker.clicks.records import FLAG_KNOWN_VISITOR, ClickRecord, encode, scan
from tracker.clicks.rows import country_of
from tracker.clicks.rules import OTHER_VALUES, VALUES_PER_LINK_DAY_MAX, DropReason
from tracker.clicks.tokens import NO_VISITOR, new_click_id
from tracker.clicks.upkeep_cli import rollups_group

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
LONG_AGO = datetime(2026, 3, 28, tzinfo=UTC)
"""No day of then has a table of marks; Europe moves its clocks on the 29th."""
PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"
)
BOT = "Mozilla/5.0 (compatible; archive.org_bot +http://archive.org/details)"


def raw_click(
    link_id: int,
    at: datetime,
    *,
    visitor: UUID | None = None,
    known: bool = False,
    address: int = 1,
    agent: str = CHROME,
    reason: DropReason | None = None,
    s1: str = "",
    s2: str = "",
    creative: str = "",
    country: str = "",
    noise: int | None = None,
) -> bytes:
    """One record of the journal."""
    ms = int(at.timestamp() * 1000)
    chance = random.Random(noise) if noise is not None else random
    texts = (agent, "", "", s1, s2, "", "", "", creative, country)
    return encode(
        new_click_id(ms, chance.randbytes(10)),
        link_id,
        visitor.bytes if visitor else NO_VISITOR,
        blake2b(b"%d" % address, digest_size=16).digest(),
        reason,
        FLAG_KNOWN_VISITOR if known else 0,
        "\0".join(texts).encode(),
    )


def records_of(raws: list[bytes]) -> list[ClickRecord]:
    return scan(b"".join(raws), ended=True).records


@pytest.fixture
def database(settings: Settings) -> Iterator[psycopg.Connection]:
    with psycopg.connect(libpq_url(settings.database_url), autocommit=True) as connection:
        connection.execute("SET timezone = 'UTC'")
        yield connection


@pytest.fixture
def tables(session: Session) -> None:
    """Partitions and tables of marks around today."""
    ensure_partitions(session, now=datetime.now(UTC))
    session.commit()


def load(database: psycopg.Connection, raws: list[bytes], facts: Any = None) -> None:
    with database.transaction():
        lost = load_records(database, records_of(raws), {} if facts is None else facts)
        assert lost == []


def wrong(database: psycopg.Connection) -> list[str]:
    whole, gone = rebuild.days_of(database)
    assert gone == []
    with database.transaction():
        return [str(each) for one in whole for each in rebuild.differences(database, one)]


def everything(database: psycopg.Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every counter."""
    return {
        table.name: sorted(
            tuple(row) for row in database.execute(f"SELECT * FROM {table.name}").fetchall()
        )
        for table in rollups.TABLES
    }


def sums(database: psycopg.Connection, table: str) -> tuple[int, ...]:
    columns = "clicks, uniques, duplicates, dropped"
    row = database.execute(
        f"SELECT {', '.join(f'coalesce(sum({c}), 0)' for c in columns.split(', '))} FROM {table}"
    ).fetchone()
    assert row is not None
    return tuple(int(each) for each in row)


@pytest.mark.usefixtures("tables")
class TestCounters:
    def test_a_click_is_counted_by_everything_that_it_says(
        self, database: psycopg.Connection, shop: Shop
    ) -> None:
        at = TODAY + timedelta(hours=9, minutes=40)
        raws = [
            raw_click(shop.link_id, at, agent=PHONE, s1="a", s2="b", creative="top", country="de"),
            raw_click(shop.link_id, at, agent=PHONE, s1="a", country="DE"),
            raw_click(shop.link_id, at, agent=BOT, s1="a"),
            raw_click(shop.link_id, at, reason=DropReason.PREFETCH),
        ]
        load(database, raws)
        day, hour = TODAY.date(), TODAY + timedelta(hours=9)
        person, program = shop.enrollment_id, shop.program_id
        # One counts, its repeat is a duplicate, two are dropped; it came from a phone.
        assert everything(database) == {
            "link_days": [(person, day, shop.link_id, program, 1, 1, 1, 2, 0, 1, 0, 0)],
            "link_hours": [(person, hour, shop.link_id, 1, 1, 1, 2)],
            "link_day_drops": [
                (person, day, shop.link_id, "bot", 1),
                (person, day, shop.link_id, "prefetch", 1),
            ],
            "link_day_values": [
                (person, day, shop.link_id, "country", "DE", 1, 1),
                (person, day, shop.link_id, "creative", "top", 1, 1),
                (person, day, shop.link_id, "s1", "a", 1, 1),
                (person, day, shop.link_id, "s2", "b", 1, 1),
            ],
            "program_days": [(program, day, 1, 1, 1, 2, 0, 1, 0, 0)],
            "program_hours": [(program, hour, 1, 1, 1, 2)],
            "program_day_drops": [(program, day, "bot", 1), (program, day, "prefetch", 1)],
            "program_day_values": [
                (program, day, "country", "DE", 1, 1),
                (program, day, "creative", "top", 1, 1),
            ],
        }
        assert wrong(database) == []

    @pytest.mark.parametrize(
        ("said", "stored"),
        [("de", "DE"), ("XK", "XK"), ("XX", None), ("T1", None), ("GERMANY", None), ("Ж", None)],
    )
    def test_only_countries_are_stored_as_countries(
        self, database: psycopg.Connection, shop: Shop, said: str, stored: str | None
    ) -> None:
        load(database, [raw_click(shop.link_id, TODAY, country=said)])
        assert database.execute("SELECT country FROM clicks").fetchone() == (stored,)
        assert country_of(said.encode()) == stored

    def test_values_of_strangers_are_cut(self, database: psycopg.Connection, shop: Shop) -> None:
        # Longer than an index of PostgreSQL can hold.
        load(database, [raw_click(shop.link_id, TODAY, s1="ж" * 3000, creative="y" * 3000)])
        assert database.execute("SELECT s1, creative FROM clicks").fetchone() == (
            "ж" * 100,
            "y" * 100,
        )
        assert wrong(database) == []

    @pytest.mark.parametrize(("values", "others"), [(999, 0), (1000, 0), (1001, 1), (1010, 10)])
    def test_a_thousand_values_have_counters_of_their_own(
        self, database: psycopg.Connection, shop: Shop, values: int, others: int
    ) -> None:
        raws = [
            raw_click(shop.link_id, TODAY + timedelta(seconds=n), address=300 + n, s1=f"v{n:04}")
            for n in range(values)
        ]
        load(database, raws[:400])
        load(database, raws[400:])
        # Once more: what was admitted goes on counting, what was not goes on not being.
        again = [
            raw_click(shop.link_id, TODAY + timedelta(hours=9, seconds=n), address=300 + n, s1=name)
            for n, name in enumerate(("v0000", f"v{values - 1:04}", OTHER_VALUES))
        ]
        load(database, again)
        kept = "SELECT count(*) FROM link_day_values WHERE value <> %s"
        assert database.execute(kept, (OTHER_VALUES,)).fetchone() == (values - others,)
        beyond = "SELECT clicks FROM link_day_values WHERE value = %s"
        late = others + (others > 0) + 1
        assert database.execute(beyond, (OTHER_VALUES,)).fetchone() == (late,)
        assert wrong(database) == []

    def test_the_cap_holds_between_two_loaders(
        self, settings: Settings, database: psycopg.Connection, shop: Shop
    ) -> None:
        def work(side: int) -> None:
            with psycopg.connect(libpq_url(settings.database_url), autocommit=True) as mine:
                for batch in range(6):
                    numbers = range(batch * 200 + side, batch * 200 + 200, 2)
                    load(mine, [raw_click(shop.link_id, TODAY, s1=f"v{n}") for n in numbers])

        threads = [threading.Thread(target=work, args=(side,)) for side in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # All of one device: one click, the rest repeat it. So the values are counted once more.
        assert sums(database, "program_days") == (1, 1, 1199, 0)
        database.execute("TRUNCATE clicks, link_day_values")

        def spread(side: int) -> None:
            with psycopg.connect(libpq_url(settings.database_url), autocommit=True) as mine:
                for batch in range(6):
                    numbers = range(batch * 200 + side, batch * 200 + 200, 2)
                    raws = [
                        raw_click(shop.link_id, TODAY, s1=f"v{n}", address=5000 + n)
                        for n in numbers
                    ]
                    load(mine, raws)

        threads = [threading.Thread(target=spread, args=(side,)) for side in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = database.execute(
            "SELECT count(*), sum(clicks), sum(clicks) FILTER (WHERE value = '(other)') "
            "FROM link_day_values"
        ).fetchone()
        assert found == (VALUES_PER_LINK_DAY_MAX + 1, 1200, 200)


class TestZones:
    @pytest.mark.parametrize(
        ("zone", "at", "day", "hour"),
        [
            # Half an hour off: hours begin at 18:30 UTC.
            ("Asia/Kolkata", "2026-03-28T18:29:59.999", "2026-03-28", "17:30"),
            ("Asia/Kolkata", "2026-03-28T18:30:00.000", "2026-03-29", "18:30"),
            ("Asia/Kathmandu", "2026-03-28T18:15:00.000", "2026-03-29", "18:15"),
            # Berlin has no 02:00 on this day, and two of them on the other.
            ("Europe/Berlin", "2026-03-29T00:59:59.999", "2026-03-29", "00:00"),
            ("Europe/Berlin", "2026-03-29T01:00:00.000", "2026-03-29", "01:00"),
            ("Europe/Berlin", "2026-03-29T22:00:00.000", "2026-03-30", "22:00"),
            ("Europe/Berlin", "2026-10-25T00:30:00.000", "2026-10-25", "00:00"),
            ("Europe/Berlin", "2026-10-25T01:30:00.000", "2026-10-25", "01:00"),
            # Half an hour is all by which the clocks of Lord Howe move.
            ("Australia/Lord_Howe", "2026-10-03T15:29:00.000", "2026-10-04", "14:30"),
            ("Australia/Lord_Howe", "2026-10-03T15:30:00.000", "2026-10-04", "15:00"),
        ],
    )
    def test_an_instant_has_its_day_and_hour(
        self, database: psycopg.Connection, zone: str, at: str, day: str, hour: str
    ) -> None:
        instant = datetime.fromisoformat(at + "+00:00")
        slot = slot_of(zone, int(instant.timestamp() * 1000) // 900_000)
        assert (str(slot.day), f"{slot.hour:%H:%M}") == (day, hour)
        begin, end = day_bounds(zone, slot.day)
        assert begin <= instant < end
        # PostgreSQL says the same.
        found = database.execute(
            "SELECT (%(at)s AT TIME ZONE %(zone)s)::date, date_trunc('hour', %(at)s, %(zone)s)",
            {"at": instant, "zone": zone},
        ).fetchone()
        assert found == (slot.day, slot.hour)


CLICKS = st.lists(
    st.builds(
        dict,
        link=st.integers(0, 2),
        minute=st.integers(0, 60 * 40),
        second=st.sampled_from((0, 5, 29, 31)),
        who=st.integers(1, 4),
        cookie=st.sampled_from(("none", "handed out", "came back")),
        agent=st.sampled_from((CHROME, PHONE, BOT)),
        reason=st.sampled_from((None, None, None, DropReason.HEAD_REQUEST)),
        s1=st.sampled_from(("", "a", "b", OTHER_VALUES)),
        creative=st.sampled_from(("", "top")),
        country=st.sampled_from(("", "DE", "XX")),
    ),
    min_size=1,
    max_size=60,
)


class TestOrder:
    @pytest.fixture
    def links(self, session: Session, shop: Shop) -> list[int]:
        """Three links of two affiliates, in programs of two zones."""
        now = datetime(2026, 1, 1, tzinfo=UTC)
        far = Program(
            slug="far",
            name="Far",
            currency="EUR",
            landing_url="https://shop.example/",
            allowed_sites=[],
            time_zone="Asia/Kolkata",
            created_at=now,
        )
        session.add(far)
        session.flush()
        there = Shop(far.id, add_enrollment(session, far.id, "boris", now), 0)
        found = [shop.link_id, add_link(session, shop, "two"), add_link(session, there, "three")]
        session.commit()
        return found

    @pytest.mark.parametrize("begin", [TODAY - timedelta(days=1), LONG_AGO], ids=["now", "old"])
    @hypothesis_settings(
        max_examples=12,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(made=CLICKS, chance=st.randoms(use_true_random=False), batches=st.integers(1, 5))
    def test_counters_say_what_the_rows_say_in_any_order_of_loading(
        self,
        database: psycopg.Connection,
        tables: None,
        links: list[int],
        begin: datetime,
        made: list[dict[str, Any]],
        chance: random.Random,
        batches: int,
    ) -> None:
        names = ", ".join(table.name for table in rollups.TABLES)
        database.execute(f"TRUNCATE clicks, {names}")
        for (name,) in database.execute(marks.TABLES).fetchall():
            database.execute(f"TRUNCATE {name}")
        raws = [
            raw_click(
                links[one["link"]],
                begin + timedelta(minutes=one["minute"], seconds=one["second"]),
                visitor=None if one["cookie"] == "none" else UUID(int=one["who"]),
                known=one["cookie"] == "came back",
                address=one["who"],
                noise=number,
                **{name: one[name] for name in ("agent", "reason", "s1", "creative", "country")},
            )
            for number, one in enumerate(made)
        ]
        chance.shuffle(raws)
        facts: dict[int, LinkFacts] = {}
        for first in range(batches):
            load(database, raws[first::batches], facts)
        assert wrong(database) == []
        # Visitors are counted once, whatever came first: here the device of a cookie is its
        # owner's alone, so that each person is one visitor of a link and day.
        counted = {
            (link_id, day): uniques
            for link_id, day, uniques in database.execute(
                "SELECT link_id, day, uniques FROM link_days WHERE clicks > 0"
            )
        }
        assert all(uniques >= 1 for uniques in counted.values())
        before = everything(database)
        for one in rebuild.days_of(database)[0]:
            with database.transaction():
                assert rebuild.rebuild(database, one) == []
        database.execute(f"TRUNCATE {names}")
        for one in rebuild.days_of(database)[0]:
            with database.transaction():
                assert rebuild.rebuild(database, one)
        assert everything(database) == before

    @pytest.mark.parametrize("begin", [TODAY, LONG_AGO], ids=["now", "old"])
    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    def test_a_cookie_that_comes_back_is_one_visitor_whichever_node_is_first(
        self,
        database: psycopg.Connection,
        tables: None,
        shop: Shop,
        begin: datetime,
        order: tuple[int, int],
    ) -> None:
        at = begin + timedelta(hours=3)
        raws = [
            raw_click(shop.link_id, at, visitor=UUID(int=77), address=1),
            raw_click(
                shop.link_id, at + timedelta(hours=1), visitor=UUID(int=77), known=True, address=2
            ),
        ]
        for place in order:
            load(database, [raws[place]])
        assert sums(database, "link_days") == (2, 1, 0, 0)

    def test_marks_of_a_day_that_gets_its_table_late_are_taken_from_the_rows(
        self, database: psycopg.Connection, session: Session, shop: Shop
    ) -> None:
        at = TODAY + timedelta(hours=3)
        load(database, [raw_click(shop.link_id, at, address=1)])
        load(database, [raw_click(shop.link_id, at, visitor=UUID(int=8), known=True)])
        assert database.execute(marks.TABLES).fetchall() == []
        ensure_partitions(session, now=datetime.now(UTC))
        session.commit()
        later = at + timedelta(hours=1)
        load(database, [raw_click(shop.link_id, later, address=1)])
        load(database, [raw_click(shop.link_id, later, visitor=UUID(int=8), known=True)])
        assert sums(database, "link_days") == (4, 2, 0, 0)

    @pytest.mark.parametrize(("waited_days", "behind"), [(0, 1), (1, 2), (5, 6), (30, 7)])
    def test_days_whose_clicks_still_wait_get_tables_too(
        self, database: psycopg.Connection, session: Session, waited_days: int, behind: int
    ) -> None:
        since = TODAY - timedelta(days=waited_days)
        ensure_partitions(session, now=TODAY, since=since)
        session.commit()
        names = {name for (name,) in database.execute(marks.TABLES)}
        assert names == {
            f"clicks_seen_{TODAY + timedelta(days=day):%Y_%m_%d}"
            for day in range(-behind, marks.DAYS_AHEAD + 1)
        }

    def test_a_long_reader_of_the_table_is_not_waited_for(
        self, database: psycopg.Connection, session: Session
    ) -> None:
        with database.transaction():
            database.execute("SELECT count(*) FROM clicks")
            session.execute(sa.text("SET lock_timeout = 0"))
            with pytest.raises(OperationalError, match="lock timeout"):
                ensure_partitions(session, now=TODAY + timedelta(days=900))
            session.rollback()

    def test_old_marks_go_and_their_day_stays_exact(
        self, database: psycopg.Connection, session: Session, shop: Shop, tables: None
    ) -> None:
        load(database, [raw_click(shop.link_id, TODAY, address=1)])
        ensure_partitions(session, now=TODAY + timedelta(days=30))
        session.commit()
        names = [name for (name,) in database.execute(marks.TABLES)]
        assert len(names) == marks.DAYS_BEHIND + 1 + marks.DAYS_AHEAD
        assert f"clicks_seen_{TODAY:%Y_%m_%d}" not in names
        load(database, [raw_click(shop.link_id, TODAY + timedelta(minutes=5), address=1)])
        assert sums(database, "link_days") == (2, 1, 0, 0)


@pytest.mark.usefixtures("tables")
class TestTogether:
    def test_loaders_of_two_nodes_count_as_one(
        self, settings: Settings, database: psycopg.Connection, session: Session, shop: Shop
    ) -> None:
        second = add_link(session, shop, "second")
        session.commit()
        chance = random.Random(5)
        # Visitors wander between the nodes; nobody comes twice within half a minute.
        raws = [
            raw_click(
                chance.choice((shop.link_id, second)),
                TODAY + timedelta(minutes=n),
                visitor=UUID(int=n % 40 + 1),
                known=True,
                s1=f"s{n % 7}",
            )
            for n in range(1200)
        ]
        people = {(r.link_id, r.visitor_id) for r in records_of(raws)}
        failed: list[BaseException] = []

        def node(number: int) -> None:
            try:
                with psycopg.connect(libpq_url(settings.database_url), autocommit=True) as mine:
                    facts: dict[int, LinkFacts] = {}
                    mine_only = raws[number::2]
                    for first in range(0, len(mine_only), 50):
                        load(mine, mine_only[first : first + 50], facts)
            except BaseException as error:  # noqa: BLE001
                failed.append(error)

        threads = [threading.Thread(target=node, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        # A rebuild in between changes nothing and harms nothing.
        for one in rebuild.days_of(database)[0]:
            with database.transaction():
                assert rebuild.rebuild(database, one) == []
        for thread in threads:
            thread.join()
        assert failed == []
        counted = sums(database, "link_days")
        # Moscow begins its next day at 21:00 UTC, so some are visitors of two days.
        days = {
            (r.link_id, r.visitor_id, slot_of("Europe/Moscow", ms // 900_000).day)
            for r in records_of(raws)
            for ms in [int.from_bytes(r.click_id[:6], "big")]
        }
        assert counted == (1200, len(days), 0, 0)
        assert len(people) <= len(days)
        assert sums(database, "program_days") == sums(database, "link_hours") == counted
        assert wrong(database) == []

    def test_a_loader_that_dies_before_its_commit_has_counted_nothing(
        self, settings: Settings, database: psycopg.Connection, shop: Shop
    ) -> None:
        raws = [raw_click(shop.link_id, TODAY + timedelta(minutes=n), address=n) for n in range(50)]
        dying = psycopg.connect(libpq_url(settings.database_url))
        load_records(dying, records_of(raws), {})
        pid = dying.info.backend_pid
        assert database.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,)).fetchone()
        dying.close()
        assert database.execute("SELECT count(*) FROM clicks").fetchone() == (0,)
        assert sums(database, "link_days") == (0, 0, 0, 0)
        load(database, raws)
        assert sums(database, "link_days") == (50, 50, 0, 0)
        assert wrong(database) == []

    @pytest.mark.parametrize(
        ("table", "check"),
        [("link_day_values", "clicks < 2"), ("program_days", "clicks < 2")],
    )
    def test_a_counter_that_is_refused_amid_the_others_takes_the_batch_back(
        self, database: psycopg.Connection, shop: Shop, table: str, check: str
    ) -> None:
        first, again, other = (
            raw_click(shop.link_id, TODAY + timedelta(hours=n), address=n, s1="a") for n in range(3)
        )
        load(database, [first])
        before = everything(database)
        database.execute(f"ALTER TABLE {table} ADD CONSTRAINT odd CHECK ({check})")
        # By its own name, and not as one of those that were not tried any more behind it.
        with pytest.raises(psycopg.errors.CheckViolation):
            load(database, [again])
        assert everything(database) == before
        assert database.execute("SELECT count(*) FROM clicks").fetchone() == (1,)
        database.execute(f"ALTER TABLE {table} DROP CONSTRAINT odd")
        load(database, [again, other])
        assert sums(database, "link_days") == (3, 3, 0, 0)
        assert wrong(database) == []


@pytest.mark.usefixtures("tables")
class TestRebuild:
    def test_a_counter_that_is_wrong_is_named_and_written_anew(
        self, database: psycopg.Connection, shop: Shop, app: Any
    ) -> None:
        load(database, [raw_click(shop.link_id, TODAY + timedelta(hours=1), s1="a")])
        before = everything(database)
        database.execute("UPDATE link_days SET clicks = 5")
        database.execute("DELETE FROM program_hours")
        database.execute(
            "INSERT INTO link_day_drops VALUES (%s, %s, %s, 'bot', 3)",
            (shop.enrollment_id, TODAY.date(), shop.link_id),
        )
        runner = app.test_cli_runner()
        said = runner.invoke(cli=rollups_group, args=["check"])
        assert said.exit_code == 1
        day = TODAY.date()
        assert f"tea: link_days (enrollment_id {shop.enrollment_id}, day {day}" in said.output
        assert "clicks 5 instead of 1" in said.output
        assert "clicks 3 instead of 0" in said.output
        assert "3 counters are not what the rows say" in said.output
        # Other days than the wrong one are right.
        said = runner.invoke(cli=rollups_group, args=["check", "--to", "2020-01-01"])
        assert said.exit_code == 0
        assert runner.invoke(cli=rollups_group, args=["rebuild"]).exit_code == 0
        assert everything(database) == before
        said = runner.invoke(cli=rollups_group, args=["check"])
        assert said.exit_code == 0, said.output

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE link_days SET clicks = 2, uniques = 1",
            "UPDATE program_days SET dropped = 1",
            "DELETE FROM link_days",
            "UPDATE link_days SET day = day - 1",
        ],
    )
    def test_the_audit_sees_links_that_are_not_their_program(
        self, database: psycopg.Connection, session: Session, shop: Shop, statement: str
    ) -> None:
        load(database, [raw_click(shop.link_id, TODAY)])
        assert run(session, CHECKS, real_now=TODAY) == []
        database.execute(statement)
        session.rollback()
        (found,) = run(session, CHECKS, real_now=TODAY)
        assert found.check.name == "S1"

    def test_admitted_values_stay_admitted(
        self, database: psycopg.Connection, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rollups, "VALUES_PER_LINK_DAY_MAX", 2)
        monkeypatch.setattr(rebuild, "VALUES_PER_LINK_DAY_MAX", 2)
        # The third value comes first by the clock and was loaded last.
        for number, name in ((5, "a"), (6, "b"), (1, "c")):
            at = TODAY + timedelta(minutes=number)
            load(database, [raw_click(shop.link_id, at, address=number, s1=name)])
        stored = 'SELECT value, clicks FROM link_day_values ORDER BY value COLLATE "C"'
        expected = [(OTHER_VALUES, 1), ("a", 1), ("b", 1)]
        assert database.execute(stored).fetchall() == expected
        assert wrong(database) == []
        database.execute("UPDATE link_day_values SET clicks = 9")
        (one,) = rebuild.days_of(database)[0]
        with database.transaction():
            rebuild.rebuild(database, one)
        assert database.execute(stored).fetchall() == expected

    def test_a_rebuild_waits_for_the_loader_and_the_loader_for_it(
        self, settings: Settings, database: psycopg.Connection, shop: Shop
    ) -> None:
        load(database, [raw_click(shop.link_id, TODAY, address=1)])
        (one,) = rebuild.days_of(database)[0]
        url = libpq_url(settings.database_url)
        with psycopg.connect(url) as loading, psycopg.connect(url) as rebuilding:
            raw = raw_click(shop.link_id, TODAY + timedelta(hours=1), address=2)
            load_records(loading, records_of([raw]), {})
            rebuilding.execute("SET lock_timeout = '100ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                rebuild.rebuild(rebuilding, one)
            rebuilding.rollback()
            loading.commit()
            assert rebuild.rebuild(rebuilding, one) == []
        assert sums(database, "link_days") == (2, 2, 0, 0)


def test_the_loader_can_read_the_traffic_of_its_bench() -> None:
    found = scan(Traffic([1, 2, 3], countries=True).segment(300, 0, 1000), ended=True)
    assert len(found.records) == 300
    assert found.rejects == []


MADE_BEFORE = """
import sys
import sqlalchemy as sa
connection = sa.create_engine(sys.argv[1]).raw_connection().driver_connection
from tracker.clicks.arrays import bigints, teach
teach(connection)
print(connection.execute("SELECT %b::bigint[]", [bigints([1, 2])]).fetchone()[0])
"""


def test_an_engine_made_before_anything_of_clicks_takes_packed_columns(database_url: str) -> None:
    """As the web's is: a process of its own, for in this one all is imported already."""
    told = subprocess.run(
        [sys.executable, "-c", MADE_BEFORE, database_url], cwd=ROOT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert told.stdout == "[1, 2]\n", told.stderr
