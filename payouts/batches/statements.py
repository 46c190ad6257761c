"""Statements: what a period did to what is owed, straight from the entries of the ledger.

The one reader of statements: desks, files and tests take their sums from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.errors import NotFound
from affiliate.core.money import Money, total
from affiliate.people import ids
from affiliate.people.models import Affiliate, Enrollment
from affiliate.programs.models import Program
from payouts.batches.periods import MONTHS, YEAR_MAX, YEAR_MIN, Period, month_at
from payouts.commissions.models import Commission
from payouts.ledger.accounts import AccountKind
from payouts.ledger.models import LedgerAccount, LedgerEntry, LedgerTransaction
from payouts.ledger.posting import Kind

MONTHS_MAX = 120
LINES_PER_FETCH = 1_000
EARNED = (Kind.EARN, Kind.BONUS)
TAKEN_BACK = (Kind.VOID, Kind.CLAW_BACK, Kind.ADJUST, Kind.WRITE_OFF)
"""Usually negative; with EARNED and PAID every kind that changes what is owed."""
PAID = (Kind.SETTLE, Kind.REVERSAL)
OWED = (AccountKind.PENDING, AccountKind.AVAILABLE, AccountKind.IN_PAYOUT)


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
class Earning:
    """The commission behind a line, and how it came to its amount."""

    level: int
    base: Money
    rate_ppm: int | None
    """Parts per million of the base; none where the amount is not a plain share."""
    amount: Money
    """As it was earned."""


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One transaction as far as it touches the affiliate."""

    transaction_id: int
    at: datetime
    kind: Kind
    """earn, void (taken back before release), claw_back (after it), settle (paid), …"""
    about: str
    """The sale (`order:17`) of a commission, the item (`item:4`) of a payout."""
    earning: Earning | None
    reason: str
    moved: Standing

    @property
    def amount(self) -> Money:
        """What it changed of all that is owed; release, reserve and return change nothing."""
        return self.moved.owed

    @property
    def level(self) -> int | None:
        """Of a commission: 1 for own sales, 2 for those of a recruited affiliate."""
        return None if self.earning is None else self.earning.level


@dataclass(frozen=True, slots=True)
class Summary:
    """What a period came to, without its lines: of any length in one question."""

    enrollment_id: int
    period: Period
    opening: Standing
    closing: Standing
    sums: Mapping[Kind, Money]
    """What each kind of transaction changed of all that is owed."""
    count: int
    """How many lines there are."""

    def sum_of(self, kinds: Iterable[Kind]) -> Money:
        """All that lines of these kinds changed of what is owed."""
        currency = self.opening.pending.currency
        return total((self.sums[kind] for kind in kinds if kind in self.sums), currency)


@dataclass(frozen=True, slots=True)
class Statement:
    """opening + every line = closing, by account and in sum."""

    enrollment_id: int
    period: Period
    opening: Standing
    lines: tuple[StatementLine, ...]
    closing: Standing

    def sum_of(self, kinds: Iterable[Kind]) -> Money:
        """All that lines of these kinds changed of what is owed."""
        wanted = tuple(kinds)
        currency = self.opening.pending.currency
        return total((line.amount for line in self.lines if line.kind in wanted), currency)


def statement(session: Session, *, enrollment_id: int, year: int, month: int) -> Statement:
    """The whole statement of a month in the program's time zone. Raises NotFound."""
    enrollment = session.get(Enrollment, enrollment_id)
    if enrollment is None or not 1 <= month <= MONTHS or not YEAR_MIN <= year <= YEAR_MAX:
        raise NotFound
    program = session.get_one(Program, enrollment.program_id)
    period = month_at(date(year, month, 1), program.time_zone)
    currency = program.currency
    opening = standing_at(
        session, enrollment_id=enrollment_id, currency=currency, at=period.starts_at
    )
    lines = tuple(
        statement_lines(session, enrollment_id=enrollment_id, currency=currency, period=period)
    )
    closing = sum((line.moved for line in lines), opening)
    return Statement(enrollment_id, period, opening, lines, closing)


def summary(session: Session, *, enrollment_id: int, currency: str, period: Period) -> Summary:
    """Opening, closing and the sum of each kind of line of a period."""
    t = LedgerTransaction
    opening = standing_at(
        session, enrollment_id=enrollment_id, currency=currency, at=period.starts_at
    )
    rows = session.execute(
        sa.select(t.kind, sa.func.count(t.id.distinct()).label("lines"), *_AMOUNTS)
        .select_from(LedgerEntry)
        .join(LedgerAccount, LedgerAccount.id == LedgerEntry.account_id)
        .join(t, t.id == LedgerEntry.transaction_id)
        .where(*_own(enrollment_id, currency), *_inside(period))
        .group_by(t.kind)
    ).all()
    moved = {Kind(row.kind): _standing(row, currency) for row in rows}
    return Summary(
        enrollment_id,
        period,
        opening,
        sum(moved.values(), opening),
        {kind: standing.owed for kind, standing in moved.items()},
        sum(row.lines for row in rows),
    )


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
    session: Session, *, program_id: int, currency: str, month: Period
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


def _own(enrollment_id: int, currency: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (LedgerAccount.enrollment_id == enrollment_id, LedgerAccount.currency == currency)


def _by_kind(kind: AccountKind) -> sa.ColumnElement[int]:
    own = sa.func.sum(LedgerEntry.amount_micros).filter(LedgerAccount.kind == kind.value)
    return sa.func.coalesce(own, 0).label(kind.value)


_AMOUNTS = tuple(_by_kind(kind) for kind in OWED)


def _standing(row: Any, currency: str) -> Standing:
    amounts = (getattr(row, kind.value) for kind in OWED)
    return Standing(*(Money(int(amount), currency) for amount in amounts))


def statement_lines(
    session: Session,
    *,
    enrollment_id: int,
    currency: str,
    period: Period,
    rows_max: int | None = None,
) -> Iterator[StatementLine]:
    """The lines of a period in the order in which they happened, asked for page by page."""
    after: tuple[datetime, int] | None = None
    left = rows_max
    while left is None or left > 0:
        wanted = LINES_PER_FETCH if left is None else min(left, LINES_PER_FETCH)
        lines = _page(session, enrollment_id, currency, period, after, wanted)
        yield from lines
        if len(lines) < wanted:
            return
        after = (lines[-1].at, lines[-1].transaction_id)
        left = None if left is None else left - len(lines)


def _page(
    session: Session,
    enrollment_id: int,
    currency: str,
    period: Period,
    after: tuple[datetime, int] | None,
    rows_max: int,
) -> list[StatementLine]:
    t = LedgerTransaction
    query = (
        sa.select(t.id, t.kind, t.reference, t.reason, t.occurred_at, *_AMOUNTS)
        .select_from(LedgerEntry)
        .join(LedgerAccount, LedgerAccount.id == LedgerEntry.account_id)
        .join(t, t.id == LedgerEntry.transaction_id)
        .where(*_own(enrollment_id, currency), *_inside(period))
        .group_by(t.id)
        .order_by(t.occurred_at, t.id)
        .limit(rows_max)
    )
    if after is not None:
        query = query.where(sa.tuple_(t.occurred_at, t.id) > sa.tuple_(*after))
    rows = session.execute(query).all()
    sales = _sales(session, [row.reference for row in rows])
    lines = []
    for row in rows:
        about, earning = sales.get(row.reference, (_tail(row.reference), None))
        moved = _standing(row, currency)
        lines.append(
            StatementLine(
                row.id, row.occurred_at, Kind(row.kind), about, earning, row.reason, moved
            )
        )
    return lines


def _inside(period: Period) -> tuple[sa.ColumnElement[bool], ...]:
    at = LedgerTransaction.occurred_at
    return (at >= period.starts_at, at < period.ends_at)


def _tail(reference: str) -> str:
    """`item:4` of `settle:item:4`."""
    return reference.partition(":")[2]


def _sales(session: Session, references: Sequence[str]) -> dict[str, tuple[str, Earning]]:
    """The sale behind each reference that ends in `commission:<id>`, and what it earned."""
    numbers = {
        reference: int(reference.rpartition(":")[2])
        for reference in references
        if ":commission:" in reference
    }
    if not numbers:
        return {}
    c = Commission
    rows = session.execute(
        sa.select(
            c.id, c.reference, c.level, c.base_micros, c.rate_ppm, c.amount_micros, c.currency
        ).where(c.id.in_(set(numbers.values())))
    )
    known = {row.id: (row.reference, _earning(row)) for row in rows}
    return {reference: known[i] for reference, i in numbers.items() if i in known}


def _earning(row: Any) -> Earning:
    """A rate is named only where it alone explains the amount; caps and boosts have pages."""
    base, amount = Money(row.base_micros, row.currency), Money(row.amount_micros, row.currency)
    plain = row.rate_ppm is not None and base.share(row.rate_ppm) == amount
    return Earning(row.level, base, row.rate_ppm if plain else None, amount)
