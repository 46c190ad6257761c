"""Tables of self-billing invoices: the two parties, the running numbers, the documents."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from affiliate.core.db import Model


class TaxProfile(Model):
    """Who an affiliate is to the tax office. A change makes a new row."""

    __tablename__ = "tax_profiles"
    __table_args__ = (
        sa.CheckConstraint(
            "legal_form IN ('company', 'self_employed', 'individual')", name="legal_form_known"
        ),
        sa.CheckConstraint(
            "vat_status IN ('not_registered', 'registered', 'reverse_charge')",
            name="vat_status_known",
        ),
        sa.CheckConstraint("country ~ '^[A-Z]{2}$'", name="country_shape"),
        sa.CheckConstraint(
            "(vat_status = 'registered') = (vat_rate_ppm > 0) "
            "AND vat_rate_ppm BETWEEN 0 AND 400000",
            name="vat_rate_by_status",
        ),
        sa.Index(
            "uq_tax_profiles_live", "affiliate_id", unique=True,
            postgresql_where=sa.text("replaced_at IS NULL"),
        ),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    affiliate_id: Mapped[int] = mapped_column(sa.ForeignKey("affiliates.id"))
    legal_form: Mapped[str]
    name: Mapped[str]
    """As the tax office knows the person or company."""
    address: Mapped[str]
    country: Mapped[str]
    """ISO 3166-1 alpha-2."""
    tax_number: Mapped[str]
    """INN in Russia, the national number elsewhere; empty where none is asked for."""
    vat_status: Mapped[str]
    vat_number: Mapped[str]
    vat_rate_ppm: Mapped[int] = mapped_column(sa.Integer)
    """Parts per million; above zero where registered, else zero."""
    agreed_at: Mapped[datetime]
    """When they agreed that the program issues their invoices."""
    agreed_by: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))
    created_at: Mapped[datetime]
    replaced_at: Mapped[datetime | None]


class InvoiceIssuer(Model):
    """The merchant as a program's invoices name it. Without the row none is issued."""

    __tablename__ = "invoice_issuers"
    __table_args__ = (
        sa.CheckConstraint("country ~ '^[A-Z]{2}$'", name="country_shape"),
        sa.CheckConstraint("number_prefix ~ '^[A-Z0-9-]{1,12}$'", name="prefix_shape"),
    )

    program_id: Mapped[int] = mapped_column(
        sa.ForeignKey("programs.id"), primary_key=True, autoincrement=False
    )
    name: Mapped[str]
    address: Mapped[str]
    country: Mapped[str]
    tax_number: Mapped[str]
    vat_number: Mapped[str]
    includes_vat: Mapped[bool]
    """Whether commissions include the affiliate's VAT (gross) or it is owed on top (net)."""
    number_prefix: Mapped[str]
    automatic: Mapped[bool]
    """Whether the job issues the month before; else a person does."""
    saved_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    saved_at: Mapped[datetime]


class InvoiceCounter(Model):
    """The last number given in a program and year; its lock is what makes them gapless."""

    __tablename__ = "invoice_counters"

    program_id: Mapped[int] = mapped_column(
        sa.ForeignKey("programs.id"), primary_key=True, autoincrement=False
    )
    year: Mapped[int] = mapped_column(sa.Integer, primary_key=True, autoincrement=False)
    last: Mapped[int] = mapped_column(sa.Integer)


class Invoice(Model):
    """One issued document; the database refuses to change or delete it."""

    __tablename__ = "invoices"
    __table_args__ = (
        sa.CheckConstraint("kind IN ('invoice', 'credit')", name="kind_known"),
        sa.CheckConstraint("number >= 1 AND edition >= 1", name="counted_from_one"),
        sa.CheckConstraint("net_micros + vat_micros = gross_micros", name="adds_up"),
        sa.CheckConstraint(
            "(kind = 'credit') = (corrects_id IS NOT NULL) "
            "AND (kind = 'invoice') = (gross_micros > 0)",
            name="sign_by_kind",
        ),
        sa.UniqueConstraint("program_id", "year", "number"),
        sa.Index(
            "uq_invoices_once", "enrollment_id", "period", "edition", unique=True,
            postgresql_where=sa.text("kind = 'invoice'"),
        ),
        sa.Index("ix_invoices_period", "program_id", "period"),
        sa.Index("ix_invoices_enrollment_id", "enrollment_id", "id"),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    enrollment_id: Mapped[int] = mapped_column(sa.ForeignKey("enrollments.id"))
    kind: Mapped[str]
    """invoice; or credit, which takes back the whole of one invoice."""
    year: Mapped[int] = mapped_column(sa.Integer)
    """Of the day of issue, in the program's zone."""
    number: Mapped[int] = mapped_column(sa.Integer)
    """1, 2, 3 … within program and year, invoices and credits in one row of numbers."""
    name: Mapped[str]
    """The number as it is printed: `LAMPS-2026-00017`."""
    period: Mapped[date]
    """First day of the month whose payouts it is for."""
    edition: Mapped[int] = mapped_column(sa.Integer)
    """1; 2 of the invoice that follows on a credit of the first."""
    corrects_id: Mapped[int | None] = mapped_column(sa.ForeignKey("invoices.id"), unique=True)
    currency: Mapped[str]
    net_micros: Mapped[int]
    vat_micros: Mapped[int]
    gross_micros: Mapped[int]
    document: Mapped[dict[str, Any]]
    """Everything that is printed, as payouts.invoices.rules.Document writes it."""
    hash: Mapped[str]
    """SHA-256 of the document's canonical JSON."""
    issued_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    """None: the job."""
    issued_at: Mapped[datetime]
