"""Faults one by one: a database that is full, slow, crowded or cut off in the middle of COMMIT."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
import sqlalchemy as sa
from click_support import CHROME, Answer, Ask, Shop, rows
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from affiliate.core import clock, metrics
from affiliate.core.config import Settings
from affiliate.core.embedded.servers import Servers
from tracker.clicks import database, journal, records
from tracker.clicks import loader as loaders
from tracker.clicks.database import libpq_url
from tracker.clicks.front import ClickFront
from tracker.clicks.loader import Loader
from tracker.clicks.recording import ClickRecorder
from tracker.clicks.tokens import ClickToken, read, signing_keys
from tracker.clicks.watch import Watch, read_state

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 60.0
DISK_FULL = "RAISE EXCEPTION 'no space left on device' USING ERRCODE = '53100';"


def unrecorded(settings: Settings, answer: Answer) -> bool:
    assert answer.status == "302 Found"
    token = read(answer.token, signing_keys(settings.keys("click-token")))
    assert isinstance(token, ClickToken)
    return token.unrecorded


def break_journal(settings: Settings) -> None:
    """No segment can be opened any more: a file stands where the folder was."""
    folder = settings.data_dir / journal.FOLDER
    folder.write_text("in the way")


def mend_journal(settings: Settings) -> None:
    (settings.data_dir / journal.FOLDER).unlink()


def on_insert(session: Session, table: str, body: str) -> None:
    """What PostgreSQL does at each insert into the table, until ``no_more``."""
    session.execute(
        sa.text(
            "CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN {body} RETURN NEW; END $$"
        )
    )
    session.execute(
        sa.text(
            f"CREATE TRIGGER fault BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION fault()"
        )
    )
    session.commit()


def no_more(session: Session) -> None:
    session.execute(sa.text("DROP FUNCTION fault CASCADE"))
    session.commit()


def record_clicks(settings: Settings, shop: Shop, number: int) -> None:
    with ClickRecorder(settings) as recorder:
        for count in range(number):
            recorder.click(
                link_id=shop.link_id,
                clicked_at=datetime.now(UTC),
                address=f"203.0.{count >> 8}.{count & 255}",
                agent=CHROME,
            )


def stored(session: Session) -> int:
    ((number, distinct),) = rows(session, "SELECT count(*), count(DISTINCT click_id) FROM clicks")
    assert number == distinct
    ((counted,),) = rows(session, "SELECT coalesce(sum(clicks + duplicates), 0) FROM link_days")
    assert counted == number
    return int(number)


class TestJournal:
    def test_f19_a_full_disk_sends_clicks_to_the_database_and_back_without_a_restart(
        self, settings: Settings, shop: Shop, session: Session, loader: Loader
    ) -> None:
        """A file size limit stands in for the full disk: the same short write, then an error."""
        process = subprocess.Popen(
            [sys.executable, "-c", CLICKING, str(ROOT)],
            env=_environment(settings),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None

        def tell(order: str) -> list[str]:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(order + "\n")
            process.stdin.flush()
            return process.stdout.readline().split()

        assert tell("click 5") == ["302"] * 5
        assert rows(session, "SELECT count(*) FROM click_spill") == [(0,)]
        assert tell("full") == ["done"]
        assert tell("click 5") == ["302"] * 5
        ((spilled,),) = rows(session, "SELECT count(*) FROM click_spill")
        assert spilled == 5
        assert tell("space") == ["done"]
        deadline, before = time.monotonic() + WAIT_S, spilled
        clicked = 10
        while True:
            # The journal tries a new segment every half second; the first click that it takes
            # leaves the spill table as it was.
            assert tell("click 1") == ["302"]
            clicked += 1
            ((spilled,),) = rows(session, "SELECT count(*) FROM click_spill")
            if spilled == before:
                break
            before = spilled
            assert time.monotonic() < deadline, "the journal did not recover"
        process.kill()
        process.communicate()
        while loader.round():
            pass
        assert stored(session) == clicked
        assert rows(session, "SELECT count(*) FROM click_quarantine WHERE reason <> 'torn'") == [
            (0,)
        ]


class TestFullDatabase:
    def test_f19_the_loader_halts_politely_and_goes_on_when_there_is_room(
        self, settings: Settings, shop: Shop, session: Session, loader: Loader
    ) -> None:
        record_clicks(settings, shop, 20)
        on_insert(session, "clicks", DISK_FULL)
        with pytest.raises(psycopg.errors.DiskFull):
            loader.round()
        assert loader._round_or_wait() > 0
        assert stored(session) == 0
        assert rows(session, "SELECT count(*) FROM click_quarantine") == [(0,)]
        no_more(session)
        assert loader.round() == 20
        assert stored(session) == 20

    def test_f19_with_the_journal_broken_as_well_clicks_redirect_unrecorded(
        self, ask: Ask, settings: Settings, session: Session
    ) -> None:
        break_journal(settings)
        on_insert(session, "click_spill", DISK_FULL)
        assert unrecorded(settings, ask())
        no_more(session)
        deadline = time.monotonic() + WAIT_S
        while unrecorded(settings, ask()):
            assert time.monotonic() < deadline, "the front never asked the database again"
            time.sleep(0.05)


class TestSlowDatabase:
    def test_f20_no_click_waits_for_it_longer_than_its_limit_and_none_piles_up(
        self, ask: Ask, settings: Settings, session: Session
    ) -> None:
        break_journal(settings)
        on_insert(session, "click_spill", "PERFORM pg_sleep(3600);")
        answers: list[bool] = []
        threads = [
            threading.Thread(target=lambda: answers.append(unrecorded(settings, ask())))
            for _ in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=WAIT_S)
        # Had they waited in turn for an hour each, none would be here.
        assert answers == [True] * 12

    def test_f20_the_loader_finds_a_batch_that_a_slow_database_can_take(
        self,
        settings: Settings,
        shop: Shop,
        session: Session,
        loader: Loader,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        # 400 rows at 10 ms each would take four seconds; half a second is allowed.
        monkeypatch.setattr(database, "PATIENT_STATEMENT_MS", 500)
        record_clicks(settings, shop, 400)
        on_insert(session, "clicks", "PERFORM pg_sleep(0.01);")
        deadline = time.monotonic() + WAIT_S
        cancelled = 0
        while stored(session) < 400:
            assert time.monotonic() < deadline
            cancelled += loader._round_or_wait() > journal.SYNC_INTERVAL_S * 50
        assert cancelled
        assert stored(session) == 400


class TestRestartedDatabase:
    def test_f17_a_connection_that_a_restart_has_ended_costs_no_click(
        self, ask: Ask, settings: Settings, session: Session
    ) -> None:
        break_journal(settings)
        assert not unrecorded(settings, ask())
        ended = rows(
            session,
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            "WHERE application_name = 'kopeck click' AND datname = current_database()",
        )
        assert ended == [(True,)]
        assert not unrecorded(settings, ask())
        assert rows(session, "SELECT count(*) FROM click_spill") == [(2,)]


class TestCrowdedDatabase:
    def test_f21_clicks_redirect_and_the_loader_waits_while_no_connection_is_left(
        self,
        ask: Ask,
        front: ClickFront,
        settings: Settings,
        session: Session,
        loader: Loader,
    ) -> None:
        break_journal(settings)
        assert not unrecorded(settings, ask())
        session.rollback()
        url = libpq_url(settings.database_url)
        with contextlib.ExitStack() as stack:

            def take_all() -> None:
                with contextlib.suppress(psycopg.OperationalError):
                    while True:
                        stack.enter_context(psycopg.connect(url))

            # Connections that others are just giving up are taken as well, sooner or later.
            deadline, recorded = time.monotonic() + WAIT_S, 1
            while True:
                take_all()
                front._database.close()
                take_all()
                if unrecorded(settings, ask()):
                    break
                recorded += 1
                assert time.monotonic() < deadline, "there is always one connection more"
            with pytest.raises(psycopg.OperationalError):
                loader.round()
        while unrecorded(settings, ask()):
            assert time.monotonic() < deadline, "the front never asked the database again"
            time.sleep(0.05)
        while stored(session) < recorded + 1:
            assert time.monotonic() < deadline
            session.rollback()
            loader._round_or_wait()
        assert stored(session) == recorded + 1


class TestUpkeep:
    def test_clicks_are_loaded_while_the_upkeep_fails(
        self, settings: Settings, shop: Shop, session: Session, loader: Loader
    ) -> None:
        record_clicks(settings, shop, 3)
        # PostgreSQL refuses the upkeep's new tables: a view stands in the way of one.
        day = clock.real_now().astimezone(UTC).date() + timedelta(days=2)
        session.execute(sa.text(f"CREATE VIEW clicks_seen_{day:%Y_%m_%d} AS SELECT 1 AS one"))
        session.commit()
        with pytest.raises(psycopg.errors.DuplicateTable):
            loader._keep_up()
        assert loader._round_or_wait() == loaders.IDLE_WAIT_S
        session.execute(sa.text(f"DROP VIEW clicks_seen_{day:%Y_%m_%d}"))
        session.commit()
        assert stored(session) == 3

    def test_a_database_that_goes_away_under_the_upkeep_does_not_end_the_loader(
        self, settings: Settings, shop: Shop, session: Session, loader: Loader
    ) -> None:
        record_clicks(settings, shop, 3)
        loader._connected()
        loader._settings = replace(settings, database_url=f"{settings.database_url}_is_gone")
        with pytest.raises(SQLAlchemyError):
            loader._keep_up()
        assert loader._round_or_wait() == loaders.IDLE_WAIT_S
        assert stored(session) == 3

    def test_f20_a_full_disk_under_the_counters_holds_up_no_clicks(
        self, settings: Settings, shop: Shop, session: Session, loader: Loader
    ) -> None:
        record_clicks(settings, shop, 3)
        # A file stands where a folder must be, and root is refused too.
        folder = settings.data_dir / metrics.FOLDER
        folder.mkdir(exist_ok=True)
        (folder / f"dead{metrics.SUFFIX}").mkdir()
        with pytest.raises(OSError, match="director"):
            loader._keep_up()
        loader.round()
        assert stored(session) == 3


class TestUnreadableSegment:
    def test_one_holds_up_neither_the_others_nor_the_watch(
        self, settings: Settings, shop: Shop, session: Session, loader: Loader
    ) -> None:
        record_clicks(settings, shop, 3)
        # Root may read everything but a folder; it is the first in the order of loading.
        broken = settings.data_dir / journal.FOLDER / f"{0:032x}{journal.SUFFIX}"
        broken.mkdir()
        assert loader.round() == 3
        assert loader.round() == 0
        assert stored(session) == 3
        Watch(settings).look({})
        state = read_state(settings.data_dir)
        assert state is not None
        assert state.taken.waiting_bytes == broken.stat().st_size


class TestCommit:
    def test_f18_a_connection_that_is_cut_at_commit_loads_nothing_twice(
        self, settings: Settings, shop: Shop, session: Session, servers: Servers
    ) -> None:
        record_clicks(settings, shop, 50)
        with CutAtCommit(servers.socket_dir / ".s.PGSQL.5432") as proxy:
            name = sa.make_url(settings.database_url).database
            url = f"postgresql+psycopg://kopeck@127.0.0.1:{proxy.port}/{name}"
            through = Loader(replace(settings, database_url=url))
            # The first round makes partitions; only commits of the load itself are to be cut.
            through._connected()
            through._keep_up()
            for _ in range(2):
                proxy.armed.set()
                with contextlib.suppress(psycopg.OperationalError):
                    through.round()
                assert proxy.cuts
            proxy.armed.clear()
            deadline = time.monotonic() + WAIT_S
            while stored(session) < 50:
                assert time.monotonic() < deadline
                through._round_or_wait()
            through._round_or_wait()
            through.close()
        assert stored(session) == 50
        assert rows(session, "SELECT sum(clicks) FROM click_segments") == [(50,)]


class TestPoison:
    def test_a_record_of_an_absurd_instant_goes_to_quarantine_and_the_loader_lives(
        self, settings: Settings, shop: Shop, session: Session, loader: Loader
    ) -> None:
        record_clicks(settings, shop, 3)
        (path,) = (settings.data_dir / journal.FOLDER).glob("*.kpj")
        with path.open("ab") as file:
            file.write(absurd(shop.link_id))
        record_clicks(settings, shop, 3)
        # One round halves the batch again and again, until the record stands alone.
        loader.round()
        assert stored(session) == 6
        assert rows(session, "SELECT reason FROM click_quarantine") == [("unreadable",)]

    def test_a_spilled_record_that_the_table_refuses_holds_nobody_up(
        self, settings: Settings, shop: Shop, session: Session, loader: Loader
    ) -> None:
        record_clicks(settings, shop, 3)
        (path,) = (settings.data_dir / journal.FOLDER).glob("*.kpj")
        content = path.read_bytes()
        size = len(content) // 3
        good = [content[at : at + size] for at in range(0, len(content), size)]
        path.unlink()
        for record in (good[0], absurd(shop.link_id), good[1], good[2]):
            session.execute(
                sa.text("INSERT INTO click_spill (record) VALUES (:record)"), {"record": record}
            )
        session.commit()
        deadline = time.monotonic() + WAIT_S
        while rows(session, "SELECT count(*) FROM click_spill") != [(0,)]:
            assert time.monotonic() < deadline
            loader.round()
        assert stored(session) == 3
        assert rows(session, "SELECT segment, reason FROM click_quarantine") == [
            ("spill", "unreadable")
        ]


class TestSinks:
    def test_f42_a_log_that_takes_nothing_and_counters_without_a_place_cost_no_click(
        self, settings: Settings, shop: Shop
    ) -> None:
        (settings.data_dir / "counters").write_text("in the way")
        break_journal(settings)
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [sys.executable, "-c", CLICKING, str(ROOT)],
                env=_environment(settings),
                input="click 3\n",
                stdout=subprocess.PIPE,
                stderr=full,
                text=True,
                check=False,
            )
        assert done.stdout.split() == ["302"] * 3


CLICKING = """
import io, os, resource, sys
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/tests/clicks"]
from affiliate.core import log, metrics
from affiliate.core.config import Settings
from click_support import ask_of, flask_stand_in
from tracker.clicks.front import ClickFront
settings = Settings.from_environ(os.environ)
log.set_up("INFO")
metrics.use(settings.data_dir)
ask = ask_of(ClickFront(flask_stand_in, settings))
for line in sys.stdin:
    order, _, number = line.strip().partition(" ")
    if order == "click":
        said = [ask(REMOTE_ADDR="203.0.113.%d" % n).status[:3] for n in range(int(number))]
        print(*said, flush=True)
    else:
        # 100 bytes more than the segment has: the next record is written in part.
        folder = settings.data_dir / "journal"
        size = max(path.stat().st_size for path in folder.glob("*.kpj")) + 100
        soft = size if order == "full" else resource.RLIM_INFINITY
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))
        print("done", flush=True)
"""


def absurd(link_id: int) -> bytes:
    """A sound record whose click id names the year 10889."""
    click_id = UUID(int=(0xFFFFFFFFFFFF << 80) | (0x7 << 76) | (0b10 << 62)).bytes
    texts = b"\0" * (records.TEXT_FIELDS[records.VERSION] - 1)
    return records.encode(click_id, link_id, bytes(16), bytes(16), None, 0, texts)


def _environment(settings: Settings) -> dict[str, str]:
    return {
        **os.environ,
        "KOPECK_MODE": "test",
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "KOPECK_SECRET": settings.secrets[0],
        "KOPECK_PUBLIC_URL": settings.public_url,
        "KOPECK_TRUSTED_HOSTS": ",".join(settings.trusted_hosts),
        "KOPECK_DATA_DIR": str(settings.data_dir),
    }


class CutAtCommit:
    """A road to PostgreSQL that ends once a COMMIT has been sent and before it is answered."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.armed = threading.Event()
        self.cuts = 0
        self._sockets: list[socket.socket] = [self._listener]
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> CutAtCommit:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(timeout=WAIT_S)
        for each in self._sockets:
            each.close()

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                self._sockets += [client, server]
                server.connect(str(self._target))
                cut = threading.Event()
                for source, target, is_up in ((client, server, True), (server, client, False)):
                    self._start(self._carry, source, target, cut, is_up)

    def _carry(
        self, source: socket.socket, target: socket.socket, cut: threading.Event, is_up: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if is_up and self.armed.is_set() and b"COMMIT" in data[:64]:
                    cut.set()
                    self.cuts += 1
                    target.sendall(data)
                    source.shutdown(socket.SHUT_RDWR)
                    continue
                if not cut.is_set():
                    target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
