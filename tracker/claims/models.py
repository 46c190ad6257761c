"""Tables of claims and appeals, and of what was said about them."""

from __future__ import annotations

from datetime import date, datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from affiliate.core.db import Model


class Claim(Model):
    """Something that an affiliate asks a person to look at, and what came of it."""

    __tablename__ = "claims"
    __table_args__ = (
        sa.CheckConstraint("kind IN ('missing_order', 'appeal')", name="kind_known"),
        sa.CheckConstraint(
            "status IN ('open', 'answered', 'accepted', 'declined', 'withdrawn')",
            name="status_known",
        ),
        sa.CheckConstraint(
            "ground IN ('held', 'taken_back', 'not_credited', 'earned_nothing', 'refunded', "
            "'click_not_counted')",
            name="ground_known",
        ),
        sa.CheckConstraint(
            "remedy IN ('release', 'overturn', 'assign', 'clear_click')", name="remedy_known"
        ),
        sa.CheckConstraint("(status = 'open') = (decided_at IS NULL)", name="decided_is_closed"),
        sa.CheckConstraint("(status = 'accepted') = (remedy IS NOT NULL)", name="accepted_changes"),
        sa.CheckConstraint("decided_by <> opened_by", name="not_decided_by_claimant"),
        sa.CheckConstraint(
            "CASE kind WHEN 'missing_order' THEN order_id IS NOT NULL AND day IS NOT NULL "
            "AND ground IS NULL AND click_id IS NULL "
            "ELSE ground IS NOT NULL AND num_nonnulls(order_row_id, click_id) = 1 END",
            name="about_one_thing",
        ),
        sa.ForeignKeyConstraint(
            ["program_id", "enrollment_id"],
            ["enrollments.program_id", "enrollments.id"],
            name="fk_claims_enrollment_in_program",
        ),
        sa.Index(
            "uq_claims_open_number", "enrollment_id", "order_id", unique=True,
            postgresql_where=sa.text("kind = 'missing_order' AND status = 'open'"),
        ),
        sa.Index(
            "uq_claims_open_order", "enrollment_id", "order_row_id", unique=True,
            postgresql_where=sa.text("kind = 'appeal' AND status = 'open'"),
        ),
        sa.Index(
            "uq_claims_open_click", "enrollment_id", "click_id", unique=True,
            postgresql_where=sa.text("kind = 'appeal' AND status = 'open'"),
        ),
        sa.Index("ix_claims_enrollment_id", "enrollment_id", "id"),
        sa.Index(
            "ix_claims_due", "program_id", "due_at", postgresql_where=sa.text("status = 'open'")
        ),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    enrollment_id: Mapped[int]
    """Whose it is."""
    kind: Mapped[str]
    ground: Mapped[str | None]
    """What an appeal objects to (Ground)."""
    order_id: Mapped[str | None]
    """The order number as the affiliate typed it."""
    day: Mapped[date | None]
    """The day on which they say that it was placed."""
    order_row_id: Mapped[int | None] = mapped_column(sa.ForeignKey("orders.id"))
    """An appeal's order. A missing order's is written with the answer, never before: until
    then nothing of the row says whether there is such an order."""
    click_id: Mapped[UUID | None]
    said: Mapped[str]
    """What the affiliate wrote; may be empty."""
    status: Mapped[str]
    opened_at: Mapped[datetime]
    opened_by: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))
    due_at: Mapped[datetime]
    reminded_at: Mapped[datetime | None]
    first_decided_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    """The person whose decision this objects to; they do not read it. None: a rule's."""
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    """None for what solved itself or was withdrawn."""
    remedy: Mapped[str | None]
    """What was changed for an accepted one (Remedy)."""
    reason: Mapped[str | None]
    """Why, as the affiliate reads it."""


class ClaimNote(Model):
    """What was said about a case; the database refuses to change it."""

    __tablename__ = "claim_notes"
    __table_args__ = (
        sa.CheckConstraint("from_staff OR for_affiliate", name="own_words_are_seen"),
        sa.Index("ix_claim_notes_claim_id", "claim_id", "id"),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    claim_id: Mapped[int] = mapped_column(sa.ForeignKey("claims.id"))
    at: Mapped[datetime]
    by: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))
    from_staff: Mapped[bool]
    for_affiliate: Mapped[bool]
    """Whether the affiliate reads it; staff may write notes for each other."""
    text: Mapped[str]
