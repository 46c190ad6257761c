"""What was written to whom about which month."""

from __future__ import annotations

from datetime import date, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from affiliate.core.db import Model


class StatementMonth(Model):
    """A program's month whose statements go out by mail; the row is made once."""

    __tablename__ = "statement_months"

    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"), primary_key=True)
    month: Mapped[date] = mapped_column(primary_key=True)
    """Its first day."""
    listed_at: Mapped[datetime]


class StatementLetter(Model):
    """One affiliate's letter of a month: owed from the listing on, until it is written."""

    __tablename__ = "statement_letters"
    __table_args__ = (
        sa.Index(
            "ix_statement_letters_owed",
            "month",
            "enrollment_id",
            postgresql_where=sa.text("written_at IS NULL"),
        ),
    )

    enrollment_id: Mapped[int] = mapped_column(sa.ForeignKey("enrollments.id"), primary_key=True)
    month: Mapped[date] = mapped_column(primary_key=True)
    written_at: Mapped[datetime | None]
