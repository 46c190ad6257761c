"""The plain statement: one month of one enrollment, line by line, equal to the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.errors import NotFound
from affiliate.core.money import Money
from affiliate.people.models import Enrollment
from affiliate.programs.models import Program
from payouts.commissions.models import Commission
from payouts.ledger.models import LedgerAccount, LedgerEntry, LedgerTransaction
from payouts.ledger.posting import Kind

MONTHS = 12


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One fact that changed what the program owes the affiliate."""

    at: datetime
    kind: Kind
    """earn, void (taken back before release), claw_back (after it), settle (paid), …"""
    about: str
    """The sale (`order:17`) of a commission, the item (`item:4`) of a payout."""
    level: int | None
    """Of a commission: 1 for own sales, 2 for those of a recruited affiliate."""
    reason: str
    amount: Money
    """Positive: owed more; a payout is negative."""
    owed_after: Money


@dataclass(frozen=True, slots=True)
class Statement:
    """opening + lines = closing, and closing is what the ledger owes at the month's end."""

    enrollment_id: int
    month: date
    """Its first day."""
    starts_at: datetime
    ends_at: datetime
    """Half open: an instant at the end belongs to the next month."""
    opening: Money
    lines: tuple[StatementLine, ...]
    closing: Money


def statement(session: Session, *, enrollment_id: int, year: int, month: int) -> Statement:
    """The statement of a month in the program's time zone. Raises NotFound."""
    enrollment = session.get(Enrollment, enrollment_id)
    if enrollment is None or not 1 <= month <= MONTHS or not 1970 <= year <= 9998:
        raise NotFound
    program = session.get_one(Program, enrollment.program_id)
    starts_at, ends_at = month_bounds(year, month, program.time_zone)
    currency = program.currency
    opening = owed_at(session, enrollment_id=enrollment_id, currency=currency, at=starts_at)
    owed, lines = opening, []
    for row in ledger_lines(
        session, enrollment_id=enrollment_id, currency=currency, since=starts_at, until=ends_at
    ):
        owed += row.amount
        lines.append(
            StatementLine(
                row.at, row.kind, row.about, row.level, row.reason, row.amount, owed_after=owed
            )
        )
    return Statement(
        enrollment_id, date(year, month, 1), starts_at, ends_at, opening, tuple(lines), owed
    )


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """A transaction as one enrollment sees it: what it changed of all that is owed."""

    transaction_id: int
    at: datetime
    kind: Kind
    reference: str
    about: str
    level: int | None
    reason: str
    amount: Money


def ledger_lines(
    session: Session, *, enrollment_id: int, currency: str, since: datetime, until: datetime
) -> Sequence[LedgerLine]:
    """Every transaction in `since <= at < until` that changed what is owed, in order.

    Release, reserve and return move money between the affiliate's own accounts: they
    change nothing of the sum and have no line.
    """
    changed = sa.func.sum(LedgerEntry.amount_micros)
    rows = session.execute(
        sa.select(LedgerTransaction, changed)
        .join(LedgerEntry, LedgerEntry.transaction_id == LedgerTransaction.id)
        .join(LedgerAccount, LedgerAccount.id == LedgerEntry.account_id)
        .where(
            LedgerAccount.enrollment_id == enrollment_id,
            LedgerAccount.currency == currency,
            LedgerTransaction.occurred_at >= since,
            LedgerTransaction.occurred_at < until,
        )
        .group_by(LedgerTransaction.id)
        .having(changed != 0)
        .order_by(LedgerTransaction.occurred_at, LedgerTransaction.id)
    ).all()
    sales = _sales(session, [transaction.reference for transaction, _ in rows])
    return [
        LedgerLine(
            transaction_id=transaction.id,
            at=transaction.occurred_at,
            kind=Kind(transaction.kind),
            reference=transaction.reference,
            about=sales.get(transaction.reference, (_tail(transaction.reference), None))[0],
            level=sales.get(transaction.reference, ("", None))[1],
            reason=transaction.reason,
            amount=Money(int(micros), currency),
        )
        for transaction, micros in rows
    ]


def owed_at(session: Session, *, enrollment_id: int, currency: str, at: datetime) -> Money:
    """What was owed just before an instant: pending, available and in payout together."""
    micros = session.scalar(
        sa.select(sa.func.sum(LedgerEntry.amount_micros))
        .join(LedgerAccount, LedgerAccount.id == LedgerEntry.account_id)
        .join(LedgerTransaction, LedgerTransaction.id == LedgerEntry.transaction_id)
        .where(
            LedgerAccount.enrollment_id == enrollment_id,
            LedgerAccount.currency == currency,
            LedgerTransaction.occurred_at < at,
        )
    )
    return Money(int(micros or 0), currency)


def month_bounds(year: int, month: int, time_zone: str) -> tuple[datetime, datetime]:
    """The first instant of a local month and of the next."""
    zone = ZoneInfo(time_zone)
    after = (year + month // MONTHS, month % MONTHS + 1)
    return (
        datetime(year, month, 1, tzinfo=zone).astimezone(UTC),
        datetime(*after, 1, tzinfo=zone).astimezone(UTC),
    )


def _tail(reference: str) -> str:
    """`item:4` of `settle:item:4`."""
    return reference.partition(":")[2]


def _sales(session: Session, references: list[str]) -> dict[str, tuple[str, int]]:
    """The sale and level behind each reference that ends in `commission:<id>`."""
    ids = {
        reference: int(reference.rpartition(":")[2])
        for reference in references
        if ":commission:" in reference
    }
    rows = session.execute(
        sa.select(Commission.id, Commission.reference, Commission.level).where(
            Commission.id.in_(set(ids.values()))
        )
    )
    known = {commission_id: (sale, level) for commission_id, sale, level in rows}
    return {reference: known[i] for reference, i in ids.items() if i in known}
