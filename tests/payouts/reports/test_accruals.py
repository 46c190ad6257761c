"""What was owed at any instant is the sum of the entries before it, and ties to the books."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa
from money_world import NOW
from paying import Pay

from affiliate.core.money import Money
from payouts.batches.review import mark_paid
from payouts.commissions.earn import earn
from payouts.commissions.void import take_back
from payouts.ledger.balances import balances
from payouts.reports.accruals import Accrual, accrual_totals, accruals

HOUR = timedelta(hours=1)
AFTER = NOW + timedelta(days=1)


@pytest.fixture
def books(by_hand: Pay) -> Pay:
    """Anna was paid 5.00 and then lost 3.00; Boris has 2.00, 1.00 of it in a payout; Vera 4.00
    pending. Each an hour after the other."""
    by_hand.affiliate("anna", "5.00")
    made = by_hand.approved("anna", "5.00")
    mark_paid(by_hand.session, item_id=made.item_id, reference="17", now=NOW + HOUR,
              by_user_id=by_hand.finance, rails=by_hand.rails)  # fmt: skip
    reference = str(by_hand.session.scalar(sa.text("SELECT reference FROM commissions")))
    take_back(by_hand.session, reference=reference, refund="refund:1", now=NOW + 2 * HOUR,
              refunded_net=by_hand.world.money("3"), net=by_hand.world.money("5"))  # fmt: skip
    by_hand.affiliate("boris", "2.00")
    by_hand.withdraw("boris", "1.00")
    by_hand.world.affiliate("vera")
    earn(by_hand.session, sale=by_hand.world.sale("vera", "40.00"), waits_for=None, now=NOW)
    by_hand.session.commit()
    return by_hand


def lines(books: Pay, at: object = AFTER) -> dict[str, list[str]]:
    found = accruals(books.session, program_id=books.world.program_id, at=at)  # type: ignore[arg-type]
    return {one.affiliate: amounts(one) for one in found}


def amounts(one: Accrual) -> list[str]:
    return [each.decimal for each in (one.pending, one.available, one.in_payout, one.paid,
                                      one.receivable)]  # fmt: skip


def test_each_affiliate_stands_with_what_is_theirs_and_what_they_lack(books: Pay) -> None:
    assert lines(books) == {
        "anna": ["0.00", "0.00", "0.00", "5.00", "3.00"],
        "boris": ["0.00", "1.00", "1.00", "0.00", "0.00"],
        "vera": ["4.00", "0.00", "0.00", "0.00", "0.00"],
    }


def test_today_it_is_what_the_balances_say(books: Pay) -> None:
    for one in accruals(books.session, program_id=books.world.program_id, at=AFTER):
        found = balances(books.session, enrollment_id=one.enrollment_id, currency="EUR")
        assert one.available - one.receivable == found.available
        assert (one.pending, one.in_payout, one.paid, one.owed) == (
            found.pending, found.in_payout, found.paid, found.owed,
        )  # fmt: skip


def test_the_past_is_what_it_was_and_its_end_belongs_to_the_next(books: Pay) -> None:
    assert lines(books, NOW) == {}
    just_paid = NOW + HOUR + timedelta(microseconds=1)
    assert lines(books, NOW + HOUR)["anna"] == ["0.00", "0.00", "5.00", "0.00", "0.00"]
    assert lines(books, just_paid)["anna"] == ["0.00", "0.00", "0.00", "5.00", "0.00"]


@pytest.mark.parametrize("at", [NOW + HOUR, NOW + 2 * HOUR, AFTER])
def test_the_total_is_the_sum_of_all_and_ties_to_the_expense(books: Pay, at: object) -> None:
    program_id = books.world.program_id
    (found,) = accrual_totals(books.session, program_id=program_id, at=at)  # type: ignore[arg-type]
    each = list(accruals(books.session, program_id=program_id, at=at))  # type: ignore[arg-type]
    zero = Money.zero("EUR")
    assert found.affiliates == len(each)
    for name in ("pending", "available", "in_payout", "paid", "receivable", "owed"):
        assert sum((getattr(one, name) for one in each), zero) == getattr(found, name)
    assert found.owed + found.sent == found.expense
    booked = books.session.scalar(
        sa.text(
            "SELECT -coalesce(sum(e.amount_micros), 0) FROM ledger_entries e"
            " JOIN ledger_accounts a ON a.id = e.account_id"
            " JOIN ledger_transactions t ON t.id = e.transaction_id"
            " WHERE a.kind = 'expense' AND a.program_id = :program AND t.occurred_at < :at"
        ),
        {"program": program_id, "at": at},
    )
    assert found.expense.micros == booked


def test_another_program_is_not_in_it(books: Pay) -> None:
    assert list(accruals(books.session, program_id=books.world.program_id + 1, at=AFTER)) == []
    assert accrual_totals(books.session, program_id=books.world.program_id + 1, at=AFTER) == []
