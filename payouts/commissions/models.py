"""Table of commissions: one row per level, affiliate and decision of a sale."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from affiliate.core.db import Model


class Commission(Model):
    """What a sale earned somebody, or why it earned nothing. Facts, not flags."""

    __tablename__ = "commissions"
    __table_args__ = (
        sa.UniqueConstraint(
            "reference", "level", "enrollment_id", "via_enrollment_id", "decision",
            name="uq_commissions_once", postgresql_nulls_not_distinct=True,
        ),
        sa.CheckConstraint("level IN (1, 2)", name="level_known"),
        sa.CheckConstraint("(level = 2) = (via_enrollment_id IS NOT NULL)", name="level_2_has_via"),
        sa.CheckConstraint("enrollment_id <> via_enrollment_id", name="not_via_self"),
        sa.CheckConstraint("amount_micros >= 0", name="amount_not_negative"),
        sa.CheckConstraint(
            "reversed_micros >= 0 AND reversed_micros <= amount_micros", name="reversed_within"
        ),
        sa.CheckConstraint(
            "refunded_base_micros >= 0 AND refunded_base_micros <= greatest(base_micros, 0)",
            name="refunded_base_within",
        ),
        sa.Index("ix_commissions_enrollment_id", "enrollment_id", "id"),
        sa.Index(
            "ix_commissions_sold", "enrollment_id", "placed_at",
            postgresql_where=sa.text("level = 1 AND voided_at IS NULL"),
        ),
        sa.Index(
            "ix_commissions_to_release", "available_at",
            postgresql_where=sa.text("released_at IS NULL AND voided_at IS NULL"),
        ),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    reference: Mapped[str]
    """The sale: `order:17`. A foreign key would point against the imports."""
    decision: Mapped[int] = mapped_column(sa.Integer)
    """Number of the attribution decision of that sale."""
    level: Mapped[int] = mapped_column(sa.SmallInteger)
    enrollment_id: Mapped[int] = mapped_column(sa.ForeignKey("enrollments.id"))
    via_enrollment_id: Mapped[int | None] = mapped_column(sa.ForeignKey("enrollments.id"))
    """At level 2: whose sale it was."""
    rule_version_id: Mapped[int] = mapped_column(sa.ForeignKey("rule_versions.id"))
    """The version whose commission terms were used; refunds use it too."""
    currency: Mapped[str]
    base_micros: Mapped[int]
    """What the rate was taken of."""
    refunded_base_micros: Mapped[int] = mapped_column(server_default="0")
    """What of the base refunds have taken back so far: volumes count without it."""
    rate_ppm: Mapped[int | None]
    """Parts per million; none for a fixed amount."""
    amount_micros: Mapped[int]
    """As earned; never changed."""
    reversed_micros: Mapped[int] = mapped_column(server_default="0")
    """What refunds have taken back so far, cumulative."""
    rule: Mapped[str]
    """Name of the rule that won: `default percent`, `recruiter`."""
    trace: Mapped[list[Any]]
    """Every step of the computation, in order."""
    placed_at: Mapped[datetime | None]
    """When the sale was placed: the instant by which tiers and caps count it. None only in
    rows that an older release wrote beside a newer one."""
    earned_at: Mapped[datetime]
    available_at: Mapped[datetime]
    """When the hold period ends."""
    waits_for: Mapped[str | None]
    """Besides the hold period: the one thing it waits for (WaitsFor); none: nothing more."""
    released_at: Mapped[datetime | None]
    """When it moved from pending to available."""
    voided_at: Mapped[datetime | None]
    void_reason: Mapped[str | None]


class CommissionReversal(Model):
    """What one refund took back of one commission."""

    __tablename__ = "commission_reversals"
    __table_args__ = (
        sa.UniqueConstraint("commission_id", "reference"),
        sa.CheckConstraint("amount_micros >= 0", name="not_negative"),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    commission_id: Mapped[int] = mapped_column(sa.ForeignKey("commissions.id"))
    reference: Mapped[str]
    """The refund: `refund:5`."""
    amount_micros: Mapped[int]
    trace: Mapped[dict[str, Any]]
    """Refunded net, net, share so far: how the amount follows."""
    reversed_at: Mapped[datetime]
