"""What is owed at an instant: pending, available, in payout, paid, and what affiliates owe.

Sums of the entries whose business time lies before it, never of running balances, so that
any day of the past can be asked for and today's is what the balances say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.money import Money
from affiliate.people import ids
from affiliate.people.models import Affiliate, Enrollment
from payouts.batches.statements import PAID
from payouts.ledger.accounts import AccountKind
from payouts.ledger.models import LedgerAccount, LedgerEntry, LedgerTransaction

FETCH_ROWS = 1_000
OWN = (AccountKind.PENDING, AccountKind.AVAILABLE, AccountKind.IN_PAYOUT)


@dataclass(frozen=True, slots=True)
class Accrual:
    """Where one affiliate's money stood, in one currency."""

    enrollment_id: int
    affiliate: str
    pending: Money
    available: Money
    """Zero where the balance is negative; then `receivable` has it."""
    in_payout: Money
    paid: Money
    receivable: Money
    """What a negative balance lacks: refunds of what was paid already."""

    @property
    def public(self) -> str:
        return ids.public(self.enrollment_id)

    @property
    def owed(self) -> Money:
        """All that is not paid, less what is lacking."""
        return self.pending + self.available + self.in_payout - self.receivable


@dataclass(frozen=True, slots=True)
class AccrualTotals:
    """A program in one currency. `owed + sent = expense`, because entries sum to zero."""

    currency: str
    affiliates: int
    pending: Money
    available: Money
    in_payout: Money
    paid: Money
    receivable: Money
    expense: Money
    """What was booked as the program's expense so far."""
    sent: Money
    """What left by every rail so far."""

    @property
    def owed(self) -> Money:
        return self.pending + self.available + self.in_payout - self.receivable


def accruals(session: Session, *, program_id: int, at: datetime) -> Iterator[Accrual]:
    """Each affiliate's sums just before an instant, by number; whoever has only zeros is out."""
    sums = _per_enrollment(program_id, at).subquery()
    query = (
        sa.select(sums, Affiliate.name)
        .join(Enrollment, Enrollment.id == sums.c.enrollment_id)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .where(
            sa.or_(*(sums.c[name] != 0 for name in ("pending", "available", "in_payout", "paid")))
        )
        .order_by(sums.c.enrollment_id, sums.c.currency)
        .execution_options(yield_per=FETCH_ROWS)
    )
    for row in session.execute(query):
        available = Money(int(row.available), row.currency)
        zero = Money.zero(row.currency)
        yield Accrual(
            row.enrollment_id,
            row.name,
            Money(int(row.pending), row.currency),
            max(available, zero),
            Money(int(row.in_payout), row.currency),
            Money(int(row.paid), row.currency),
            max(-available, zero),
        )


def accrual_totals(session: Session, *, program_id: int, at: datetime) -> list[AccrualTotals]:
    """The program's sums just before an instant, a row for each currency with entries."""
    own = _per_enrollment(program_id, at).subquery()
    c = own.c
    positive = sa.func.greatest(c.available, 0)
    lacking = sa.func.greatest(-c.available, 0)
    some = sa.or_(c.pending != 0, c.available != 0, c.in_payout != 0, c.paid != 0)
    rows = session.execute(
        sa.select(
            c.currency,
            sa.func.count().filter(some),
            *(sa.func.sum(each) for each in (c.pending, positive, c.in_payout, c.paid, lacking)),
        ).group_by(c.currency)
    ).all()
    others = {row.currency: row for row in session.execute(_of_program(program_id, at))}
    found = []
    for currency, affiliates, *micros in rows:
        other = others.get(currency)
        booked = (-int(other.expense), int(other.cash)) if other else (0, 0)
        amounts = [Money(int(each), currency) for each in (*micros, *booked)]
        found.append(AccrualTotals(currency, affiliates, *amounts))
    return sorted(found, key=lambda each: each.currency)


def _before(program_id: int, at: datetime, *columns: Any) -> sa.Select[Any]:
    return (
        sa.select(*columns)
        .select_from(LedgerEntry)
        .join(LedgerAccount, LedgerAccount.id == LedgerEntry.account_id)
        .join(LedgerTransaction, LedgerTransaction.id == LedgerEntry.transaction_id)
        .where(LedgerAccount.program_id == program_id, LedgerTransaction.occurred_at < at)
    )


def _per_enrollment(program_id: int, at: datetime) -> sa.Select[Any]:
    """`paid` as payouts.ledger.balances reads it: what settlements took out of the accounts,
    less what came back."""
    settled = _sum(LedgerTransaction.kind.in_([kind.value for kind in PAID]))
    columns = [_sum(LedgerAccount.kind == kind.value).label(kind.value) for kind in OWN]
    return (
        _before(
            program_id,
            at,
            LedgerAccount.enrollment_id,
            LedgerAccount.currency,
            *columns,
            (-settled).label("paid"),
        )
        .where(LedgerAccount.enrollment_id.is_not(None))
        .group_by(LedgerAccount.enrollment_id, LedgerAccount.currency)
    )


def _of_program(program_id: int, at: datetime) -> sa.Select[Any]:
    return (
        _before(
            program_id,
            at,
            LedgerAccount.currency,
            _sum(LedgerAccount.kind == AccountKind.EXPENSE.value).label("expense"),
            _sum(LedgerAccount.kind == AccountKind.CASH.value).label("cash"),
        )
        .where(LedgerAccount.enrollment_id.is_(None))
        .group_by(LedgerAccount.currency)
    )


def _sum(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.coalesce(sa.func.sum(LedgerEntry.amount_micros).filter(condition), 0)
