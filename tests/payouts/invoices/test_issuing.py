"""Invoices are issued once, under numbers without gaps, and never change."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from money_world import NOW
from paying import Pay

from affiliate.core.db import session_for
from affiliate.core.errors import Invalid, NotFound, Refusal
from affiliate.core.money import Money
from affiliate.programs.models import Program
from payouts.batches.approve import NotFinance
from payouts.batches.models import PayoutItem
from payouts.batches.periods import month_at
from payouts.batches.reverse import reverse_item
from payouts.batches.review import mark_paid
from payouts.invoices import issue as verbs
from payouts.invoices.issue import credit, issue
from payouts.invoices.jobs import issue_month, last_month
from payouts.invoices.models import Invoice, InvoiceCounter
from payouts.invoices.parties import MerchantData, TaxData
from payouts.invoices.profiles import profile_of, set_issuer, set_tax_data
from payouts.invoices.reading import document_of, invoices_of, payable_in
from payouts.invoices.rules import fingerprint

NOVEMBER = date(2026, 11, 1)
LATER = datetime(2026, 12, 2, 9, 0, tzinfo=UTC)
MERCHANT = MerchantData("Lamps Ltd", "Riga", "LV", "40003032949", "LV40003032949", "LAMPS")
ANNA = TaxData("self_employed", "Anna E.", "Riga", "LV", "010190-11111", "registered",
               "LV40003032949", "21")  # fmt: skip


@pytest.fixture
def desk(by_hand: Pay) -> Pay:
    """Anna and Boris were paid 12.10 and 3.00 in November; both gave their tax data."""
    merchant(by_hand)
    for name, amount in (("anna", "12.10"), ("boris", "3.00")):
        by_hand.affiliate(name, amount)
        paid(by_hand, name, amount)
        give(by_hand, name)
    return by_hand


def merchant(desk: Pay, **changes: Any) -> None:
    values: dict[str, Any] = {"includes_vat": True, "automatic": False, "given": MERCHANT}
    set_issuer(
        desk.session, program_id=desk.world.program_id, by_user_id=desk.finance, now=NOW,
        **values | changes,
    )  # fmt: skip
    desk.session.commit()


def give(desk: Pay, name: str, given: TaxData = ANNA) -> None:
    set_tax_data(
        desk.session, affiliate_id=desk.world.affiliate_id(name), given=given, agreed=True,
        by_user_id=desk.world.users[name], now=NOW,
    )  # fmt: skip
    desk.session.commit()


def paid(desk: Pay, name: str, amount: str, *, at: datetime = NOW) -> int:
    made = desk.approved(name, amount)
    mark_paid(
        desk.session, item_id=made.item_id, reference=f"ref {made.item_id}", now=at,
        by_user_id=desk.finance, rails=desk.rails,
    )  # fmt: skip
    desk.session.commit()
    return made.item_id


def issued(desk: Pay, name: str = "anna", **changes: Any) -> int:
    values: dict[str, Any] = {
        "enrollment_id": desk.world.enrollments[name],
        "month": NOVEMBER,
        "by_user_id": desk.finance,
        "now": LATER,
    }
    made = issue(desk.session, **values | changes)
    desk.session.commit()
    return made


def numbers(desk: Pay) -> list[tuple[str, int]]:
    desk.session.rollback()
    rows = desk.session.execute(sa.select(Invoice.name, Invoice.number).order_by(Invoice.number))
    return [tuple(row) for row in rows]  # type: ignore[misc]


def test_it_says_who_pays_whom_for_what_and_adds_up(desk: Pay) -> None:
    _view, found = document_of(desk.session, invoice_id=issued(desk))
    assert (found.number, found.kind, found.period) == ("LAMPS-2026-00001", "invoice", "2026-11")
    assert (found.supplier.name, found.supplier.legal_form) == ("Anna E.", "self_employed")
    assert (found.customer.name, found.customer.vat_number) == ("Lamps Ltd", "LV40003032949")
    # 12.10 with 21 % in it: 12.10 × 21 / 121 = 2.10.
    assert (found.net, found.vat, found.gross, found.paid, found.due) == (
        "10.00", "2.10", "12.10", "12.10", "0.00",
    )  # fmt: skip
    (line,) = found.lines
    assert (line.amount, line.paid_on, line.batch) == ("12.10", "2026-11-21", 1)
    assert line.reference.startswith("ref ")
    assert (found.issued_on, found.agreed_on) == ("2026-12-02", "2026-11-21")
    desk.sound()


def test_vat_on_top_is_owed_besides_what_was_paid(desk: Pay) -> None:
    merchant(desk, includes_vat=False)
    _view, found = document_of(desk.session, invoice_id=issued(desk))
    # 12.10 × 21 % = 2.541.
    assert (found.net, found.vat, found.gross, found.due) == ("12.10", "2.54", "14.64", "2.54")


def test_numbers_have_no_gap_whatever_is_refused_in_between(desk: Pay) -> None:
    issued(desk)
    with pytest.raises(verbs.AlreadyIssued):
        issued(desk)
    desk.session.rollback()
    with pytest.raises(verbs.NothingPaid):
        issued(desk, month=date(2026, 10, 1))
    desk.session.rollback()
    issue(desk.session, enrollment_id=desk.world.enrollments["boris"], month=NOVEMBER,
          by_user_id=None, now=LATER)  # fmt: skip
    desk.session.rollback()  # A process that dies here has used no number.
    issued(desk, "boris")
    assert numbers(desk) == [("LAMPS-2026-00001", 1), ("LAMPS-2026-00002", 2)]
    desk.sound()


def test_each_year_counts_for_itself(desk: Pay) -> None:
    issued(desk)
    issued(desk, "boris", now=datetime(2026, 12, 31, 21, 30, tzinfo=UTC))  # In Moscow it is 2027.
    assert [name for name, _n in numbers(desk)] == ["LAMPS-2026-00001", "LAMPS-2027-00001"]
    desk.sound()


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"now": NOW}, verbs.MonthRuns),
        ({"now": datetime(2026, 11, 30, 20, 59, tzinfo=UTC)}, verbs.MonthRuns),
        ({"month": date(2026, 10, 1)}, verbs.NothingPaid),
        ({"enrollment_id": 999_999}, NotFound),
    ],
    ids=["runs", "last minute", "nothing paid", "nobody"],
)
def test_what_cannot_be_issued(desk: Pay, changes: dict[str, Any], refusal: type[Refusal]) -> None:
    with pytest.raises(refusal):
        issued(desk, **changes)
    assert numbers(desk) == []


def test_without_merchant_or_tax_data_nothing_is_issued(by_hand: Pay) -> None:
    by_hand.affiliate("anna", "5.00")
    paid(by_hand, "anna", "5.00")
    with pytest.raises(verbs.NoIssuer):
        issued(by_hand)
    by_hand.session.rollback()
    merchant(by_hand, given=MerchantData("Lamps", "Riga", "LV", "1 2", "", "L"))
    with pytest.raises(verbs.NoTaxData):
        issued(by_hand)
    by_hand.session.rollback()
    give(by_hand, "anna", TaxData("company", "A", "Riga", "LV", "1 2", "reverse_charge",
                                  "LV40003032949", ""))  # fmt: skip
    with pytest.raises(verbs.NoVatNumber):
        issued(by_hand)


def test_only_finance_issues_and_credits(desk: Pay) -> None:
    nobody = desk.world.user("nobody", role="manager")
    with pytest.raises(NotFinance):
        issued(desk, by_user_id=nobody)
    desk.session.rollback()
    made = issued(desk)
    with pytest.raises(NotFinance):
        credit(desk.session, invoice_id=made, reason="x", by_user_id=nobody, now=LATER)
    desk.session.rollback()
    with pytest.raises(NotFinance):
        set_issuer(desk.session, program_id=desk.world.program_id, given=MERCHANT,
                   includes_vat=True, automatic=True, by_user_id=nobody, now=NOW)  # fmt: skip


def test_a_credit_takes_all_of_it_back_and_the_month_can_be_issued_again(desk: Pay) -> None:
    made = issued(desk)
    taken = credit(desk.session, invoice_id=made, reason=" wrong  address ",
                   by_user_id=desk.finance, now=LATER)  # fmt: skip
    desk.session.commit()
    _view, found = document_of(desk.session, invoice_id=taken)
    assert (found.kind, found.corrects, found.reason) == (
        "credit", "LAMPS-2026-00001", "wrong address",
    )  # fmt: skip
    assert (found.net, found.vat, found.gross, found.lines[0].amount) == (
        "-10.00", "-2.10", "-12.10", "-12.10",
    )  # fmt: skip
    for again in (made, taken):
        with pytest.raises(verbs.AlreadyCredited):
            credit(desk.session, invoice_id=again, reason="x", by_user_id=desk.finance, now=LATER)
        desk.session.rollback()
    assert issued(desk) > taken
    assert [name for name, _n in numbers(desk)] == [
        "LAMPS-2026-00001", "LAMPS-2026-00002", "LAMPS-2026-00003",
    ]  # fmt: skip
    views = invoices_of(desk.session, program_ids=[desk.world.program_id])
    assert [(view.kind, view.credited) for view in views] == [
        ("invoice", False), ("credit", False), ("invoice", True),
    ]  # fmt: skip
    desk.sound()


@pytest.mark.parametrize("reason", ["", "   ", "x" * 501])
def test_a_credit_says_why(desk: Pay, reason: str) -> None:
    made = issued(desk)
    with pytest.raises(Invalid) as refused:
        credit(desk.session, invoice_id=made, reason=reason, by_user_id=desk.finance, now=LATER)
    assert refused.value.errors[0].field == "reason"


def test_what_is_issued_stays_whatever_changes_afterwards(desk: Pay) -> None:
    made = issued(desk)
    before = desk.session.get_one(Invoice, made)
    kept, said = dict(before.document), before.hash
    merchant(desk, given=MerchantData("Other", "Oslo", "NO", "99", "", "OTHER"))
    give(desk, "anna", TaxData("individual", "A.", "Oslo", "NO", "", "not_registered", "", ""))
    desk.session.rollback()
    after = desk.session.get_one(Invoice, made, populate_existing=True)
    assert (after.document, after.hash) == (kept, said)
    assert fingerprint(after.document) == said
    for statement in (
        "UPDATE invoices SET gross_micros = 1", "DELETE FROM invoices", "TRUNCATE invoices CASCADE",
    ):  # fmt: skip
        with pytest.raises(sa.exc.DBAPIError, match="append-only"):
            desk.session.execute(sa.text(statement))
        desk.session.rollback()


def test_a_payout_that_came_back_is_not_invoiced_and_one_that_did_later_is_shown(
    desk: Pay,
) -> None:
    made = issued(desk)
    item = desk.session.scalars(
        sa.select(PayoutItem).where(PayoutItem.enrollment_id == desk.world.enrollments["anna"])
    ).one()
    reverse_item(
        desk.session, item=item, amount=Money(item.amount_micros, item.currency),
        reference="R1", reason="account closed", now=LATER,
    )  # fmt: skip
    desk.session.commit()
    program = desk.session.get_one(Program, desk.world.program_id)
    (line, _boris) = payable_in(
        desk.session, program=program, period=month_at(NOVEMBER, program.time_zone)
    )
    assert line.differs
    assert line.invoice is not None
    assert line.paid.decimal == "0.00"
    credit(desk.session, invoice_id=made, reason="came back", by_user_id=desk.finance, now=LATER)
    desk.session.commit()
    with pytest.raises(verbs.NothingPaid):
        issued(desk)


def test_ten_at_once_issue_it_once_and_leave_no_gap(desk: Pay) -> None:
    answers: list[str] = []
    ready = threading.Barrier(10)

    def press(name: str) -> None:
        with session_for(desk.engine)() as session:
            ready.wait()
            try:
                issue(session, enrollment_id=desk.world.enrollments[name], month=NOVEMBER,
                      by_user_id=None, now=LATER)  # fmt: skip
                session.commit()
                answers.append("issued")
            except Refusal as refusal:
                answers.append(refusal.code)

    names = ["anna", "boris"] * 5
    threads = [threading.Thread(target=press, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == ["invoice_issued"] * 8 + ["issued"] * 2
    assert [number for _name, number in numbers(desk)] == [1, 2]
    desk.sound()


def test_the_job_issues_what_can_be_and_comes_back_for_the_rest(desk: Pay) -> None:
    desk.affiliate("vera", "1.00")
    paid(desk, "vera", "1.00")
    program = desk.session.get_one(Program, desk.world.program_id)
    period = last_month(program, LATER)
    assert period.key == "2026-11"
    for expected in (2, 0):
        made, left = issue_month(desk.session, program=program, period=period, by=None, now=LATER)
        assert (made, left) == (expected, 0)
    give(desk, "vera")
    made, left = issue_month(
        desk.session, program=program, period=period, by=None, now=LATER + timedelta(hours=1)
    )
    assert made == 1
    assert [number for _name, number in numbers(desk)] == [1, 2, 3]
    counter = desk.session.scalars(sa.select(InvoiceCounter)).one()
    assert counter.last == 3


def test_a_press_of_the_button_leaves_the_rest_to_a_job(desk: Pay) -> None:
    program = desk.session.get_one(Program, desk.world.program_id)
    asked = {"program": program, "period": last_month(program, LATER), "now": LATER}
    assert issue_month(desk.session, **asked, by=desk.finance, rows_max=1) == (1, 1)


def test_tax_data_are_kept_as_rows_and_agreement_is_needed(by_hand: Pay) -> None:
    by_hand.world.affiliate("anna")
    affiliate, user = by_hand.world.affiliate_id("anna"), by_hand.world.users["anna"]
    with pytest.raises(Invalid) as refused:
        set_tax_data(by_hand.session, affiliate_id=affiliate, given=ANNA, agreed=False,
                     by_user_id=user, now=NOW)  # fmt: skip
    assert [e.field for e in refused.value.errors] == ["agreed"]
    give(by_hand, "anna")
    first = profile_of(by_hand.session, affiliate_id=affiliate)
    give(by_hand, "anna")
    assert profile_of(by_hand.session, affiliate_id=affiliate) == first
    give(by_hand, "anna", TaxData("individual", "A.", "Oslo", "NO", "", "not_registered", "", ""))
    second = profile_of(by_hand.session, affiliate_id=affiliate)
    assert first is not None and second is not None
    assert (first.id < second.id, second.name, second.vat_rate_ppm) == (True, "A.", 0)
