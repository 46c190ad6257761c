"""The checks of payments by bank file, each seen to fire on planted corruption."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from bank_accounts import executed
from bank_world import Bank, made_bank
from money_world import NOW
from paying import Pay

from affiliate.core import clock
from payouts.audit.bank_checks import BANK_FILES
from payouts.audit.checks import CHECKS
from payouts.audit.run import run
from payouts.batches.reverse import reverse_item


@pytest.fixture
def books(pay: Callable[..., Pay]) -> Bank:
    """One payout in a file that came back in part, one that the bank says nothing of."""
    bank = made_bank(pay("bank_sepa"), "bank_sepa")
    bank.affiliate("anna", "9.00")
    bank.affiliate("boris", "3.00")
    item_id, line = bank.paid_out("anna", "4.00")
    bank.told(executed(line.end_to_end_id))
    reverse_item(
        bank.session, item=bank.pay.item(item_id), amount=bank.pay.world.money("1"),
        reference="R-1", reason="AC04", now=NOW,
    )  # fmt: skip
    bank.session.commit()
    bank.paid_out("boris", "2.00")
    return bank


PLANTED = [
    ("F1", "UPDATE payout_files SET content = content || '\\x20'"),
    ("F1", "UPDATE payout_files SET total_micros = total_micros + 1"),
    ("F1", "DELETE FROM payout_file_lines"),
    ("F2", "UPDATE payout_file_lines SET end_to_end_id = end_to_end_id || 'x'"),
    ("F2", "UPDATE payout_files SET batch_id = batch_id + 1"),
    ("F3", "UPDATE payout_reversals SET amount_micros = 5000000"),
    ("F3", "UPDATE payout_reversals SET amount_micros = amount_micros + 1"),
    ("F3", "UPDATE payout_items SET status = 'reversed' WHERE status = 'paid'"),
    ("F3", "UPDATE payout_items SET status = 'reversed' WHERE status = 'sending'"),
    ("F4", "DELETE FROM payout_reversals"),
    ("F5", "UPDATE payout_attempts SET first_sent_at = now() - interval '8 days'"),
]


def test_good_books_break_no_check(books: Bank) -> None:
    books.pay.sound()


@pytest.mark.parametrize(("name", "corruption"), PLANTED)
def test_a_planted_contradiction_is_found(books: Bank, name: str, corruption: str) -> None:
    session = books.session
    session.execute(sa.text("SET LOCAL session_replication_role = replica"))
    session.execute(sa.text(corruption))
    found = run(session, CHECKS, real_now=clock.real_now())
    session.rollback()
    assert name in {finding.check.name for finding in found}


def test_every_check_has_its_planted_contradiction() -> None:
    assert {check.name for check in BANK_FILES} == {name for name, _ in PLANTED}


def test_a_payment_that_waits_for_the_bank_is_no_attempt_past_its_key(books: Bank) -> None:
    """P8 is about providers that forget keys; a bank has days."""
    session = books.session
    session.execute(sa.text("UPDATE payout_attempts SET first_sent_at = now() - interval '2 days'"))
    found = run(session, CHECKS, real_now=clock.real_now())
    session.rollback()
    assert found == []
