"""Statements: what a month did to what is owed, straight from the entries of the ledger.

The one reader of statements: desks, files and tests take their sums from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.errors import NotFound
from affiliate.core.money import Money, total
from affiliate.people import ids
from affiliate.people.models import Affiliate, Enrollment
from affiliate.programs.models import Program
from payouts.commissions.models import Commission
from payouts.ledger.accounts import AccountKind
from payouts.ledger.models import LedgerAccount, LedgerEntry, LedgerTransaction
from payouts.ledger.posting import Kind

MONTHS = 12
MONTHS_MAX = 120
JOURNAL_ROWS_MAX = 100_000
JOURNAL_FETCH_ROWS = 1_000
EARNED = (Kind.EARN, Kind.BONUS)
TAKEN_BACK = (Kind.VOID, Kind.CLAW_BACK, Kind.ADJUST, Kind.WRITE_OFF)
"""Usually negative; with EARNED and PAID every kind that changes what is owed."""
PAID = (Kind.SETTLE, Kind.REVERSAL)
OWED = (AccountKind.PENDING, AccountKind.AVAILABLE, AccountKind.IN_PAYOUT)


@dataclass(frozen=True, slots=True)
class Month:
    """A calendar month in a program's zone; half open, its end belongs to the next."""

    first: date
    starts_at: datetime
    ends_at: datetime

    @property
    def key(self) -> str:
        return f"{self.first:%Y-%m}"

    @property
    def following(self) -> date:
        """The first day of the next month."""
        return _following(self.first)


def month_at(first: date, time_zone: str) -> Month:
    """The month of a day, as two instants."""
    first = first.replace(day=1)
    zone = ZoneInfo(time_zone)
    starts_at, ends_at = (
        datetime(day.year, day.month, 1, tzinfo=zone).astimezone(UTC)
        for day in (first, _following(first))
    )
    return Month(first, starts_at, ends_at)


@dataclass(frozen=True, slots=True)
class Standing:
    """What stood in an affiliate's three accounts at an instant, or moved in between."""

    pending: Money
    available: Money
    in_payout: Money

    def __add__(self, other: Standing) -> Standing:
        return Standing(
            self.pending + other.pending,
            self.available + other.available,
            self.in_payout + other.in_payout,
        )

    @property
    def owed(self) -> Money:
        return self.pending + self.available + self.in_payout


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One transaction as far as it touches the affiliate."""

    at: datetime
    kind: Kind
    """earn, void (taken back before release), claw_back (after it), settle (paid), …"""
    about: str
    """The sale (`order:17`) of a commission, the item (`item:4`) of a payout."""
    level: int | None
    """Of a commission: 1 for own sales, 2 for those of a recruited affiliate."""
    reason: str
    moved: Standing

    @property
    def amount(self) -> Money:
        """What it changed of all that is owed; release, reserve and return change nothing."""
        return self.moved.owed


@dataclass(frozen=True, slots=True)
class Statement:
    """opening + every line = closing, by account and in sum."""

    enrollment_id: int
    month: Month
    opening: Standing
    lines: tuple[StatementLine, ...]
    closing: Standing

    def sum_of(self, kinds: Iterable[Kind]) -> Money:
        """All that lines of these kinds changed of what is owed."""
        wanted = tuple(kinds)
        currency = self.opening.pending.currency
        return total((line.amount for line in self.lines if line.kind in wanted), currency)


def statement(session: Session, *, enrollment_id: int, year: int, month: int) -> Statement:
    """The statement of a month in the program's time zone. Raises NotFound."""
    enrollment = session.get(Enrollment, enrollment_id)
    if enrollment is None or not 1 <= month <= MONTHS or not 1970 <= year <= 9998:
        raise NotFound
    program = session.get_one(Program, enrollment.program_id)
    bounds = month_at(date(year, month, 1), program.time_zone)
    currency = program.currency
    opening = standing_at(
        session, enrollment_id=enrollment_id, currency=currency, at=bounds.starts_at
    )
    lines = _lines(session, enrollment_id, currency, bounds)
    closing = sum((line.moved for line in lines), opening)
    return Statement(enrollment_id, bounds, opening, lines, closing)


def standing_at(session: Session, *, enrollment_id: int, currency: str, at: datetime) -> Standing:
    """What stood in the accounts just before an instant."""
    row = session.execute(
        sa.select(*_AMOUNTS)
        .select_from(LedgerEntry)
        .join(LedgerAccount, LedgerAccount.id == LedgerEntry.account_id)
        .join(LedgerTransaction, LedgerTransaction.id == LedgerEntry.transaction_id)
        .where(*_own(enrollment_id, currency), LedgerTransaction.occurred_at < at)
    ).one()
    return _standing(row, currency)


def months_with_entries(
    session: Session, *, enrollment_id: int, currency: str, time_zone: str
) -> list[date]:
    """The first days of the months in which something was booked, newest first."""
    local = sa.func.timezone(time_zone, LedgerTransaction.occurred_at)
    month = sa.cast(sa.func.date_trunc("month", local), sa.Date)
    rows = session.scalars(
        sa.select(month)
        .select_from(LedgerEntry)
        .join(LedgerAccount, LedgerAccount.id == LedgerEntry.account_id)
        .join(LedgerTransaction, LedgerTransaction.id == LedgerEntry.transaction_id)
        .where(*_own(enrollment_id, currency))
        .distinct()
        .order_by(month.desc())
        .limit(MONTHS_MAX)
    )
    return list(rows)


@dataclass(frozen=True, slots=True)
class AffiliateMonth:
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
        """The affiliate's public id."""
        return ids.public(self.enrollment_id)


def months_of_program(
    session: Session, *, program_id: int, currency: str, month: Month
) -> list[AffiliateMonth]:
    """Everybody of a program who was owed or had something booked in the month, by name."""
    amount, kind = LedgerEntry.amount_micros, LedgerTransaction.kind
    inside = LedgerTransaction.occurred_at >= month.starts_at

    def summed(*conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
        return sa.func.coalesce(sa.func.sum(amount).filter(sa.and_(*conditions)), 0)

    rows = session.execute(
        sa.select(
            Enrollment.id,
            Affiliate.name,
            summed(~inside),
            *(summed(inside, kind.in_(kinds)) for kinds in (EARNED, TAKEN_BACK, PAID)),
            sa.func.sum(amount),
        )
        .join(LedgerAccount, LedgerAccount.enrollment_id == Enrollment.id)
        .join(LedgerEntry, LedgerEntry.account_id == LedgerAccount.id)
        .join(LedgerTransaction, LedgerTransaction.id == LedgerEntry.transaction_id)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .where(
            Enrollment.program_id == program_id,
            LedgerAccount.kind.in_(OWED),
            LedgerAccount.currency == currency,
            LedgerTransaction.occurred_at < month.ends_at,
        )
        .group_by(Enrollment.id, Affiliate.name)
        .order_by(Affiliate.name, Enrollment.id)
    )
    found = [
        AffiliateMonth(row_id, name, *(Money(int(micros), currency) for micros in amounts))
        for row_id, name, *amounts in rows
    ]
    return [each for each in found if each.before or each.earned or each.taken or each.paid]


def journal(session: Session, *, program_id: int, month: Month) -> Iterator[tuple[object, ...]]:
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
            LedgerAccount.program_id == program_id,
            LedgerTransaction.occurred_at >= month.starts_at,
            LedgerTransaction.occurred_at < month.ends_at,
        )
        .order_by(LedgerTransaction.id, LedgerEntry.id)
        .limit(JOURNAL_ROWS_MAX)
        .execution_options(yield_per=JOURNAL_FETCH_ROWS)
    )
    for row in session.execute(query):
        yield tuple(row)


def _own(enrollment_id: int, currency: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (LedgerAccount.enrollment_id == enrollment_id, LedgerAccount.currency == currency)


def _by_kind(kind: AccountKind) -> sa.ColumnElement[int]:
    own = sa.func.sum(LedgerEntry.amount_micros).filter(LedgerAccount.kind == kind.value)
    return sa.func.coalesce(own, 0).label(kind.value)


_AMOUNTS = tuple(_by_kind(kind) for kind in OWED)


def _standing(row: Any, currency: str) -> Standing:
    amounts = (getattr(row, kind.value) for kind in OWED)
    return Standing(*(Money(int(amount), currency) for amount in amounts))


def _lines(
    session: Session, enrollment_id: int, currency: str, month: Month
) -> tuple[StatementLine, ...]:
    t = LedgerTransaction
    rows = session.execute(
        sa.select(t.id, t.kind, t.reference, t.reason, t.occurred_at, *_AMOUNTS)
        .select_from(LedgerEntry)
        .join(LedgerAccount, LedgerAccount.id == LedgerEntry.account_id)
        .join(t, t.id == LedgerEntry.transaction_id)
        .where(
            *_own(enrollment_id, currency),
            t.occurred_at >= month.starts_at,
            t.occurred_at < month.ends_at,
        )
        .group_by(t.id)
        .order_by(t.occurred_at, t.id)
    ).all()
    sales = _sales(session, [row.reference for row in rows])
    lines = []
    for row in rows:
        about, level = sales.get(row.reference, (_tail(row.reference), None))
        moved = _standing(row, currency)
        lines.append(
            StatementLine(row.occurred_at, Kind(row.kind), about, level, row.reason, moved)
        )
    return tuple(lines)


def _tail(reference: str) -> str:
    """`item:4` of `settle:item:4`."""
    return reference.partition(":")[2]


def _sales(session: Session, references: Sequence[str]) -> dict[str, tuple[str, int | None]]:
    """The sale and level behind each reference that ends in `commission:<id>`."""
    numbers = {
        reference: int(reference.rpartition(":")[2])
        for reference in references
        if ":commission:" in reference
    }
    if not numbers:
        return {}
    rows = session.execute(
        sa.select(Commission.id, Commission.reference, Commission.level).where(
            Commission.id.in_(set(numbers.values()))
        )
    )
    known = {commission_id: (sale, level) for commission_id, sale, level in rows}
    return {reference: known[i] for reference, i in numbers.items() if i in known}


def _following(first: date) -> date:
    year, number = divmod(first.year * MONTHS + first.month, MONTHS)
    return date(year, number + 1, 1)
