"""Trials that are asked for, run beside everything else, and daily ones in the shadow."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from replay_support import sold
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.db import db, session_for
from affiliate.core.errors import Invalid, NotFound
from affiliate.core.snapshot import read_once
from affiliate.programs import drafts
from affiliate.programs.models import RuleDraft
from tests.builders import terms_document
from tests.orders.shop_world import DAY, World
from tracker.replay import jobs, runs
from tracker.replay.models import RuleReplay, RuleShadow
from tracker.replay.runs import Desk, Status

DRAFT = {
    "commission": {"level_1": {"kind": "percent", "rate_ppm": 200_000}, "level_2": None},
}


@pytest.fixture
def draft(world: World) -> RuleDraft:
    made = drafts.begin_draft(
        world.session,
        program_id=world.program.id,
        name="Twice as much",
        document=terms_document(**DRAFT),
        by=None,
        now=world.now,
    )
    world.session.commit()
    return made


@pytest.fixture
def desk(world: World) -> Iterator[Desk]:
    with world.app.app_context():
        engine = db.engine
        made = session_for(engine)

        @contextmanager
        def write() -> Iterator[Session]:
            with made.begin() as session:
                yield session

        yield Desk(partial(read_once, engine), write, clock.real_now, clock.now)


def today(world: World) -> date:
    return world.now.astimezone(ZoneInfo(world.program.time_zone)).date()


def asked(world: World, draft: RuleDraft, **days: Any) -> RuleReplay:
    span = {"first": today(world) - 30 * DAY, "last": today(world)} | days
    made = runs.begin_replay(world.session, draft_id=draft.id, by=None, now=world.now, **span)
    world.session.commit()
    return made


def fresh(world: World, replay: RuleReplay) -> RuleReplay:
    world.tick()
    return world.session.get_one(RuleReplay, replay.id)


def test_a_trial_runs_and_keeps_what_came_out(world: World, draft: RuleDraft, desk: Desk) -> None:
    sold(world, "A-1", "100.00", world.affiliate("anna"))
    replay = asked(world, draft)
    assert runs.run_next(desk) == replay.id
    assert runs.run_next(desk) is None
    done = fresh(world, replay)
    assert (done.status, done.orders_done, done.orders_total) == ("done", 1, 1)
    assert done.result is not None
    assert done.result["cost"] == {"booked": 10_000_000, "would": 20_000_000}
    assert done.ended_at is not None


def test_the_worker_runs_what_waits(world: World, draft: RuleDraft) -> None:
    first, second = asked(world, draft), asked(world, draft)
    with world.app.app_context():
        jobs.run_replays()
    assert [fresh(world, each).status for each in (first, second)] == ["done", "done"]


def test_a_trial_is_of_the_draft_as_it_was(world: World, draft: RuleDraft, desk: Desk) -> None:
    sold(world, "A-1", "100.00", world.affiliate("anna"))
    replay = asked(world, draft)
    drafts.save_draft(
        world.session, draft_id=draft.id, name="Another", document=terms_document(), note="",
        revision=1, by=None, now=world.now,
    )  # fmt: skip
    world.session.commit()
    runs.run_next(desk)
    done = fresh(world, replay)
    assert (done.name, done.draft_revision) == ("Twice as much", 1)
    assert done.result is not None
    assert done.result["cost"]["would"] == 20_000_000


def test_two_workers_take_two_trials(world: World, draft: RuleDraft, desk: Desk) -> None:
    wanted = {asked(world, draft).id, asked(world, draft).id}
    ran: list[int | None] = []

    def work() -> None:
        with world.app.app_context():
            ran.append(runs.run_next(desk))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(ran) == wanted


def test_a_trial_that_its_worker_left_is_taken_again_and_then_given_up(
    world: World, draft: RuleDraft, desk: Desk
) -> None:
    replay = asked(world, draft)

    def left(attempts: int, silent: timedelta) -> None:
        fresh(world, replay)
        world.session.execute(
            sa.update(RuleReplay).values(
                status="running", result=sa.null(), attempts=attempts,
                beat_at=clock.real_now() - silent,
            )
        )  # fmt: skip
        world.session.commit()

    left(1, runs.SILENT_MAX - timedelta(minutes=1))
    assert runs.run_next(desk) is None  # its worker is believed to be alive
    left(1, runs.SILENT_MAX + timedelta(minutes=1))
    assert runs.run_next(desk) == replay.id
    left(runs.ATTEMPTS_MAX, runs.SILENT_MAX + timedelta(minutes=1))
    waits = asked(world, draft)
    assert runs.run_next(desk) == waits.id
    assert fresh(world, replay).status == Status.FAILED.value


def test_a_trial_that_breaks_has_failed_after_some_attempts(
    world: World, draft: RuleDraft, desk: Desk
) -> None:
    sold(world, "A-1", "100.00", world.affiliate("anna"))
    replay = asked(world, draft)
    world.session.execute(sa.text("UPDATE decisions SET snapshot = '{}'"))
    world.session.commit()
    for attempt in range(runs.ATTEMPTS_MAX):
        with pytest.raises(KeyError):
            runs.run_next(desk)
        expected = Status.WAITING if attempt + 1 < runs.ATTEMPTS_MAX else Status.FAILED
        assert fresh(world, replay).status == expected.value
    assert runs.run_next(desk) is None
    world.session.execute(sa.text("DELETE FROM decisions"))
    world.session.execute(sa.text("UPDATE commissions SET voided_at = now()"))
    world.session.commit()


@pytest.mark.parametrize(
    ("days", "field", "code"),
    [
        ({"first": None}, "first", "missing"),
        ({"last": None}, "last", "missing"),
        ({"first": -timedelta(days=366 * 100)}, "first", "too_early"),
        ({"first": timedelta(days=1), "last": timedelta(days=0)}, "last", "before_first"),
        ({"last": timedelta(days=1)}, "last", "in_the_future"),
    ],
)
def test_days_that_cannot_be_tried_are_refused_by_name(
    world: World, draft: RuleDraft, days: dict[str, timedelta | None], field: str, code: str
) -> None:
    span = {name: None if ahead is None else today(world) + ahead for name, ahead in days.items()}
    with pytest.raises(Invalid) as refused:
        asked(world, draft, **span)
    assert [(error.field, error.code) for error in refused.value.errors] == [(field, code)]


def test_days_are_the_programs(world: World, draft: RuleDraft) -> None:
    replay = asked(world, draft, first=today(world), last=today(world))
    assert replay.ends - replay.begins == DAY
    local = replay.begins.astimezone(ZoneInfo(world.program.time_zone))
    assert (local.hour, local.minute) == (0, 0)


def test_a_closed_draft_cannot_be_tried(world: World, draft: RuleDraft) -> None:
    drafts.discard_draft(world.session, draft_id=draft.id, by=None, now=world.now)
    world.session.commit()
    with pytest.raises(NotFound):
        asked(world, draft)
    with pytest.raises(NotFound):
        runs.begin_shadow(world.session, draft_id=draft.id, by=None, now=world.now)


def test_only_so_many_trials_wait_at_a_time(world: World, draft: RuleDraft) -> None:
    for _ in range(runs.OPEN_MAX):
        asked(world, draft)
    with pytest.raises(runs.TooManyReplays):
        asked(world, draft)


class TestShadows:
    def begun(self, world: World, draft: RuleDraft, *, at: datetime | None = None) -> RuleShadow:
        made = runs.begin_shadow(
            world.session, draft_id=draft.id, by=None, now=at or world.now - 2 * DAY
        )
        world.session.commit()
        return made

    def asked_for(self, world: World, *, at: datetime) -> int:
        count = runs.ask_for_shadows(world.session, now=at)
        world.session.commit()
        return count

    def test_each_day_that_is_over_is_compared_once(
        self, world: World, draft: RuleDraft, desk: Desk
    ) -> None:
        sold(world, "A-1", "100.00", world.affiliate("anna"), placed_at=world.now - DAY)
        self.begun(world, draft)
        assert self.asked_for(world, at=world.now) == 1
        assert self.asked_for(world, at=world.now) == 0
        runs.run_next(desk)
        [done] = runs.replays_of(world.session, draft_id=draft.id)
        assert fresh(world, done).result is not None
        yesterday = (today(world) - DAY).isoformat()
        assert done.result is not None
        assert done.result["days"] == {yesterday: {"booked": 10_000_000, "would": 20_000_000}}
        assert self.asked_for(world, at=world.now + DAY) == 1

    def test_a_shadow_of_today_waits_for_tomorrow(self, world: World, draft: RuleDraft) -> None:
        self.begun(world, draft, at=world.now)
        assert self.asked_for(world, at=world.now) == 0

    def test_a_draft_that_was_saved_is_compared_anew(self, world: World, draft: RuleDraft) -> None:
        self.begun(world, draft)
        assert self.asked_for(world, at=world.now) == 1
        drafts.save_draft(
            world.session, draft_id=draft.id, name="Other", document=terms_document(), note="",
            revision=1, by=None, now=world.now,
        )  # fmt: skip
        world.session.commit()
        assert self.asked_for(world, at=world.now) == 1

    def test_it_ends_with_its_draft_or_by_hand(self, world: World, draft: RuleDraft) -> None:
        shadow = self.begun(world, draft)
        with pytest.raises(runs.AlreadyShadowing):
            runs.begin_shadow(world.session, draft_id=draft.id, by=None, now=world.now)
        world.session.rollback()
        runs.end_shadow(world.session, draft_id=draft.id, now=world.now)
        world.session.commit()
        with pytest.raises(runs.NotShadowing):
            runs.end_shadow(world.session, draft_id=draft.id, now=world.now)
        again = self.begun(world, draft)
        assert again.id != shadow.id
        drafts.discard_draft(world.session, draft_id=draft.id, by=None, now=world.now)
        world.session.commit()
        assert self.asked_for(world, at=world.now) == 0
        assert world.session.get_one(RuleShadow, again.id).ended_at == world.now

    def test_old_comparisons_go(self, world: World, draft: RuleDraft) -> None:
        self.begun(world, draft, at=world.now - 40 * DAY)
        for days_ago in (30, 20, 10, 0):
            assert self.asked_for(world, at=world.now - days_ago * DAY) == 1
        left = runs.replays_of(world.session, draft_id=draft.id)
        assert [(world.now - each.ends) // DAY for each in left] == [0, 10]

    def test_the_job_asks_and_wakes_the_worker(self, world: World, draft: RuleDraft) -> None:
        self.begun(world, draft)
        with world.app.app_context():
            jobs.ask_for_shadows()
            jobs.run_replays()
        world.tick()
        [done] = runs.replays_of(world.session, draft_id=draft.id)
        assert done.status == "done"
