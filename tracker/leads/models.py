"""Tables of leads and of the decisions about them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from affiliate.core.db import Model
from tracker.attribution.models import Decided


class Lead(Model):
    """Something a visitor did for which the program pays an amount: an inquiry, a sign-up."""

    __tablename__ = "leads"
    __table_args__ = (
        sa.UniqueConstraint("program_id", "lead_id"),
        sa.CheckConstraint("status IN ('confirmed', 'cancelled')", name="status_known"),
        sa.CheckConstraint(
            "review_outcome IN ('released', 'declined')", name="review_outcome_known"
        ),
        sa.CheckConstraint(
            "(status = 'cancelled') = (cancelled_at IS NOT NULL)", name="cancelled_with_its_time"
        ),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    lead_id: Mapped[str]
    """The shop's id, as it was sent."""
    kind: Mapped[str | None]
    """What it is, in the shop's own word: `inquiry`, `registration`."""
    status: Mapped[str]
    placed_at: Mapped[datetime]
    received_at: Mapped[datetime]
    reported_by: Mapped[str]
    """`key:kpk_ab12`."""
    cancelled_at: Mapped[datetime | None]
    cancelled_by: Mapped[str | None]
    """`key:kpk_ab12`, `user:4`."""
    cancel_reason: Mapped[str | None]
    review_outcome: Mapped[str | None]
    """What a person said of its suspicious click (ReviewOutcome); none: nobody has yet."""
    reviewed_at: Mapped[datetime | None]
    reviewed_by: Mapped[str | None]
    """`user:4`."""
    details: Mapped[dict[str, Any]]
    """The shop's `metadata`, kept and given back, never interpreted."""
    content_hash: Mapped[bytes]
    """SHA-256 of the canonical parsed report: decides between replay and conflict."""
    evidence: Mapped[dict[str, Any]]
    """Tokens, visitor, coupon and customer, under `server`: attribution reads it."""


class LeadDecision(Decided, Model):
    """Whose lead it is and why: at most one decision of a lead is live."""

    __tablename__ = "lead_decisions"
    __table_args__ = (
        sa.UniqueConstraint("lead_id", "number"),
        sa.Index(
            "uq_lead_decisions_live", "lead_id", unique=True,
            postgresql_where=sa.text("voided_at IS NULL"),
        ),
        sa.Index(
            "ix_lead_decisions_click_check", "decided_at",
            postgresql_where=sa.text("click_check_due_at IS NOT NULL AND voided_at IS NULL"),
        ),
        sa.Index(
            "ix_lead_decisions_review", "lead_id",
            postgresql_where=sa.text("review_reason IS NOT NULL AND voided_at IS NULL"),
        ),
        sa.CheckConstraint("outcome IN ('attributed', 'unattributed')", name="outcome_known"),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    lead_id: Mapped[int] = mapped_column(sa.ForeignKey("leads.id"))
