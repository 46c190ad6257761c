"""Tables of the double-entry ledger. Append-only: triggers refuse update and delete."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from affiliate.core.db import Model


class LedgerAccount(Model):
    """Where money stands: per enrollment, or per program for expense and cash."""

    __tablename__ = "ledger_accounts"
    __table_args__ = (
        sa.CheckConstraint(
            "kind IN ('expense', 'cash', 'pending', 'available', 'in_payout')", name="kind_known"
        ),
        sa.CheckConstraint(
            "(kind IN ('pending', 'available', 'in_payout')) = (enrollment_id IS NOT NULL)",
            name="owner_by_kind",
        ),
        sa.CheckConstraint("(kind = 'cash') = (rail IS NOT NULL)", name="rail_by_kind"),
        sa.UniqueConstraint(
            "program_id", "enrollment_id", "kind", "rail", "currency",
            name="uq_ledger_accounts_place", postgresql_nulls_not_distinct=True,
        ),
        sa.Index("ix_ledger_accounts_enrollment_id", "enrollment_id"),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    kind: Mapped[str]
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    enrollment_id: Mapped[int | None] = mapped_column(sa.ForeignKey("enrollments.id"))
    rail: Mapped[str | None]
    currency: Mapped[str]


class LedgerTransaction(Model):
    """One business fact: its entries sum to zero per currency."""

    __tablename__ = "ledger_transactions"
    __table_args__ = (
        sa.Index("ix_ledger_transactions_occurred_at", "occurred_at", postgresql_using="brin"),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    kind: Mapped[str]
    reference: Mapped[str] = mapped_column(unique=True)
    """What it books, once: `earn:commission:17`, `reserve:item:4`."""
    reason: Mapped[str]
    """Code from a closed enum: why it was booked."""
    occurred_at: Mapped[datetime]
    """Business time."""
    recorded_at: Mapped[datetime] = mapped_column(server_default=sa.func.clock_timestamp())
    """Real time at which the row was written."""
    reverses_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey("ledger_transactions.id"), unique=True
    )
    """The transaction that this one mirrors exactly, at most once."""


class LedgerEntry(Model):
    """One side of a transaction. Positive: the account's owner is owed more."""

    __tablename__ = "ledger_entries"
    __table_args__ = (
        sa.CheckConstraint("amount_micros <> 0", name="not_zero"),
        sa.Index("ix_ledger_entries_account_id", "account_id", "transaction_id"),
        sa.Index("ix_ledger_entries_transaction_id", "transaction_id"),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    transaction_id: Mapped[int] = mapped_column(sa.ForeignKey("ledger_transactions.id"))
    account_id: Mapped[int] = mapped_column(sa.ForeignKey("ledger_accounts.id"))
    currency: Mapped[str]
    amount_micros: Mapped[int]
    """Credit-positive: liabilities to affiliates and cash paid out grow, expense falls."""


class LedgerBalance(Model):
    """Running sum of an `available` or `in_payout` account: what is authorised against.

    Locked in account id order before money is reserved; recomputed by `kopeck audit`.
    """

    __tablename__ = "ledger_balances"

    account_id: Mapped[int] = mapped_column(
        sa.ForeignKey("ledger_accounts.id"), primary_key=True, autoincrement=False
    )
    amount_micros: Mapped[int]
