"""Table of exchange rates; the database refuses to change a row."""

from __future__ import annotations

from datetime import date, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from affiliate.core.db import Model


class DatedRate(Model):
    """So much of the program's currency is one unit of another, from a day on."""

    __tablename__ = "exchange_rates"
    __table_args__ = (
        sa.UniqueConstraint("program_id", "source", "valid_from", "revision"),
        sa.CheckConstraint("source ~ '^[A-Z]{3}$'", name="source_shape"),
        sa.CheckConstraint("target ~ '^[A-Z]{3}$' AND target <> source", name="target_shape"),
        sa.CheckConstraint("revision >= 1", name="revision_counts"),
        sa.CheckConstraint(
            "rate_scaled > 0 AND rate_scaled <= 1000000000000000000", name="rate_in_range"
        ),
        sa.CheckConstraint("origin IN ('typed', 'csv', 'ecb', 'cbr')", name="origin_known"),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    source: Mapped[str]
    """The order's currency (ISO 4217)."""
    target: Mapped[str]
    """The program's, which never changes."""
    valid_from: Mapped[date]
    """The first day on which it holds, in the program's time zone."""
    revision: Mapped[int] = mapped_column(sa.Integer)
    """1, 2, 3 … of the same currency and day; the highest holds for orders decided from then on."""
    rate_scaled: Mapped[int]
    """In units of 10^-10."""
    origin: Mapped[str]
    """How it came: `typed`, `csv`, or out of a bank's file, `ecb` or `cbr`."""
    entered_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    """None for what the command line did."""
    entered_at: Mapped[datetime]
