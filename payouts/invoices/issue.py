"""Issue the invoice of a month and credit it: once, under a number without gaps, for good."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Conflict, Invalid, NotFound
from affiliate.core.money import Money
from affiliate.people import ids
from affiliate.people.models import Enrollment
from affiliate.programs.models import Program
from payouts.batches.approve import require_finance
from payouts.batches.periods import Period, month_at
from payouts.invoices.models import Invoice, InvoiceCounter
from payouts.invoices.parties import VatStatus
from payouts.invoices.profiles import Issuer, Profile, issuer_of, profile_of
from payouts.invoices.reading import paid_lines
from payouts.invoices.rules import (
    Amounts,
    Document,
    InvoiceParty,
    amounts,
    fingerprint,
    lines_in_order,
    printed_number,
    read,
    stored,
)

REASON_CHARS_MAX = 500


class MonthRuns(Conflict):
    code = "month_not_over"
    title = "The month is not over; its invoice is issued afterwards."


class NoIssuer(Conflict):
    code = "no_invoice_issuer"
    title = "First say who the merchant is: name, address and tax number."


class NoTaxData(Conflict):
    code = "no_tax_data"
    title = "The affiliate has not given their tax data yet, or has not agreed to self-billing."


class NoVatNumber(Conflict):
    code = "no_customer_vat_number"
    title = "Reverse charge needs the merchant's VAT number as well."


class NothingPaid(Conflict):
    code = "nothing_paid"
    title = "Nothing was paid to this affiliate in the month."


class AlreadyIssued(Conflict):
    code = "invoice_issued"
    title = "The invoice of this month is issued already."


class AlreadyCredited(Conflict):
    code = "invoice_credited"
    title = "This document is a credit, or has one already."


def issue(
    session: Session, *, enrollment_id: int, month: date, by_user_id: int | None, now: datetime
) -> int:
    """Issue the invoice over what was paid out in a month; its id.

    Once per enrollment and month: a second one only after a credit of the first. `by_user_id`
    is None for the job. Raises NotFound, NotFinance, MonthRuns, NoIssuer, NoTaxData,
    NoVatNumber, NothingPaid, AlreadyIssued; then no number is used.
    """
    enrollment = session.get(Enrollment, enrollment_id)
    if enrollment is None:
        raise NotFound
    program = session.get_one(Program, enrollment.program_id)
    if by_user_id is not None:
        require_finance(session, program_id=program.id, user_id=by_user_id)
    period = month_at(month, program.time_zone)
    if now < period.ends_at:
        raise MonthRuns
    issuer = issuer_of(session, program_id=program.id)
    if issuer is None:
        raise NoIssuer
    profile = profile_of(session, affiliate_id=enrollment.affiliate_id)
    if profile is None:
        raise NoTaxData
    if profile.vat_status == VatStatus.REVERSE_CHARGE and not issuer.vat_number:
        raise NoVatNumber
    day = now.astimezone(ZoneInfo(program.time_zone)).date()
    number = _next_number(session, program.id, day.year)
    edition = _edition(session, enrollment_id, period.first)
    document, sums = _drawn_up(session, program, enrollment, period, issuer, profile)
    return _write(
        session, program=program, enrollment_id=enrollment_id, period=period.first,
        document=replace(document, issued_on=day.isoformat(),
                         number=printed_number(issuer.number_prefix, day.year, number)),
        net=sums.net, vat=sums.vat, gross=sums.gross, year=day.year, number=number,
        edition=edition, by=by_user_id, now=now,
    )  # fmt: skip


def credit(
    session: Session, *, invoice_id: int, reason: str, by_user_id: int, now: datetime
) -> int:
    """Take back the whole of an invoice by a document of its own; the credit's id.

    The invoice stays as it was issued. Raises NotFound, NotFinance, Invalid (reason),
    AlreadyCredited.
    """
    row = session.get(Invoice, invoice_id)
    if row is None:
        raise NotFound
    require_finance(session, program_id=row.program_id, user_id=by_user_id)
    reason = " ".join(reason.split())
    if not 1 <= len(reason) <= REASON_CHARS_MAX:
        raise Invalid.field("reason", "length", "Say why, in a few words; it is kept.")
    program = session.get_one(Program, row.program_id)
    day = now.astimezone(ZoneInfo(program.time_zone)).date()
    number = _next_number(session, program.id, day.year)
    taken = session.scalar(sa.select(Invoice.id).where(Invoice.corrects_id == row.id))
    if row.kind == "credit" or taken is not None:
        raise AlreadyCredited
    before = read(row.document)
    prefix = row.name.removesuffix(f"-{row.year}-{row.number:05d}")
    net, vat, gross = (
        Money(-micros, row.currency)
        for micros in (row.net_micros, row.vat_micros, row.gross_micros)
    )
    document = replace(
        before,
        kind="credit",
        number=printed_number(prefix, day.year, number),
        issued_on=day.isoformat(),
        lines=tuple(replace(line, amount=_minus(line.amount)) for line in before.lines),
        corrects=before.number,
        corrects_issued_on=before.issued_on,
        reason=reason,
        net=_minus(before.net),
        vat=_minus(before.vat),
        gross=_minus(before.gross),
        paid=_minus(before.paid),
        due=_minus(before.due),
    )
    return _write(
        session, program=program, enrollment_id=row.enrollment_id, period=row.period,
        document=document, net=net, vat=vat, gross=gross, year=day.year, number=number,
        edition=row.edition,
        by=by_user_id, now=now, corrects_id=row.id,
    )  # fmt: skip


def _next_number(session: Session, program_id: int, year: int) -> int:
    """The number to use, under the lock that makes everybody else wait for this document.

    The counter moves only with the document, in one transaction: a refusal or a death
    afterwards leaves it where it was, so that no number is ever missing or given twice.
    """
    session.execute(
        insert(InvoiceCounter)
        .values(program_id=program_id, year=year, last=0)
        .on_conflict_do_nothing()
    )
    last = session.scalar(
        sa.select(InvoiceCounter.last)
        .where(InvoiceCounter.program_id == program_id, InvoiceCounter.year == year)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return int(last or 0) + 1


def _edition(session: Session, enrollment_id: int, period: date) -> int:
    """1 for the first invoice of the month, one more after a credit. Raises AlreadyIssued."""
    credits = sa.select(Invoice.corrects_id).where(Invoice.corrects_id.is_not(None))
    rows = session.execute(
        sa.select(Invoice.edition, Invoice.id.in_(credits)).where(
            Invoice.enrollment_id == enrollment_id,
            Invoice.period == period,
            Invoice.kind == "invoice",
        )
    ).all()
    if not all(credited for _edition, credited in rows):
        raise AlreadyIssued
    return max((edition for edition, _credited in rows), default=0) + 1


def _drawn_up(
    session: Session,
    program: Program,
    enrollment: Enrollment,
    period: Period,
    issuer: Issuer,
    profile: Profile,
) -> tuple[Document, Amounts]:
    paid, lines = paid_lines(session, enrollment_id=enrollment.id, program=program, period=period)
    if not lines:
        raise NothingPaid
    sums = amounts(paid, includes_vat=issuer.includes_vat, vat_rate_ppm=profile.vat_rate_ppm)
    zone = ZoneInfo(program.time_zone)
    document = Document(
        kind="invoice",
        number="",
        program=program.name,
        affiliate=ids.public(enrollment.id),
        period=period.key,
        time_zone=program.time_zone,
        issued_on="",
        currency=program.currency,
        supplier=InvoiceParty(
            profile.name,
            profile.address,
            profile.country,
            profile.tax_number,
            profile.vat_number,
            profile.legal_form,
        ),
        customer=InvoiceParty(
            issuer.name, issuer.address, issuer.country, issuer.tax_number, issuer.vat_number
        ),
        agreed_on=profile.agreed_at.astimezone(zone).date().isoformat(),
        includes_vat=issuer.includes_vat,
        vat_status=profile.vat_status,
        vat_rate_ppm=profile.vat_rate_ppm,
        lines=lines_in_order(lines),
        net=sums.net.decimal,
        vat=sums.vat.decimal,
        gross=sums.gross.decimal,
        paid=sums.paid.decimal,
        due=sums.due.decimal,
    )
    return document, sums


def _write(
    session: Session,
    *,
    program: Program,
    enrollment_id: int,
    period: date,
    document: Document,
    net: Money,
    vat: Money,
    gross: Money,
    year: int,
    number: int,
    edition: int,
    by: int | None,
    now: datetime,
    corrects_id: int | None = None,
) -> int:
    kept: dict[str, Any] = stored(document)
    row = Invoice(
        program_id=program.id,
        enrollment_id=enrollment_id,
        kind=document.kind,
        year=year,
        number=number,
        name=document.number,
        period=period,
        edition=edition,
        corrects_id=corrects_id,
        currency=document.currency,
        net_micros=net.micros,
        vat_micros=vat.micros,
        gross_micros=gross.micros,
        document=kept,
        hash=fingerprint(kept),
        issued_by=by,
        issued_at=now,
    )
    session.add(row)
    session.execute(
        sa.update(InvoiceCounter)
        .where(InvoiceCounter.program_id == program.id, InvoiceCounter.year == year)
        .values(last=number)
        .execution_options(synchronize_session=False)
    )
    session.flush()
    audit.record(
        session, actor=audit.by_user(by), action=f"{document.kind}.issue", scope=program.id,
        subject=f"enrollment:{enrollment_id}", now=now, reason=document.reason or None,
        new={"number": document.number, "gross": document.gross, "hash": row.hash},
    )  # fmt: skip
    return row.id


def _minus(text: str) -> str:
    """A decimal string with the other sign; nothing stays nothing."""
    if not text.strip("0."):
        return text
    return text.removeprefix("-") if text.startswith("-") else f"-{text}"
