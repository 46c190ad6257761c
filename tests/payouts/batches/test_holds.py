"""Payouts that finance holds back, choices of affiliates, and who is not in a batch and why."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from threading import Barrier, Thread

import pytest
import sqlalchemy as sa
from money_world import NOW
from paying import Pay
from sqlalchemy.orm import Session

from affiliate.core.audit import AuditEntry
from affiliate.core.db import session_for
from affiliate.core.errors import Conflict, Forbidden, Invalid, NotFound
from affiliate.core.money import Money
from payouts.batches.approve import NotFinance
from payouts.batches.choices import choice_of, choose
from payouts.batches.draft import draft_weekly, open_periods, undrafted
from payouts.batches.holds import (
    HeldAlready,
    NotHeld,
    hold_payouts,
    is_held,
    lift_hold,
    open_holds,
)
from payouts.batches.models import BatchAbsence, PayoutBatch, PayoutHold, PayoutItem
from payouts.batches.rules import ItemReason
from payouts.batches.withdraw import PayoutsHeld


def hold(pay: Pay, name: str, *, by: int | None = None, why: str = "Papers are missing.") -> None:
    hold_payouts(
        pay.session, enrollment_id=pay.world.enrollments[name], by_user_id=by or pay.finance,
        why=why, now=NOW,
    )  # fmt: skip
    pay.session.commit()


def lift(pay: Pay, name: str) -> None:
    lift_hold(
        pay.session, enrollment_id=pay.world.enrollments[name], by_user_id=pay.finance,
        why="They came.", now=NOW + timedelta(hours=1),
    )  # fmt: skip
    pay.session.commit()


def wish(pay: Pay, name: str, *, on_request: bool = False, minimum: str = "0") -> None:
    choose(
        pay.session, enrollment_id=pay.world.enrollments[name], on_request=on_request,
        minimum=pay.world.money(minimum), by=f"user:{pay.world.users[name]}", now=NOW,
    )  # fmt: skip
    pay.session.commit()


def drafted(pay: Pay) -> PayoutBatch:
    """The first weekly batch that has anybody in it."""
    open_periods(pay.session, now=NOW)
    for period_id in undrafted(pay.session):
        made = draft_weekly(pay.session, period_id=period_id, rails=pay.rails, now=NOW)
        pay.session.commit()
        if made:
            return pay.batch(made)
    raise AssertionError("nobody was due")


def paid_in(pay: Pay, batch: PayoutBatch) -> dict[int, int]:
    rows = pay.session.execute(
        sa.select(PayoutItem.enrollment_id, PayoutItem.amount_micros).where(
            PayoutItem.batch_id == batch.id
        )
    )
    return dict(rows.all())


def absent_from(pay: Pay, batch: PayoutBatch) -> dict[int, tuple[str, int]]:
    rows = pay.session.scalars(sa.select(BatchAbsence).where(BatchAbsence.batch_id == batch.id))
    return {row.enrollment_id: (row.reason, row.available_micros) for row in rows}


def test_a_batch_says_of_everybody_with_a_balance_why_they_are_not_in_it(by_hand: Pay) -> None:
    names = by_hand.world.enrollments
    by_hand.affiliate("anna", "9.00")
    by_hand.affiliate("held", "8.00")
    hold(by_hand, "held")
    by_hand.affiliate("asks", "7.00")
    wish(by_hand, "asks", on_request=True)
    by_hand.affiliate("saves", "6.00")
    wish(by_hand, "saves", minimum="6.01")
    by_hand.affiliate("saved", "6.01")
    wish(by_hand, "saved", minimum="6.01")
    by_hand.affiliate("unready", "5.00", ready=False)
    by_hand.world.affiliate("homeless")
    by_hand.world.available("homeless", "4.00")
    by_hand.affiliate("crumbs", "0.004")
    by_hand.world.affiliate("nothing")

    batch = drafted(by_hand)
    assert paid_in(by_hand, batch) == {names["anna"]: 9_000_000, names["saved"]: 6_010_000}
    assert absent_from(by_hand, batch) == {
        names["held"]: ("on_hold", 8_000_000),
        names["asks"]: ("on_request", 7_000_000),
        names["saves"]: ("below_own_minimum", 6_000_000),
        names["unready"]: ("payee_not_ready", 5_000_000),
        names["homeless"]: ("no_payee_account", 4_000_000),
        names["crumbs"]: ("nothing_payable", 4_000),
    }
    by_hand.sound()


def test_who_chose_on_request_is_paid_when_they_ask(by_hand: Pay) -> None:
    by_hand.affiliate("asks", "7.00")
    wish(by_hand, "asks", on_request=True, minimum="100")
    made = by_hand.withdraw("asks", "0.01")
    assert made.amount == by_hand.world.money("0.01"), "a wish binds weekly batches alone"


def test_a_choice_is_kept_and_can_be_taken_back(by_hand: Pay) -> None:
    by_hand.affiliate("anna", "7.00")
    of = by_hand.world.enrollments["anna"]

    def choice() -> tuple[bool, Money]:
        found = choice_of(by_hand.session, enrollment_id=of, currency="EUR")
        return found.on_request, found.minimum

    assert choice() == (False, by_hand.world.money("0"))
    wish(by_hand, "anna", on_request=True, minimum="25.50")
    assert choice() == (True, by_hand.world.money("25.50"))
    wish(by_hand, "anna")
    assert choice() == (False, by_hand.world.money("0"))
    entries = by_hand.session.scalars(
        sa.select(AuditEntry).where(AuditEntry.action == "payouts.choose")
    ).all()
    assert len(entries) == 2


@pytest.mark.parametrize(
    ("minimum", "code"),
    [
        (Money(-10_000, "EUR"), "negative"),
        (Money(1, "EUR"), "too_fine"),
        (Money(1_000_000_000_000 + 10_000, "EUR"), "too_much"),
        (Money(10_000, "RUB"), "wrong_currency"),
    ],
)
def test_a_minimum_that_makes_no_sense_is_refused(by_hand: Pay, minimum: Money, code: str) -> None:
    by_hand.affiliate("anna", "7.00")
    with pytest.raises(Invalid) as refused:
        choose(
            by_hand.session, enrollment_id=by_hand.world.enrollments["anna"], on_request=False,
            minimum=minimum, by="test", now=NOW,
        )  # fmt: skip
    assert [(each.field, each.code) for each in refused.value.errors] == [("minimum", code)]


def test_a_million_is_the_largest_minimum(by_hand: Pay) -> None:
    by_hand.affiliate("anna", "7.00")
    wish(by_hand, "anna", minimum="1000000")


def test_nobody_chooses_for_an_enrollment_that_is_not_there(by_hand: Pay) -> None:
    with pytest.raises(NotFound):
        choose(
            by_hand.session, enrollment_id=999, on_request=True, minimum=Money.zero("EUR"),
            by="test", now=NOW,
        )  # fmt: skip


def test_held_payouts_cannot_be_withdrawn_until_the_hold_is_lifted(by_hand: Pay) -> None:
    by_hand.affiliate("anna", "9.00")
    hold(by_hand, "anna")
    with pytest.raises(PayoutsHeld):
        by_hand.withdraw("anna")
    by_hand.session.rollback()
    (found,) = open_holds(by_hand.session, program_ids=[by_hand.world.program_id])
    assert (found.affiliate, found.reason, found.held_at) == ("anna", "Papers are missing.", NOW)
    lift(by_hand, "anna")
    assert open_holds(by_hand.session, program_ids=[by_hand.world.program_id]) == []
    assert by_hand.withdraw("anna").amount == by_hand.world.money("9.00")


def test_a_hold_keeps_what_is_approved_from_leaving_and_lets_it_go(by_stripe: Pay) -> None:
    by_stripe.affiliate("anna", "9.00")
    made = by_stripe.approved("anna", "2.00")
    hold(by_stripe, "anna")
    by_stripe.run(made.batch_id)
    item = by_stripe.item(made.item_id)
    assert (item.status, item.reason) == ("queued", ItemReason.ON_HOLD.value)
    assert by_stripe.attempts(made.item_id) == []
    lift(by_stripe, "anna")
    by_stripe.run(made.batch_id)
    by_stripe.paid_once(made)


def test_a_second_hold_and_a_second_lift_are_refused(by_hand: Pay) -> None:
    by_hand.affiliate("anna", "9.00")
    hold(by_hand, "anna")
    with pytest.raises(HeldAlready):
        hold(by_hand, "anna")
    by_hand.session.rollback()
    lift(by_hand, "anna")
    with pytest.raises(NotHeld):
        lift(by_hand, "anna")
    by_hand.session.rollback()
    hold(by_hand, "anna")
    assert is_held(by_hand.session, enrollment_id=by_hand.world.enrollments["anna"])


def test_only_finance_holds_and_only_what_is_there(by_hand: Pay) -> None:
    by_hand.affiliate("anna", "9.00")
    stranger = by_hand.world.user("curator", role="curator")
    with pytest.raises(NotFinance) as refused:
        hold(by_hand, "anna", by=stranger)
    assert isinstance(refused.value, Forbidden)
    by_hand.session.rollback()
    with pytest.raises(NotFound):
        hold_payouts(
            by_hand.session, enrollment_id=999, by_user_id=by_hand.finance, why="x", now=NOW
        )


def test_of_two_people_who_hold_at_once_one_does(by_hand: Pay) -> None:
    by_hand.affiliate("anna", "9.00")
    of, sessions, start = by_hand.world.enrollments["anna"], session_for(by_hand.engine), Barrier(2)
    outcomes: list[str] = []

    def try_it(verb: Callable[[Session], None]) -> None:
        with sessions() as session:
            start.wait()
            try:
                verb(session)
                session.commit()
                outcomes.append("held")
            except Conflict as refusal:
                outcomes.append(refusal.code)

    def verb(session: Session) -> None:
        hold_payouts(session, enrollment_id=of, by_user_id=by_hand.finance, why="both", now=NOW)

    threads = [Thread(target=try_it, args=(verb,)) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(outcomes) == ["held", "payouts_held_already"]
    assert by_hand.session.scalar(sa.select(sa.func.count()).select_from(PayoutHold)) == 1
