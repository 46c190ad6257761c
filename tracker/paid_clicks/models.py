"""Table of pay per click: what was booked for a link and day."""

from __future__ import annotations

from datetime import date, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from affiliate.core.db import Model


class PaidClickDay(Model):
    """How many unique clicks of a link and day are booked: the row that bookings lock."""

    __tablename__ = "paid_click_days"
    __table_args__ = (
        sa.UniqueConstraint("link_id", "day"),
        sa.CheckConstraint("clicks >= 0 AND bookings >= 0", name="not_negative"),
        sa.CheckConstraint(
            "review_outcome IN ('released', 'declined')", name="review_outcome_known"
        ),
        sa.Index("ix_paid_click_days_program_id_day", "program_id", "day"),
        sa.Index(
            "ix_paid_click_days_review", "program_id",
            postgresql_where=sa.text("flooded AND review_outcome IS NULL"),
        ),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    enrollment_id: Mapped[int] = mapped_column(sa.ForeignKey("enrollments.id"))
    link_id: Mapped[int] = mapped_column(sa.ForeignKey("links.id"))
    day: Mapped[date]
    """In the program's time zone."""
    clicks: Mapped[int] = mapped_column(server_default="0")
    """Unique clicks that were counted when it was booked last."""
    bookings: Mapped[int] = mapped_column(sa.Integer, server_default="0")
    """How often something was booked: the number of the latest commission (`decision`). None
    where the affiliate's terms paid nothing for a click that day."""
    flooded: Mapped[bool] = mapped_column(server_default=sa.false())
    """Clicks of a flood came on the link that day: a person looks before it is released."""
    review_outcome: Mapped[str | None]
    """What a person said of the day (ReviewOutcome); none: nobody has."""
    reviewed_at: Mapped[datetime | None]
    reviewed_by: Mapped[str | None]
    """`user:4`."""
    booked_at: Mapped[datetime | None]
    """Business time of the last booking."""
