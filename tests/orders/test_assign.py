"""A manager says whose order it is: credited by the same ledger path, kept, taken back."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from affiliate.core.audit import AuditEntry
from affiliate.core.errors import Invalid, NotFound
from affiliate.people import enrollments, recruiters
from affiliate.people.models import Enrollment
from payouts.audit.checks import CHECKS as MONEY_CHECKS
from payouts.audit.run import Severity, run
from payouts.commissions.models import Commission
from payouts.commissions.release import release_due
from payouts.ledger.balances import balances
from tests.builders import make_affiliate, make_program
from tests.orders.shop_world import DAY, World, earned, of, rub
from tracker.attribution.checks import CHECKS
from tracker.attribution.models import Decision
from tracker.clicks.rules import DropReason
from tracker.orders.assign import assign_order, withdraw_assignment
from tracker.orders.refusals import (
    AffiliateNotActive,
    AlreadyCredited,
    NotAssigned,
    NotDeclined,
    OrderCancelled,
)
from tracker.orders.review import ReviewOutcome, overturn_review, review_order


@pytest.fixture
def anna(world: World) -> Enrollment:
    return world.affiliate("anna")


@pytest.fixture
def boris(world: World) -> Enrollment:
    return world.affiliate("boris")


def assign(world: World, to: Enrollment, *, reason: str = "her newsletter named it") -> None:
    with world.app.app_context():
        assign_order(
            world.session, program_id=world.program.id, order_id="A-10042",
            enrollment_id=to.id, reason=reason, by="user:7", now=world.now + DAY,
        )  # fmt: skip
        world.session.commit()


def unassign(world: World) -> None:
    with world.app.app_context():
        withdraw_assignment(
            world.session, program_id=world.program.id, order_id="A-10042", reason="a mistake",
            by="user:8", now=world.now + 2 * DAY,
        )  # fmt: skip
        world.session.commit()


def books_agree(world: World) -> None:
    """Every integrity check of orders, commissions and the ledger."""
    every = (*CHECKS, *MONEY_CHECKS)
    checks = [each for each in every if each.severity is Severity.INTEGRITY]
    assert run(world.session, checks, real_now=world.now + 3 * DAY) == []


def test_an_order_of_nobody_is_given_to_an_affiliate(world: World, anna: Enrollment) -> None:
    world.post(world.order())
    assign(world, anna)
    body = world.get()
    assert earned(body) == [(of(anna), 1, "350.00", "pending", "hold_period")]
    assert body["attribution"]["shares"] == [
        {"affiliate": of(anna), "weight": "1", "evidence": "assignment"}
    ]
    assert "a manager named is credited" in body["attribution"]["trace"][-1]["text"]
    books_agree(world)


def test_who_earned_it_before_loses_it_and_both_decisions_are_kept(
    world: World, anna: Enrollment, boris: Enrollment
) -> None:
    world.post(world.order(clicks=[world.click(world.link(boris))]))
    assign(world, anna)
    assert earned(world.get()) == [(of(anna), 1, "350.00", "pending", "hold_period")]
    rows = world.session.execute(
        sa.select(Decision.number, Decision.void_reason).order_by(Decision.number)
    ).all()
    assert [tuple(row) for row in rows] == [(1, "decided_by_person"), (2, None)]
    entry = world.session.scalars(
        sa.select(AuditEntry).where(AuditEntry.action == "order.assign")
    ).one()
    assert (entry.actor, entry.reason) == ("user:7", "her newsletter named it")
    assert (entry.old, entry.new) == ({"credited": [boris.id]}, {"credited": [anna.id]})
    books_agree(world)


def test_what_was_released_goes_back_out_of_the_balance(
    world: World, anna: Enrollment, boris: Enrollment
) -> None:
    world.post(world.order(clicks=[world.click(world.link(boris))]))
    assert release_due(world.session, now=world.now + 15 * DAY) == 1
    world.session.commit()
    assign(world, anna)
    left = balances(world.session, enrollment_id=boris.id, currency="RUB")
    assert (left.available.micros, left.pending.micros) == (0, 0)
    theirs = balances(world.session, enrollment_id=anna.id, currency="RUB")
    assert theirs.pending.micros == 350_000_000
    books_agree(world)


def test_what_was_refunded_before_is_taken_off(world: World, anna: Enrollment) -> None:
    world.post(world.order())
    world.post({"refund_id": "R-1", "amount": rub("1000.00")}, "/A-10042/refunds")
    assign(world, anna)
    [commission] = world.get()["commissions"]
    assert commission["reversed"] == rub("77.951002")
    books_agree(world)


def test_level_2_goes_to_the_recruiter_of_then(world: World, boris: Enrollment) -> None:
    carla = world.affiliate("carla")
    dora = world.affiliate("dora", recruiter=boris)
    world.post(world.order())
    with world.app.app_context():
        recruiters.set_recruiter(
            world.session, enrollment_id=dora.id, recruiter_id=carla.id, by=None,
            now=world.now + timedelta(hours=1), reason="changed teams",
        )  # fmt: skip
        world.session.commit()
    assign(world, dora)
    assert [(each[0], each[1]) for each in earned(world.get())] == [(of(dora), 1), (of(boris), 2)]


def test_the_word_outlasts_late_evidence_and_the_shops_own_report(
    world: World, anna: Enrollment, boris: Enrollment
) -> None:
    order = {"order_id": "A-10042", "total": rub("10.00")}
    world.event(order)
    assign(world, anna)
    assert [each[4] for each in earned(world.get())] == ["confirmation"]
    world.post(world.order(clicks=[world.click(world.link(boris))]))
    assert earned(world.get()) == [(of(anna), 1, "350.00", "pending", "hold_period")]
    books_agree(world)


def test_it_can_be_given_to_another_and_back_to_the_rules(
    world: World, anna: Enrollment, boris: Enrollment
) -> None:
    world.post(world.order(clicks=[world.click(world.link(boris))]))
    assign(world, anna)
    unassign(world)
    assert earned(world.get()) == [(of(boris), 1, "350.00", "pending", "hold_period")]
    with pytest.raises(NotAssigned):
        unassign(world)
    world.tick()
    live = sa.select(Commission.decision).where(Commission.voided_at.is_(None))
    assert world.session.scalars(live).all() == [3]
    books_agree(world)


class TestRefused:
    def test_a_cancelled_order(self, world: World, anna: Enrollment) -> None:
        world.post(world.order())
        world.post({}, "/A-10042/cancellation")
        with pytest.raises(OrderCancelled):
            assign(world, anna)
        with pytest.raises(OrderCancelled):
            unassign(world)

    def test_an_order_that_is_not_there(self, world: World, anna: Enrollment) -> None:
        with pytest.raises(NotFound):
            assign(world, anna)

    @pytest.mark.parametrize("reason", ["", "  \n ", "x" * 501])
    def test_a_missing_or_endless_reason(self, world: World, anna: Enrollment, reason: str) -> None:
        world.post(world.order())
        with pytest.raises(Invalid) as refused:
            assign(world, anna, reason=reason)
        assert refused.value.errors[0].field == "reason"

    def test_an_affiliate_who_is_not_active(self, world: World, anna: Enrollment) -> None:
        world.post(world.order())
        with world.app.app_context():
            enrollments.suspend(
                world.session, enrollment_id=anna.id, reason="spam", by=None, now=world.now
            )
        with pytest.raises(AffiliateNotActive):
            assign(world, anna)

    def test_an_affiliate_of_another_program(self, world: World) -> None:
        world.post(world.order())
        with world.app.app_context():
            other = make_program(world.session, now=world.now - 9 * DAY, slug="other")
            theirs = make_affiliate(world.session, other, "x@blog.example", now=world.now - DAY)
        with pytest.raises(NotFound):
            assign(world, theirs)

    def test_whom_it_is_credited_to_already(self, world: World, anna: Enrollment) -> None:
        world.post(world.order(clicks=[world.click(world.link(anna))]))
        with pytest.raises(AlreadyCredited):
            assign(world, anna)


class TestOverturned:
    def overturn(self, world: World) -> None:
        with world.app.app_context():
            overturn_review(
                world.session, program_id=world.program.id, order_id="A-10042",
                reason="a newsletter after all", by="user:8", now=world.now + DAY,
            )  # fmt: skip
            world.session.commit()

    def decline(self, world: World) -> None:
        with world.app.app_context():
            review_order(
                world.session, program_id=world.program.id, order_id="A-10042",
                outcome=ReviewOutcome.DECLINED, reason="a farm", by="user:7", now=world.now,
            )  # fmt: skip
            world.session.commit()

    def test_a_declined_click_credits_after_all(self, world: World, anna: Enrollment) -> None:
        flooded = world.click(world.link(anna), reason=DropReason.FLOOD)
        world.post(world.order(clicks=[flooded]))
        self.decline(world)
        assert world.get()["commissions"] == []
        self.overturn(world)
        assert earned(world.get()) == [(of(anna), 1, "350.00", "pending", "hold_period")]
        entry = world.session.scalars(
            sa.select(AuditEntry).where(AuditEntry.action == "order.review_overturned")
        ).one()
        assert (entry.actor, entry.old) == ("user:8", {"by": "user:7"})
        books_agree(world)

    def test_what_was_not_declined_is_refused(self, world: World, anna: Enrollment) -> None:
        with pytest.raises(NotFound):
            self.overturn(world)
        world.post(world.order(clicks=[world.click(world.link(anna))]))
        with pytest.raises(NotDeclined):
            self.overturn(world)
        world.tick()
        world.post({}, "/A-10042/cancellation")
        with pytest.raises(OrderCancelled):
            self.overturn(world)
