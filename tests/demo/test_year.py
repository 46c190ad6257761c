"""A year of history: the sizes asked for, believable, repeatable, and sound to the audit."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

from affiliate.core.clock import real_now
from affiliate.core.config import Settings
from affiliate.core.outbox import Mail
from affiliate.people.models import Enrollment
from affiliate.programs.models import Program
from payouts.audit import run as audit
from payouts.batches.models import PayoutBatch, Withdrawal
from payouts.commissions.models import Commission
from tracker.cli import demo_data_command
from tracker.clicks.models import Click
from tracker.demo import plan
from tracker.demo.seed import NoDemoInProduction
from tracker.demo.year import StillRunning, YearExists, load_year
from tracker.orders.models import Order

SMALL = plan.Sizes(affiliates=50, clicks=2_000, orders=300, days=60)


@pytest.fixture
def inside_the_application(app: Flask) -> Iterator[None]:
    with app.app_context():
        yield


def of_program(session: Session, model: type[Enrollment | Click | Order | Commission]) -> int:
    program_id = sa.select(Program.id).where(Program.slug == "year").scalar_subquery()
    query = sa.select(sa.func.count()).select_from(model).where(model.program_id == program_id)
    return session.scalar(query) or 0


@pytest.mark.slow
@pytest.mark.usefixtures("inside_the_application")
@pytest.mark.parametrize("hours_ago", [0, 8, 16])
def test_a_small_year_is_whole_believable_and_sound(
    app: Flask, session: Session, settings: Settings, hours_ago: int
) -> None:
    now = real_now() - timedelta(hours=hours_ago)
    days: list[int] = []
    made = load_year(
        session,
        settings=settings,
        sizes=SMALL,
        now=now,
        progress=lambda day, _made: days.append(day),
    )
    assert days == list(range(60))
    assert (made["affiliates"], made["clicks"], made["orders"]) == (50, 2_000, 300)
    assert of_program(session, Enrollment) == 50
    assert of_program(session, Click) == 2_000
    assert of_program(session, Order) == 300
    assert min(made[name] for name in ("refunds", "cancellations", "batches", "payouts")) > 0

    rows = session.execute(
        sa.select(Commission.enrollment_id, sa.func.count())
        .where(Commission.level == 1)
        .group_by(Commission.enrollment_id)
    )
    sales = sorted((count for _, count in rows), reverse=True)
    assert sum(sales[:2]) > 0.8 * sum(sales), "a few sell nearly everything"

    kinds = Counter(session.scalars(sa.select(PayoutBatch.kind)))
    assert kinds["weekly"] >= 5
    level_2 = session.scalar(sa.select(sa.func.count()).where(Commission.level == 2))
    assert level_2
    unsent = sa.select(Mail.id).where(Mail.recipient.like("%@year.invalid"), Mail.sent_at.is_(None))
    assert session.scalar(unsent) is None
    assert audit.run(session, audit.registered(app), real_now=now) == []
    late = sa.select(Withdrawal.id).where(Withdrawal.closed_at > Withdrawal.deadline_at)
    assert session.scalar(late) is None
    waits = sa.select(Withdrawal.id).where(Withdrawal.closed_at.is_(None))
    assert session.scalar(waits), "finance has something to do"

    with pytest.raises(YearExists):
        load_year(session, settings=settings, sizes=SMALL, now=real_now())


def test_the_command_loads_and_tells_what_it_made(
    app: Flask, session: Session, settings: Settings
) -> None:
    sizes = ["--affiliates", "4", "--clicks", "30", "--orders", "6", "--days", "20"]
    answer = app.test_cli_runner().invoke(demo_data_command, sizes)
    assert answer.exit_code == 0, answer.output
    told = dict(line.split() for line in answer.output.splitlines() if len(line.split()) == 2)
    assert (told["affiliates"], told["clicks"], told["orders"]) == ("4", "30", "6")

    again = app.test_cli_runner().invoke(demo_data_command, sizes)
    assert again.exit_code == 1
    assert "--program" in again.output


@pytest.mark.usefixtures("inside_the_application")
def test_a_year_is_refused_while_kopeck_runs_and_in_production(
    session: Session, settings: Settings, production_settings: Settings
) -> None:
    told = settings.data_dir / "run.json"
    told.write_text(f'{{"pid": {os.getpid()}}}')
    with pytest.raises(StillRunning):
        load_year(session, settings=settings, sizes=SMALL, now=real_now())
    with pytest.raises(NoDemoInProduction):
        load_year(session, settings=production_settings, sizes=SMALL, now=real_now())
    assert session.scalar(sa.select(sa.func.count(Program.id))) == 0


class TestPlan:
    NOW = datetime(2026, 11, 21, 19, 0, tzinfo=UTC)

    def test_a_year_ends_yesterday(self) -> None:
        year = plan.calendar(now=self.NOW, days=365)
        assert year.first == datetime(2025, 11, 21, tzinfo=UTC)
        assert year.day(365) == datetime(2026, 11, 21, tzinfo=UTC)

    @pytest.mark.parametrize("total", [0, 1, 7, 10_000])
    def test_what_is_spread_over_the_days_sums_to_the_whole(self, total: int) -> None:
        parts = plan.calendar(now=self.NOW, days=365).spread(total)
        assert len(parts) == 365
        assert sum(parts) == total
        assert min(parts) >= 0

    def test_december_sells_more_than_july(self) -> None:
        year = plan.calendar(now=self.NOW, days=365)
        parts = year.spread(1_000_000)
        by_month: Counter[int] = Counter()
        for number, part in enumerate(parts):
            by_month[year.day(number).month] += part
        assert by_month[12] > 3 * by_month[7] // 2

    def test_one_in_twenty_has_nineteen_of_twenty_parts(self) -> None:
        year = plan.calendar(now=self.NOW, days=365)
        sizes = plan.Sizes(affiliates=2_000, clicks=0, orders=0, days=365)
        people = plan.joinings(random.Random(1), year, sizes)
        strong = sum(one.weight for one in people if one.strong)
        assert sum(one.strong for one in people) == 100
        assert 0.93 < strong / sum(one.weight for one in people) < 0.97

    @pytest.mark.parametrize("seed", range(20))
    def test_somebody_who_sells_has_a_recruiter_in_any_year(self, seed: int) -> None:
        year = plan.calendar(now=self.NOW, days=60)
        people = plan.joinings(random.Random(seed), year, SMALL)
        recruited = [one for one in people if one.strong and one.recruited]
        assert people[0].strong
        assert recruited
        assert people[0].at < min(one.at for one in recruited)

    def test_the_same_seed_gives_the_same_year(self) -> None:
        year = plan.calendar(now=self.NOW, days=365)
        sizes = plan.Sizes(affiliates=200, clicks=0, orders=0, days=365)
        first, again, other = (
            plan.joinings(random.Random(seed), year, sizes) for seed in (1, 1, 2)
        )
        assert first == again
        assert first != other
        assert [one.at for one in first] == sorted(one.at for one in first)

    def test_baskets_are_in_stock_and_orders_come_after_clicks(self) -> None:
        chance = random.Random(3)
        for _ in range(500):
            items = plan.basket(chance)
            assert 1 <= len(items) <= 3
            assert all(item.price.currency == "RUB" and item.quantity >= 1 for item in items)
            assert timedelta(0) < plan.time_to_order(chance) <= timedelta(days=33)
