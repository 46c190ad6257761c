"""What invoices are drawn up from, and which there are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from affiliate.core import ids
from affiliate.core.errors import NotFound
from affiliate.core.money import Money
from affiliate.people import ids as people_ids
from affiliate.people.models import Affiliate, Enrollment
from affiliate.programs.models import Program
from payouts.batches.models import PayoutAttempt, PayoutBatch, PayoutItem, PayoutReversal
from payouts.batches.periods import Period
from payouts.invoices.models import Invoice, TaxProfile
from payouts.invoices.rules import Document, InvoiceLine, read
from payouts.ledger.accounts import AccountKind
from payouts.ledger.models import LedgerAccount, LedgerEntry, LedgerTransaction
from payouts.ledger.posting import Kind

PREFIX = "inv"
ROWS_MAX = 500


@dataclass(frozen=True, slots=True)
class InvoiceView:
    """One issued document."""

    id: int
    program_id: int
    enrollment_id: int
    kind: str
    name: str
    period: date
    gross: Money
    issued_at: datetime
    hash: str
    credited: bool
    """Of an invoice: a credit took it back."""

    @property
    def public(self) -> str:
        return ids.public_id(PREFIX, self.id)


@dataclass(frozen=True, slots=True)
class Payable:
    """An affiliate who was paid in a month, and how far their invoice is."""

    enrollment_id: int
    affiliate: str
    paid: Money
    has_tax_data: bool
    invoice: InvoiceView | None
    """The one that stands; none: not issued yet, or credited."""
    invoiced: Money | None
    """What the standing invoice says was paid; differs where a payout came back since."""

    @property
    def public(self) -> str:
        return people_ids.public(self.enrollment_id)

    @property
    def differs(self) -> bool:
        return self.invoiced is not None and self.invoiced != self.paid


def paid_lines(
    session: Session, *, enrollment_id: int, program: Program, period: Period
) -> tuple[Money, list[InvoiceLine]]:
    """The payouts of a period that stand, each as a line, and their sum.

    What came back of one is not in it, whenever it came back; what came back whole is no line.
    """
    t, zone = LedgerTransaction, ZoneInfo(program.time_zone)
    rows = session.execute(
        sa.select(
            t.occurred_at, PayoutBatch.number, PayoutItem.id, PayoutAttempt.transfer_id,
            PayoutItem.amount_micros - _came_back(),
        )
        .join(LedgerEntry, LedgerEntry.transaction_id == t.id)
        .join(LedgerAccount, LedgerAccount.id == LedgerEntry.account_id)
        .join(PayoutItem, PayoutItem.settle_transaction_id == t.id)
        .join(PayoutBatch, PayoutBatch.id == PayoutItem.batch_id)
        .outerjoin(
            PayoutAttempt,
            sa.and_(PayoutAttempt.item_id == PayoutItem.id, PayoutAttempt.status == "succeeded"),
        )
        .where(
            LedgerAccount.enrollment_id == enrollment_id,
            *_settled(period),
            PayoutItem.amount_micros > _came_back(),
        )
        .order_by(t.id)
    ).all()  # fmt: skip
    lines = [
        InvoiceLine(
            paid_on=at.astimezone(zone).date().isoformat(),
            batch=number,
            # What a person typed as the reference is kept unique by a prefix.
            reference=(transfer or "").removeprefix(f"manual:{item_id}:"),
            amount=Money(int(micros), program.currency).decimal,
        )
        for at, number, item_id, transfer, micros in rows
    ]
    return Money(sum(int(row[-1]) for row in rows), program.currency), lines


def payable_in(session: Session, *, program: Program, period: Period) -> list[Payable]:
    """Everybody who was paid in a month, by name, with the invoice that stands."""
    t = LedgerTransaction
    paid = (
        sa.select(
            LedgerAccount.enrollment_id.label("enrollment_id"),
            sa.func.sum(PayoutItem.amount_micros - _came_back()).label("micros"),
        )
        .select_from(t)
        .join(LedgerEntry, LedgerEntry.transaction_id == t.id)
        .join(LedgerAccount, LedgerAccount.id == LedgerEntry.account_id)
        .join(PayoutItem, PayoutItem.settle_transaction_id == t.id)
        .where(LedgerAccount.program_id == program.id, *_settled(period))
        .group_by(LedgerAccount.enrollment_id)
        .subquery()
    )
    credited = aliased(Invoice)
    stands = (
        sa.select(Invoice)
        .where(
            Invoice.program_id == program.id,
            Invoice.period == period.first,
            Invoice.kind == "invoice",
            ~sa.exists().where(credited.corrects_id == Invoice.id),
        )
        .subquery()
    )
    standing = aliased(Invoice, stands)
    rows = session.execute(
        sa.select(Enrollment.id, Affiliate.name, paid.c[1], TaxProfile.id.is_not(None), standing)
        .join(paid, paid.c.enrollment_id == Enrollment.id, isouter=True)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .outerjoin(
            TaxProfile,
            sa.and_(TaxProfile.affiliate_id == Affiliate.id, TaxProfile.replaced_at.is_(None)),
        )
        .outerjoin(standing, standing.enrollment_id == Enrollment.id)
        .where(
            Enrollment.program_id == program.id,
            sa.or_(paid.c.enrollment_id.is_not(None), standing.id.is_not(None)),
        )
        .order_by(Affiliate.name, Enrollment.id)
    )
    return [
        Payable(
            number,
            name,
            Money(int(micros or 0), program.currency),
            bool(has),
            None if row is None else _view(row, False),
            None if row is None else _paid_of(row),
        )
        for number, name, micros, has, row in rows
    ]


def invoices_of(
    session: Session,
    *,
    program_ids: Collection[int],
    enrollment_id: int | None = None,
    period: date | None = None,
    rows_max: int = ROWS_MAX,
) -> list[InvoiceView]:
    """Issued documents, newest first."""
    query = sa.select(Invoice).where(Invoice.program_id.in_(list(program_ids)))
    if enrollment_id is not None:
        query = query.where(Invoice.enrollment_id == enrollment_id)
    if period is not None:
        query = query.where(Invoice.period == period)
    rows = list(session.scalars(query.order_by(Invoice.id.desc()).limit(rows_max)))
    credits = set(
        session.scalars(
            sa.select(Invoice.corrects_id).where(Invoice.corrects_id.in_([row.id for row in rows]))
        )
    )
    return [_view(row, row.id in credits) for row in rows]


def document_of(session: Session, *, invoice_id: int) -> tuple[InvoiceView, Document]:
    """One issued document with all that is printed on it; NotFound."""
    row = session.get(Invoice, invoice_id)
    if row is None:
        raise NotFound
    credited = session.scalar(sa.select(Invoice.id).where(Invoice.corrects_id == row.id))
    return _view(row, credited is not None), read(row.document)


def _settled(period: Period) -> tuple[sa.ColumnElement[bool], ...]:
    """Settlements of a period, out of payout."""
    return (
        LedgerAccount.kind == AccountKind.IN_PAYOUT.value,
        LedgerTransaction.kind == Kind.SETTLE.value,
        LedgerTransaction.occurred_at >= period.starts_at,
        LedgerTransaction.occurred_at < period.ends_at,
    )


def _came_back() -> sa.ScalarSelect[int]:
    """How much of the item came back, at any time."""
    return (
        sa.select(sa.func.coalesce(sa.func.sum(PayoutReversal.amount_micros), 0))
        .where(PayoutReversal.item_id == PayoutItem.id)
        .correlate(PayoutItem)
        .scalar_subquery()
    )


def _view(row: Invoice, credited: bool) -> InvoiceView:
    return InvoiceView(
        id=row.id,
        program_id=row.program_id,
        enrollment_id=row.enrollment_id,
        kind=row.kind,
        name=row.name,
        period=row.period,
        gross=Money(row.gross_micros, row.currency),
        issued_at=row.issued_at,
        hash=row.hash,
        credited=credited,
    )


def _paid_of(row: Invoice) -> Money:
    includes = read(row.document).includes_vat
    return Money(row.gross_micros if includes else row.net_micros, row.currency)
