"""Every check is seen to fire on planted corruption, and to be silent on good books."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa
from flask import Flask
from money_world import NOW
from paying import Pay

from affiliate.core import clock
from payouts.adjustments.adjust import confirm, propose
from payouts.adjustments.rules import AdjustmentKind, Reason
from payouts.audit.attempt_params import DOUBTFUL, NAMES
from payouts.audit.bank_checks import BANK_FILES
from payouts.audit.checks import CHECKS
from payouts.audit.lock import audit_and_lock
from payouts.audit.run import ROWS_MAX, Severity, passes, registered, run
from payouts.batches.intents import hash_of_params
from payouts.batches.locks import LockReason, open_locks, unlock
from payouts.batches.models import PayoutAttempt
from payouts.batches.review import mark_paid
from payouts.commissions.earn import earn
from payouts.commissions.void import take_back
from payouts.invoices.issue import issue
from payouts.invoices.parties import MerchantData, TaxData
from payouts.invoices.profiles import set_issuer, set_tax_data
from payouts.ledger.seals.sealing import seal_next


@pytest.fixture
def books(by_hand: Pay) -> Pay:
    """Two levels, a refund, a payout that is paid and one that is frozen; all of it sealed."""
    by_hand.world.affiliate("rita")
    by_hand.affiliate("anna", "9.00")
    by_hand.affiliate("boris", "3.00")
    sale = by_hand.world.sale("anna", "100.00", reference="sale:900")
    by_hand.session.execute(
        sa.text("UPDATE enrollments SET recruiter_id = :rita WHERE id = :anna"),
        {"rita": by_hand.world.enrollments["rita"], "anna": by_hand.world.enrollments["anna"]},
    )
    sale = by_hand.world.sale("anna", "100.00", reference="sale:900")
    earn(by_hand.session, sale=sale, waits_for=None, now=NOW)
    take_back(
        by_hand.session,
        reference="sale:900",
        refund="refund:1",
        refunded_net=by_hand.world.money("50"),
        net=sale.net,
        now=NOW,
    )
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
    by_hand.withdraw("boris", "1.00")
    _documents(by_hand)
    seal_next(by_hand.session, real_now=clock.real_now())
    by_hand.session.commit()
    return by_hand


def _documents(books: Pay) -> None:
    """A correction of Boris's balance, and the invoice of what Anna was paid."""
    session, second = books.session, books.world.user("second", role="finance")
    correction = propose(
        session, enrollment_id=books.world.enrollments["boris"], kind=AdjustmentKind.ADJUST,
        amount=books.world.money("0.50"), reason=Reason.OTHER,
        note="agreed", by_user_id=books.finance, now=NOW,
    )  # fmt: skip
    confirm(session, adjustment_id=correction, by_user_id=second, now=NOW)
    set_issuer(
        session, program_id=books.world.program_id, includes_vat=True, automatic=False, now=NOW,
        given=MerchantData("Lamps", "Boston", "US", "12-34", "", "L"), by_user_id=books.finance,
    )  # fmt: skip
    set_tax_data(
        session, affiliate_id=books.world.affiliate_id("anna"), agreed=True, now=NOW,
        given=TaxData("individual", "Anna", "Boston", "US", "", "not_registered", "", ""),
        by_user_id=books.world.users["anna"],
    )  # fmt: skip
    issue(session, enrollment_id=books.world.enrollments["anna"], month=NOW.date(),
          by_user_id=books.finance, now=NOW + timedelta(days=30))  # fmt: skip
    session.commit()


PLANTED = [
    ("L1", "UPDATE ledger_entries SET amount_micros = amount_micros + 1 WHERE id = 1"),
    # The sum of the whole stays zero, that of neither currency does.
    ("L1", "UPDATE ledger_entries SET currency = 'RUB' WHERE id = 1"),
    ("L2", "UPDATE ledger_entries SET amount_micros = amount_micros + 1 WHERE id = 1"),
    ("L1", "DELETE FROM ledger_entries WHERE id = 1"),
    ("L3", "DELETE FROM ledger_entries WHERE transaction_id = 1"),
    ("L3", "ALTER TABLE ledger_entries DROP CONSTRAINT ck_ledger_entries_not_zero;"
           "DELETE FROM ledger_entries WHERE transaction_id = 1 AND id > 1;"
           "UPDATE ledger_entries SET amount_micros = 0 WHERE id = 1"),
    ("L4", "UPDATE ledger_entries SET currency = 'RUB' WHERE transaction_id = 1"),
    ("L5", "ALTER TABLE ledger_transactions DROP CONSTRAINT uq_ledger_transactions_reference;"
           "UPDATE ledger_transactions SET reference = 'twice' WHERE id IN (1, 2)"),
    ("L6", "UPDATE ledger_transactions SET reverses_id = 1 WHERE id = 2"),
    ("L7", "UPDATE ledger_entries e SET amount_micros = -amount_micros FROM ledger_accounts a"
           " WHERE a.id = e.account_id AND a.kind = 'pending'"),
    ("L8", "UPDATE ledger_balances SET amount_micros = amount_micros + 1"),
    ("L9", "UPDATE ledger_accounts SET program_id = 999 WHERE kind = 'pending'"),
    ("L10", "UPDATE ledger_transactions SET reference = 'another' WHERE id = 1"),
    ("L10", "INSERT INTO ledger_transactions (kind, reference, reason, occurred_at, recorded_at)"
            " VALUES ('bonus', 'old', 'test', now(), now() - interval '9 days')"),
    ("L11", "UPDATE ledger_seals SET root = sha256(root)"),
    ("L12", "DELETE FROM ledger_seals;"
            "UPDATE ledger_transactions SET recorded_at = now() - interval '2 hours'"),
    ("C1", "DELETE FROM commissions WHERE level = 1 AND reference = 'sale:900'"),
    ("C2", "UPDATE commissions SET decision = 2 WHERE level = 2"),
    ("C5", "UPDATE commissions SET amount_micros = amount_micros + 1 WHERE level = 2"),
    ("C5", "UPDATE ledger_transactions SET reference = 'earn:commission:999999'"
           " WHERE id = (SELECT min(id) FROM ledger_transactions WHERE kind = 'earn')"),
    ("C5", "INSERT INTO ledger_entries (transaction_id, account_id, currency, amount_micros)"
           " SELECT e.transaction_id, e.account_id, e.currency, 1 FROM ledger_entries e"
           " JOIN ledger_transactions t ON t.id = e.transaction_id"
           " WHERE t.kind = 'earn' AND e.amount_micros > 0 LIMIT 1"),
    ("C8", "INSERT INTO ledger_entries (transaction_id, account_id, currency, amount_micros)"
           " SELECT e.transaction_id, e.account_id, e.currency, e.amount_micros"
           " FROM ledger_entries e JOIN ledger_transactions t ON t.id = e.transaction_id"
           " WHERE t.kind = 'earn' AND e.amount_micros > 0 LIMIT 1"),
    ("C6", "DELETE FROM commissions WHERE level = 2"),
    ("C7", "UPDATE commissions SET reversed_micros = 0 WHERE reference = 'sale:900'"),
    ("C8", "UPDATE commissions SET released_at = now() WHERE reference = 'sale:900'"),
    ("C9", "UPDATE commissions SET available_at = now() - interval '2 days'"),
    ("P1", "UPDATE payout_batches SET approved_total_micros = 1 WHERE status = 'done'"),
    ("P2", "UPDATE payout_batches SET status = 'frozen' WHERE status = 'done'"),
    ("P3", "UPDATE payout_batches SET approved_by = created_by WHERE status = 'done'"),
    ("P3", "UPDATE grants SET role = 'curator'"),
    ("P4", "UPDATE payout_attempts SET destination = 'elsewhere'"),
    ("P5", "DROP INDEX uq_payout_attempts_live;"
           "INSERT INTO payout_attempts (item_id, number, idempotency_key, params, request_hash,"
           " amount_micros, currency, destination, status, first_sent_at, last_tried_at)"
           " SELECT item_id, 2, 'other', params, request_hash, amount_micros, currency,"
           " destination, 'unknown', first_sent_at, last_tried_at FROM payout_attempts"),
    ("P6", "UPDATE payout_attempts SET transfer_id = NULL"),
    ("P6", "DELETE FROM payout_attempts"),
    ("P7", "UPDATE payout_batches SET hash = NULL"),
    ("P8", "UPDATE payout_attempts SET status = 'unknown',"
           " first_sent_at = now() - interval '24 hours'"),
    ("P9", "UPDATE payout_items SET amount_micros = amount_micros + 10000"),
    ("P10", "UPDATE payout_items SET settle_transaction_id = NULL"),
    ("P10", "UPDATE ledger_entries e SET amount_micros = 2 * amount_micros"
            " FROM ledger_transactions t WHERE t.id = e.transaction_id AND t.kind = 'settle'"),
    ("P10", "INSERT INTO ledger_entries (transaction_id, account_id, currency, amount_micros)"
            " SELECT e.transaction_id, e.account_id, e.currency, e.amount_micros"
            " FROM ledger_entries e JOIN ledger_transactions t ON t.id = e.transaction_id"
            " WHERE t.kind = 'settle'"),
    ("P10", "UPDATE ledger_transactions SET reference = 'settled' WHERE kind = 'settle'"),
    ("P11", "UPDATE payout_items SET status = 'failed' WHERE status = 'queued'"),
    ("P12", "UPDATE ledger_entries e SET amount_micros = -amount_micros - 50000000"
            " FROM ledger_accounts a WHERE a.id = e.account_id AND a.kind = 'available'"),
    ("P13", "UPDATE withdrawals SET closed_at = NULL"),
    ("P14", "UPDATE payout_batches SET currency = 'RUB'"),
    ("P15", "UPDATE payout_batches SET status = 'paying' WHERE status = 'done';"
            "UPDATE payout_items SET status = 'unknown', next_try_at = now() - interval '2 hours'"
            " WHERE status = 'paid'"),
    # To another account; to another person; another reserve; with the hash made to fit the rest.
    ("P16", "UPDATE payout_items SET destination = 'mine' WHERE status = 'paid'"),
    ("P16", "UPDATE payout_items SET destination = 'mine' WHERE status = 'queued'"),
    ("P16", "UPDATE payout_items SET enrollment_id = enrollment_id + 1"),
    ("P16", "UPDATE payout_items SET reserve_transaction_id = NULL"),
    ("P16", "UPDATE payout_batches SET hash = repeat('0', 64), approved_hash = repeat('0', 64)"),
    ("P16", "DELETE FROM payout_items"),
    ("P17", "DELETE FROM batch_signatures"),
    ("P19", "UPDATE payout_attempts SET params = params || '{\"amount_micros\": 1}'"),
    ("P19", "UPDATE payout_attempts SET params = params || '{\"fee\": 1}'"),
    ("P19", "UPDATE payout_attempts SET params = params - 'item_id'"),
    ("P19", "UPDATE payout_attempts SET params = 'null'"),
    ("P19", "UPDATE payout_attempts SET params = '[1]'"),
    ("P18", "UPDATE payout_batches SET approval_policy = 'automatic' WHERE status = 'done'"),
    ("J1", "UPDATE ledger_adjustments SET amount_micros = amount_micros + 1"),
    ("J1", "ALTER TABLE ledger_adjustments DROP CONSTRAINT ck_ledger_adjustments_four_eyes;"
           "UPDATE ledger_adjustments SET decided_by = proposed_by"),
    ("J2", "DELETE FROM ledger_adjustments"),
    ("I1", "UPDATE invoices SET document = jsonb_set(document, '{supplier,name}', '\"Eve\"')"),
    ("I1", "UPDATE invoices SET net_micros = net_micros + 1, gross_micros = gross_micros + 1"),
    ("I2", "UPDATE invoice_counters SET last = 2"),
    ("I2", "UPDATE invoices SET number = 2"),
    ("I2", "DELETE FROM invoice_counters"),
    ("I3", "UPDATE invoices SET period = period - interval '1 month'"),
    ("Y1", "UPDATE payee_accounts SET pays_from = created_at + interval '72 hours'"),
    ("Y1", "UPDATE payee_accounts SET pays_from = created_at - interval '1 hour',"
           " replaced_at = created_at - interval '2 hours'"),
    ("Y2", "INSERT INTO payee_stops (affiliate_id, payee_id, stopped_at)"
           " SELECT affiliate_id, id, now() - interval '4 days' FROM payee_accounts LIMIT 1"),
    ("T1", "UPDATE enrollments e SET recruiter_id = r.id FROM enrollments r"
           " WHERE r.recruiter_id IS NULL AND e.recruiter_id IS NOT NULL;"
           "UPDATE enrollments r SET recruiter_id = e.id FROM enrollments e"
           " WHERE r.id = e.recruiter_id"),
]  # fmt: skip


def test_good_books_break_no_check(books: Pay) -> None:
    books.sound()


@pytest.mark.parametrize(("name", "corruption"), PLANTED)
def test_a_planted_contradiction_is_found(books: Pay, name: str, corruption: str) -> None:
    session = books.session
    # Replica mode switches the triggers off that would refuse all this.
    session.execute(sa.text("SET LOCAL session_replication_role = replica"))
    for statement in corruption.split(";"):
        session.execute(sa.text(statement))
    found = run(session, CHECKS, real_now=clock.real_now())
    session.rollback()
    broken = {finding.check.name: finding for finding in found}
    assert name in broken
    assert broken[name].rows


def test_two_currencies_in_one_transaction_are_good_while_each_sums_to_zero(books: Pay) -> None:
    session = books.session
    session.execute(sa.text("SET LOCAL session_replication_role = replica"))
    session.execute(
        sa.text(
            "INSERT INTO ledger_entries (transaction_id, account_id, currency, amount_micros)"
            " SELECT 1, account_id, 'RUB', k.amount FROM ledger_entries,"
            " (VALUES (1), (-1)) AS k(amount) WHERE id = 1"
        )
    )
    found = run(session, [check for check in CHECKS if check.name == "L1"], real_now=NOW)
    session.rollback()
    assert found == []


def test_what_attempts_store_is_hashed_by_postgresql_itself(books: Pay) -> None:
    """Else each is read and hashed here: right as well, but five times slower."""
    assert books.session.scalars(sa.select(PayoutAttempt.id)).all()
    assert books.session.scalars(sa.text(DOUBTFUL), {"names": list(NAMES)}).all() == []


def test_parameters_beyond_ascii_or_of_a_nested_kind_are_no_contradiction(books: Pay) -> None:
    session = books.session
    for attempt in session.scalars(sa.select(PayoutAttempt)):
        attempt.params = {**attempt.params, "destination": 'счёт "7"', "more": {"b": 1, "a": []}}
        attempt.request_hash = hash_of_params(attempt.params)
    session.flush()
    found = run(session, [check for check in CHECKS if check.name == "P19"], real_now=NOW)
    assert found == []


def test_checks_over_a_common_table_are_told_apart_and_in_order(books: Pay) -> None:
    session = books.session
    session.execute(sa.text("SET LOCAL session_replication_role = replica"))
    session.execute(sa.text("UPDATE ledger_balances SET amount_micros = amount_micros + 1"))
    session.execute(sa.text("UPDATE payout_items SET status = 'failed' WHERE status = 'queued'"))
    together = [check for check in CHECKS if check.name in ("L8", "P11", "P12")]
    assert passes(together) == [together]
    found = run(session, together, real_now=NOW)
    assert [finding.check.name for finding in found] == ["L8", "P11"]
    assert set(found[0].rows[0]) == {"account_id", "balance", "sum"}
    assert len(found[0].rows) <= ROWS_MAX


def test_every_check_has_its_planted_contradiction() -> None:
    elsewhere = {check.name for check in BANK_FILES}  # test_bank_checks.py
    assert {check.name for check in CHECKS} == {name for name, _ in PLANTED} | elsewhere


def test_a_contradiction_locks_payouts_and_says_which_row(books: Pay) -> None:
    session = books.session
    session.execute(sa.text("UPDATE ledger_balances SET amount_micros = amount_micros + 1"))
    for _ in range(2):
        found = audit_and_lock(session, checks=CHECKS, now=NOW, real_now=clock.real_now())
        assert {f.check.name for f in found} >= {"L8"}
    (lock,) = open_locks(session)
    assert lock.reason is LockReason.INTEGRITY
    assert "L8" in lock.detail
    assert "account_id=" in lock.detail
    assert unlock(session, by="cli", why="seen", now=NOW) == 1
    assert open_locks(session) == []


def test_what_only_stands_still_alerts_and_locks_nothing(books: Pay) -> None:
    session = books.session
    soon = clock.real_now() + timedelta(days=365)
    found = audit_and_lock(session, checks=CHECKS, now=NOW, real_now=soon)
    assert {f.check.severity for f in found} == {Severity.LIVENESS}
    assert open_locks(session) == []


def test_the_application_knows_the_checks_of_every_package(app: Flask) -> None:
    names = [check.name for check in registered(app)]
    assert len(names) == len(set(names))
    assert {check.name for check in CHECKS} < set(names)
    assert {"O1", "C4", "K2"} <= set(names)


def test_the_command_exits_with_1_and_the_row(app: Flask, books: Pay) -> None:
    from payouts.cli import audit_command, payouts_group

    # The books are of a fixed day; nothing of theirs is late today.
    books.session.execute(sa.text("UPDATE withdrawals SET deadline_at = now() + interval '1 day'"))
    books.session.execute(sa.text("UPDATE payout_batches SET frozen_at = now()"))
    books.session.commit()
    runner = app.test_cli_runner()
    good = runner.invoke(audit_command)
    assert (good.exit_code, good.output.splitlines()[-1].split(", ")[1]) == (0, "0 broken.")
    books.session.execute(sa.text("UPDATE ledger_balances SET amount_micros = 1"))
    books.session.commit()
    bad = runner.invoke(audit_command, ["--lock"])
    assert bad.exit_code == 1
    assert "L8 (integrity)" in bad.output
    assert "L8" in runner.invoke(payouts_group, ["status"]).output
    assert "1 lifted." in runner.invoke(payouts_group, ["unlock", "--why", "test"]).output
    assert "not locked" in runner.invoke(payouts_group, ["status"]).output
    runner.invoke(payouts_group, ["lock", "--why", "holiday"])
    assert "holiday" in runner.invoke(payouts_group, ["status"]).output


def test_the_periodic_release_runs_in_the_application(app: Flask, by_hand: Pay) -> None:
    from payouts.commissions import jobs

    by_hand.world.affiliate("anna")
    earn(
        by_hand.session,
        sale=by_hand.world.sale("anna", "10.00", placed_at=clock.real_now() - timedelta(days=20)),
        waits_for=None,
        now=NOW,
    )
    by_hand.session.commit()
    with app.app_context():
        jobs.release_due()
    assert by_hand.balances("anna").available == by_hand.world.money("1")


def test_checks_read_alone(books: Pay) -> None:
    books.session.execute(sa.text("SET TRANSACTION READ ONLY"))
    assert run(books.session, CHECKS, real_now=clock.real_now()) == []
