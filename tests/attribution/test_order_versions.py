"""An order's version is for life, whatever is announced, answered or assigned afterwards."""

from __future__ import annotations

import contextlib
import itertools
import random
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

from affiliate.core.money import MICROS, Money
from affiliate.people import enrollments
from affiliate.people.models import AffiliateGroup, Enrollment
from affiliate.programs.announcements import Grandfather, announce
from affiliate.programs.answers import answer
from affiliate.programs.assignments import AssignmentOver, assign, end_assignment
from affiliate.programs.models import RuleVersion
from affiliate.programs.rule_versions import in_force
from affiliate.programs.standing import Said
from payouts.audit.run import Severity, registered, run
from payouts.commissions.models import Commission
from payouts.commissions.rules import VoidReason
from tests.builders import make_program, terms_document
from tests.orders.shop_world import DAY, World
from tracker.attribution.decide import decide_again
from tracker.attribution.models import Decision
from tracker.orders.intake import report_order, subject_of
from tracker.orders.models import Order
from tracker.orders.records import lock_order_id
from tracker.orders.refunds import refund_order
from tracker.orders.rules import OrderReportIn, RefundIn, Source

TICK = timedelta(microseconds=1)
WEEK = 7 * DAY
_numbers = itertools.count(1)


def rate(percent: int, *, hold_days: int = 14) -> dict[str, Any]:
    level_1 = {"kind": "percent", "rate_ppm": percent * 10_000}
    return terms_document(
        commission={"level_1": level_1, "level_2": None}, payout={"hold_days": hold_days}
    )


def rubles(amount: int) -> Money:
    return Money(amount * MICROS, "RUB")


class Shop:
    """The world's program with Anna's coupon, and verbs that commit at a given instant."""

    def __init__(self, world: World) -> None:
        self.world, self.session = world, world.session
        self.program_id = world.program.id
        self.anna = self.joins("anna")
        self.first = in_force(self.session, program_id=self.program_id, at=world.now - 60 * DAY).id

    def joins(self, name: str) -> Enrollment:
        """Eighty days ago, with a coupon of their own."""
        made = self.world.affiliate(name)
        self.world.coupon(made, name.upper())
        return made

    def announce(self, percent: int, at: datetime, **more: Any) -> RuleVersion:
        hold = more.pop("hold_days", 14)
        made = announce(
            self.session, program_id=self.program_id, document=rate(percent, hold_days=hold),
            effective_at=at, by=None, now=at - WEEK, **more,
        )  # fmt: skip
        self.session.commit()
        return made

    def say(self, who: Enrollment, version: RuleVersion, said: Said) -> None:
        query = sa.text("SELECT user_id FROM affiliates WHERE id = :id")
        by = self.session.execute(query, {"id": who.affiliate_id}).scalar_one()
        answer(
            self.session, enrollment_id=who.id, version_id=version.id, said=said, by=by,
            now=version.effective_at - DAY,
        )  # fmt: skip
        self.session.commit()

    def order(self, placed_at: datetime, coupon: str = "ANNA") -> Order:
        report = OrderReportIn(
            order_id=f"V-{next(_numbers)}", placed_at=placed_at, total=rubles(1_000),
            coupon=coupon,
        )  # fmt: skip
        done = report_order(
            self.session, program_id=self.program_id, report=report, source=Source.API,
            reported_by="key:kpk_test", now=placed_at + timedelta(minutes=1),
        )  # fmt: skip
        self.session.commit()
        return self.session.get_one(Order, done.order_row_id)

    def decide_again(self, order: Order, now: datetime) -> None:
        program = lock_order_id(self.session, program_id=self.program_id, order_id=order.order_id)
        decide_again(
            self.session, order=subject_of(order, program),
            reason=VoidReason.DECISION_REPLACED, now=now,
        )  # fmt: skip
        self.session.commit()

    def refund(self, order: Order, amount: int | None, now: datetime) -> None:
        refund = RefundIn(
            refund_id=f"R-{next(_numbers)}", amount=rubles(amount) if amount else None
        )
        refund_order(
            self.session, program_id=self.program_id, order_id=order.order_id, refund=refund,
            now=now,
        )  # fmt: skip
        self.session.commit()

    def live(self, order: Order) -> list[Commission]:
        query = sa.select(Commission).where(
            Commission.reference == f"order:{order.id}", Commission.voided_at.is_(None)
        )
        self.session.expire_all()
        return list(self.session.scalars(query.order_by(Commission.enrollment_id)))

    def versions(self, order: Order) -> tuple[int, list[tuple[int, int, int]]]:
        """The decision's version, and (enrollment, version, micros) of each live commission."""
        decided = self.session.scalars(
            sa.select(Decision.rule_version_id).where(
                Decision.order_id == order.id, Decision.voided_at.is_(None)
            )
        ).one()
        return decided, [
            (one.enrollment_id, one.rule_version_id, one.amount_micros) for one in self.live(order)
        ]

    def earned(self, order: Order) -> int:
        """Rubles of the one commission."""
        (one,) = self.live(order)
        return one.amount_micros // MICROS


@pytest.fixture
def shop(world: World, app: Flask) -> Any:
    with app.app_context():
        yield Shop(world)


def broken(app: Flask, session: Session, now: datetime) -> list[str]:
    """Checks of money and books that do not hold; what stands still is of another day."""
    checks = [check for check in registered(app) if check.severity is Severity.INTEGRITY]
    return [found.check.name for found in run(session, checks, real_now=now)]


def test_an_order_earns_by_the_affiliates_own_version(shop: Shop, app: Flask) -> None:
    """Anna declined 5 %, Boris said nothing: 100 and 50 of the same 1,000 rubles."""
    boris, start = shop.joins("boris"), shop.world.now - 20 * DAY
    cut = shop.announce(5, start, hold_days=30)
    shop.say(shop.anna, cut, Said.DECLINED)
    before, after = shop.order(start - TICK), shop.order(start)
    his = shop.order(start, "BORIS")
    assert [shop.earned(order) for order in (before, after, his)] == [100, 100, 50]
    # Attribution is by the program's version for both, the hold by each affiliate's own.
    assert shop.versions(after)[0] == shop.versions(his)[0] == cut.id
    assert shop.live(after)[0].available_at == after.placed_at + 14 * DAY
    assert shop.live(his)[0].available_at == his.placed_at + 30 * DAY
    shown = shop.world.get(after.order_id)
    assert shown["attribution"]["rule_version"] == 2
    assert [one["rule_version"] for one in shown["commissions"]] == [1]
    assert boris.closes_at is None
    assert broken(app, shop.session, shop.world.now) == []


@pytest.mark.parametrize(("after", "credited"), [(-TICK, True), (timedelta(0), False)])
@pytest.mark.parametrize("job_ran", [False, True])
def test_whoever_declined_is_credited_until_the_last_instant_whenever_the_order_comes_in(
    shop: Shop, after: timedelta, credited: bool, job_ran: bool
) -> None:
    start = shop.world.now - 20 * DAY
    shop.say(shop.anna, shop.announce(5, start), Said.DECLINED)
    if job_ran:
        enrollments.close_due(shop.session, now=start + 8 * DAY)
        shop.session.commit()
    order = shop.order(start + WEEK + after)
    assert bool(shop.live(order)) is credited
    if credited:
        assert shop.earned(order) == 100


def test_a_suspended_affiliate_who_declined_is_not_credited(shop: Shop) -> None:
    start = shop.world.now - 20 * DAY
    shop.say(shop.anna, shop.announce(5, start), Said.DECLINED)
    enrollments.suspend(
        shop.session, enrollment_id=shop.anna.id, reason="Look.", by=None, now=start
    )
    shop.session.commit()
    assert shop.live(shop.order(start + DAY)) == []


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_suspended_affiliate_who_declined_is_not_credited_by_being_closed(
    shop: Shop, by_hand: bool
) -> None:
    """What is closed is credited until its last instant and paid; what is suspended is not."""
    start = shop.world.now - 20 * DAY
    shop.say(shop.anna, shop.announce(5, start), Said.DECLINED)
    enrollments.suspend(
        shop.session, enrollment_id=shop.anna.id, reason="Look.", by=None, now=start
    )
    assert enrollments.close_due(shop.session, now=start + 8 * DAY) == 0
    if by_hand:
        enrollments.close(shop.session, enrollment_id=shop.anna.id, by=None, now=start + 8 * DAY)
    shop.session.commit()
    assert shop.live(shop.order(start + DAY)) == []


def test_whoever_declined_and_is_let_back_in_too_late_is_closed_then(shop: Shop) -> None:
    start = shop.world.now - 20 * DAY
    shop.say(shop.anna, shop.announce(5, start), Said.DECLINED)
    enrollments.suspend(
        shop.session, enrollment_id=shop.anna.id, reason="Look.", by=None, now=start
    )
    enrollments.reinstate(shop.session, enrollment_id=shop.anna.id, by=None, now=start + 9 * DAY)
    assert enrollments.close_due(shop.session, now=start + 9 * DAY) == 1
    shop.session.commit()
    assert shop.live(shop.order(start + 9 * DAY)) == []
    assert shop.live(shop.order(start + WEEK - TICK)) != []


def test_whoever_declined_and_leaves_before_is_credited_no_longer(shop: Shop) -> None:
    """Their notice would have gone on until the seventh day."""
    start = shop.world.now - 20 * DAY
    shop.say(shop.anna, shop.announce(5, start), Said.DECLINED)
    enrollments.close(shop.session, enrollment_id=shop.anna.id, by=None, now=start + 2 * DAY)
    shop.session.commit()
    assert shop.live(shop.order(start + 2 * DAY)) == []
    assert shop.live(shop.order(start + 2 * DAY - TICK)) != []


def test_terms_that_are_kept_are_earned_by(shop: Shop, app: Flask) -> None:
    start = shop.world.now - 20 * DAY
    shop.announce(5, start, grandfather=Grandfather(start + 5 * DAY))
    assert shop.earned(shop.order(start)) == 100
    assert shop.earned(shop.order(start + 5 * DAY - TICK)) == 100
    assert shop.earned(shop.order(start + 5 * DAY)) == 50
    assert broken(app, shop.session, shop.world.now) == []


def test_an_assignment_is_earned_by_from_until(shop: Shop, app: Flask) -> None:
    start = shop.world.now - 20 * DAY
    special = shop.announce(20, start)
    shop.announce(5, start + DAY)
    group = AffiliateGroup(program_id=shop.program_id, name="Gold")
    shop.session.add(group)
    shop.session.flush()
    shop.anna.group_id = group.id
    begins, ends = start + 2 * DAY, start + 4 * DAY
    common: dict[str, Any] = {"program_id": shop.program_id, "by": None, "now": start}
    assign(
        shop.session, group_id=group.id, version_id=special.id, begins_at=begins, ends_at=ends,
        reason="Gold.", **common,
    )  # fmt: skip
    assign(
        shop.session, enrollment_id=shop.anna.id, version_id=shop.first,
        begins_at=begins + DAY, ends_at=ends + DAY, reason="Agreed.", **common,
    )  # fmt: skip
    shop.session.commit()
    times = (
        begins - TICK,
        begins,
        begins + DAY - TICK,
        begins + DAY,
        ends + DAY - TICK,
        ends + DAY,
    )
    assert [shop.earned(shop.order(at)) for at in times] == [50, 200, 200, 100, 100, 50]
    assert broken(app, shop.session, shop.world.now) == []


def test_nothing_is_asked_where_everybody_is_on_the_version_in_force(shop: Shop) -> None:
    statements: list[str] = []
    engine = shop.session.get_bind()
    sa.event.listen(engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
    shop.order(shop.world.now - 20 * DAY)
    assert not any("rule_assignments" in one for one in statements)


def test_the_audit_finds_a_commission_that_is_reckoned_by_a_version_of_nobodys(
    shop: Shop, app: Flask
) -> None:
    start = shop.world.now - 20 * DAY
    version = shop.announce(5, start)
    before, after = shop.order(start - TICK), shop.order(start)
    other = make_program(shop.session, now=start, slug="other")
    theirs = in_force(shop.session, program_id=other.id, at=start).id
    for order, wrong in ((before, version.id), (after, shop.first), (after, theirs)):
        (right,) = shop.live(order)
        kept = right.rule_version_id
        _write_version(shop, right.id, wrong)
        # Replayed by a version that it was not reckoned by, it earns something else.
        assert "V1" in broken(app, shop.session, shop.world.now)
        _write_version(shop, right.id, kept)
    assert broken(app, shop.session, shop.world.now) == []


def _write_version(shop: Shop, commission_id: int, version_id: int) -> None:
    shop.session.execute(
        sa.update(Commission)
        .where(Commission.id == commission_id)
        .values(rule_version_id=version_id)
    )
    shop.session.commit()


def test_the_audit_finds_who_should_have_been_closed(shop: Shop, app: Flask) -> None:
    start = shop.world.now - 20 * DAY
    shop.say(shop.anna, shop.announce(5, start), Said.DECLINED)
    (check,) = [check for check in registered(app) if check.name == "V2"]
    hour = timedelta(hours=1)
    assert run(shop.session, [check], real_now=start + WEEK + hour) == []
    assert run(shop.session, [check], real_now=start + WEEK + hour + TICK) != []
    enrollments.close_due(shop.session, now=start + WEEK)
    assert run(shop.session, [check], real_now=start + 9 * DAY) == []


@pytest.mark.parametrize("seed", range(4))
def test_the_version_of_an_order_never_changes(shop: Shop, app: Flask, seed: int) -> None:
    """Random lives: whatever is announced, answered, assigned or ended after an order, it and
    its refunds keep what they were decided by, also when it is decided anew."""
    chance = random.Random(seed)
    people = {"ANNA": shop.anna, "BORIS": shop.joins("boris")}
    at = shop.world.now - 70 * DAY
    orders: list[tuple[Order, Any]] = []
    announced: list[RuleVersion] = []
    assigned: list[int] = []
    group = AffiliateGroup(program_id=shop.program_id, name="Gold")
    shop.session.add(group)
    shop.session.commit()
    while at < shop.world.now - DAY:
        act = chance.choice(["order", "order", "announce", "answer", "assign", "end", "group"])
        if act == "order":
            order = shop.order(at, chance.choice(list(people)))
            orders.append((order, shop.versions(order)))
        elif act == "announce":
            keep = chance.choice([None, Grandfather(), Grandfather(at + 12 * DAY)])
            announced.append(
                announce(
                    shop.session,
                    program_id=shop.program_id,
                    document=rate(chance.randrange(1, 60)),
                    effective_at=at + WEEK,
                    by=None,
                    now=at,
                    grandfather=keep,
                )
            )
        elif act == "answer":
            _answer_if_open(shop, chance, list(people.values()), announced, at)
        elif act == "assign":
            who = chance.choice(list(people.values()))
            own = chance.choice([{"enrollment_id": who.id}, {"group_id": group.id}])
            made = assign(
                shop.session, program_id=shop.program_id,
                version_id=chance.choice([shop.first, *(one.id for one in announced)]),
                begins_at=at, ends_at=chance.choice([None, at + 3 * DAY]), reason="Agreed.",
                by=None, now=at, **own,
            )  # fmt: skip
            assigned.append(made.id)
        elif act == "end" and assigned:
            with contextlib.suppress(AssignmentOver):
                end_assignment(
                    shop.session, assignment_id=assigned.pop(), ends_at=at, reason="Over.",
                    by=None, now=at,
                )  # fmt: skip
        elif act == "group":
            chance.choice(list(people.values())).group_id = chance.choice([None, group.id])
        enrollments.close_due(shop.session, now=at)
        shop.session.commit()
        at += timedelta(hours=chance.randrange(1, 90))
        if orders:
            order, versions = chance.choice(orders)
            assert shop.versions(order) == versions
            # People who left are no longer credited by a new decision's own checks; whoever
            # is credited again is so at what was frozen.
            shop.decide_again(order, at)
            assert shop.versions(order) == versions
    for order, versions in orders:
        shop.refund(order, chance.randrange(1, 999), at)
        assert shop.versions(order) == versions
        shop.refund(order, None, at)
        assert all(one.reversed_micros == one.amount_micros for one in shop.live(order))
    assert broken(app, shop.session, shop.world.now) == []


def _answer_if_open(
    shop: Shop,
    chance: random.Random,
    people: list[Enrollment],
    announced: list[RuleVersion],
    at: datetime,
) -> None:
    coming = [one for one in announced if one.effective_at > at]
    who = chance.choice(people)
    if not coming or who.closes_at is not None or who.status != "active":
        return
    version = coming[-1]
    query = sa.text(
        "SELECT user_id FROM affiliates WHERE id = :id AND NOT EXISTS (SELECT FROM rule_answers"
        " WHERE enrollment_id = :who AND rule_version_id = :version)"
    )
    known = {"id": who.affiliate_id, "who": who.id, "version": version.id}
    by = shop.session.execute(query, known).scalar_one_or_none()
    if by is not None:
        said = chance.choice([Said.ACCEPTED, Said.ACCEPTED, Said.DECLINED])
        answer(shop.session, enrollment_id=who.id, version_id=version.id, said=said, by=by, now=at)
