"""Newsletters of programs, as managers write them."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from affiliate.core.db import Model


class Newsletter(Model):
    """One letter of news to all active affiliates of a program who want it."""

    __tablename__ = "newsletters"
    __table_args__ = (
        sa.CheckConstraint(
            "(planned_at IS NULL) = (month IS NULL) AND (month IS NULL OR send_on IS NOT NULL)",
            name="planned_has_day",
        ),
        sa.CheckConstraint("ended_at IS NULL OR planned_at IS NOT NULL", name="ended_was_planned"),
        sa.Index("ix_newsletters_program_id", "program_id", "id"),
        # At most one a calendar month: that is what people agreed to.
        sa.UniqueConstraint("program_id", "month"),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    texts: Mapped[dict[str, Any]]
    """Title and body by language, of those that were written: plain text."""
    creative_ids: Mapped[list[int]] = mapped_column(ARRAY(sa.BigInteger))
    """Promo materials that it shows, in this order."""
    shows_best: Mapped[bool]
    """Whether it tells the best results of the month before."""
    send_on: Mapped[date | None]
    """By the program's calendar."""
    month: Mapped[date | None]
    """First day of the month of `send_on`, while it is planned or sent."""
    created_at: Mapped[datetime]
    created_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    planned_at: Mapped[datetime | None]
    """When a manager said that it goes out on its day; from then on its words are fixed."""
    planned_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    ended_at: Mapped[datetime | None]
    """When it had been written to everybody who wanted it."""
    letters: Mapped[int] = mapped_column(server_default="0")
    """How many were written."""
