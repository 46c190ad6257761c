"""Floods: what is more than people click, counted by when it was clicked."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from click_support import CHROME, Shop, rows
from psycopg.errors import UniqueViolation
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from tracker.clicks.floods import (
    HOUR_MS,
    MINUTE_MS,
    REPEATS_MAX,
    FloodLimits,
    FloodWatch,
    SlidingCounts,
)
from tracker.clicks.journal import FOLDER, SUFFIX
from tracker.clicks.loader import Loader
from tracker.clicks.loading import load_records
from tracker.clicks.recording import ClickRecorder
from tracker.clicks.records import scan
from tracker.clicks.rules import DropReason

NOON_MS = 1_795_262_400_000
LIMITS = FloodLimits(address_per_minute=20, device_per_minute=10, affiliate_per_hour=0)
AFFILIATES = FloodLimits(address_per_minute=0, device_per_minute=0, affiliate_per_hour=50)


@dataclass
class Record:
    address_hash: bytes
    agent: bytes


@dataclass
class Facts:
    enrollment_id: int


@dataclass
class Click:
    """What the loader's candidates have."""

    clicked_ms: int
    record: Record = field(default_factory=lambda: Record(uuid4().bytes, b"Firefox"))
    facts: Facts = field(default_factory=lambda: Facts(1))
    reason: DropReason | None = None


def of(address: bytes, *, at: int = NOON_MS, agent: bytes = b"Firefox", who: int = 1) -> Click:
    return Click(at, Record(address, agent), Facts(who))


def load(watch: FloodWatch, clicks: list[Click]) -> int:
    """A batch that is committed."""
    flooded = watch.judge(clicks)
    watch.keep()
    return flooded


def test_the_defaults_leave_a_campus_and_a_carrier_alone() -> None:
    """300 people of one address within a minute, 30 kinds of agents; a newsletter besides."""
    watch = FloodWatch(FloodLimits())
    campus = [
        of(b"campus", at=NOON_MS + 200 * number, agent=b"agent %d" % (number % 30))
        for number in range(300)
    ]
    newsletter = [Click(NOON_MS + 36 * number) for number in range(100_000)]
    assert load(watch, campus) == 0
    assert load(watch, newsletter) == 0


@pytest.mark.abuse("A18")
class TestAddress:
    @pytest.mark.parametrize(
        ("agents", "clicks", "flooded"), [(1, 15, 0), (1, 16, 1), (20, 20, 0), (20, 23, 3)]
    )
    def test_beyond_its_limit_is_a_flood(self, agents: int, clicks: int, flooded: int) -> None:
        """Devices are counted from the sixth click of the address on: 5 + 10 of one agent."""
        batch = [of(b"a", agent=b"agent %d" % (number % agents)) for number in range(clicks)]
        assert load(FloodWatch(LIMITS), batch) == flooded
        reasons = [click.reason for click in batch]
        assert reasons == [None] * (clicks - flooded) + [DropReason.FLOOD] * flooded

    def test_slides_with_the_minute(self) -> None:
        watch = FloodWatch(FloodLimits(20, 0, 0))
        assert load(watch, [of(b"a") for _ in range(20)]) == 0
        assert load(watch, [of(b"a", at=NOON_MS + MINUTE_MS - 1)]) == 1
        assert load(watch, [of(b"a", at=NOON_MS + MINUTE_MS)]) == 0

    def test_says_nothing_of_another_address(self) -> None:
        watch = FloodWatch(LIMITS)
        load(watch, [of(b"a") for _ in range(50)])
        assert load(watch, [of(b"b")]) == 0

    def test_is_counted_over_batches(self) -> None:
        watch = FloodWatch(FloodLimits(20, 0, 0))
        assert [load(watch, [of(b"a") for _ in range(15)]) for _ in range(2)] == [0, 10]

    def test_a_batch_that_was_rolled_back_is_not_counted_twice(self) -> None:
        watch = FloodWatch(FloodLimits(20, 0, 0))
        assert watch.judge([of(b"a") for _ in range(15)]) == 0
        assert watch.judge([of(b"a") for _ in range(15)]) == 0
        watch.keep()
        assert watch.judge([of(b"a") for _ in range(15)]) == 10

    def test_what_a_restored_database_is_given_again_is_not_counted_twice(self) -> None:
        watch = FloodWatch(FloodLimits(20, 0, 0))
        assert load(watch, [of(b"a") for _ in range(15)]) == 0
        watch.clear()
        assert load(watch, [of(b"a") for _ in range(15)]) == 0

    def test_what_was_dropped_already_does_not_fill_the_measure(self) -> None:
        watch = FloodWatch(FloodLimits(20, 0, 0))
        bots = [of(b"a") for _ in range(100)]
        for bot in bots:
            bot.reason = DropReason.BOT
        assert load(watch, [*bots, *(of(b"a") for _ in range(20))]) == 0
        assert {bot.reason for bot in bots} == {DropReason.BOT}

    def test_a_backlog_is_judged_by_its_own_times(self) -> None:
        """An hour of fifteen a minute, loaded at once, is no flood; nor out of order."""
        hour = [of(b"a", at=NOON_MS + 4_000 * number) for number in range(900)]
        assert load(FloodWatch(FloodLimits(20, 0, 0)), hour) == 0
        watch = FloodWatch(FloodLimits(20, 0, 0))
        assert load(watch, hour[::2]) == 0
        assert load(watch, hour[1::2]) == 0

    def test_nothing_is_a_flood_where_nothing_is_looked_at(self) -> None:
        watch = FloodWatch(FloodLimits(0, 0, 0))
        assert load(watch, [of(b"a") for _ in range(10_000)]) == 0


@pytest.mark.abuse("A18")
class TestAffiliate:
    def test_a_burst_of_many_people_is_none(self) -> None:
        assert load(FloodWatch(AFFILIATES), [Click(NOON_MS) for _ in range(5_000)]) == 0

    def test_only_devices_that_come_again_and_again_are_its_flood(self) -> None:
        watch = FloodWatch(AFFILIATES)
        assert load(watch, [Click(NOON_MS) for _ in range(50)]) == 0
        farm = [of(b"farm %d" % (number % 10)) for number in range(100)]
        people = [Click(NOON_MS + 1_000) for _ in range(100)]
        assert load(watch, farm + people) == 100 - 10 * REPEATS_MAX
        assert all(person.reason is None for person in people)

    def test_the_limit_is_of_each_affiliate(self) -> None:
        watch = FloodWatch(AFFILIATES)
        load(watch, [Click(NOON_MS) for _ in range(200)])
        assert load(watch, [of(b"x", who=2) for _ in range(50)]) == 0

    def test_whoever_usually_has_much_may_have_more(self) -> None:
        busy, quiet = FloodWatch(AFFILIATES), FloodWatch(AFFILIATES)
        for hour in range(1, 25):
            load(busy, [Click(NOON_MS - hour * HOUR_MS) for _ in range(40)])
        burst = [Click(NOON_MS + HOUR_MS - 1) for _ in range(300)]
        load(busy, burst)
        load(quiet, burst)
        again = [of(b"one", at=NOON_MS + HOUR_MS - 1) for _ in range(10)]
        assert load(busy, again) == 0
        assert load(quiet, [of(b"one", at=NOON_MS + HOUR_MS - 1) for _ in range(10)]) == 7


@pytest.mark.abuse("A18")
class TestLoader:
    """Real journals into a real database."""

    def test_a_flood_is_stored_uncounted_and_has_its_token(
        self, shop: Shop, session: Session, settings: Settings
    ) -> None:
        limits = replace(settings, flood_device_per_minute=10)
        with ClickRecorder(settings) as recorder:
            tokens = [
                recorder.click(
                    link_id=shop.link_id,
                    clicked_at=datetime.fromtimestamp(NOON_MS / 1000 + number, UTC),
                    address="203.0.113.9",
                    agent=f"{CHROME} test",
                    visitor_id=uuid4(),
                    visitor_known=True,
                )
                for number in range(40)
            ]
        assert all(tokens)
        loader = Loader(limits)
        try:
            assert loader.round() == 40
        finally:
            loader.close()
        # The first five of the address, then ten of the device.
        assert rows(session, "SELECT reason, count(*) FROM clicks GROUP BY 1 ORDER BY 1") == [
            ("flood", 25),
            (None, 15),
        ]
        assert rows(session, "SELECT clicks, uniques, dropped FROM link_days") == [(15, 15, 25)]
        assert rows(session, "SELECT reason, clicks FROM link_day_drops") == [("flood", 25)]

    def test_a_batch_that_was_rolled_back_is_not_kept_with_the_next_that_has_no_click(
        self, shop: Shop, settings: Settings
    ) -> None:
        with ClickRecorder(settings) as recorder:
            recorder.click(
                link_id=shop.link_id,
                clicked_at=datetime.fromtimestamp(NOON_MS / 1000, UTC),
                address="203.0.113.9",
                agent=f"{CHROME} test",
            )
        (path,) = (settings.data_dir / FOLDER).glob(f"*{SUFFIX}")
        (record,) = scan(path.read_bytes(), ended=True).records
        watch = FloodWatch(LIMITS)
        loader = Loader(settings)
        try:
            assert loader.round() == 1
            connection = loader._connected()
            with pytest.raises(UniqueViolation), connection.transaction():
                load_records(connection, [record], {}, floods=watch)
            with connection.transaction():
                load_records(connection, [record], {}, check_present=True, floods=watch)
            watch.keep()
        finally:
            loader.close()
        assert len(watch._addresses) == 0


class TestMemory:
    def test_is_bounded_and_keeps_what_was_touched_last(self) -> None:
        counts = SlidingCounts(MINUTE_MS, keys_max=100)
        for minute in range(10):
            for key in range(30):
                counts.add(minute * MINUTE_MS, key)
            counts.keep()
        assert len(counts) <= 100
        assert counts.add(9 * MINUTE_MS, 7) == 2

    def test_of_one_window_is_bounded_as_well(self) -> None:
        counts = SlidingCounts(MINUTE_MS, keys_max=100)
        for key in range(1_000):
            counts.add(0, key)
        counts.keep()
        assert len(counts) == 100
        assert counts.add(0, 5) == 2
        assert counts.add(0, 999) == 1
