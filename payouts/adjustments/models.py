"""Table of corrections of balances."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from affiliate.core.db import Model

REASONS_SQL = (
    "'missed_commission', 'wrong_commission', 'agreed_bonus', 'rules_broken', 'paid_elsewhere', "
    "'not_collectable', 'goodwill', 'account_closed', 'other'"
)


class LedgerAdjustment(Model):
    """A change of an affiliate's available balance that one person proposed and another decided.

    Nothing is booked until it is confirmed; then exactly one transaction is.
    """

    __tablename__ = "ledger_adjustments"
    __table_args__ = (
        sa.CheckConstraint("kind IN ('adjust', 'write_off')", name="kind_known"),
        sa.CheckConstraint("status IN ('proposed', 'confirmed', 'declined')", name="status_known"),
        sa.CheckConstraint(f"reason IN ({REASONS_SQL})", name="reason_known"),
        sa.CheckConstraint(
            "amount_micros <> 0 AND (kind = 'adjust' OR amount_micros > 0)", name="amount_by_kind"
        ),
        sa.CheckConstraint(
            "(status = 'proposed') = (decided_at IS NULL) "
            "AND (decided_at IS NULL) = (decided_by IS NULL)",
            name="decided_by_somebody",
        ),
        sa.CheckConstraint("status <> 'confirmed' OR decided_by <> proposed_by", name="four_eyes"),
        sa.CheckConstraint(
            "(status = 'confirmed') = (transaction_id IS NOT NULL)", name="confirmed_is_booked"
        ),
        sa.Index(
            "uq_ledger_adjustments_open", "enrollment_id", "currency", unique=True,
            postgresql_where=sa.text("status = 'proposed'"),
        ),
        sa.Index("ix_ledger_adjustments_program_id", "program_id", "id"),
        sa.Index("ix_ledger_adjustments_enrollment_id", "enrollment_id", "id"),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    enrollment_id: Mapped[int] = mapped_column(sa.ForeignKey("enrollments.id"))
    kind: Mapped[str]
    currency: Mapped[str]
    amount_micros: Mapped[int]
    """Added to what is available; negative: taken from it. Never changed."""
    reason: Mapped[str]
    """Closed enum: payouts.adjustments.rules.Reason."""
    note: Mapped[str]
    """In the proposer's words; the affiliate reads it."""
    status: Mapped[str]
    """proposed → confirmed or declined."""
    proposed_by: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))
    proposed_at: Mapped[datetime]
    decided_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    """Of a confirmed one another person than the proposer."""
    decided_at: Mapped[datetime | None]
    decline_note: Mapped[str | None]
    transaction_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey("ledger_transactions.id"), unique=True
    )
