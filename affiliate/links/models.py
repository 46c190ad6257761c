"""Tables of referral links and coupons."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from affiliate.core.db import Model


class Link(Model):
    """A referral link: /r/<code> leads to the destination and credits the enrollment."""

    __tablename__ = "links"
    __table_args__ = (
        sa.CheckConstraint("code ~ '^[A-Za-z0-9][A-Za-z0-9_-]{1,63}$'", name="code_shape"),
        sa.ForeignKeyConstraint(
            ["program_id", "enrollment_id"], ["enrollments.program_id", "enrollments.id"]
        ),
        sa.Index(
            "uq_links_code_folded",
            sa.text("lower(code)"),
            unique=True,
            postgresql_where=sa.text("vanity"),
        ),
        sa.Index("ix_links_enrollment_id", "enrollment_id"),
        sa.Index("ix_links_updated_at", "updated_at"),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    enrollment_id: Mapped[int]
    code: Mapped[str] = mapped_column(unique=True)
    """Case matters in a made code; vanity codes differ by more than case."""
    vanity: Mapped[bool] = mapped_column(server_default=sa.false())
    name: Mapped[str] = mapped_column(server_default="")
    """The affiliate's own word for it."""
    destination: Mapped[str]
    """Checked against the program's allowed sites when it was made."""
    s1: Mapped[str | None]
    s2: Mapped[str | None]
    s3: Mapped[str | None]
    s4: Mapped[str | None]
    s5: Mapped[str | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime] = mapped_column(server_default=sa.func.clock_timestamp())
    """Real time of the last change, written by a trigger: the click front reads by it."""
    disabled_at: Mapped[datetime | None]
    """Business time: clicks before it credit, later ones do not."""


class Coupon(Model):
    """A code that buyers type; its orders are credited to the enrollment that owns it."""

    __tablename__ = "coupons"
    __table_args__ = (
        sa.UniqueConstraint("program_id", "code"),
        sa.CheckConstraint("code = upper(code)", name="code_upper"),
        sa.ForeignKeyConstraint(
            ["program_id", "enrollment_id"], ["enrollments.program_id", "enrollments.id"]
        ),
        sa.Index("ix_coupons_enrollment_id", "enrollment_id"),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    enrollment_id: Mapped[int]
    code: Mapped[str]
    """Upper case; buyers' typing is folded before the look-up."""
    created_at: Mapped[datetime]
    valid_until: Mapped[datetime | None]
    """The first instant at which it no longer counts."""
    disabled_at: Mapped[datetime | None]
