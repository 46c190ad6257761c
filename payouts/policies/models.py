"""The rules of approval of each program. A change makes a new row; the last one is in force."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from affiliate.core.db import Model


class PayoutPolicy(Model):
    """What an owner decided, never changed afterwards: batches refer to it for good."""

    __tablename__ = "payout_policies"
    __table_args__ = (
        sa.Index("ix_payout_policies_program_id", "program_id", "id"),
        sa.CheckConstraint(
            "NOT one_person OR second_signature_micros IS NULL", name="one_person_has_no_second"
        ),
        sa.CheckConstraint(
            "(automatic_item_micros IS NULL) = (automatic_day_micros IS NULL) "
            "AND (automatic_item_micros IS NULL) = (automatic_account_days IS NULL)",
            name="automatic_complete",
        ),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    currency: Mapped[str]
    second_signature_micros: Mapped[int | None]
    """A batch above it needs two signatures; none: one is enough for any."""
    automatic_item_micros: Mapped[int | None]
    """A withdrawal up to it may be approved by itself; none: a person approves each."""
    automatic_day_micros: Mapped[int | None]
    """And all of them together in one day of the program's zone."""
    automatic_account_days: Mapped[int | None] = mapped_column(sa.Integer)
    """For how many days the account that is paid to must have been named."""
    one_person: Mapped[bool]
    """Whoever made a batch may approve it: there is nobody else."""
    reason: Mapped[str]
    set_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    set_at: Mapped[datetime]
