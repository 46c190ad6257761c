"""What each affiliate was owed, earned and was paid in a month, straight from the entries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.errors import Invalid
from affiliate.core.money import Money, total
from affiliate.people import ids as people_ids
from affiliate.people.models import Affiliate, Enrollment
from affiliate.programs.models import Program
from payouts.ledger.models import LedgerAccount, LedgerEntry, LedgerTransaction

JOURNAL_ROWS_MAX = 100_000
JOURNAL_FETCH_ROWS = 1_000
_OWED = ("pending", "available", "in_payout")
_EARNED = ("earn", "bonus")
_TAKEN = ("void", "claw_back", "adjust", "write_off")


@dataclass(frozen=True)
class Month:
    """A calendar month in the program's zone, as two instants."""

    first: date
    starts: datetime
    ends: datetime

    @property
    def key(self) -> str:
        return f"{self.first:%Y-%m}"


@dataclass(frozen=True)
class StatementLine:
    """One affiliate's month. `before + earned + taken + paid = after`, to the micro."""

    enrollment_id: int
    name: str
    before: Money
    earned: Money
    taken: Money
    """Voided, taken back by refunds, adjusted: usually negative."""
    paid: Money
    """Negative: it left."""
    after: Money

    @property
    def public(self) -> str:
        return people_ids.public(self.enrollment_id)


def month_of(text: str | None, *, program: Program, now: datetime) -> Month:
    """`2026-11` in the program's zone; the present month without one. Raises Invalid."""
    zone = ZoneInfo(program.time_zone)
    try:
        first = date.fromisoformat(f"{text}-01") if text else now.astimezone(zone).date()
    except ValueError:
        raise Invalid.field("month", "not_a_month", "Write the month as 2026-11.") from None
    first = first.replace(day=1)
    if not 2000 <= first.year <= 2200:
        raise Invalid.field("month", "not_a_month", "Choose a month between 2000 and 2200.")
    return Month(first, _midnight(first, zone), _midnight(_next(first), zone))


def months_around(month: Month, *, now: datetime) -> tuple[str, str | None]:
    """The month before, and the one after unless it lies in the future."""
    year, number = divmod(month.first.year * 12 + month.first.month - 2, 12)
    before = f"{year:04d}-{number + 1:02d}"
    after = f"{_next(month.first):%Y-%m}" if month.ends <= now else None
    return before, after


def statement(session: Session, *, program: Program, month: Month) -> list[StatementLine]:
    """A line for everybody who was owed or had something booked in the month, by name."""
    amount, at = LedgerEntry.amount_micros, LedgerTransaction.occurred_at
    inside = at >= month.starts

    def summed(*conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
        return sa.func.coalesce(sa.func.sum(amount).filter(sa.and_(*conditions)), 0)

    kind = LedgerTransaction.kind
    rows = session.execute(
        sa.select(
            Enrollment.id,
            Affiliate.name,
            summed(~inside),
            summed(inside, kind.in_(_EARNED)),
            summed(inside, kind.in_(_TAKEN)),
            summed(inside, kind == "settle"),
            sa.func.sum(amount),
        )
        .join(LedgerAccount, LedgerAccount.enrollment_id == Enrollment.id)
        .join(LedgerEntry, LedgerEntry.account_id == LedgerAccount.id)
        .join(LedgerTransaction, LedgerTransaction.id == LedgerEntry.transaction_id)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .where(
            Enrollment.program_id == program.id,
            LedgerAccount.kind.in_(_OWED),
            LedgerAccount.currency == program.currency,
            at < month.ends,
        )
        .group_by(Enrollment.id, Affiliate.name)
        .order_by(Affiliate.name, Enrollment.id)
    )
    lines = [
        StatementLine(row_id, name, *(Money(int(micros), program.currency) for micros in amounts))
        for row_id, name, *amounts in rows
    ]
    return [line for line in lines if line.before or line.earned or line.taken or line.paid]


def totals(lines: list[StatementLine], currency: str) -> dict[str, Money]:
    """The sum of each column."""
    return {
        name: total((getattr(line, name) for line in lines), currency)
        for name in ("before", "earned", "taken", "paid", "after")
    }


def journal(session: Session, *, program: Program, month: Month) -> Iterator[tuple[object, ...]]:
    """Every entry of the month in the order of the books: what an accountant imports."""
    query = (
        sa.select(
            LedgerTransaction.id,
            LedgerTransaction.occurred_at,
            LedgerTransaction.kind,
            LedgerTransaction.reference,
            LedgerTransaction.reason,
            LedgerAccount.kind,
            LedgerAccount.enrollment_id,
            LedgerEntry.amount_micros,
            LedgerEntry.currency,
        )
        .join(LedgerEntry, LedgerEntry.transaction_id == LedgerTransaction.id)
        .join(LedgerAccount, LedgerAccount.id == LedgerEntry.account_id)
        .where(
            LedgerAccount.program_id == program.id,
            LedgerTransaction.occurred_at >= month.starts,
            LedgerTransaction.occurred_at < month.ends,
        )
        .order_by(LedgerTransaction.id, LedgerEntry.id)
        .limit(JOURNAL_ROWS_MAX)
        .execution_options(yield_per=JOURNAL_FETCH_ROWS)
    )
    for row in session.execute(query):
        yield tuple(row)


def _next(first: date) -> date:
    year, number = divmod(first.year * 12 + first.month, 12)
    return date(year, number + 1, 1)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)
