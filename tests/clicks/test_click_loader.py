"""The loader: every record once, judged, counted, and nothing lost on the way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
import sqlalchemy as sa
from click_support import CHROME, Shop, add_link, rows
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from tracker.clicks import loader as loaders
from tracker.clicks import partitions, reading, records
from tracker.clicks.loader import Loader
from tracker.clicks.marks import keep_tables
from tracker.clicks.receipts import click_verdicts, receipt, visitor_clicks
from tracker.clicks.recording import ClickRecorder
from tracker.clicks.rules import DropReason
from tracker.clicks.tokens import ClickToken, new_click_id, read, signing_keys

NOON = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
"""Noon in Moscow, where the program counts its days."""
ANNA, BORIS = UUID(int=1), UUID(int=2)


class Clicks:
    """Records clicks into the journal of the node and remembers their ids."""

    def __init__(self, settings: Settings, shop: Shop) -> None:
        self._settings = settings
        self._shop = shop
        self.recorder = ClickRecorder(settings)

    def __call__(
        self,
        at: datetime = NOON,
        visitor: UUID | None = None,
        *,
        known: bool = False,
        address: str = "203.0.113.9",
        agent: str = CHROME,
        link_id: int | None = None,
    ) -> UUID:
        token = self.recorder.click(
            link_id=link_id or self._shop.link_id,
            clicked_at=at,
            address=address,
            agent=agent,
            visitor_id=visitor,
            visitor_known=known,
        )
        found = read(token, signing_keys(self._settings.keys("click-token")))
        assert isinstance(found, ClickToken)
        return found.click_id


@pytest.fixture
def click(settings: Settings, shop: Shop) -> Iterator[Clicks]:
    made = Clicks(settings, shop)
    with made.recorder:
        yield made


def day_counts(session: Session) -> list[tuple[date, int, int, int]]:
    statement = "SELECT day, clicks, uniques, duplicates FROM link_days ORDER BY link_id, day"
    return [tuple(row) for row in rows(session, statement)]


def make_marks_of_noon(loader: Loader, session: Session) -> None:
    """Give the day of NOON its table of marks, however long ago it is by the real clock."""
    loader.round()
    keep_tables(partitions.driver(session), now=NOON)
    session.commit()


def segment_of(settings: Settings) -> Path:
    (path,) = (settings.data_dir / "journal").glob("*.kpj")
    return path


class TestLoading:
    def test_a_click_becomes_a_row_a_receipt_and_a_count(
        self, click: Clicks, loader: Loader, session: Session, shop: Shop
    ) -> None:
        click_id = click(NOON, ANNA)
        assert loader.round() == 1
        found = receipt(session, click_id=click_id)
        assert found is not None
        assert (found.click_id, found.clicked_at) == (click_id, NOON)
        assert (found.link_id, found.program_id) == (shop.link_id, shop.program_id)
        assert found.enrollment_id == shop.enrollment_id
        assert found.verdict.reason is None
        assert found.verdict.credits
        assert found.is_unique
        assert day_counts(session) == [(date(2026, 11, 21), 1, 1, 0)]
        assert loader.round() == 0

    def test_a_click_that_is_not_loaded_or_never_was_has_no_receipt(
        self, click: Clicks, session: Session
    ) -> None:
        assert receipt(session, click_id=click()) is None
        assert receipt(session, click_id=UUID(int=5)) is None
        assert click_verdicts(session, [click(), UUID(int=5)]) == {}
        assert click_verdicts(session, []) == {}

    def test_days_are_counted_in_the_programs_time_zone(
        self, click: Clicks, loader: Loader, session: Session
    ) -> None:
        # Moscow is three hours ahead: its midnight is 21:00 UTC.
        midnight = datetime(2026, 11, 21, 21, 0, tzinfo=UTC)
        click(midnight - timedelta(milliseconds=1), ANNA, known=True)
        click(midnight, BORIS, known=True)
        loader.round()
        assert day_counts(session) == [(date(2026, 11, 21), 1, 1, 0), (date(2026, 11, 22), 1, 1, 0)]

    def test_texts_arrive_as_they_were(
        self, click: Clicks, loader: Loader, session: Session, shop: Shop
    ) -> None:
        agent = "Tab\tBack\\slash\nLine \\N é"
        click.recorder.click(
            link_id=shop.link_id,
            clicked_at=NOON,
            address="::1",
            agent=agent,
            referrer="https://blog.example/ж",
            sub_ids=["\\.", None, "3"],
        )
        loader.round()
        assert rows(session, "SELECT agent, referrer, s1, s2, s3 FROM clicks") == [
            (agent, "https://blog.example/ж", "\\.", None, "3")
        ]

    def test_segments_are_put_away_when_their_writer_is_gone(
        self, click: Clicks, loader: Loader, session: Session, settings: Settings
    ) -> None:
        click()
        loader.round()
        name = segment_of(settings).name
        assert rows(session, "SELECT finished_at FROM click_segments") == [(None,)]
        click.recorder.__exit__(None, None, None)
        loader.round()
        assert (settings.data_dir / "journal" / "loaded" / name).exists()
        ((finished,),) = rows(session, "SELECT finished_at FROM click_segments")
        assert finished is not None

    def test_a_segment_without_a_click_leaves_nothing(
        self, settings: Settings, shop: Shop, loader: Loader, session: Session
    ) -> None:
        with ClickRecorder(settings):
            pass
        assert loader.round() == 0
        assert list((settings.data_dir / "journal").rglob("*.kpj")) == []
        assert rows(session, "SELECT * FROM click_segments") == []

    def test_partitions_are_made_ahead(self, loader: Loader, session: Session) -> None:
        loader.round()
        names = rows(
            session,
            "SELECT count(*) FROM pg_inherits WHERE inhparent = 'clicks'::regclass",
        )
        # The default, the month before, this one and three ahead.
        assert names == [(6,)]


class TestVerdicts:
    def test_known_crawlers_are_bots_by_the_long_list(
        self, click: Clicks, loader: Loader, session: Session
    ) -> None:
        bot = click(agent="Mozilla/5.0 (compatible; archive.org_bot +http://archive.org/details)")
        person = click(NOON, ANNA, known=True)
        loader.round()
        found = click_verdicts(session, [bot, person, UUID(int=9)])
        assert {key: verdict.reason for key, verdict in found.items()} == {
            bot: DropReason.BOT,
            person: None,
        }
        assert not found[bot].credits
        assert rows(session, "SELECT reason, clicks FROM link_day_drops") == [("bot", 1)]
        assert day_counts(session) == [(date(2026, 11, 21), 1, 1, 0)]

    @pytest.mark.parametrize("batches", [1, 2, 4])
    def test_repeats_within_the_window_credit_and_do_not_count(
        self, click: Clicks, loader: Loader, session: Session, batches: int
    ) -> None:
        made = []
        for number, second in enumerate((0, 30, 61, 600)):
            made.append(click(NOON + timedelta(seconds=second), ANNA, known=True))
            if batches == 4 or (batches == 2 and number == 1):
                loader.round()
        loader.round()
        found = click_verdicts(session, made)
        # 0 counts; 30 repeats 0; 61 is 31 behind 30 and counts again; 600 counts.
        assert [found[click_id].reason for click_id in made] == [
            None,
            DropReason.DUPLICATE,
            None,
            None,
        ]
        assert all(verdict.credits for verdict in found.values())
        assert day_counts(session) == [(date(2026, 11, 21), 3, 1, 1)]

    def test_the_cookie_that_came_back_is_the_visitor_who_got_it(
        self, click: Clicks, loader: Loader, session: Session
    ) -> None:
        click(NOON, ANNA)
        loader.round()
        click(NOON + timedelta(hours=1), ANNA, known=True, address="198.51.100.1")
        loader.round()
        assert day_counts(session) == [(date(2026, 11, 21), 2, 1, 0)]

    def test_without_a_cookie_address_and_agent_are_the_visitor(
        self, click: Clicks, loader: Loader, session: Session
    ) -> None:
        for hour, address in enumerate(("203.0.113.9", "203.0.113.9", "203.0.113.10")):
            click(NOON + timedelta(hours=hour), UUID(int=10 + hour), address=address)
        loader.round()
        assert day_counts(session) == [(date(2026, 11, 21), 3, 2, 0)]

    def test_visitors_clicks_are_found_again(
        self, click: Clicks, loader: Loader, session: Session, shop: Shop
    ) -> None:
        made = [click(NOON + timedelta(hours=hour), ANNA) for hour in range(3)]
        click(NOON, BORIS)
        loader.round()
        found = visitor_clicks(
            session,
            visitor_id=ANNA,
            program_id=shop.program_id,
            since=NOON,
            until=NOON + timedelta(hours=1),
        )
        assert [entry.click_id for entry in found] == made[:2]

    def test_counters_are_what_the_rows_say(
        self, click: Clicks, loader: Loader, session: Session, shop: Shop
    ) -> None:
        other = add_link(session, shop, "other")
        session.commit()
        for number in range(200):
            click(
                NOON + timedelta(minutes=number * 7 % 60, hours=number % 14),
                UUID(int=number % 9 + 1),
                known=number % 3 > 0,
                address=f"203.0.113.{number % 5}",
                agent="curl/8" if number % 11 == 0 else CHROME,
                link_id=other if number % 4 else None,
            )
            if number % 60 == 0:
                loader.round()
        loader.round()
        counted = rows(
            session,
            "SELECT link_id, day, clicks, uniques, duplicates FROM link_days ORDER BY 1, 2",
        )
        rebuilt = rows(
            session,
            """
            SELECT link_id, (clicked_at AT TIME ZONE 'Europe/Moscow')::date,
                   count(*) FILTER (WHERE reason IS NULL), count(*) FILTER (WHERE is_unique),
                   count(*) FILTER (WHERE reason = 'duplicate')
              FROM clicks GROUP BY 1, 2 ORDER BY 1, 2
            """,
        )
        assert counted == rebuilt
        assert rows(session, "SELECT sum(clicks) FROM link_day_drops") == [(19,)]


class TestOnce:
    def test_two_loaders_at_once_load_each_record_once(
        self, click: Clicks, settings: Settings, session: Session
    ) -> None:
        made = {click(NOON + timedelta(minutes=n), UUID(int=n + 1)) for n in range(300)}
        both = [Loader(settings), Loader(settings)]
        threads = [threading.Thread(target=one.round) for one in both]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for one in both:
            one.round()
            one.close()
        assert {row[0] for row in rows(session, "SELECT click_id FROM clicks")} == made
        assert rows(session, "SELECT sum(clicks + duplicates) FROM link_days") == [(300,)]

    def test_a_transaction_that_failed_is_loaded_whole_the_next_time(
        self, click: Clicks, loader: Loader, session: Session
    ) -> None:
        make_marks_of_noon(loader, session)
        click(NOON, ANNA)
        session.execute(sa.text("ALTER TABLE link_days RENAME TO away"))
        session.commit()
        with pytest.raises(psycopg.errors.UndefinedTable):
            loader.round()
        assert rows(session, "SELECT count(*) FROM clicks") == [(0,)]
        assert rows(session, "SELECT count(*) FROM clicks_seen_2026_11_21") == [(0,)]
        session.execute(sa.text("ALTER TABLE away RENAME TO link_days"))
        session.commit()
        assert loader.round() == 1
        assert day_counts(session) == [(date(2026, 11, 21), 1, 1, 0)]

    def test_a_record_that_went_two_ways_is_loaded_once(
        self, click: Clicks, loader: Loader, session: Session, settings: Settings
    ) -> None:
        first = click(NOON, ANNA, known=True)
        spilled = segment_of(settings).read_bytes()
        session.execute(sa.text("INSERT INTO click_spill (record) VALUES (:raw)"), {"raw": spilled})
        session.commit()
        loader.round()
        session.execute(sa.text("INSERT INTO click_spill (record) VALUES (:raw)"), {"raw": spilled})
        session.commit()
        second = click(NOON + timedelta(hours=1), BORIS, known=True)
        loader.round()
        assert {row[0] for row in rows(session, "SELECT click_id FROM clicks")} == {first, second}
        assert day_counts(session) == [(date(2026, 11, 21), 2, 2, 0)]
        assert rows(session, "SELECT count(*) FROM click_spill") == [(0,)]

    def test_a_database_older_than_the_journal_gets_its_clicks_back(
        self, click: Clicks, loader: Loader, session: Session, settings: Settings
    ) -> None:
        make_marks_of_noon(loader, session)
        made = {click(NOON, ANNA), click(NOON + timedelta(hours=1), BORIS)}
        click.recorder.__exit__(None, None, None)
        loader.round()
        assert list((settings.data_dir / "journal").glob("*.kpj")) == []
        for table in (
            "clicks",
            "click_segments",
            "link_days",
            "link_day_drops",
            "clicks_seen_2026_11_21",
        ):
            session.execute(sa.text(f"TRUNCATE {table}"))
        session.commit()
        loader.close()
        loader.round()
        assert {row[0] for row in rows(session, "SELECT click_id FROM clicks")} == made

    def test_old_segments_go_after_their_time(
        self,
        click: Clicks,
        loader: Loader,
        settings: Settings,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        click()
        click.recorder.__exit__(None, None, None)
        loader.round()
        loader._keep_up()
        kept = settings.data_dir / "journal" / "loaded"
        assert len(list(kept.iterdir())) == 1
        monkeypatch.setattr(loaders, "RETENTION_DAYS", -1)
        loader._keep_up()
        assert list(kept.iterdir()) == []


class TestQuarantine:
    def quarantined(self, session: Session) -> list[tuple[str, int]]:
        statement = "SELECT reason, size FROM click_quarantine ORDER BY segment_offset"
        return [tuple(row) for row in rows(session, statement)]

    def test_torn_and_foreign_bytes_are_kept_and_the_rest_is_loaded(
        self, click: Clicks, loader: Loader, session: Session, settings: Settings
    ) -> None:
        first = click(NOON, ANNA)
        path = segment_of(settings)
        whole = path.read_bytes()
        with path.open("ab") as file:
            file.write(whole[:50] + b"foreign bytes")
        second = click(NOON, BORIS)
        assert loader.round() == 2
        assert {row[0] for row in rows(session, "SELECT click_id FROM clicks")} == {first, second}
        assert self.quarantined(session) == [("torn", 63)]
        assert rows(session, "SELECT content FROM click_quarantine") == [
            (whole[:50] + b"foreign bytes",)
        ]

    def test_a_torn_end_waits_for_its_writer_and_is_kept_after_its_death(
        self, click: Clicks, loader: Loader, session: Session, settings: Settings
    ) -> None:
        click()
        with segment_of(settings).open("ab") as file:
            file.write(records.MAGIC + b"\x01\0")
        assert loader.round() == 1
        assert self.quarantined(session) == []
        click.recorder.__exit__(None, None, None)
        assert loader.round() == 0
        assert self.quarantined(session) == [("torn", 6)]

    def test_a_click_of_an_unknown_link_is_kept_for_a_person(
        self, click: Clicks, loader: Loader, session: Session
    ) -> None:
        click(link_id=999_999)
        known = click()
        loader.round()
        assert [reason for reason, _ in self.quarantined(session)] == ["unknown_link"]
        assert rows(session, "SELECT click_id FROM clicks") == [(known,)]

    def test_a_record_that_the_table_refuses_does_not_hold_up_the_others(
        self, click: Clicks, loader: Loader, session: Session
    ) -> None:
        session.execute(sa.text("ALTER TABLE clicks ADD CONSTRAINT odd CHECK (agent <> 'refused')"))
        session.commit()
        made = {
            click(NOON + timedelta(hours=n), agent="refused" if n == 5 else CHROME)
            for n in range(10)
        }
        loader.round()
        present = {row[0] for row in rows(session, "SELECT click_id FROM clicks")}
        assert len(present) == 9
        assert present < made
        assert [reason for reason, _ in self.quarantined(session)] == ["unreadable"]

    def test_batches_that_are_read_ahead_are_loaded_once_whatever_is_refused(
        self,
        click: Clicks,
        loader: Loader,
        session: Session,
        settings: Settings,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(loaders, "BATCH_ROWS_MAX", 4)
        monkeypatch.setattr(loader, "_rows_max", 4)
        monkeypatch.setattr(reading, "RECORDS_AT_ONCE", 1)
        session.execute(sa.text("ALTER TABLE clicks ADD CONSTRAINT odd CHECK (agent <> 'refused')"))
        session.commit()
        made = set()
        for number in range(30):
            if number == 18:
                with segment_of(settings).open("ab") as file:
                    file.write(b"foreign bytes")
            agent = "refused" if number in (5, 6, 21) else CHROME
            made.add(click(NOON + timedelta(minutes=number), UUID(int=number + 1), agent=agent))
        # A batch that is halved ends the row of readings ahead; what follows is read anew.
        loader.round()
        present = rows(session, "SELECT click_id FROM clicks")
        assert len(present) == 27
        assert {row[0] for row in present} < made
        reasons = [reason for reason, _ in self.quarantined(session)]
        assert reasons == ["unreadable", "unreadable", "foreign", "unreadable"]
        assert rows(session, "SELECT sum(clicks + duplicates) FROM link_days") == [(27,)]
        assert rows(session, "SELECT loaded_offset, clicks FROM click_segments") == [
            (segment_of(settings).stat().st_size, 27)
        ]

    def test_rubbish_in_the_spill_table_is_kept_too(
        self, shop: Shop, loader: Loader, session: Session
    ) -> None:
        session.execute(sa.text("INSERT INTO click_spill (record) VALUES ('rubbish')"))
        session.commit()
        loader.round()
        assert rows(session, "SELECT segment, reason FROM click_quarantine") == [
            ("spill", "foreign")
        ]

    @pytest.mark.parametrize("row", [3, 10_000])
    def test_a_spilled_click_of_an_unknown_link_is_kept_whole(
        self, shop: Shop, loader: Loader, session: Session, row: int
    ) -> None:
        texts = CHROME.encode() + b"\0" * 9
        raw = records.encode(
            new_click_id(int(NOON.timestamp() * 1000), bytes(10)),
            10**9, BORIS.bytes, ANNA.bytes, None, 0, texts,
        )  # fmt: skip
        session.execute(
            sa.text(
                "INSERT INTO click_spill (id, record) OVERRIDING SYSTEM VALUE VALUES (:row, :raw)"
            ),
            {"row": row, "raw": raw},
        )
        session.commit()
        loader.round()
        assert rows(session, "SELECT segment_offset, reason, content FROM click_quarantine") == [
            (row, "unknown_link", raw)
        ]


class TestPartitions:
    @pytest.mark.parametrize(
        ("now", "distance", "month"),
        [
            ("2026-01-31T23:59:59+00:00", -1, "2025-12-01"),
            ("2026-12-01T00:00:00+00:00", 1, "2027-01-01"),
            ("2026-12-01T01:00:00+03:00", 0, "2026-11-01"),
            ("2026-02-28T12:00:00+00:00", 12, "2027-02-01"),
        ],
    )
    def test_months_are_utc_and_cross_years(self, now: str, distance: int, month: str) -> None:
        found = partitions.month_at(datetime.fromisoformat(now), distance)
        assert found == datetime.fromisoformat(month + "T00:00:00+00:00")

    def test_rows_in_the_default_move_into_their_month(
        self, click: Clicks, loader: Loader, session: Session
    ) -> None:
        loader.round()
        later = NOON + timedelta(days=400)
        made = click(later, ANNA)
        loader.round()
        assert rows(session, "SELECT count(*) FROM clicks_default") == [(1,)]
        names = partitions.ensure_partitions(session, now=later)
        session.commit()
        assert "clicks_2027_12" in names
        assert rows(session, "SELECT count(*) FROM clicks_default") == [(0,)]
        assert rows(session, "SELECT click_id FROM clicks_2027_12") == [(made,)]
        assert receipt(session, click_id=made) is not None
        assert partitions.ensure_partitions(session, now=later) == []
