"""`kopeck quarantine`: a replayed piece is loaded once, a dropped one leaves a line in the log."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
import sqlalchemy as sa
from click.testing import Result
from click_support import CHROME, Shop, add_link, rows
from flask import Flask
from sqlalchemy.orm import Session, sessionmaker

from affiliate.core.config import Settings
from tracker.clicks import quarantine
from tracker.clicks.cli import quarantine_group
from tracker.clicks.database import libpq_url
from tracker.clicks.loader import Loader
from tracker.clicks.models import ClickQuarantine
from tracker.clicks.quarantine import Outcome
from tracker.clicks.recording import ClickRecorder

NOON = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
NOBODYS = 900_001


class Commands:
    """`kopeck quarantine …` against the test's database."""

    def __init__(self, app: Flask) -> None:
        self._runner = app.test_cli_runner()

    def __call__(self, *words: str) -> Result:
        return self._runner.invoke(args=words, cli=quarantine_group)


@pytest.fixture
def run(app: Flask) -> Commands:
    return Commands(app)


@pytest.fixture
def recorder(settings: Settings, shop: Shop) -> Iterator[ClickRecorder]:
    with ClickRecorder(settings) as made:
        yield made


def segment_of(settings: Settings) -> Path:
    (path,) = (settings.data_dir / "journal").glob("*.kpj")
    return path


def click(recorder: ClickRecorder, link_id: int, number: int = 9) -> None:
    address = f"203.0.113.{number}"
    recorder.click(link_id=link_id, clicked_at=NOON, address=address, agent=CHROME)


def ids(session: Session) -> list[int]:
    return [row[0] for row in rows(session, "SELECT id FROM click_quarantine ORDER BY id")]


def counted(session: Session) -> list[tuple[int, int]]:
    return [tuple(row) for row in rows(session, "SELECT clicks, duplicates FROM link_days")]


def give_link(session: Session, shop: Shop, link_id: int = NOBODYS) -> None:
    """The link that the quarantined clicks name comes into being, with its very number."""
    session.execute(sa.text(f"ALTER TABLE links ALTER COLUMN id RESTART WITH {link_id}"))
    assert add_link(session, shop, "later") == link_id
    session.commit()


def test_a_click_of_an_unknown_link_is_replayed_once_the_link_exists(
    recorder: ClickRecorder, loader: Loader, session: Session, shop: Shop, run: Commands
) -> None:
    click(recorder, NOBODYS)
    loader.round()
    (number,) = ids(session)
    early = run("replay", str(number))
    assert early.exit_code == 1
    assert f"does not have (yet) (link {NOBODYS})" in early.output
    assert ids(session) == [number]
    assert rows(session, "SELECT count(*) FROM clicks") == [(0,)]
    give_link(session, shop)
    assert run("replay", str(number)).exit_code == 0
    assert ids(session) == []
    assert rows(session, "SELECT link_id, reason FROM clicks") == [(NOBODYS, None)]
    assert counted(session) == [(1, 0)]
    again = run("replay", str(number))
    assert again.exit_code == 1
    assert f"{number} is not in quarantine" in again.output
    assert counted(session) == [(1, 0)]
    assert rows(session, "SELECT action, new->'pieces' FROM audit_log") == [
        ("quarantine.replay", [number])
    ]


def test_a_replayed_click_is_judged_like_any_other(
    recorder: ClickRecorder, loader: Loader, session: Session, shop: Shop, run: Commands
) -> None:
    click(recorder, NOBODYS)
    click(recorder, NOBODYS)
    loader.round()
    give_link(session, shop)
    assert run("replay", "--all").exit_code == 0
    # The second came from the same address and agent within the window: it repeats the first.
    assert sorted(rows(session, "SELECT reason FROM clicks"), key=str) == [("duplicate",), (None,)]
    assert counted(session) == [(1, 1)]


def test_a_click_that_the_table_has_already_is_not_loaded_twice(
    recorder: ClickRecorder,
    loader: Loader,
    session: Session,
    shop: Shop,
    settings: Settings,
    run: Commands,
) -> None:
    click(recorder, shop.link_id)
    loader.round()
    record = segment_of(settings).read_bytes()
    session.add(
        ClickQuarantine(
            segment="elsewhere",
            segment_offset=0,
            reason="unknown_link",
            size=len(record),
            content=record,
            found_at=NOON,
        )
    )
    session.commit()
    assert run("replay", "--all").exit_code == 0
    assert ids(session) == []
    assert rows(session, "SELECT count(*) FROM clicks") == [(1,)]
    assert counted(session) == [(1, 0)]


def test_torn_and_foreign_bytes_say_why_they_cannot_be_replayed(
    recorder: ClickRecorder, loader: Loader, session: Session, settings: Settings, run: Commands
) -> None:
    path = segment_of(settings)
    with path.open("ab") as file:
        file.write(b"\xc7KPJ\x01\x00")
    recorder.click(link_id=1, clicked_at=NOON, address="::1", agent=CHROME)
    with path.open("ab") as file:
        file.write(b"what is this")
    recorder.__exit__(None, None, None)
    loader.round()
    found = rows(session, "SELECT id, reason FROM click_quarantine ORDER BY id")
    assert [reason for _, reason in found if reason != "unknown_link"] == ["torn", "foreign"]
    everything = run("replay", "--all")
    assert everything.exit_code == 0
    assert "2 not_whole" in everything.output
    torn = next(number for number, reason in found if reason == "torn")
    one = run("replay", str(torn))
    assert one.exit_code == 1
    assert "can only be dropped" in one.output
    assert "can only be dropped" in run("show", str(torn)).output


def test_a_dropped_piece_leaves_its_reason_in_the_audit_log(
    recorder: ClickRecorder, loader: Loader, session: Session, run: Commands
) -> None:
    click(recorder, NOBODYS)
    loader.round()
    (number,) = ids(session)
    assert run("drop", str(number)).exit_code == 2
    assert ids(session) == [number]
    assert run("drop", str(number), "--reason", "the link was a test").exit_code == 0
    assert ids(session) == []
    ((action, reason, old),) = rows(session, "SELECT action, reason, old FROM audit_log")
    assert (action, reason) == ("quarantine.drop", "the link was a test")
    assert (old["reason"], len(old["sha256"])) == ("unknown_link", 64)
    assert run("drop", str(number), "--reason", "again").exit_code == 1


def test_the_list_counts_by_reason_and_a_piece_is_shown_without_control_characters(
    recorder: ClickRecorder, loader: Loader, session: Session, run: Commands
) -> None:
    assert "empty" in run("list").output
    recorder.click(
        link_id=NOBODYS,
        clicked_at=NOON,
        address="::1",
        agent="evil \x1b[2J agent",
        sub_ids=["blog"],
    )
    click(recorder, NOBODYS)
    loader.round()
    first, _ = ids(session)
    listed = run("list", "--limit", "1").output
    assert "2 unknown_link" in listed
    assert listed.count("bytes") == 1
    assert run("list", "--reason", "torn").output.count("bytes") == 0
    shown = run("show", str(first)).output
    assert "evil �[2J agent" in shown
    assert "blog" in shown
    assert f"kopeck quarantine replay {first}" in shown
    assert run("show", "77").exit_code == 1


def test_replay_wants_either_names_or_all(run: Commands) -> None:
    assert run("replay").exit_code == 2
    assert run("replay", "1", "--all").exit_code == 2


def test_a_click_that_the_database_refuses_stays_and_does_not_hold_up_the_others(
    recorder: ClickRecorder, loader: Loader, session: Session, shop: Shop
) -> None:
    for number in (1, 2, 3):
        click(recorder, NOBODYS, number)
    loader.round()
    give_link(session, shop)
    numbers = ids(session)
    session.execute(
        sa.text(
            """
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF (SELECT count(*) FROM clicks) = 1 AND NOT EXISTS
                   (SELECT FROM click_quarantine WHERE id = -1) THEN
                    RAISE EXCEPTION 'not this one' USING ERRCODE = '22000';
                END IF;
                RETURN NEW;
            END $$
            """
        )
    )
    session.execute(
        sa.text(
            "CREATE TRIGGER refuse BEFORE INSERT ON clicks FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
    )
    answers = quarantine.replay(session, piece_ids=numbers, by="cli", now=NOON)
    session.commit()
    outcomes = [answer.outcome for answer in answers]
    assert outcomes == [Outcome.LOADED, Outcome.REFUSED, Outcome.REFUSED]
    assert ids(session) == numbers[1:]
    assert counted(session) == [(1, 0)]


def test_two_replays_at_once_load_a_piece_once(
    recorder: ClickRecorder,
    loader: Loader,
    session: Session,
    shop: Shop,
    engine: sa.Engine,
) -> None:
    for number in range(1, 30):
        click(recorder, NOBODYS, number)
    loader.round()
    give_link(session, shop)
    numbers = ids(session)
    outcomes: list[Outcome] = []

    def replay() -> None:
        with sessionmaker(engine)() as own:
            answers = quarantine.replay(own, piece_ids=numbers, by="cli", now=NOON)
            own.commit()
        outcomes.extend(answer.outcome for answer in answers)

    threads = [threading.Thread(target=replay) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert outcomes == [Outcome.LOADED] * len(numbers)
    assert ids(session) == []
    ((stored, distinct),) = rows(session, "SELECT count(*), count(DISTINCT click_id) FROM clicks")
    assert stored == distinct == len(numbers)
    assert counted(session) == [(len(numbers), 0)]


def test_a_replay_that_is_cut_off_leaves_everything_as_it_was(
    recorder: ClickRecorder, loader: Loader, session: Session, shop: Shop, settings: Settings
) -> None:
    click(recorder, NOBODYS)
    loader.round()
    give_link(session, shop)
    (number,) = ids(session)
    quarantine.replay(session, piece_ids=[number], by="cli", now=NOON)
    victim = session.connection().connection.driver_connection
    assert isinstance(victim, psycopg.Connection)
    with psycopg.connect(libpq_url(settings.database_url), autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", (victim.info.backend_pid,))
    with pytest.raises(sa.exc.OperationalError):
        session.commit()
    assert ids(session) == [number]
    assert rows(session, "SELECT count(*) FROM clicks") == [(0,)]
    assert counted(session) == []
    assert UUID(bytes=quarantine.read_piece(quarantine.piece(session, piece_id=number)).click_id)  # type: ignore[union-attr]
