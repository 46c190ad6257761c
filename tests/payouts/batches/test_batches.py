"""Draft, freeze, approve, hold, cancel, withdraw; races with real sessions."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from money_world import NOW
from paying import Pay
from redis import Redis

from affiliate.core import queue
from affiliate.core.db import session_for
from affiliate.core.errors import Invalid, Refusal
from affiliate.core.money import Money
from affiliate.people.models import Enrollment, Grant, User
from payouts.batches.approve import (
    BatchChanged,
    MakerCannotApprove,
    NotApprovable,
    NotFinance,
    RailNotConfigured,
    approve,
)
from payouts.batches.cancel import NotCancellable, cancel_batch, hold_item
from payouts.batches.draft import draft_weekly, open_periods, undrafted
from payouts.batches.locks import LockReason, PayoutsLocked, lock
from payouts.batches.models import PayoutBatch, PayoutItem, PayoutPeriod, Withdrawal
from payouts.batches.payees import payee_of, set_payee
from payouts.batches.queries import batch_view, batches_to_do, items_of, money_of
from payouts.batches.review import NotWaitingForAPerson, mark_paid, try_again
from payouts.batches.statements import EARNED, PAID, TAKEN_BACK, months_of_program, statement
from payouts.batches.withdraw import (
    EnrollmentNotPayable,
    NoPayeeAccount,
    NothingAvailable,
    PayeeNotReady,
    WithdrawalOpen,
)
from payouts.ledger.accounts import AccountKind, expense, of_enrollment
from payouts.ledger.posting import Kind, Line, post
from payouts.rails.registry import rails

LATER = NOW + timedelta(days=7)


def draft(pay: Pay, *, at: Any = NOW) -> list[int]:
    open_periods(pay.session, now=at)
    made = [
        draft_weekly(pay.session, period_id=p, rails=pay.rails, now=at)
        for p in undrafted(pay.session)
    ]
    pay.session.commit()
    return [batch for batch in made if batch]


def at_once(count: int, act: Callable[[int], Any]) -> list[Any]:
    """Start together; the results, refusals included."""
    barrier, found = threading.Barrier(count), []

    def one(number: int) -> None:
        barrier.wait()
        try:
            found.append(act(number))
        except Refusal as refusal:
            found.append(refusal.code)

    threads = [threading.Thread(target=one, args=[n]) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


def test_the_weekly_batch_takes_whole_units_of_everybody_who_can_be_paid(by_hand: Pay) -> None:
    by_hand.affiliate("anna", "12.345")
    by_hand.affiliate("boris", "0.01")
    by_hand.affiliate("clara", "0.009999")
    by_hand.affiliate("dora", "7.00", ready=False)
    (batch_id,) = draft(by_hand)
    view = batch_view(by_hand.session, batch_id=batch_id)
    assert (view.status, view.kind, view.count, view.total) == (
        "frozen",
        "weekly",
        2,
        by_hand.world.money("12.35"),
    )
    assert by_hand.balances("anna").available == Money(5_000, "EUR")  # 0.005 stays
    assert by_hand.balances("anna").in_payout == by_hand.world.money("12.34")
    assert by_hand.balances("clara").available == Money(9_999, "EUR")
    by_hand.sound()


def test_missed_weeks_are_caught_up_and_each_makes_one_batch(by_hand: Pay) -> None:
    by_hand.affiliate("anna", "5.00")
    first = draft(by_hand)
    assert len(first) == 1  # the oldest missed week takes what is due; the rest find nothing
    keys = by_hand.session.scalars(sa.select(PayoutPeriod.key).order_by(PayoutPeriod.key)).all()
    assert keys == ["2026-10-26", "2026-11-02", "2026-11-09", "2026-11-16"]
    assert draft(by_hand) == []
    by_hand.world.available("anna", "3.00")
    (second,) = draft(by_hand, at=LATER)
    assert batch_view(by_hand.session, batch_id=second).number == 2
    assert draft(by_hand, at=LATER) == []


def test_ten_schedulers_make_one_batch(by_hand: Pay) -> None:
    for name in ("anna", "boris"):
        by_hand.affiliate(name, "5.00")

    def tick(_: int) -> list[int | None]:
        with session_for(by_hand.engine)() as own:
            open_periods(own, now=NOW)
            own.commit()
            made = []
            for period_id in undrafted(own):
                made.append(draft_weekly(own, period_id=period_id, rails=by_hand.rails, now=NOW))
                own.commit()
            return made

    found = at_once(10, tick)
    assert len(found) == 10
    assert len([batch for made in found for batch in made if batch]) == 1
    by_hand.session.rollback()
    assert by_hand.session.scalar(sa.select(sa.func.count()).select_from(PayoutBatch)) == 1
    assert by_hand.session.scalar(sa.select(sa.func.count()).select_from(PayoutItem)) == 2
    by_hand.sound()


def test_the_schedulers_untouched_draft_can_be_approved_by_any_finance_user(by_hand: Pay) -> None:
    by_hand.affiliate("anna", "5.00")
    (batch_id,) = draft(by_hand)
    assert by_hand.batch(batch_id).created_by is None
    by_hand.approve(batch_id)
    batch = by_hand.batch(batch_id)
    assert (batch.status, batch.approved_count, batch.approved_total_micros) == (
        "approved",
        1,
        5_000_000,
    )
    assert [v.id for v in batches_to_do(by_hand.session, program_ids=[by_hand.world.program_id])]
    by_hand.sound()


@pytest.mark.abuse("A25")
def test_a_maker_cannot_approve(by_hand: Pay) -> None:
    for name in ("anna", "boris", "vera"):
        by_hand.affiliate(name, "5.00")
    made = by_hand.withdraw("anna")
    session, anna = by_hand.session, by_hand.world.users["anna"]
    session.add(
        Grant(user_id=anna, program_id=by_hand.world.program_id, role="finance", granted_at=NOW)
    )
    session.commit()
    with pytest.raises(MakerCannotApprove):
        by_hand.approve(made.batch_id, by=anna)
    session.rollback()
    (batch_id,) = draft(by_hand)
    item = items_of(session, batch_id=batch_id)[0]
    hold_item(session, item_id=item.id, by_user_id=by_hand.finance, why="unusual", now=NOW)
    session.commit()
    with pytest.raises(MakerCannotApprove):
        by_hand.approve(batch_id)


@pytest.mark.abuse("A25")
@pytest.mark.parametrize("who", ["affiliate", "manager", "revoked", "other program", "disabled"])
def test_only_a_live_finance_user_of_the_program_approves(
    by_hand: Pay, world_of: Callable[..., Any], who: str
) -> None:
    by_hand.affiliate("anna", "5.00")
    by_hand.affiliate("boris", "5.00")
    made = by_hand.withdraw("anna")
    session = by_hand.session
    if who == "affiliate":
        user = by_hand.world.users["boris"]
    elif who == "manager":
        user = by_hand.world.user("manager", role="manager")
    elif who == "other program":
        user = world_of().user("stranger", role="finance")
    else:
        user = by_hand.world.user("former", role="finance")
        change = (
            sa.update(Grant).where(Grant.user_id == user).values(revoked_at=NOW)
            if who == "revoked"
            else sa.update(User).where(User.id == user).values(active=False)
        )
        session.execute(change)
        session.commit()
    with pytest.raises(NotFinance):
        by_hand.approve(made.batch_id, by=user)
    session.rollback()
    assert by_hand.batch(made.batch_id).status == "frozen"


def test_a_batch_that_changed_under_the_eyes_is_not_approved(by_hand: Pay) -> None:
    for name in ("anna", "boris"):
        by_hand.affiliate(name, "5.00")
    (batch_id,) = draft(by_hand)
    seen = by_hand.batch(batch_id).hash
    item = items_of(by_hand.session, batch_id=batch_id)[0]
    other = by_hand.world.user("second", role="finance")
    hold_item(by_hand.session, item_id=item.id, by_user_id=other, why="unusual", now=NOW)
    by_hand.session.commit()
    with pytest.raises(BatchChanged):
        approve(
            by_hand.session,
            batch_id=batch_id,
            by_user_id=by_hand.finance,
            seen_hash=seen or "",
            rails=by_hand.rails,
            now=NOW,
        )
    by_hand.session.rollback()
    with pytest.raises(MakerCannotApprove):
        by_hand.approve(batch_id, by=other)
    by_hand.session.rollback()
    by_hand.approve(batch_id)
    assert by_hand.batch(batch_id).approved_count == 1
    assert by_hand.balances("anna").available == by_hand.world.money("5")
    by_hand.sound()


@pytest.mark.parametrize("count", [2, 12])
def test_many_approvals_at_once_have_one_outcome(by_hand: Pay, count: int) -> None:
    by_hand.affiliate("anna", "5.00")
    made = by_hand.withdraw("anna")
    seen = by_hand.batch(made.batch_id).hash or ""
    people = [by_hand.world.user(f"f{n}", role="finance") for n in range(count)]

    def press(number: int) -> str:
        with session_for(by_hand.engine)() as own:
            approve(
                own,
                batch_id=made.batch_id,
                by_user_id=people[number],
                seen_hash=seen,
                rails=by_hand.rails,
                now=NOW,
            )
            own.commit()
            return "approved"

    found = at_once(count, press)
    assert sorted(found) == ["approved"] + ["batch_not_frozen"] * (count - 1)


def test_approve_and_cancel_at_once_have_one_outcome(by_hand: Pay) -> None:
    by_hand.affiliate("anna", "5.00")
    made = by_hand.withdraw("anna")
    seen = by_hand.batch(made.batch_id).hash or ""

    def press(number: int) -> str:
        with session_for(by_hand.engine)() as own:
            if number % 2:
                approve(
                    own,
                    batch_id=made.batch_id,
                    by_user_id=by_hand.finance,
                    seen_hash=seen,
                    rails=by_hand.rails,
                    now=NOW,
                )
            else:
                cancel_batch(
                    own, batch_id=made.batch_id, by_user_id=by_hand.finance, why="mistake", now=NOW
                )
            own.commit()
            return "approved" if number % 2 else "cancelled"

    found = at_once(8, press)
    assert len([each for each in found if each in ("approved", "cancelled")]) == 1
    by_hand.sound()


def test_a_locked_installation_approves_nothing_and_says_why(by_hand: Pay) -> None:
    by_hand.affiliate("anna", "5.00")
    made = by_hand.withdraw("anna")
    lock(by_hand.session, reason=LockReason.INTEGRITY, detail="L1 [transaction_id=4]", now=NOW)
    by_hand.session.commit()
    with pytest.raises(PayoutsLocked, match=r"contradiction.*L1 \[transaction_id=4\]"):
        by_hand.approve(made.batch_id)


@pytest.mark.abuse("A49")
def test_a_rail_without_a_key_is_not_approved(pay: Callable[..., Pay]) -> None:
    unset = pay("stripe")
    assert not rails(unset.settings)["stripe"].configured()
    unset.affiliate("anna", "5.00")
    made = unset.withdraw("anna")
    with pytest.raises(RailNotConfigured):
        unset.approve(made.batch_id)


def test_a_cancelled_batch_returns_every_reserve(by_hand: Pay) -> None:
    by_hand.affiliate("anna", "5.00")
    made = by_hand.withdraw("anna", "3.00")
    cancel_batch(
        by_hand.session, batch_id=made.batch_id, by_user_id=by_hand.finance, why="no", now=NOW
    )
    by_hand.session.commit()
    assert by_hand.balances("anna").available == by_hand.world.money("5")
    assert by_hand.session.scalars(sa.select(Withdrawal)).one().outcome == "cancelled"
    by_hand.withdraw("anna")
    with pytest.raises(NotApprovable):
        by_hand.approve(made.batch_id)
    by_hand.session.rollback()
    by_hand.sound()


def test_an_approved_batch_is_not_cancelled_but_an_unsent_item_can_be_held(by_hand: Pay) -> None:
    for name in ("anna", "boris"):
        by_hand.affiliate(name, "5.00")
    (batch_id,) = draft(by_hand)
    by_hand.approve(batch_id)
    with pytest.raises(NotCancellable):
        cancel_batch(
            by_hand.session, batch_id=batch_id, by_user_id=by_hand.finance, why="no", now=NOW
        )
    by_hand.session.rollback()
    first, second = items_of(by_hand.session, batch_id=batch_id)
    seen = by_hand.batch(batch_id).hash
    hold_item(by_hand.session, item_id=first.id, by_user_id=by_hand.finance, why="x", now=NOW)
    by_hand.session.commit()
    assert by_hand.batch(batch_id).hash == seen  # the approval of the rest stands
    assert by_hand.item(first.id).reason == "held_after_approval"
    mark_paid(
        by_hand.session,
        item_id=second.id,
        reference="17",
        by_user_id=by_hand.finance,
        rails=by_hand.rails,
        now=NOW,
    )
    by_hand.session.commit()
    assert by_hand.batch(batch_id).status == "done"
    by_hand.sound()


def test_holding_the_last_item_before_approval_cancels_the_batch(by_hand: Pay) -> None:
    by_hand.affiliate("anna", "5.00")
    made = by_hand.withdraw("anna")
    hold_item(by_hand.session, item_id=made.item_id, by_user_id=by_hand.finance, why="x", now=NOW)
    by_hand.session.commit()
    assert by_hand.batch(made.batch_id).status == "cancelled"
    assert by_hand.balances("anna").available == by_hand.world.money("5")
    by_hand.sound()


@pytest.mark.parametrize("act", ["mark_paid", "try_again"])
def test_a_person_has_no_word_on_an_item_that_does_not_wait_for_one(by_hand: Pay, act: str) -> None:
    by_hand.affiliate("anna", "5.00")
    made = by_hand.withdraw("anna")
    common = {"item_id": made.item_id, "by_user_id": by_hand.finance, "now": NOW}
    with pytest.raises(NotWaitingForAPerson):
        if act == "mark_paid":
            mark_paid(by_hand.session, reference="17", rails=by_hand.rails, **common)
        else:
            try_again(by_hand.session, why="x", **common)


def test_the_smallest_unit_is_paid_on_demand(by_hand: Pay) -> None:
    by_hand.affiliate("anna", "0.015")
    made = by_hand.withdraw("anna")
    assert made.amount == by_hand.world.money("0.01")
    assert made.deadline_at == NOW + timedelta(hours=24)
    found = money_of(
        by_hand.session, enrollment_id=by_hand.world.enrollments["anna"], currency="EUR", now=NOW
    )
    assert found.open_withdrawal is not None
    assert found.open_withdrawal.deadline_at == made.deadline_at
    assert found.balances.available == Money(5_000, "EUR")
    assert found.payouts[0].status == "queued"


@pytest.mark.parametrize(
    ("amount", "code"),
    [
        ("5.01", "more_than_available"),
        ("0.005", "finer_than_the_rail"),
        ("0", "not_positive"),
        ("-1", "not_positive"),
    ],
)
def test_an_amount_that_cannot_be_paid_is_refused(by_hand: Pay, amount: str, code: str) -> None:
    by_hand.affiliate("anna", "5.00")
    with pytest.raises(Invalid) as refusal:
        by_hand.withdraw("anna", amount)
    assert [error.code for error in refusal.value.errors] == [code]


def test_a_second_withdrawal_waits_for_the_first(by_hand: Pay) -> None:
    by_hand.affiliate("anna", "5.00")
    by_hand.withdraw("anna", "1.00")
    with pytest.raises(WithdrawalOpen):
        by_hand.withdraw("anna", "1.00")


def test_the_weekly_batch_takes_what_an_open_withdrawal_left(by_hand: Pay) -> None:
    by_hand.affiliate("anna", "5.00")
    by_hand.withdraw("anna", "1.00")
    (batch_id,) = draft(by_hand)
    assert items_of(by_hand.session, batch_id=batch_id)[0].amount == by_hand.world.money("4")
    by_hand.sound()


@pytest.mark.abuse("A45")
def test_twenty_withdrawals_at_once_are_one(by_hand: Pay) -> None:
    by_hand.affiliate("anna", "5.00")

    def ask(_: int) -> str:
        with session_for(by_hand.engine)() as own:
            by_hand.withdraw("anna", session=own)
            return "accepted"

    found = at_once(20, ask)
    assert sorted(found) == ["accepted"] + ["withdrawal_open"] * 19
    assert by_hand.balances("anna").in_payout == by_hand.world.money("5")
    by_hand.sound()


@pytest.mark.parametrize(
    ("case", "refusal"),
    [
        ("empty", NothingAvailable),
        ("no account", NoPayeeAccount),
        ("not ready", PayeeNotReady),
        ("suspended", EnrollmentNotPayable),
    ],
)
def test_who_cannot_be_paid_is_told_why(by_hand: Pay, case: str, refusal: type[Refusal]) -> None:
    if case == "no account":
        by_hand.world.affiliate("anna")
        by_hand.world.available("anna", "5.00")
    else:
        by_hand.affiliate("anna", "0.001" if case == "empty" else "5.00", ready=case != "not ready")
    if case == "suspended":
        by_hand.session.execute(sa.update(Enrollment).values(status="suspended"))
    with pytest.raises(refusal):
        by_hand.withdraw("anna")


def test_a_changed_account_is_a_new_row_and_the_old_stays_in_the_item(by_hand: Pay) -> None:
    by_hand.affiliate("anna", "5.00")
    made = by_hand.withdraw("anna")
    affiliate = by_hand.world.affiliate_id("anna")
    change = {"affiliate_id": affiliate, "rail": "manual", "ready": True, "by": "t", "now": NOW}
    first = payee_of(by_hand.session, affiliate_id=affiliate, rail="manual")
    new = set_payee(by_hand.session, destination="IBAN 2", **change)
    same = set_payee(by_hand.session, destination=" IBAN 2 ", **change)
    assert first is not None
    assert first.id != new == same
    assert by_hand.item(made.item_id).destination == "IBAN of anna"
    with pytest.raises(Invalid):
        set_payee(by_hand.session, destination="  ", **change)


def test_the_statement_of_a_month_equals_the_ledger(by_hand: Pay) -> None:
    by_hand.affiliate("anna", "5.00")
    made = by_hand.approved("anna", "2.00")
    mark_paid(
        by_hand.session,
        item_id=made.item_id,
        reference="17",
        by_user_id=by_hand.finance,
        rails=by_hand.rails,
        now=NOW,
    )
    by_hand.session.commit()
    anna = by_hand.world.enrollments["anna"]
    found = statement(by_hand.session, enrollment_id=anna, year=2026, month=11)
    assert [(line.kind, line.amount.decimal) for line in found.lines] == [
        ("earn", "5.00"),
        ("release", "0.00"),
        ("reserve", "0.00"),
        ("settle", "-2.00"),
    ]
    assert found.lines[0].about.startswith("sale:")
    assert found.lines[3].about == f"item:{made.item_id}"
    assert found.sum_of(EARNED) + found.sum_of(PAID) == found.closing.owed
    assert found.opening.owed == by_hand.world.money("0")
    assert found.closing.owed == by_hand.world.money("3") == by_hand.balances("anna").owed
    after = statement(by_hand.session, enrollment_id=anna, year=2026, month=12)
    assert (after.opening, after.lines, after.closing) == (found.closing, (), found.closing)


def test_the_statement_adds_up_with_a_correction_in_it(by_hand: Pay) -> None:
    by_hand.affiliate("anna", "5.00")
    anna, money = by_hand.world.enrollments["anna"], by_hand.world.money
    own = of_enrollment(AccountKind.AVAILABLE, by_hand.world.program_id, anna, "EUR")
    lines = [Line(own, money("-1.25")), Line(expense(own.program_id, "EUR"), money("1.25"))]
    post(by_hand.session, kind=Kind.ADJUST, reference="adjust:1", reason="by_hand", lines=lines,
         now=NOW)  # fmt: skip
    by_hand.session.commit()
    found = statement(by_hand.session, enrollment_id=anna, year=2026, month=11)
    sums = [found.sum_of(kinds) for kinds in (EARNED, TAKEN_BACK, PAID)]
    assert sums == [money("5"), money("-1.25"), money("0")]
    assert found.closing.owed == money("3.75")
    (line,) = months_of_program(
        by_hand.session, program_id=own.program_id, currency="EUR", month=found.period
    )
    assert [line.before, line.earned, line.taken, line.paid, line.after] == [
        found.opening.owed, *sums, found.closing.owed,
    ]  # fmt: skip


def test_the_periodic_jobs_draft_and_ring(app: Flask, by_hand: Pay) -> None:
    from payouts.audit.jobs import audit
    from payouts.batches.jobs import draft_weekly_batches, sweep

    by_hand.affiliate("anna", "5.00")
    with app.app_context():
        draft_weekly_batches()
        draft_weekly_batches()
        sweep()
        audit()
    by_hand.session.rollback()
    batch = by_hand.session.scalars(sa.select(PayoutBatch)).one()
    assert (batch.kind, batch.status) == ("weekly", "frozen")


def test_the_sweep_rings_for_what_should_move_and_for_nothing_else(
    app: Flask, pay: Callable[..., Pay], by_hand: Pay, redis_url: str
) -> None:
    from payouts.batches.jobs import sweep

    ready = pay("stripe")
    ready.affiliate("anna", "5.00")
    made = ready.withdraw("anna")
    by_hand.affiliate("boris", "5.00")
    by_hand.approved("boris", "5.00")
    with Redis.from_url(redis_url) as redis, app.app_context():
        redis.flushall()
        sweep()
        assert queue.queue_on(redis, queue.PAYOUTS).count == 0
        ready.session.execute(
            sa.update(PayoutBatch)
            .where(PayoutBatch.id == made.batch_id)
            .values(
                status="approved",
                approved_at=NOW,
                approved_hash="x",
                approved_total_micros=1,
                approved_count=1,
            )
        )
        ready.session.commit()
        sweep()
        (job,) = queue.queue_on(redis, queue.PAYOUTS).jobs
        assert job.args == [made.batch_id]
