"""The journal of a period: every entry, both sides, and what each account went through."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.money import Money
from affiliate.people.models import Affiliate, Enrollment
from payouts.ledger.models import LedgerAccount, LedgerEntry, LedgerTransaction

FETCH_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One side of a transaction. A positive amount is a credit: the owner is owed more."""

    transaction_id: int
    at: datetime
    recorded_at: datetime
    kind: str
    reference: str
    reason: str
    account: str
    """`expense`, `cash:stripe`, `pending`, `available`, `in_payout`."""
    enrollment_id: int | None
    affiliate: str | None
    amount: Money

    @property
    def debit(self) -> Money | None:
        return -self.amount if self.amount.micros < 0 else None

    @property
    def credit(self) -> Money | None:
        return self.amount if self.amount.micros > 0 else None


@dataclass(frozen=True, slots=True)
class AccountSums:
    """An account over a period: opening + credit − debit = closing.

    The accounts of all affiliates of one kind are one: their owners stand in the entries.
    """

    account: str
    currency: str
    opening: Money
    debit: Money
    credit: Money
    closing: Money
    entries: int


def journal(
    session: Session, *, program_id: int, since: datetime, until: datetime
) -> Iterator[JournalEntry]:
    """Every entry with since ≤ business time < until, in the order of the books.

    Read through a server-side cursor: the session's transaction must stay open meanwhile.
    """
    query = (
        sa.select(
            LedgerTransaction.id,
            LedgerTransaction.occurred_at,
            LedgerTransaction.recorded_at,
            LedgerTransaction.kind,
            LedgerTransaction.reference,
            LedgerTransaction.reason,
            LedgerAccount.kind,
            LedgerAccount.rail,
            LedgerAccount.enrollment_id,
            Affiliate.name,
            LedgerEntry.amount_micros,
            LedgerEntry.currency,
        )
        .join(LedgerEntry, LedgerEntry.transaction_id == LedgerTransaction.id)
        .join(LedgerAccount, LedgerAccount.id == LedgerEntry.account_id)
        .outerjoin(Enrollment, Enrollment.id == LedgerAccount.enrollment_id)
        .outerjoin(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .where(
            LedgerAccount.program_id == program_id,
            LedgerTransaction.occurred_at >= since,
            LedgerTransaction.occurred_at < until,
        )
        .order_by(LedgerTransaction.id, LedgerEntry.id)
        .execution_options(yield_per=FETCH_ROWS)
    )
    for row in session.execute(query):
        number, at, recorded, kind, reference, reason, account, rail, owner, name, *money = row
        yield JournalEntry(
            number, at, recorded, kind, reference, reason, _named(account, rail), owner, name,
            Money(*money),
        )  # fmt: skip


def account_sums(
    session: Session, *, program_id: int, since: datetime, until: datetime
) -> list[AccountSums]:
    """What every account of a program went through in a period."""
    amount, at = LedgerEntry.amount_micros, LedgerTransaction.occurred_at

    def summed(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
        return sa.func.coalesce(sa.func.sum(amount).filter(condition), 0)

    rows = session.execute(
        sa.select(
            LedgerAccount.kind,
            LedgerAccount.rail,
            LedgerAccount.currency,
            summed(at < since),
            -summed(sa.and_(at >= since, amount < 0)),
            summed(sa.and_(at >= since, amount > 0)),
            sa.func.coalesce(sa.func.sum(amount), 0),
            sa.func.count().filter(at >= since),
        )
        .join(LedgerEntry, LedgerEntry.account_id == LedgerAccount.id)
        .join(LedgerTransaction, LedgerTransaction.id == LedgerEntry.transaction_id)
        .where(LedgerAccount.program_id == program_id, at < until)
        .group_by(LedgerAccount.kind, LedgerAccount.rail, LedgerAccount.currency)
        .order_by(LedgerAccount.currency, LedgerAccount.kind, LedgerAccount.rail)
    )
    return [
        AccountSums(
            account=_named(kind, rail),
            currency=currency,
            opening=Money(int(opening), currency),
            debit=Money(int(debit), currency),
            credit=Money(int(credit), currency),
            closing=Money(int(closing), currency),
            entries=count,
        )
        for kind, rail, currency, opening, debit, credit, closing, count in rows
    ]


def _named(kind: str, rail: str | None) -> str:
    return kind if rail is None else f"{kind}:{rail}"
