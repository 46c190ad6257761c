"""Table of what the program before Kopeck said of its affiliates."""

from __future__ import annotations

from datetime import date, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from affiliate.core.db import Model


class FormerMonth(Model):
    """What an affiliate brought and earned in a month before Kopeck, as the merchant's file
    says. Shown as such; never part of our own figures or of the ledger."""

    __tablename__ = "former_months"
    __table_args__ = (
        sa.ForeignKeyConstraint(
            ["program_id", "enrollment_id"], ["enrollments.program_id", "enrollments.id"]
        ),
        sa.CheckConstraint("extract(day FROM month) = 1", name="month_begins"),
        sa.CheckConstraint(
            "clicks >= 0 AND orders >= 0 AND sales_micros >= 0 AND earned_micros >= 0 "
            "AND paid_micros >= 0",
            name="not_negative",
        ),
    )

    enrollment_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    month: Mapped[date] = mapped_column(primary_key=True)
    """Its first day."""
    program_id: Mapped[int]
    clicks: Mapped[int]
    orders: Mapped[int]
    sales_micros: Mapped[int]
    """In the program's currency, as are the other two."""
    earned_micros: Mapped[int]
    paid_micros: Mapped[int]
    imported_at: Mapped[datetime]
