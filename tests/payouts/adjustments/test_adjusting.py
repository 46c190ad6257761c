"""A correction is proposed by one, booked by another, once; each refusal says why."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import sqlalchemy as sa
from money_world import NOW
from paying import Pay

from affiliate.core.audit import AuditEntry
from affiliate.core.db import session_for
from affiliate.core.errors import Invalid, NotFound, Refusal
from affiliate.core.money import Money
from affiliate.people.models import User
from payouts.adjustments.adjust import (
    AlreadyDecided,
    AlreadyProposed,
    BalanceMoved,
    OwnBalance,
    ProposerCannotConfirm,
    confirm,
    decline,
    propose,
)
from payouts.adjustments.models import LedgerAdjustment
from payouts.adjustments.reading import adjustments_of, notes_of
from payouts.adjustments.rules import AdjustmentKind, Reason
from payouts.batches.approve import NotFinance
from payouts.batches.statements import statement
from payouts.commissions.void import take_back
from payouts.ledger.models import LedgerTransaction

ADJUST, WRITE_OFF = AdjustmentKind.ADJUST, AdjustmentKind.WRITE_OFF


@pytest.fixture
def desk(by_hand: Pay) -> Pay:
    """Anna has 5.00 available; a second finance user stands by."""
    by_hand.affiliate("anna", "5.00")
    by_hand.world.user("second", role="finance")
    return by_hand


def ask(desk: Pay, euros: str, /, **changes: Any) -> int:
    values: dict[str, Any] = {
        "enrollment_id": desk.world.enrollments["anna"],
        "kind": ADJUST,
        "amount": desk.world.money(euros),
        "reason": Reason.MISSED_COMMISSION,
        "note": "  Order A-17 was   forgotten ",
        "by_user_id": desk.finance,
        "now": NOW,
    }
    made = propose(desk.session, **values | changes)
    desk.session.commit()
    return made


def say_yes(desk: Pay, adjustment_id: int, by: int | None = None) -> None:
    confirm(
        desk.session, adjustment_id=adjustment_id, now=NOW,
        by_user_id=by or desk.world.users["second"],
    )  # fmt: skip
    desk.session.commit()


def available(desk: Pay) -> str:
    return desk.balances("anna").available.decimal


def test_nothing_is_booked_until_somebody_else_confirms(desk: Pay) -> None:
    made = ask(desk, "1.25")
    assert available(desk) == "5.00"
    say_yes(desk, made)
    assert available(desk) == "6.25"
    row = desk.session.get_one(LedgerAdjustment, made)
    assert (row.status, row.decided_by) == ("confirmed", desk.world.users["second"])
    assert row.note == "Order A-17 was forgotten"
    desk.sound()


def test_less_is_taken_down_to_nothing_and_no_further(desk: Pay) -> None:
    with pytest.raises(Invalid) as refused:
        ask(desk, "-5.000001")
    assert [(e.field, e.code) for e in refused.value.errors] == [("amount", "more_than_available")]
    assert "5.00 EUR" in refused.value.errors[0].message
    say_yes(desk, ask(desk, "-5.00", reason=Reason.RULES_BROKEN))
    assert available(desk) == "0.00"
    desk.sound()


def test_a_negative_balance_is_written_off(desk: Pay) -> None:
    sale = desk.world.sale("anna", "100.00", reference="sale:900", placed_at=NOW)
    take_more_than_there_is(desk, sale)
    assert available(desk) == "-3.00"
    with pytest.raises(Invalid) as refused:
        ask(desk, "3.01", kind=WRITE_OFF, reason=Reason.GOODWILL)
    assert refused.value.errors[0].code == "more_than_owed"
    say_yes(desk, ask(desk, "3.00", kind=WRITE_OFF, reason=Reason.NOT_COLLECTABLE))
    assert available(desk) == "0.00"
    with pytest.raises(Invalid) as refused:
        ask(desk, "0.01", kind=WRITE_OFF, reason=Reason.GOODWILL)
    assert refused.value.errors[0].code == "not_negative"
    desk.sound()


def take_more_than_there_is(desk: Pay, _sale: Any) -> None:
    """5.00 are paid out of 5.00, then 3.00 of them are taken back by a refund."""
    from payouts.batches.review import mark_paid

    made = desk.approved("anna", "5.00")
    mark_paid(
        desk.session, item_id=made.item_id, reference="17", by_user_id=desk.finance,
        rails=desk.rails, now=NOW,
    )  # fmt: skip
    reference = desk.session.scalar(sa.text("SELECT reference FROM commissions"))
    take_back(
        desk.session, reference=str(reference), refund="refund:1", now=NOW,
        refunded_net=desk.world.money("3.00"), net=desk.world.money("5.00"),
    )  # fmt: skip
    desk.session.commit()


def test_whoever_proposed_cannot_confirm_but_may_take_it_back(desk: Pay) -> None:
    made = ask(desk, "1.00")
    with pytest.raises(ProposerCannotConfirm):
        say_yes(desk, made, by=desk.finance)
    desk.session.rollback()
    decline(desk.session, adjustment_id=made, note="typo", by_user_id=desk.finance, now=NOW)
    desk.session.commit()
    with pytest.raises(AlreadyDecided):
        say_yes(desk, made)
    desk.session.rollback()
    assert available(desk) == "5.00"
    assert ask(desk, "2.00") != made


def test_one_correction_of_a_balance_waits_at_a_time(desk: Pay) -> None:
    ask(desk, "1.00")
    with pytest.raises(AlreadyProposed):
        ask(desk, "1.00")


def test_only_finance_of_the_program_proposes_and_decides(desk: Pay) -> None:
    nobody = desk.world.user("nobody", role="manager")
    with pytest.raises(NotFinance):
        ask(desk, "1.00", by_user_id=nobody)
    desk.session.rollback()
    made = ask(desk, "1.00")
    for verb in (
        lambda: say_yes(desk, made, by=nobody),
        lambda: decline(desk.session, adjustment_id=made, note="x", by_user_id=nobody, now=NOW),
    ):
        with pytest.raises(NotFinance):
            verb()
        desk.session.rollback()


@pytest.mark.abuse("A25")
def test_nobody_corrects_their_own_balance(desk: Pay) -> None:
    anna = desk.world.users["anna"]
    desk.session.execute(
        sa.text("INSERT INTO grants (user_id, program_id, role, granted_at)"
                " VALUES (:user, :program, 'finance', :now)"),
        {"user": anna, "program": desk.world.program_id, "now": NOW},
    )  # fmt: skip
    desk.session.commit()
    with pytest.raises(OwnBalance):
        ask(desk, "1.00", by_user_id=anna)
    desk.session.rollback()
    made = ask(desk, "1.00")
    with pytest.raises(OwnBalance):
        say_yes(desk, made, by=anna)


@pytest.mark.parametrize(
    ("changes", "field", "code"),
    [
        ({"amount": Money(0, "EUR")}, "amount", "nothing"),
        ({"amount": Money(10**12 + 1, "EUR")}, "amount", "above_most"),
        ({"amount": Money(1, "RUB")}, "amount", "other_currency"),
        ({"reason": Reason.GOODWILL}, "reason", "other_kind"),
        ({"note": "   "}, "note", "length"),
        ({"note": "x" * 501}, "note", "length"),
    ],
    ids=["zero", "too much", "currency", "reason", "no note", "long note"],
)
def test_bad_input_names_its_field(
    desk: Pay, changes: dict[str, Any], field: str, code: str
) -> None:
    with pytest.raises(Invalid) as refused:
        ask(desk, "1.00", **changes)
    assert [(e.field, e.code) for e in refused.value.errors] == [(field, code)]
    desk.session.rollback()
    assert desk.session.scalar(sa.select(sa.func.count(LedgerAdjustment.id))) == 0


def test_an_affiliate_or_correction_that_is_not_there(desk: Pay) -> None:
    with pytest.raises(NotFound):
        ask(desk, "1.00", enrollment_id=999_999)
    with pytest.raises(NotFound):
        say_yes(desk, 999_999)


def test_a_balance_that_moved_meanwhile_refuses_the_confirmation(desk: Pay) -> None:
    made = ask(desk, "-4.00", reason=Reason.WRONG_COMMISSION)
    desk.withdraw("anna", "2.00")
    with pytest.raises(BalanceMoved):
        say_yes(desk, made)
    desk.session.rollback()
    assert desk.session.get_one(LedgerAdjustment, made).status == "proposed"


def test_ten_confirmations_at_once_book_it_once(desk: Pay) -> None:
    made = ask(desk, "1.00")
    people = [desk.world.user(f"finance{i}", role="finance") for i in range(10)]
    answers: list[str] = []
    ready = threading.Barrier(len(people))

    def press(user_id: int) -> None:
        with session_for(desk.engine)() as session:
            ready.wait()
            try:
                confirm(session, adjustment_id=made, by_user_id=user_id, now=NOW)
                session.commit()
                answers.append("booked")
            except Refusal as refusal:
                answers.append(refusal.code)

    threads = [threading.Thread(target=press, args=(user,)) for user in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == ["adjustment_decided"] * 9 + ["booked"]
    assert available(desk) == "6.00"
    desk.sound()


def test_a_confirmation_and_a_withdrawal_at_once_never_go_below_nothing(desk: Pay) -> None:
    made = ask(desk, "-5.00", reason=Reason.RULES_BROKEN)
    ready = threading.Barrier(2)
    answers: list[str] = []

    def run(act: Any) -> None:
        with session_for(desk.engine)() as session:
            ready.wait()
            try:
                act(session)
                session.commit()
                answers.append("done")
            except Refusal as refusal:
                answers.append(refusal.code)

    second = desk.world.users["second"]
    acts = [
        lambda session: confirm(session, adjustment_id=made, by_user_id=second, now=NOW),
        lambda session: desk.withdraw("anna", "5.00", session=session),
    ]
    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count("done") == 1, answers
    assert available(desk) == "0.00"
    desk.sound()


def test_it_stands_in_the_statement_and_in_the_audit_log(desk: Pay) -> None:
    say_yes(desk, ask(desk, "1.25"))
    found = statement(
        desk.session, enrollment_id=desk.world.enrollments["anna"], year=2026, month=11
    )
    line = found.lines[-1]
    assert (line.kind, line.reason, line.amount.decimal) == ("adjust", "missed_commission", "1.25")
    (view,) = adjustments_of(desk.session, program_ids=[desk.world.program_id])
    assert line.about == f"adjustment:{view.id}"
    assert notes_of(desk.session, adjustment_ids=[view.id]) == {view.id: view.note}
    names = {desk.session.get_one(User, user).email for user in (
        desk.finance, desk.world.users["second"])}  # fmt: skip
    assert {view.proposer, view.decider} == names
    logged = desk.session.execute(
        sa.select(AuditEntry.action, AuditEntry.reason).where(
            AuditEntry.action.startswith("adjustment")).order_by(AuditEntry.id)
    ).all()  # fmt: skip
    assert [tuple(row) for row in logged] == [
        ("adjustment.propose", view.note), ("adjustment.confirm", view.note),
    ]  # fmt: skip
    assert desk.session.scalar(
        sa.select(sa.func.count(LedgerTransaction.id)).where(LedgerTransaction.kind == "adjust")
    ) == 1  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        "decided_by = proposed_by, decided_at = now(), status = 'confirmed'",
        "amount_micros = 0",
        "reason = 'because'",
        "status = 'confirmed'",
    ],
)
def test_the_database_refuses_what_the_verbs_would_not_write(desk: Pay, change: str) -> None:
    ask(desk, "1.00")
    with pytest.raises(sa.exc.IntegrityError):
        desk.session.execute(sa.text(f"UPDATE ledger_adjustments SET {change}"))
