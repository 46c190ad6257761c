"""Tables of payments by bank file: accounts to pay from, files, statements, what came back."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from affiliate.core.db import Model


class OwnAccountRow(Model):
    """The account that a program pays from on a rail. A change makes a new row."""

    __tablename__ = "own_accounts"
    __table_args__ = (
        sa.Index(
            "uq_own_accounts_live", "program_id", "rail", unique=True,
            postgresql_where=sa.text("replaced_at IS NULL"),
        ),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    rail: Mapped[str]
    details: Mapped[str]
    """In the canonical form of a destination (payouts/rails/bank_details.py)."""
    options: Mapped[dict[str, Any]]
    """The version of the format, the note about VAT."""
    created_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    created_at: Mapped[datetime]
    replaced_at: Mapped[datetime | None]


class RailCost(Model):
    """What a payout by a rail costs a program, who bears it."""

    __tablename__ = "rail_costs"
    __table_args__ = (sa.CheckConstraint("fee_micros >= 0", name="fee_not_negative"),)

    program_id: Mapped[int] = mapped_column(
        sa.ForeignKey("programs.id"), primary_key=True, autoincrement=False
    )
    rail: Mapped[str] = mapped_column(primary_key=True)
    fee_micros: Mapped[int]
    """Of one payout, in the program's currency."""


class PayoutFile(Model):
    """A file of payments for the bank. Its bytes never change."""

    __tablename__ = "payout_files"
    __table_args__ = (
        sa.UniqueConstraint("program_id", "number"),
        sa.UniqueConstraint("message_id"),
        sa.Index("ix_payout_files_batch_id", "batch_id"),
        sa.CheckConstraint("items > 0", name="not_empty"),
        sa.CheckConstraint(
            "(not_sent_at IS NULL) = (not_sent_reason IS NULL)", name="not_sent_has_reason"
        ),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    batch_id: Mapped[int] = mapped_column(sa.ForeignKey("payout_batches.id"))
    rail: Mapped[str]
    number: Mapped[int] = mapped_column(sa.Integer)
    """1, 2, 3 … within the program."""
    name: Mapped[str]
    format: Mapped[str]
    message_id: Mapped[str]
    """By which the bank speaks of the file as a whole."""
    content: Mapped[bytes]
    sha256: Mapped[str]
    items: Mapped[int] = mapped_column(sa.Integer)
    total_micros: Mapped[int]
    currency: Mapped[str]
    own_account_id: Mapped[int] = mapped_column(sa.ForeignKey("own_accounts.id"))
    """The account that it pays from."""
    made_on: Mapped[date]
    """The day in the program's zone that its documents bear."""
    first_document: Mapped[int]
    """Running number of its first payment among the program's payments by file."""
    made_by: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))
    made_at: Mapped[datetime]
    not_sent_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    not_sent_at: Mapped[datetime | None]
    """When a person declared that the bank never got it."""
    not_sent_reason: Mapped[str | None]


class PayoutFileLine(Model):
    """One payment of a file: which attempt it is, and by what the bank knows it."""

    __tablename__ = "payout_file_lines"
    __table_args__ = (sa.Index("ix_payout_file_lines_file_id", "file_id"),)

    attempt_id: Mapped[int] = mapped_column(
        sa.ForeignKey("payout_attempts.id"), primary_key=True, autoincrement=False
    )
    file_id: Mapped[int] = mapped_column(sa.ForeignKey("payout_files.id"))
    end_to_end_id: Mapped[str] = mapped_column(unique=True)
    document: Mapped[int]


class BankStatement(Model):
    """A bank's file of what was executed, as it was brought. Reading it changes nothing."""

    __tablename__ = "bank_statements"
    __table_args__ = (sa.UniqueConstraint("program_id", "rail", "sha256"),)

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    rail: Mapped[str]
    name: Mapped[str]
    format: Mapped[str]
    content: Mapped[bytes]
    sha256: Mapped[str]
    rows: Mapped[int] = mapped_column(sa.Integer)
    brought_by: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))
    brought_at: Mapped[datetime]
    applied_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    applied_at: Mapped[datetime | None]
    """When it was last applied; none: only looked at."""
