"""Payout on demand, from the smallest unit of the currency."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Conflict, Invalid, NotFound, Phrase, Refusal
from affiliate.core.money import Money
from affiliate.people.models import Enrollment
from affiliate.programs.models import Program
from payouts.batches.freeze import add_maker, freeze_one, new_batch
from payouts.batches.holds import is_held
from payouts.batches.models import Withdrawal
from payouts.batches.payee_guard import refuse_stopped
from payouts.batches.payees import Payee, payee_of
from payouts.batches.rules import PAYABLE_STATUSES, Due
from payouts.ledger.accounts import AccountKind, of_enrollment
from payouts.ledger.balances import lock_available
from payouts.policies.change import policy_of
from payouts.rails.bank_details import in_a_log
from payouts.rails.registry import Rails, rail_named

DEADLINE_H = 24


class WithdrawalOpen(Conflict):
    code = "withdrawal_open"
    title = "One withdrawal is under way already; ask again when it is paid or returned."


class NothingAvailable(Refusal):
    code = "nothing_available"
    title = "There is nothing that can be paid out now."


class NoPayeeAccount(Refusal):
    code = "no_payee_account"
    title = "Name the account to pay to first."


class PayeeNotReady(Refusal):
    code = "payee_not_ready"
    title = "The account to pay to cannot receive money yet; finish setting it up."


class PayoutsHeld(Conflict):
    code = "payouts_held"
    title = "The program's finance holds your payouts back; write to the program."


class EnrollmentNotPayable(Conflict):
    code = "enrollment_not_active"
    title = "This account is suspended in the program; write to the program to be paid."


@dataclass(frozen=True, slots=True)
class Requested:
    """A withdrawal that waits for finance."""

    withdrawal_id: int
    batch_id: int
    item_id: int
    amount: Money
    requested_at: datetime
    deadline_at: datetime


def withdraw(
    session: Session,
    *,
    enrollment_id: int,
    amount: Money | None,
    requested_by: int | None,
    by: str,
    rails: Rails,
    now: datetime,
) -> Requested:
    """Reserve the amount, or all whole units, in a batch of its own that finance approves.

    `requested_by` is the user, none for a shop's key; `by` stands in the audit log. Raises
    WithdrawalOpen (409), Invalid (422: not positive, more than available, finer than the
    rail pays), NothingAvailable, NoPayeeAccount, PayeeNotReady, PayeeStopped, PayoutsHeld,
    EnrollmentNotPayable. While the account cools off the request stands and its clock begins
    when it may be paid to.
    """
    from payouts.batches.jobs import approve_small_withdrawal

    enrollment = session.get(Enrollment, enrollment_id, populate_existing=True)
    if enrollment is None:
        raise NotFound
    if enrollment.status not in PAYABLE_STATUSES:
        raise EnrollmentNotPayable
    refuse_stopped(session, affiliate_id=enrollment.affiliate_id)
    program = session.get_one(Program, enrollment.program_id)
    key = of_enrollment(AccountKind.AVAILABLE, program.id, enrollment.id, program.currency)
    available = lock_available(session, keys=[key])[key]
    if _is_open(session, enrollment.id, program.currency):
        raise WithdrawalOpen
    if is_held(session, enrollment_id=enrollment.id):
        raise PayoutsHeld
    granularity = rail_named(rails, program.rail).granularity(program.currency)
    chosen = _chosen(amount, available, granularity)
    payee = _payee(session, enrollment.affiliate_id, program.rail)
    batch = new_batch(
        session, program=program, rail=program.rail, kind="on_demand", period_id=None,
        created_by=requested_by, now=now,
    )  # fmt: skip
    if requested_by is not None:
        add_maker(
            session, batch_id=batch.id, user_id=requested_by, did="request_withdrawal", now=now
        )
    due = Due(enrollment.id, chosen, payee.destination)
    item_id = freeze_one(session, batch=batch, due=due, now=now)
    row = Withdrawal(
        enrollment_id=enrollment.id,
        currency=program.currency,
        amount_micros=chosen.micros,
        requested_by=requested_by,
        requested_at=now,
        deadline_at=max(now, payee.pays_from or now) + timedelta(hours=DEADLINE_H),
        item_id=item_id,
    )
    session.add(row)
    session.flush()
    audit.record(
        session, actor=by, action="withdrawal.request", subject=f"enrollment:{enrollment.id}",
        scope=program.id, now=now,
        new={"amount": str(chosen), "destination": in_a_log(payee.destination)},
    )  # fmt: skip
    if policy_of(session, program_id=program.id).automatic is not None:
        approve_small_withdrawal.after_commit(session, batch.id)
    return Requested(row.id, batch.id, item_id, chosen, now, row.deadline_at)


def _is_open(session: Session, enrollment_id: int, currency: str) -> bool:
    """The balance's lock is held, so that of many requests at once each sees the one before."""
    found = session.scalar(
        sa.select(Withdrawal.id).where(
            Withdrawal.enrollment_id == enrollment_id,
            Withdrawal.currency == currency,
            Withdrawal.closed_at.is_(None),
        )
    )
    return found is not None


def _chosen(amount: Money | None, available: Money, granularity: int) -> Money:
    units = available.whole_minor_units(granularity)
    most = Money.of_minor_units(units, available.currency)
    if amount is None:
        if not units:
            raise NothingAvailable
        return most
    if amount.currency != available.currency:
        raise Invalid.field(
            "amount",
            "wrong_currency",
            Phrase("The balance is in %(currency)s.", currency=available.currency),
        )
    if amount.micros <= 0:
        raise Invalid.field("amount", "not_positive", "Ask for more than zero.")
    if amount > available:
        raise Invalid.field(
            "amount", "more_than_available", Phrase("Available: %(amount)s.", amount=available)
        )
    whole = Money.of_minor_units(amount.whole_minor_units(granularity), amount.currency)
    if whole != amount:
        raise Invalid.field(
            "amount",
            "finer_than_the_rail",
            Phrase("The rail pays %(whole)s or %(most)s.", whole=whole, most=most),
        )
    return amount


def _payee(session: Session, affiliate_id: int, rail: str) -> Payee:
    payee = payee_of(session, affiliate_id=affiliate_id, rail=rail)
    if payee is None:
        raise NoPayeeAccount
    if not payee.ready:
        raise PayeeNotReady
    return payee
