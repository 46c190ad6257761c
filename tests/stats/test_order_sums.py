"""Orders are added up exactly once, and what changes afterwards changes the sums."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session
from world import DAY, World

from affiliate.core.money import Money
from payouts.commissions.models import Commission
from payouts.commissions.rules import VoidReason
from tracker.attribution.decide import decide_again
from tracker.attribution.subject import Subject
from tracker.orders.models import Order
from tracker.stats import order_sums
from tracker.stats.cli import order_days
from tracker.stats.models import SUMS, OrderChange, OrderDay, OrderSumsMark, ProgramOrderDay
from tracker.stats.questions import Figures, Period, Scope, by_affiliate, by_day, today

RUNS = 3
"""A run notes how far, the next one who may still be writing, the third one adds."""


def add_up(session: Session, runs: int = RUNS) -> None:
    for _ in range(runs):
        order_sums.add_up(session)
        session.commit()


def added_until(session: Session) -> int:
    session.rollback()
    return session.scalars(sa.select(OrderSumsMark.added_order_id)).one()


def asked(world: World, name: str | None = None) -> dict[date, Figures]:
    scope = Scope.of(world.program, world.people[name].enrollment.id if name else None)
    period = Period.ending(today(world.now, world.program.time_zone), 60)
    world.session.rollback()
    return by_day(world.session, scope=scope, period=period)


def recounted(world: World, name: str | None = None) -> dict[date, tuple[int, ...]]:
    """The same out of nothing but commissions and orders, a row at a time."""
    days: dict[date, list[int]] = {}
    query = sa.select(Commission, Order.placed_at).join(
        Order, Commission.reference == sa.func.concat("order:", Order.id)
    )
    for row, placed_at in world.session.execute(query):
        if name and row.enrollment_id != world.people[name].enrollment.id:
            continue
        sums = days.setdefault(today(placed_at, world.program.time_zone), [0] * len(SUMS))
        left, live = row.amount_micros - row.reversed_micros, row.voided_at is None
        released, first = live and row.released_at is not None, row.level == 1
        refused = row.void_reason in ("order_cancelled", "click_invalid", "review_rejected")
        parts = (
            first and live, first and released, first and refused,
            (first and live) * row.base_micros, (first and live) * row.amount_micros,
            (first and live) * row.reversed_micros, (first and released) * left,
            (not first and live) * row.amount_micros, (not first and live) * row.reversed_micros,
            (not first and released) * left,
        )  # fmt: skip
        days[today(placed_at, world.program.time_zone)] = [
            a + int(b) for a, b in zip(sums, parts, strict=True)
        ]
    return {day: tuple(sums) for day, sums in days.items() if any(sums)}


def told(days: dict[date, Figures]) -> dict[date, tuple[int, ...]]:
    found = {
        day: (
            f.orders, f.released_orders, f.refused_orders, f.value.micros,
            f.level_1.gross.micros, f.level_1.reversed.micros, f.level_1.released.micros,
            f.level_2.gross.micros, f.level_2.reversed.micros, f.level_2.released.micros,
        )
        for day, f in days.items()
    }  # fmt: skip
    return {day: sums for day, sums in found.items() if any(sums)}


def refund(world: World, order: Order) -> None:
    world.refund(order, "1000.00")


def cancel(world: World, order: Order) -> None:
    world.cancel(order)


def release(world: World, order: Order) -> None:
    world.release()


def release_and_refund_all(world: World, order: Order) -> None:
    world.release()
    world.refund(order, None)


def decide_anew(world: World, order: Order) -> None:
    with world.app.app_context():
        found = world.session.get_one(Order, order.id)
        subject = Subject(
            found.id, found.program_id, found.placed_at, Money(found.net_micros, found.currency),
            True, found.evidence, False,
        )  # fmt: skip
        decide_again(
            world.session, order=subject, reason=VoidReason.DECISION_REPLACED, now=world.now
        )
        world.session.commit()


def move(world: World, order: Order) -> None:
    """As a server's report does that supersedes a browser's of another day."""
    world.session.execute(
        sa.update(Order).where(Order.id == order.id).values(placed_at=order.placed_at - 2 * DAY)
    )
    world.session.commit()


CHANGES: tuple[Callable[[World, Order], None], ...] = (
    refund, cancel, release, release_and_refund_all, decide_anew, move,
)  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda each: each.__name__)
def test_sums_are_the_orders_before_and_after_a_change_and_after_adding_it(
    world: World, session: Session, change: Callable[[World, Order], None]
) -> None:
    world.affiliate("Anna")
    world.affiliate("Boris", recruiter="Anna")
    changed = world.sale("Boris", "3500.00", days_ago=20)
    world.sale("Boris", "100.00", days_ago=20)
    world.sale("Anna", "900.00", days_ago=3)
    for already_added in (False, True):
        if already_added:
            changed = world.sale("Boris", "3500.00", days_ago=20)
            add_up(session, 2 * RUNS)
            assert added_until(session) == changed.id
        change(world, changed)
        for runs in range(RUNS + 1):
            add_up(session, min(runs, 1))
            for name in (None, "Anna", "Boris"):
                assert told(asked(world, name)) == recounted(world, name), (name, runs)
    session.rollback()
    assert session.scalars(sa.select(sa.func.count(OrderChange.id))).one() == 0
    assert order_sums.differences(session) == []
    scope = Scope.of(world.program)
    period = Period.ending(today(world.now, world.program.time_zone), 60)
    each = by_affiliate(session, scope=scope, period=period)
    assert sum(f.orders for f in each.values()) == sum(f.orders for f in asked(world).values())


def test_an_order_that_is_committed_late_is_not_passed_over(
    world: World, session: Session, engine: sa.Engine
) -> None:
    """A lower number may become visible after a higher one; the sums wait for its writer."""
    world.affiliate("Anna")
    first = world.sale("Anna", "100.00", days_ago=2)
    copy = (
        "INSERT INTO orders (program_id, order_id, source, status, placed_at, received_at, "
        "currency, total_micros, discount_micros, tax_micros, tax_included, shipping_micros, "
        "fees_micros, credits_micros, net_micros, items, details, content_hash, evidence) "
        "SELECT program_id, 'late', source, status, placed_at, received_at, currency, "
        "total_micros, discount_micros, tax_micros, tax_included, shipping_micros, fees_micros, "
        "credits_micros, net_micros, items, details, content_hash, evidence "
        "FROM orders WHERE id = :id RETURNING id"
    )
    with engine.connect() as late:
        number = late.execute(sa.text(copy), {"id": first.id}).scalar_one()
        later = world.sale("Anna", "300.00", days_ago=1)
        assert first.id < number < later.id
        add_up(session, 3 * RUNS)
        assert added_until(session) < number
        assert told(asked(world)) == recounted(world)
        late.execute(
            sa.text(
                "INSERT INTO commissions (program_id, reference, decision, level, enrollment_id, "
                "rule_version_id, currency, base_micros, rate_ppm, amount_micros, rule, trace, "
                "earned_at, available_at) SELECT program_id, 'order:' || :late, 1, level, "
                "enrollment_id, rule_version_id, currency, base_micros, rate_ppm, amount_micros, "
                "rule, trace, earned_at, available_at FROM commissions WHERE reference = :first"
            ),
            {"late": number, "first": f"order:{first.id}"},
        )
        late.commit()
    add_up(session, 2 * RUNS)
    assert added_until(session) == later.id
    assert sum(f.orders for f in asked(world).values()) == 3
    assert told(asked(world)) == recounted(world)


def test_one_worker_adds_up_at_a_time(world: World, session: Session, engine: sa.Engine) -> None:
    world.affiliate("Anna")
    world.sale("Anna", "100.00", days_ago=2)
    with Session(engine) as other:
        other.execute(sa.select(OrderSumsMark).with_for_update())
        add_up(session)
        assert added_until(session) == 0
    add_up(session)
    assert added_until(session) > 0


def test_a_run_adds_a_bounded_number_and_says_that_there_is_more(
    world: World, session: Session
) -> None:
    world.affiliate("Anna")
    for days_ago in range(1, 6):
        world.sale("Anna", "100.00", days_ago=days_ago)
    add_up(session, RUNS - 1)
    said = list(
        itertools.takewhile(bool, iter(lambda: order_sums.add_up(session, orders_max=2), 0))
    )
    session.commit()
    assert len(said) == 2
    assert told(asked(world)) == recounted(world)


def test_a_mark_out_of_another_servers_backup_is_not_waited_for(
    world: World, session: Session
) -> None:
    world.affiliate("Anna")
    order = world.sale("Anna", "100.00", days_ago=2)
    add_up(session, RUNS - 1)
    session.execute(sa.update(OrderSumsMark).values(next_xid=2**60))
    session.commit()
    add_up(session, RUNS)
    assert added_until(session) == order.id


def test_what_was_rebuilt_is_what_was_there(world: World, session: Session) -> None:
    world.affiliate("Anna")
    for days_ago in (1, 20):
        world.refund(world.sale("Anna", "3500.00", days_ago=days_ago), "50.00")
    world.release()
    add_up(session)
    before = stored(session)
    order_sums.rebuild(session)
    session.commit()
    assert told(asked(world)) == recounted(world)
    add_up(session)
    assert stored(session) == before != []


def test_the_command_finds_a_day_that_is_not_its_orders_and_makes_it_anew(
    world: World, session: Session
) -> None:
    world.affiliate("Anna")
    world.refund(world.sale("Anna", "3500.00", days_ago=5), "100.00")
    commands = world.app.test_cli_runner()
    group = order_days

    def run(word: str) -> Any:
        return commands.invoke(group, [word])

    assert run("rebuild").exit_code == 0
    assert (run("check").exit_code, stored(session) != []) == (0, True)
    for table in (OrderDay, ProgramOrderDay):
        session.execute(sa.update(table).values(orders=7))
        session.commit()
        wrong = run("check")
        assert wrong.exit_code == 1 and "differ" in wrong.output
        assert run("rebuild").exit_code == 0
        assert run("check").exit_code == 0


def stored(session: Session) -> list[Any]:
    session.rollback()
    columns = [getattr(OrderDay, name) for name in SUMS]
    days = session.execute(sa.select(OrderDay.day, *columns).order_by(OrderDay.day))
    whole = [getattr(ProgramOrderDay, name) for name in SUMS]
    found = session.execute(sa.select(ProgramOrderDay.day, *whole).order_by(ProgramOrderDay.day))
    return [tuple(row) for row in (*days, *found)]


def test_the_days_are_the_programs_own(world: World, session: Session) -> None:
    """Nine in the evening in UTC is tomorrow's midnight in Moscow."""
    world.affiliate("Anna")
    evening = (world.now - 3 * DAY).replace(hour=21, minute=30, second=0)
    world.order("100.00", at=evening, clicks=(click_before(world, evening),))
    add_up(session)
    session.rollback()
    assert session.scalars(sa.select(OrderDay.day)).one() == evening.date() + timedelta(days=1)


def click_before(world: World, at: Any) -> str:
    link = world.people["Anna"].link
    assert link is not None
    return world.click(link, at=at - timedelta(hours=1))
