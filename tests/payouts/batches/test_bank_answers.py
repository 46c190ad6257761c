"""What banks say was executed: looked at, applied once, and never believed blindly."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from bank_accounts import camt, camt_entry, csv_of, executed
from bank_world import Bank, made_bank
from money_world import NOW
from paying import Pay

from affiliate.core.db import session_for
from affiliate.core.errors import Invalid
from affiliate.core.money import Money
from payouts.audit.checks import CHECKS
from payouts.audit.run import run
from payouts.batches.approve import NotFinance
from payouts.batches.bank_answers import PlanChanged, apply_statement, bring_statement
from payouts.batches.bank_handover import declare_not_sent
from payouts.batches.bank_models import BankStatement
from payouts.batches.bank_rules import Outcome
from payouts.batches.cancel import hold_item
from payouts.batches.locks import LockReason, lock, open_locks
from payouts.batches.models import PayeeAccount, PayoutItem, PayoutReversal
from payouts.batches.reverse import NotReversible, came_back, reverse_item
from payouts.batches.rules import ItemReason
from payouts.ledger.models import LedgerTransaction


@pytest.fixture
def bank(pay: Callable[..., Pay]) -> Bank:
    """A euro program on the SEPA rail, with anna who has ten euros."""
    made = made_bank(pay("bank_sepa"), "bank_sepa")
    made.affiliate("anna", "10.00")
    return made


def outcomes(bank: Bank, raw: str) -> list[Outcome]:
    """What applying a file did, line by line."""
    return [step.outcome for step in bank.told(raw).steps]


def written(bank: Bank) -> tuple[int, ...]:
    """How many rows there are of everything that an answer could write."""
    bank.session.rollback()
    return tuple(
        bank.session.scalar(sa.select(sa.func.count()).select_from(table)) or 0
        for table in (LedgerTransaction, PayoutReversal)
    )


def test_executed_is_paid_and_settled(bank: Bank) -> None:
    item_id, line = bank.paid_out("anna", "4.00")
    entry = camt_entry(line.end_to_end_id, "4.00", reference="2026-AB-17")
    assert outcomes(bank, camt(entry)) == [Outcome.PAYS]
    item, (attempt,) = bank.pay.item(item_id), bank.pay.attempts(item_id)
    assert (item.status, attempt.status) == ("paid", "succeeded")
    assert attempt.transfer_id == f"bank:{item_id}:2026-AB-17"
    assert bank.pay.balances("anna").paid == bank.pay.world.money("4")
    assert bank.pay.batch(item.batch_id).status == "done"
    bank.pay.sound()


def test_looking_at_a_file_changes_nothing(bank: Bank) -> None:
    item_id, line = bank.paid_out("anna", "4.00")
    before = written(bank)
    plan = bank.look(bank.bring(executed(line.end_to_end_id)))
    assert [step.outcome for step in plan.steps] == [Outcome.PAYS]
    assert written(bank) == before
    assert bank.pay.item(item_id).status == "sending"


def test_rejected_fails_with_the_banks_reason_and_the_money_returns(bank: Bank) -> None:
    item_id, line = bank.paid_out("anna", "4.00")
    told = csv_of((line.end_to_end_id, "rejected", "", "2026-11-23", "AC04 Account closed"))
    assert outcomes(bank, told) == [Outcome.FAILS]
    item, (attempt,) = bank.pay.item(item_id), bank.pay.attempts(item_id)
    assert (item.status, item.reason) == ("failed", ItemReason.REFUSED)
    assert (attempt.error_code, attempt.error_text) == ("AC04", "Account closed")
    assert bank.pay.balances("anna").available == bank.pay.world.money("10")
    payee = bank.session.scalars(sa.select(PayeeAccount)).one()
    assert payee.ready_at is None, "an account that the bank refused is not paid to by itself"
    bank.pay.sound()


def test_returned_after_it_was_paid_goes_back_to_the_balance(bank: Bank) -> None:
    item_id, line = bank.paid_out("anna", "4.00")
    bank.told(camt(camt_entry(line.end_to_end_id, "4.00")))
    back = camt_entry(line.end_to_end_id, "4.00", direction="CRDT", reference="R-1", reason="AC01")
    assert outcomes(bank, camt(back)) == [Outcome.COMES_BACK]
    item = bank.pay.item(item_id)
    assert (item.status, item.reason) == ("reversed", ItemReason.CAME_BACK)
    found = bank.pay.balances("anna")
    assert (found.available, found.paid) == (bank.pay.world.money("10"), Money.zero("EUR"))
    reversal = bank.session.scalars(sa.select(PayoutReversal)).one()
    assert (reversal.reference, reversal.reason) == ("R-1", "AC01")
    bank.pay.sound()


def test_one_statement_with_the_return_above_the_booking_is_read_in_the_right_order(
    bank: Bank,
) -> None:
    item_id, line = bank.paid_out("anna", "4.00")
    left = camt_entry(line.end_to_end_id, "4.00")
    back = camt_entry(line.end_to_end_id, "4.00", direction="CRDT", reference="R-1")
    assert outcomes(bank, camt(back, left)) == [Outcome.PAYS, Outcome.COMES_BACK]
    assert bank.pay.item(item_id).status == "reversed"
    bank.pay.sound()


def test_a_return_whose_booking_nobody_brought_books_both(bank: Bank) -> None:
    item_id, line = bank.paid_out("anna", "4.00")
    back = camt_entry(line.end_to_end_id, "4.00", direction="CRDT", reference="R-1")
    assert outcomes(bank, camt(back)) == [Outcome.COMES_BACK]
    assert bank.pay.item(item_id).status == "reversed"
    assert outcomes(bank, camt(camt_entry(line.end_to_end_id, "4.00"))) == [Outcome.KNOWN]
    bank.pay.sound()


@pytest.mark.parametrize("status", ["executed", "rejected", "returned"])
def test_the_same_file_twice_changes_nothing_the_second_time(bank: Bank, status: str) -> None:
    _, line = bank.paid_out("anna", "4.00")
    told = csv_of((line.end_to_end_id, status, "REF", "2026-11-23", "why"))
    bank.told(told)
    before = written(bank)
    assert outcomes(bank, told) == [Outcome.KNOWN]
    assert written(bank) == before
    assert bank.session.scalar(sa.select(sa.func.count(BankStatement.id))) == 1
    bank.pay.sound()


def test_unknown_references_and_other_amounts_are_listed_and_change_nothing(bank: Bank) -> None:
    item_id, line = bank.paid_out("anna", "4.00")
    strangers = line.end_to_end_id.replace(f"-{item_id}-", "-999999-")
    raw = camt(
        camt_entry(strangers, "4.00"),
        camt_entry("INVOICE 17", "4.00"),
        camt_entry(line.end_to_end_id, "4.01"),
        camt_entry(line.end_to_end_id, "4.00", currency="USD"),
        camt_entry(line.end_to_end_id, "4.00", status="PDNG"),
    )
    before = written(bank)
    assert outcomes(bank, raw) == [
        Outcome.UNKNOWN,
        Outcome.NOT_OURS,
        Outcome.OTHER_AMOUNT,
        Outcome.NO_NEWS,
        Outcome.NO_NEWS,
    ]
    assert written(bank) == before
    assert bank.pay.item(item_id).status == "sending"


def test_another_programs_payments_are_unknown_here(bank: Bank, pay: Callable[..., Pay]) -> None:
    other = made_bank(pay("bank_sepa"), "bank_sepa")
    other.affiliate("boris", "3.00")
    item_id, line = other.paid_out("boris", "3.00")
    assert outcomes(bank, executed(line.end_to_end_id)) == [Outcome.UNKNOWN]
    assert other.pay.item(item_id).status == "sending"


def test_a_statement_of_another_account_is_refused(bank: Bank) -> None:
    _, line = bank.paid_out("anna", "4.00")
    with pytest.raises(Invalid, match="NL91ABNA0417164300") as refusal:
        bank.bring(camt(camt_entry(line.end_to_end_id, "4.00"), iban="NL91ABNA0417164300"))
    assert refusal.value.errors[0].code == "another_account"
    bank.session.rollback()
    assert bank.session.scalar(sa.select(sa.func.count(BankStatement.id))) == 0


PAIN_002 = """<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.002.001.03"><CstmrPmtStsRpt>
<GrpHdr/><OrgnlGrpInfAndSts><OrgnlMsgId>{message}</OrgnlMsgId>{group}</OrgnlGrpInfAndSts>
{infos}</CstmrPmtStsRpt></Document>"""


def test_a_report_that_rejects_the_whole_file_fails_each_of_its_payments(bank: Bank) -> None:
    bank.affiliate("boris", "2.00")
    item_id, _ = bank.paid_out("anna", "4.00")
    other, _ = bank.paid_out("boris", "2.00")
    from payouts.batches.bank_models import PayoutFile

    first = bank.session.scalars(sa.select(PayoutFile).order_by(PayoutFile.id)).first()
    assert first is not None
    group = (
        "<GrpSts>RJCT</GrpSts><StsRsnInf><Rsn><Cd>FF01</Cd></Rsn>"
        "<AddtlInf>Invalid file format</AddtlInf></StsRsnInf>"
    )
    raw = PAIN_002.format(message=first.message_id, group=group, infos="")
    assert outcomes(bank, raw) == [Outcome.FAILS]
    assert bank.pay.attempts(item_id)[0].error_code == "FF01"
    assert bank.pay.item(item_id).status == "failed"
    assert bank.pay.item(other).status == "sending"
    bank.pay.sound()


def test_a_report_names_single_payments_and_an_accepted_one_waits(bank: Bank) -> None:
    from payouts.batches.bank_models import PayoutFile

    bank.affiliate("boris", "2.00")
    one, first = bank.paid_out("anna", "4.00")
    message = bank.session.scalars(sa.select(PayoutFile.message_id)).one()
    two, second = bank.paid_out("boris", "2.00")

    def told(known_as: str, status: str) -> str:
        return (
            f"<TxInfAndSts><OrgnlEndToEndId>{known_as}</OrgnlEndToEndId><TxSts>{status}</TxSts>"
            "<StsRsnInf><Rsn><Cd>AC01</Cd></Rsn></StsRsnInf></TxInfAndSts>"
        )

    infos = "<OrgnlPmtInfAndSts>{}</OrgnlPmtInfAndSts>".format(
        told(first.end_to_end_id, "RJCT") + told(second.end_to_end_id, "ACSP")
    )
    raw = PAIN_002.format(message=message, group="<GrpSts>PART</GrpSts>", infos=infos)
    assert outcomes(bank, raw) == [Outcome.FAILS, Outcome.NO_NEWS]
    assert (bank.pay.item(one).status, bank.pay.item(two).status) == ("failed", "sending")


def test_a_report_on_a_file_of_somebody_else_is_refused(bank: Bank) -> None:
    bank.paid_out("anna", "4.00")
    with pytest.raises(Invalid) as refusal:
        bank.bring(PAIN_002.format(message="OTHER-1", group="<GrpSts>RJCT</GrpSts>", infos=""))
    assert refusal.value.errors[0].code == "another_file"


def test_rejected_after_it_was_executed_waits_for_a_booking(bank: Bank) -> None:
    item_id, line = bank.paid_out("anna", "4.00")
    bank.told(executed(line.end_to_end_id))
    rejected = csv_of((line.end_to_end_id, "rejected", "", "2026-11-24", "AC04"))
    assert outcomes(bank, rejected) == [Outcome.REJECTED_AFTER_PAID]
    assert bank.pay.item(item_id).status == "paid"
    bank.pay.sound()


def test_a_file_said_to_be_never_sent_that_was_executed_all_the_same_pays(bank: Bank) -> None:
    made = bank.pay.approved("anna", "4.00")
    file = bank.file(made.batch_id)
    (line,) = bank.lines(file)
    declare_not_sent(
        bank.session, file_id=file.id, by_user_id=bank.pay.finance, why="I think.", now=NOW
    )
    bank.session.commit()
    assert outcomes(bank, executed(line.end_to_end_id)) == [Outcome.PAYS]
    assert bank.pay.item(made.item_id).status == "paid"
    assert open_locks(bank.session) == []
    bank.pay.sound()


@pytest.mark.parametrize("then", ["another_file", "held", "rejected"])
def test_money_that_left_although_the_books_gave_it_back_locks_payouts(
    bank: Bank, then: str
) -> None:
    made = bank.pay.approved("anna", "4.00")
    file = bank.file(made.batch_id)
    (line,) = bank.lines(file)
    if then == "rejected":
        bank.told(csv_of((line.end_to_end_id, "rejected", "", "2026-11-23", "AC04")))
    else:
        declare_not_sent(
            bank.session, file_id=file.id, by_user_id=bank.pay.finance, why="I think.", now=NOW
        )
        bank.session.commit()
    if then == "another_file":
        bank.file(made.batch_id)
    if then == "held":
        hold_item(
            bank.session, item_id=made.item_id, by_user_id=bank.pay.finance, why="Wait.", now=NOW
        )
        bank.session.commit()
    before = written(bank)
    assert outcomes(bank, executed(line.end_to_end_id)) == [Outcome.CONTRADICTION]
    assert written(bank) == before
    (found,) = open_locks(bank.session)
    assert found.reason is LockReason.INTEGRITY
    assert line.end_to_end_id in found.detail
    assert [each.check.name for each in run(bank.session, CHECKS, real_now=NOW)] == []


def test_a_banks_word_is_written_down_while_payouts_are_locked(bank: Bank) -> None:
    item_id, line = bank.paid_out("anna", "4.00")
    lock(bank.session, reason=LockReason.BY_HAND, detail="", now=NOW)
    bank.session.commit()
    assert outcomes(bank, executed(line.end_to_end_id)) == [Outcome.PAYS]
    assert bank.pay.item(item_id).status == "paid"


def test_what_is_applied_is_what_was_seen(bank: Bank) -> None:
    _, line = bank.paid_out("anna", "4.00")
    statement_id = bank.bring(executed(line.end_to_end_id))
    seen = bank.look(statement_id).fingerprint
    bank.told(csv_of((line.end_to_end_id, "rejected", "", "2026-11-23", "AC04")))
    with pytest.raises(PlanChanged):
        bank.apply(statement_id, seen)


def test_two_people_who_apply_at_once_book_once(bank: Bank) -> None:
    item_id, line = bank.paid_out("anna", "4.00")
    statement_id = bank.bring(executed(line.end_to_end_id))
    seen = bank.look(statement_id).fingerprint
    bank.session.rollback()
    told: list[str] = []
    both = threading.Barrier(2)

    def apply() -> None:
        with session_for(bank.pay.engine)() as session:
            both.wait()
            try:
                plan = bank.apply(statement_id, seen, session=session)
                told.append(plan.steps[0].outcome)
            except PlanChanged as refusal:
                told.append(refusal.code)

    threads = [threading.Thread(target=apply) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told) == ["pays", "plan_changed"]
    assert bank.pay.item(item_id).status == "paid"
    bank.pay.sound()


def test_one_booking_for_several_payments_under_one_reference(bank: Bank) -> None:
    bank.affiliate("boris", "2.00")
    one, first = bank.paid_out("anna", "4.00")
    two, second = bank.paid_out("boris", "2.00")
    raw = csv_of(
        (first.end_to_end_id, "executed", "SAME", "2026-11-23", ""),
        (second.end_to_end_id, "executed", "SAME", "2026-11-23", ""),
    )
    assert outcomes(bank, raw) == [Outcome.PAYS, Outcome.PAYS]
    assert {bank.pay.item(item_id).status for item_id in (one, two)} == {"paid"}
    bank.pay.sound()


def test_only_finance_brings_and_applies(bank: Bank) -> None:
    _, line = bank.paid_out("anna", "4.00")
    manager = bank.pay.world.user("maria", role="manager")
    with pytest.raises(NotFinance):
        bring_statement(
            bank.session, program_id=bank.program_id, rail="bank_sepa",
            raw=executed(line.end_to_end_id).encode(), name="x", by_user_id=manager,
            rails=bank.pay.rails, now=NOW,
        )  # fmt: skip
    statement_id = bank.bring(executed(line.end_to_end_id))
    with pytest.raises(NotFinance):
        apply_statement(
            bank.session, statement_id=statement_id, by_user_id=manager,
            seen=bank.look(statement_id).fingerprint, rails=bank.pay.rails, now=NOW, real_now=NOW,
        )  # fmt: skip


def paid_item(bank: Bank) -> PayoutItem:
    item_id, line = bank.paid_out("anna", "4.00")
    bank.told(executed(line.end_to_end_id))
    return bank.pay.item(item_id)


def back(bank: Bank, item: PayoutItem, amount: str, reference: str) -> bool:
    done = reverse_item(
        bank.session, item=item, amount=bank.pay.world.money(amount), reference=reference,
        reason="test", now=NOW,
    )  # fmt: skip
    bank.session.commit()
    return done


def test_parts_come_back_one_by_one_and_all_of_it_reverses_the_item(bank: Bank) -> None:
    item = paid_item(bank)
    assert back(bank, item, "1.50", "trr_1")
    assert bank.pay.item(item.id).status == "paid"
    bank.pay.sound()
    assert not back(bank, item, "1.50", "trr_1"), "the same return again is not booked again"
    assert came_back(bank.session, item_id=item.id) == 1_500_000
    assert back(bank, item, "2.50", "trr_2")
    assert bank.pay.item(item.id).status == "reversed"
    found = bank.pay.balances("anna")
    assert (found.available, found.paid) == (bank.pay.world.money("10"), Money.zero("EUR"))
    bank.pay.sound()


@pytest.mark.parametrize("amount", ["4.01", "0", "-1"])
def test_no_more_comes_back_than_left(bank: Bank, amount: str) -> None:
    item = paid_item(bank)
    with pytest.raises(NotReversible):
        back(bank, item, amount, "trr_1")


def test_parts_together_are_no_more_than_left(bank: Bank) -> None:
    item = paid_item(bank)
    back(bank, item, "3.00", "trr_1")
    with pytest.raises(NotReversible):
        back(bank, item, "1.01", "trr_2")
    bank.session.rollback()
    bank.pay.sound()


def test_nothing_comes_back_of_what_never_left(bank: Bank) -> None:
    item_id, _ = bank.paid_out("anna", "4.00")
    with pytest.raises(NotReversible):
        back(bank, bank.pay.item(item_id), "4.00", "trr_1")
