"""Earn, wait, release, refund and void in the real ledger."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from money_world import HOLD, NOW, World
from sqlalchemy.orm import Session

from affiliate.core.db import session_for
from affiliate.core.money import Money
from payouts.commissions.earn import earn, wait_for
from payouts.commissions.release import release_due
from payouts.commissions.rows import Status, commissions_for, next_release, when_available
from payouts.commissions.rules import Reason, VoidReason
from payouts.commissions.void import take_back, void
from payouts.ledger.balances import Balances, balances
from payouts.ledger.models import LedgerAccount, LedgerEntry

LATER = NOW + HOLD
MICRO = timedelta(microseconds=1)


def of(session: Session, world: World, name: str) -> Balances:
    return balances(session, enrollment_id=world.enrollments[name], currency=world.currency)


def books_balance(session: Session) -> bool:
    return not session.scalar(sa.select(sa.func.sum(LedgerEntry.amount_micros)))


def test_both_levels_are_pending_until_the_hold_is_over(session: Session, world: World) -> None:
    sale = world.sale("anna", "3500.00")
    rows = earn(session, sale=sale, waits_for=None, now=NOW)
    assert [(row.level, row.amount.decimal) for row in rows] == [(1, "350.00"), (2, "70.00")]
    assert of(session, world, "anna").pending == world.money("350")
    assert of(session, world, "rita").pending == world.money("70")
    assert when_available(rows[0], NOW) == when_available(rows[1], NOW)
    assert when_available(rows[0], NOW).waits_for == "hold_period"
    assert release_due(session, now=LATER - MICRO) == 0
    assert release_due(session, now=LATER) == 2
    assert of(session, world, "anna").available == world.money("350")
    assert of(session, world, "anna").pending == world.money("0")
    assert release_due(session, now=LATER) == 0
    assert books_balance(session)


def test_the_same_decision_earns_once(session: Session, world: World) -> None:
    sale = world.sale("anna", "100.00")
    first = earn(session, sale=sale, waits_for=None, now=NOW)
    again = earn(session, sale=sale, waits_for=None, now=NOW)
    assert [row.id for row in first] == [row.id for row in again]
    assert of(session, world, "anna").pending == world.money("10")


def test_first_earnings_make_their_accounts(session: Session, world: World) -> None:
    accounts = sa.select(sa.func.count()).select_from(LedgerAccount)
    assert session.scalar(accounts) == 0
    rows = earn(session, sale=world.sale("anna", "100.00"), waits_for=None, now=NOW)
    assert session.scalar(accounts) == 3  # the program's expense and two pending
    assert list(rows) == commissions_for(session, reference=rows[0].reference)
    assert books_balance(session)


def test_what_waits_is_not_released_and_says_for_what(session: Session, world: World) -> None:
    sale = world.sale("anna", "100.00")
    earn(session, sale=sale, waits_for="confirmation", now=NOW)
    assert release_due(session, now=LATER) == 0
    row = commissions_for(session, reference=sale.reference)[0]
    assert when_available(row, LATER).waits_for == "confirmation"
    assert next_release(session, enrollment_id=row.enrollment_id, currency="EUR") is None
    wait_for(session, reference=sale.reference, waits_for=None, now=LATER)
    row = commissions_for(session, reference=sale.reference)[0]
    assert when_available(row, LATER).waits_for is None
    assert next_release(session, enrollment_id=row.enrollment_id, currency="EUR") == LATER
    assert release_due(session, now=LATER) == 2


def test_a_sale_of_nothing_keeps_its_reason(session: Session, world: World) -> None:
    rows = earn(session, sale=world.sale("anna", "0"), waits_for=None, now=NOW)
    assert [(row.status, row.reason) for row in rows] == [
        (Status.NOT_EARNED, Reason.NOTHING_PAID),
        (Status.NOT_EARNED, Reason.NOTHING_PAID),
    ]
    release_due(session, now=LATER)
    take_back(
        session,
        reference=rows[0].reference,
        refund="refund:1",
        refunded_net=world.money("0"),
        net=world.money("0"),
        now=LATER,
    )
    assert session.scalar(sa.select(sa.func.count()).select_from(LedgerEntry)) == 0


def test_a_partial_refund_takes_both_levels_back_in_proportion(
    session: Session, world: World
) -> None:
    sale = world.sale("anna", "3500.00")
    earn(session, sale=sale, waits_for=None, now=NOW)
    refund = {"reference": sale.reference, "net": sale.net, "now": NOW}
    take_back(session, refund="refund:1", refunded_net=world.money("1000"), **refund)
    take_back(session, refund="refund:1", refunded_net=world.money("1000"), **refund)
    # 350 × 1000/3500 = 100, 70 × 1000/3500 = 20; the repeated call changed nothing.
    assert of(session, world, "anna").pending == world.money("250")
    assert of(session, world, "rita").pending == world.money("50")
    take_back(session, refund="refund:2", refunded_net=world.money("3500"), **refund)
    rows = commissions_for(session, reference=sale.reference)
    assert {row.status for row in rows} == {Status.REVERSED}
    assert of(session, world, "anna").owed == of(session, world, "rita").owed == world.money("0")


def test_a_refund_after_the_release_may_make_the_balance_negative(
    session: Session, world: World
) -> None:
    sale = world.sale("anna", "100.00")
    earn(session, sale=sale, waits_for=None, now=NOW)
    release_due(session, now=LATER)
    # The 10.00 leave by other means; the refund then claws back what is no longer there.
    from payouts.ledger.accounts import AccountKind, cash, of_enrollment
    from payouts.ledger.posting import Kind, Line, post

    ten = world.money("10")
    available = of_enrollment(
        AccountKind.AVAILABLE, world.program_id, world.enrollments["anna"], "EUR"
    )
    post(
        session,
        kind=Kind.ADJUST,
        reference="adjust:1",
        reason="test",
        now=LATER,
        lines=[Line(available, -ten), Line(cash(world.program_id, "manual", "EUR"), ten)],
    )
    take_back(
        session,
        reference=sale.reference,
        refund="refund:1",
        refunded_net=sale.net,
        net=sale.net,
        now=LATER,
    )
    assert of(session, world, "anna").available == world.money("-10")
    earn(session, sale=world.sale("anna", "40.00"), waits_for=None, now=NOW)
    release_due(session, now=LATER)
    assert of(session, world, "anna").available == world.money("-6")  # later earnings recover it


@pytest.mark.parametrize("released", [False, True])
def test_a_void_takes_back_what_refunds_left(
    session: Session, world: World, released: bool
) -> None:
    sale = world.sale("anna", "100.00")
    earn(session, sale=sale, waits_for=None, now=NOW)
    take_back(
        session,
        reference=sale.reference,
        refund="refund:1",
        refunded_net=world.money("30"),
        net=sale.net,
        now=NOW,
    )
    if released:
        release_due(session, now=LATER)
    cancel = {"reference": sale.reference, "decision": 1, "reason": VoidReason.ORDER_CANCELLED}
    assert void(session, now=LATER, **cancel) == 2
    assert void(session, now=LATER, **cancel) == 0
    assert of(session, world, "anna").owed == world.money("0")
    assert commissions_for(session, reference=sale.reference)[0].status is Status.VOIDED
    assert release_due(session, now=LATER) == 0


def test_a_new_decision_earns_beside_the_voided_one(session: Session, world: World) -> None:
    world.affiliate("boris")
    sale = world.sale("anna", "100.00")
    earn(session, sale=sale, waits_for=None, now=NOW)
    void(
        session, reference=sale.reference, decision=1, reason=VoidReason.DECISION_REPLACED, now=NOW
    )
    other = world.sale("boris", "100.00", reference=sale.reference, decision=2)
    earn(session, sale=other, waits_for=None, now=NOW)
    assert of(session, world, "anna").owed == world.money("0")
    assert of(session, world, "boris").pending == world.money("10")
    assert [row.decision for row in commissions_for(session, reference=sale.reference)] == [1, 1, 2]


def test_a_release_skips_what_another_session_holds(engine: sa.Engine, world: World) -> None:
    sales = [world.sale("anna", "100.00") for _ in range(2)]
    for sale in sales:
        earn(world.session, sale=sale, waits_for=None, now=NOW)
    world.session.commit()
    with session_for(engine)() as refunding, session_for(engine)() as releasing:
        take_back(
            refunding,
            reference=sales[0].reference,
            refund="refund:1",
            refunded_net=sales[0].net,
            net=sales[0].net,
            now=LATER,
        )
        assert release_due(releasing, now=LATER) == 2
        releasing.commit()
        refunding.commit()
        assert release_due(releasing, now=LATER) == 2
        releasing.commit()
    assert of(world.session, world, "anna").available == world.money("10")
    assert books_balance(world.session)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    net=st.integers(1, 10**12),
    parts=st.lists(st.integers(1, 1_000), min_size=1, max_size=6),
    release_after=st.integers(0, 6),
)
def test_the_ledger_ends_at_zero_after_a_full_refund_in_any_parts(
    session: Session, world: World, net: int, parts: list[int], release_after: int
) -> None:
    sale = world.sale("anna", str(Money(net, "EUR").decimal))
    earn(session, sale=sale, waits_for=None, now=NOW)
    refunded = Money.zero("EUR")
    for number, part in enumerate(sale.net.allocate(parts)):
        if number == release_after:
            release_due(session, now=LATER)
        refunded += part
        take_back(
            session,
            reference=sale.reference,
            refund=f"refund:{number}",
            refunded_net=refunded,
            net=sale.net,
            now=LATER,
        )
    assert of(session, world, "anna").owed == of(session, world, "rita").owed == world.money("0")
    assert books_balance(session)
