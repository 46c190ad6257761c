"""Links: the few in memory, the node's snapshot of all, and how both stay true."""

from __future__ import annotations

import fcntl
import itertools
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from click_support import Shop, add_link, ask_of, flask_stand_in
from sqlalchemy.orm import Session

from affiliate.core.config import ROOT, Settings, SettingsError
from affiliate.links.models import Link
from affiliate.people.models import Enrollment
from affiliate.programs.models import Program
from tracker.clicks.database import QuickDatabase, libpq_url
from tracker.clicks.freshness import LOOKUPS_PER_SECOND_MAX, LinkRefresher, UnknownCodes
from tracker.clicks.front import ClickFront
from tracker.clicks.keeper import LOCK_SUFFIX, SnapshotKeeper
from tracker.clicks.links import LinkTable, MemoryLink
from tracker.clicks.rules import DropReason
from tracker.clicks.snapshot import SNAPSHOT

AWAY = "postgresql+psycopg://nobody@127.0.0.1:9/none"
OLD_FORMAT = b'{"format":"kopeck-links-1","offset_ms":0,"programs":[]}\n{"sha256":"0"}\n'


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(libpq_url(database_url), autocommit=True) as opened:
        yield opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / SNAPSHOT


@pytest.fixture
def keeper(path: Path) -> Iterator[SnapshotKeeper]:
    made = SnapshotKeeper(path)
    yield made
    made.close()


def keep(keeper: SnapshotKeeper, connection: psycopg.Connection) -> None:
    """Rounds until nothing urgent is left."""
    while keeper.round(connection, demo_clock=True):
        pass


def looking(path: Path, *, links_max: int = 1000) -> LinkTable:
    table = LinkTable(path, links_max=links_max)
    table.look_at_snapshot()
    return table


def add_links(session: Session, shop: Shop, links: int, first: int = 1) -> None:
    """As many links, quickly; their codes are c1, c2 …"""
    session.execute(
        sa.text(
            "INSERT INTO links (program_id, enrollment_id, code, destination, created_at)"
            " SELECT :program, :enrollment, 'c' || n, 'https://shop.example/' || n % 100, now()"
            "   FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS n"
        ),
        {
            "program": shop.program_id,
            "enrollment": shop.enrollment_id,
            "first": first,
            "last": first + links - 1,
        },
    )
    session.commit()


def change_secretly(session: Session, statement: str) -> None:
    """A change that leaves no trace in `updated_at`, unless the statement writes one."""
    session.execute(sa.text("ALTER TABLE links DISABLE TRIGGER links_touch"))
    session.execute(sa.text(statement))
    session.execute(sa.text("ALTER TABLE links ENABLE TRIGGER links_touch"))
    session.commit()


def leave_alone(path: Path) -> None:
    """Make a snapshot look as if nobody had kept it for long."""
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("UPDATE head SET value = 1 WHERE name = 'refreshed_ms'")


def eventually(holds: Callable[[], bool], seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


class TestSnapshot:
    def test_it_says_of_a_link_what_the_database_says(
        self,
        session: Session,
        shop: Shop,
        connection: psycopg.Connection,
        keeper: SnapshotKeeper,
        path: Path,
    ) -> None:
        add_link(session, shop, "Vanity", vanity=True, disabled_at=datetime.now(UTC))
        add_link(session, shop, "rich", s2="Blog", s5="ёлка", destination="https://shop.example")
        session.commit()
        keep(keeper, connection)
        asked, looked = LinkTable(), looking(path)
        for code in ("abcde", "Vanity", "rich"):
            assert looked.find(code) == asked.look_up(connection, code)
        assert looked.loaded
        assert looked.programs == asked.programs
        rich = looked.links["rich"]
        assert rich.sub_ids == ("", "Blog", "", "", "ёлка")
        assert looked.links["Vanity"].barred is DropReason.LINK_DISABLED

    @pytest.mark.parametrize("spelling", ["Vanity", "vanity", "VANITY", "vAnItY"])
    def test_a_vanity_code_is_found_in_any_case_of_letters(
        self,
        session: Session,
        shop: Shop,
        connection: psycopg.Connection,
        keeper: SnapshotKeeper,
        path: Path,
        spelling: str,
    ) -> None:
        number = add_link(session, shop, "Vanity", vanity=True)
        session.commit()
        keep(keeper, connection)
        table = looking(path)
        for _ in range(2):
            found = table.find(spelling)
            assert found is not None
            assert found.link_id == number
        asked = LinkTable().look_up(connection, spelling)
        assert asked is not None
        assert asked.link_id == number

    def test_a_made_code_is_found_as_it_is_spelled_alone(
        self, shop: Shop, connection: psycopg.Connection, keeper: SnapshotKeeper, path: Path
    ) -> None:
        keep(keeper, connection)
        assert looking(path).find("ABCDE") is None
        assert LinkTable().look_up(connection, "ABCDE") is None

    @pytest.mark.parametrize("damage", ["cut", "empty", "foreign", "older format", "headless"])
    def test_a_damaged_snapshot_is_not_believed_and_is_made_anew(
        self,
        shop: Shop,
        connection: psycopg.Connection,
        keeper: SnapshotKeeper,
        path: Path,
        damage: str,
    ) -> None:
        keep(keeper, connection)
        keeper.close()
        whole = path.read_bytes()
        if damage == "headless":
            with closing(sqlite3.connect(path, isolation_level=None)) as file:
                file.execute("DELETE FROM head")
        else:
            path.write_bytes(
                {
                    "cut": whole[: len(whole) // 2],
                    "empty": b"",
                    "foreign": b"\x7fELF" * 1000,
                    "older format": OLD_FORMAT,
                }[damage]
            )
        table = looking(path)
        if damage != "headless":
            assert table.find("abcde") is None
        if damage != "cut":
            assert not table.loaded
        keep(keeper, connection)
        assert looking(path).find("abcde")

    def test_a_row_that_rotted_on_the_disk_is_not_believed_and_heals(
        self, shop: Shop, connection: psycopg.Connection, keeper: SnapshotKeeper, path: Path
    ) -> None:
        keep(keeper, connection)
        keeper.close()
        path.write_bytes(path.read_bytes().replace(b"shop.example/tea", b"evil.example/tea"))
        assert looking(path).find("abcde") is None
        keeper.distrust()
        keep(keeper, connection)
        healed = looking(path).find("abcde")
        assert healed is not None
        assert healed.prefix.startswith("https://shop.example/tea")

    @pytest.mark.parametrize(
        "rots",
        [
            "UPDATE links SET destination = CAST(x'68ff' AS TEXT)",
            "UPDATE programs SET slug = CAST(x'68ff' AS TEXT)",
            "UPDATE programs SET allowed_sites = '['",
            "DELETE FROM head",
        ],
    )
    def test_a_keeper_that_finds_the_file_rotten_mends_it(
        self, rots: str, settings: Settings, shop: Shop
    ) -> None:
        refresher = LinkRefresher(None, settings)
        try:
            assert refresher.refresh_once()
            path = settings.data_dir / SNAPSHOT
            with closing(sqlite3.connect(path)) as file, file:
                file.execute(rots)
            refresher._keeper.distrust()
            for _ in range(4):
                assert refresher.refresh_once()
            table = looking(path)
            found = table.find("abcde")
            assert found is not None
            assert found.prefix.startswith("https://shop.example/tea")
            assert found.program.slug == "tea"
            assert table.snapshot.fresh
        finally:
            refresher.stop()

    def test_a_snapshot_is_not_whole_before_all_links_are_in_it(
        self,
        session: Session,
        shop: Shop,
        connection: psycopg.Connection,
        keeper: SnapshotKeeper,
        path: Path,
    ) -> None:
        add_links(session, shop, 2500)
        assert keeper.round(connection, demo_clock=True, slice_s=0)
        table = looking(path)
        assert not table.loaded
        keep(keeper, connection)
        table.look_at_snapshot()
        assert table.loaded
        assert table.find("c2500")

    def test_the_old_file_answers_until_its_successor_is_whole(
        self, shop: Shop, connection: psycopg.Connection, keeper: SnapshotKeeper, path: Path
    ) -> None:
        keep(keeper, connection)
        table = looking(path)
        path.write_bytes(b"")
        path.unlink()
        keep(keeper, connection)
        broken = looking(path)
        assert broken.loaded
        keeper.close()
        shutil.copy(path, path.with_name("kept"))
        path.unlink()
        assert keeper.round(connection, demo_clock=True, slice_s=0)
        broken.look_at_snapshot()
        assert broken.loaded
        assert broken.find("abcde")
        keep(keeper, connection)
        broken.look_at_snapshot()
        assert broken.loaded
        table.snapshot.close()

    def test_it_is_read_as_it_lies_where_a_full_disk_lets_nobody_share_it(
        self, shop: Shop, connection: psycopg.Connection, keeper: SnapshotKeeper, path: Path
    ) -> None:
        keep(keeper, connection)
        keeper.close()
        Path(f"{path}-shm").mkdir()
        table = looking(path)
        assert table.loaded
        assert table.find("abcde")
        Path(f"{path}-shm").rmdir()
        table.look_at_snapshot()
        assert table.loaded

    def test_one_process_at_a_time_keeps_it(
        self, shop: Shop, connection: psycopg.Connection, keeper: SnapshotKeeper, path: Path
    ) -> None:
        with Path(f"{path}{LOCK_SUFFIX}").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert not keeper.round(connection, demo_clock=True)
            assert not path.exists()
        keep(keeper, connection)
        assert looking(path).loaded

    def test_a_keeper_that_was_killed_leaves_a_file_that_the_next_one_finishes(
        self,
        session: Session,
        shop: Shop,
        connection: psycopg.Connection,
        keeper: SnapshotKeeper,
        path: Path,
        database_url: str,
    ) -> None:
        add_links(session, shop, 5000)
        program = (
            "import sys, psycopg, pathlib\n"
            "from tracker.clicks.keeper import SnapshotKeeper\n"
            "keeper = SnapshotKeeper(pathlib.Path(sys.argv[1]))\n"
            "with psycopg.connect(sys.argv[2], autocommit=True) as connection:\n"
            "    while keeper.round(connection, demo_clock=True, slice_s=0.001): pass\n"
        )
        command = [sys.executable, "-c", program, str(path), libpq_url(database_url)]
        process = subprocess.Popen(command, cwd=ROOT)
        try:
            table = LinkTable(path)

            def begun() -> bool:
                table.look_at_snapshot()
                return table.snapshot.head.position > 0 or table.loaded

            assert eventually(begun)
        finally:
            process.kill()
            process.wait()
        keep(keeper, connection)
        table.look_at_snapshot()
        assert table.loaded
        assert all(table.find(f"c{number}") for number in range(1, 5001))


class TestCap:
    def test_memory_holds_no_more_than_it_may_and_every_link_is_found(
        self,
        session: Session,
        shop: Shop,
        connection: psycopg.Connection,
        keeper: SnapshotKeeper,
        path: Path,
    ) -> None:
        add_links(session, shop, 100)
        keep(keeper, connection)
        table = looking(path, links_max=10)
        for number in [*range(1, 101), *range(1, 101)]:
            assert table.find(f"c{number}")
            assert len(table.links) + len(table._older) <= 10

    def test_what_is_clicked_stays_in_memory_and_what_is_not_goes(
        self,
        session: Session,
        shop: Shop,
        connection: psycopg.Connection,
        keeper: SnapshotKeeper,
        path: Path,
    ) -> None:
        add_links(session, shop, 100)
        keep(keeper, connection)
        table = looking(path, links_max=10)
        hot, cold = table.find("c1"), table.find("c2")
        for number in range(3, 101):
            assert table.find(f"c{number}")
            assert table.find("c1") is hot
        assert table.find("c2") is not cold

    def test_a_vanity_code_beyond_the_cap_is_still_found_in_any_case(
        self,
        session: Session,
        shop: Shop,
        connection: psycopg.Connection,
        keeper: SnapshotKeeper,
        path: Path,
    ) -> None:
        for number in range(20):
            add_link(session, shop, f"Vanity-{number}", vanity=True)
        session.commit()
        keep(keeper, connection)
        table = looking(path, links_max=4)
        for number in [*range(20), *range(20)]:
            assert table.find(f"vanity-{number}")
            assert table.find(f"VANITY-{number}")
            assert len(table._folded) <= 5

    def test_many_changes_at_once_push_no_clicked_link_out(
        self, session: Session, shop: Shop, connection: psycopg.Connection
    ) -> None:
        add_links(session, shop, 600)
        table = LinkTable(links_max=1000)
        table.refresh(connection, demo_clock=True)
        for _ in range(2):
            hot = table.look_up(connection, "abcde")
            session.execute(sa.text("UPDATE links SET name = 'x' WHERE code <> 'abcde'"))
            session.commit()
            table.refresh(connection, demo_clock=True)
            assert table.find("abcde") is hot
        assert len(table.links) + len(table._older) <= 1000

    def test_many_threads_find_the_right_links_while_they_change(
        self,
        session: Session,
        shop: Shop,
        connection: psycopg.Connection,
        keeper: SnapshotKeeper,
        path: Path,
    ) -> None:
        add_links(session, shop, 200)
        numbers = dict(session.execute(sa.select(Link.code, Link.id)).all())
        keep(keeper, connection)
        table, surprises, stop = looking(path, links_max=20), [], threading.Event()

        def click(first: int) -> None:
            for turn in itertools.count(first):
                if stop.is_set():
                    return
                code = f"c{turn * 7 % 200 + 1}"
                found = table.find(code)
                if found is None or found.link_id != numbers[code]:
                    surprises.append(code)

        threads = [threading.Thread(target=click, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for number in range(5):
            session.execute(
                sa.update(Link).values(destination=f"https://shop.example/turn-{number}")
            )
            session.commit()
            table.refresh(connection, demo_clock=True)
            keep(keeper, connection)
            table.look_at_snapshot()
        stop.set()
        for thread in threads:
            thread.join(timeout=30)
        assert surprises == []
        assert len(table.links) + len(table._older) <= 20
        table.refresh(connection, demo_clock=True)
        for number in range(1, 201):
            found = table.find(f"c{number}")
            assert found is not None
            assert found.prefix == "https://shop.example/turn-4?kpk="

    @pytest.mark.abuse("A49")
    def test_a_link_beyond_the_cap_redirects_with_the_database_up_and_down(
        self, settings: Settings, session: Session, shop: Shop
    ) -> None:
        add_links(session, shop, 30)
        capped = replace(settings, links_in_memory_max=4)
        front = ClickFront(flask_stand_in, capped)
        try:
            ask = ask_of(front)
            assert all(ask(f"/r/c{number}").token for number in range(1, 31))
            assert len(front.table.links) <= 4
        finally:
            front.stop()
        away = replace(capped, database_url=AWAY, redis_url="redis://127.0.0.1:9")
        restarted = ClickFront(flask_stand_in, away)
        try:
            ask = ask_of(restarted)
            assert all(ask(f"/r/c{number}").token for number in range(1, 31))
            assert ask("/r/nobody").status == "404 Not Found"
        finally:
            restarted.stop()

    def test_the_cap_is_a_setting(self, settings: Settings) -> None:
        environ = {
            "KOPECK_MODE": "test",
            "DATABASE_URL": settings.database_url,
            "REDIS_URL": settings.redis_url,
            "KOPECK_SECRET": settings.secrets[0],
            "KOPECK_PUBLIC_URL": settings.public_url,
        }
        assert Settings.from_environ(environ).links_in_memory_max == 100_000
        given = Settings.from_environ({**environ, "KOPECK_LINKS_IN_MEMORY_MAX": "7"})
        assert given.links_in_memory_max == 7
        with pytest.raises(SettingsError, match="KOPECK_LINKS_IN_MEMORY_MAX"):
            Settings.from_environ({**environ, "KOPECK_LINKS_IN_MEMORY_MAX": "many"})


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_process_with_a_million_links_starts_at_once_and_keeps_few_of_them(
    settings: Settings,
    session: Session,
    shop: Shop,
    connection: psycopg.Connection,
) -> None:
    # Without triggers and checks of foreign keys, which are not what is tested here.
    session.execute(sa.text("SET LOCAL session_replication_role = replica"))
    add_links(session, shop, 1_000_000)
    keeper = SnapshotKeeper(settings.data_dir / SNAPSHOT)
    keep(keeper, connection)
    keeper.close()
    capped = replace(settings, database_url=AWAY, links_in_memory_max=1000)
    front = ClickFront(flask_stand_in, capped)
    try:
        ask = ask_of(front)
        for number in range(1, 1_000_001, 333):
            assert ask(f"/r/c{number}").location.startswith(
                f"https://shop.example/{number % 100}?kpk="
            )
        assert len(front.table.links) + len(front.table._older) <= 1000
        assert ask("/r/c1000001").status == "404 Not Found"
    finally:
        front.stop()


def test_a_node_that_cannot_write_a_snapshot_finds_many_links_in_the_database(
    settings: Settings, session: Session, shop: Shop
) -> None:
    (settings.data_dir / SNAPSHOT).mkdir()
    add_links(session, shop, LOOKUPS_PER_SECOND_MAX * 6)
    front = ClickFront(flask_stand_in, settings)
    try:
        ask = ask_of(front)
        for number in range(1, LOOKUPS_PER_SECOND_MAX * 6 + 1):
            assert ask(f"/r/c{number}").token
    finally:
        front.stop()


class CountingTable(LinkTable):
    """Counts what it asks the database."""

    asked = 0

    def look_up(self, connection: psycopg.Connection, code: str) -> MemoryLink | None:
        self.asked += 1
        return super().look_up(connection, code)


class TestUnknownCodes:
    def test_trying_codes_out_asks_the_database_seldom(
        self,
        settings: Settings,
        shop: Shop,
        connection: psycopg.Connection,
        keeper: SnapshotKeeper,
        path: Path,
    ) -> None:
        keep(keeper, connection)
        table, database = CountingTable(path), QuickDatabase(settings.database_url)
        table.look_at_snapshot()
        codes = UnknownCodes(table, database)
        began = time.monotonic()
        try:
            for number in range(1000):
                assert codes.find(f"guess-{number}") is None
                assert codes.find(f"guess-{number}") is None
        finally:
            database.close()
        seconds = int(time.monotonic() - began) + 2
        assert 0 < table.asked <= seconds * LOOKUPS_PER_SECOND_MAX

    def test_a_known_link_redirects_while_codes_are_tried_out_and_the_snapshot_is_old(
        self,
        settings: Settings,
        session: Session,
        shop: Shop,
        connection: psycopg.Connection,
        keeper: SnapshotKeeper,
        path: Path,
    ) -> None:
        keep(keeper, connection)
        leave_alone(path)
        table, database = LinkTable(path), QuickDatabase(settings.database_url)
        table.look_at_snapshot()
        table.refresh(connection, demo_clock=True)
        table.links.clear()
        codes = UnknownCodes(table, database)
        try:
            assert table.answering
            assert table.find("abcde") is None, "an old snapshot is not believed at once"
            for number in range(LOOKUPS_PER_SECOND_MAX * 3):
                codes.find(f"guess-{number}")
            assert codes.find("abcde")
        finally:
            database.close()

    def test_a_disabled_link_is_not_revived_by_an_old_snapshot(
        self,
        settings: Settings,
        session: Session,
        shop: Shop,
        connection: psycopg.Connection,
        keeper: SnapshotKeeper,
        path: Path,
    ) -> None:
        keep(keeper, connection)
        table, database = looking(path), QuickDatabase(settings.database_url)
        session.execute(sa.update(Link).values(disabled_at=datetime.now(UTC)))
        session.commit()
        table.refresh(connection, demo_clock=True)
        assert table.find_in_snapshot("abcde") is table.links["abcde"]
        assert table.links["abcde"].barred is DropReason.LINK_DISABLED
        database.close()

    def test_a_code_that_the_database_denied_is_a_404_without_any_snapshot(
        self, settings: Settings, shop: Shop
    ) -> None:
        (settings.data_dir / SNAPSHOT).mkdir()
        front = ClickFront(flask_stand_in, settings)
        try:
            ask = ask_of(front)
            assert ask().token
            assert not front.table.loaded
            assert ask("/r/nobody").status == "404 Not Found"
        finally:
            front.stop()


class TestFreshness:
    def test_new_and_disabled_links_reach_a_process_by_themselves(
        self, settings: Settings, session: Session, shop: Shop
    ) -> None:
        front = ClickFront(flask_stand_in, settings)
        try:
            ask = ask_of(front)
            assert ask().token
            add_link(session, shop, "fresh")
            session.execute(
                sa.update(Link).where(Link.code == "abcde").values(disabled_at=datetime.now(UTC))
            )
            session.commit()
            assert eventually(lambda: "fresh" in front.table.links)
            assert eventually(lambda: not ask().token)
        finally:
            front.stop()

    @pytest.mark.parametrize("first", ["memory", "snapshot"])
    def test_a_suspended_affiliates_links_stop_crediting(
        self,
        session: Session,
        shop: Shop,
        connection: psycopg.Connection,
        keeper: SnapshotKeeper,
        path: Path,
        first: str,
    ) -> None:
        keep(keeper, connection)
        table = looking(path)
        if first == "memory":
            assert table.find("abcde")
        session.execute(sa.update(Enrollment).values(status="suspended"))
        session.commit()
        keep(keeper, connection)
        table.refresh(connection, demo_clock=True)
        found = table.find("abcde")
        assert found is not None
        assert found.barred is DropReason.AFFILIATE_INACTIVE

    def test_a_program_that_closes_is_known_before_and_after_a_restart(
        self,
        session: Session,
        shop: Shop,
        connection: psycopg.Connection,
        keeper: SnapshotKeeper,
        path: Path,
    ) -> None:
        keep(keeper, connection)
        table = looking(path)
        found = table.find("abcde")
        assert found is not None
        closes_at = datetime(2026, 12, 1, tzinfo=UTC)
        session.execute(sa.update(Program).values(status="closing", closes_at=closes_at))
        session.commit()
        table.refresh(connection, demo_clock=True)
        keep(keeper, connection)
        restarted = looking(path).find("abcde")
        assert restarted is not None
        for program in (found.program, restarted.program):
            assert program.status == "closing"
            assert program.closes_ms == closes_at.timestamp() * 1000

    def test_changes_made_while_the_database_was_away_arrive(
        self, settings: Settings, session: Session, shop: Shop
    ) -> None:
        table = LinkTable(settings.data_dir / SNAPSHOT)
        refresher = LinkRefresher(table, settings)
        try:
            assert refresher.refresh_once()
            assert table.find("abcde")
            session.execute(
                sa.text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND application_name = 'kopeck links'"
                )
            )
            session.execute(sa.update(Link).values(destination="https://shop.example/new"))
            add_link(session, shop, "later")
            session.commit()
            assert not refresher.refresh_once(), "the connection was cut"
            assert table.find("abcde")
            assert refresher.refresh_once()
            assert table.links["abcde"].prefix == "https://shop.example/new?kpk="
            assert table.find("later")
        finally:
            refresher.stop()

    def test_an_older_database_that_was_restored_is_believed(
        self, settings: Settings, session: Session, shop: Shop
    ) -> None:
        add_link(session, shop, "young")
        session.commit()
        table = LinkTable(settings.data_dir / SNAPSHOT)
        refresher = LinkRefresher(table, settings)
        try:
            assert refresher.refresh_once()
            assert table.find("abcde")
            assert table.find("young")
            change_secretly(session, "DELETE FROM links WHERE code = 'young'")
            change_secretly(
                session,
                "UPDATE links SET updated_at = updated_at - interval '1 day',"
                " destination = 'https://shop.example/older'",
            )
            leave_alone(settings.data_dir / SNAPSHOT)
            assert refresher.refresh_once()
            found = table.find("abcde")
            assert found is not None
            assert found.prefix == "https://shop.example/older?kpk="
            assert table.find("young") is None
        finally:
            refresher.stop()

    @pytest.mark.parametrize(
        ("change", "code", "prefix"),
        [
            ("UPDATE links SET destination = 'https://shop.example/x'", "abcde", "x?kpk="),
            ("UPDATE links SET code = 'other'", "abcde", None),
            ("DELETE FROM links", "abcde", None),
        ],
    )
    def test_what_no_change_told_of_is_found_by_comparing_all_links(
        self,
        session: Session,
        shop: Shop,
        connection: psycopg.Connection,
        keeper: SnapshotKeeper,
        path: Path,
        change: str,
        code: str,
        prefix: str | None,
    ) -> None:
        keep(keeper, connection)
        table = looking(path)
        assert table.find(code)
        change_secretly(session, change)
        keep(keeper, connection)
        keeper.distrust()
        keep(keeper, connection)
        table.look_at_snapshot()
        found = table.find(code)
        assert (found and found.prefix.removeprefix("https://shop.example/")) == prefix

    def test_a_comparison_that_finds_nothing_leaves_memory_alone(
        self, shop: Shop, connection: psycopg.Connection, keeper: SnapshotKeeper, path: Path
    ) -> None:
        keep(keeper, connection)
        table = looking(path)
        found = table.find("abcde")
        keeper.distrust()
        keep(keeper, connection)
        table.look_at_snapshot()
        assert table.links["abcde"] is found

    def test_a_code_that_was_given_up_is_forgotten(
        self,
        session: Session,
        shop: Shop,
        connection: psycopg.Connection,
        keeper: SnapshotKeeper,
        path: Path,
    ) -> None:
        keep(keeper, connection)
        table = looking(path)
        assert table.find("abcde")
        session.execute(sa.update(Link).values(code="other"))
        session.commit()
        keep(keeper, connection)
        table.look_at_snapshot()
        assert table.find("abcde") is None
        assert table.find("other")

    def test_a_web_process_keeps_the_snapshot_while_nobody_else_does(
        self, settings: Settings, session: Session, shop: Shop
    ) -> None:
        table = LinkTable(settings.data_dir / SNAPSHOT)
        refresher = LinkRefresher(table, settings)
        try:
            assert refresher.refresh_once()
            assert table.loaded
            kept_ms = table.snapshot.head.refreshed_ms
            assert refresher.refresh_once()
            assert table.snapshot.head.refreshed_ms == kept_ms, "somebody else has just kept it"
        finally:
            refresher.stop()
