"""Tables of imports of orders, and of what each row of them did."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from affiliate.core.db import Model


class OrderImport(Model):
    """A file of orders that was sent."""

    __tablename__ = "order_imports"
    __table_args__ = (
        sa.CheckConstraint("format IN ('ndjson', 'csv')", name="format_known"),
        sa.CheckConstraint(
            "state IN ('running', 'complete', 'cut', 'too_long')", name="state_known"
        ),
        sa.CheckConstraint("(state = 'running') = (ended_at IS NULL)", name="ended_with_its_time"),
        sa.Index("ix_order_imports_program_id", "program_id", "id"),
        sa.Index("ix_order_imports_started_at", "started_at"),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    format: Mapped[str]
    brought_by: Mapped[str]
    """`key:kpk_ab12` or `cli`."""
    state: Mapped[str] = mapped_column(server_default="running")
    started_at: Mapped[datetime]
    """Real time, as is `ended_at`."""
    ended_at: Mapped[datetime | None]


class OrderImportRow(Model):
    """What one row did; written in the transaction in which its order was."""

    __tablename__ = "order_import_rows"
    __table_args__ = (
        sa.CheckConstraint(
            "outcome IN ('accepted', 'replayed', 'conflict', 'refused')", name="outcome_known"
        ),
        sa.CheckConstraint("(outcome IN ('conflict', 'refused')) = (code IS NOT NULL)",
                           name="refused_with_its_code"),
    )  # fmt: skip

    import_id: Mapped[int] = mapped_column(
        sa.ForeignKey("order_imports.id", ondelete="CASCADE"), primary_key=True
    )
    line: Mapped[int] = mapped_column(sa.Integer, primary_key=True, autoincrement=False)
    """Where it begins in the file, from 1."""
    outcome: Mapped[str]
    order_id: Mapped[str | None]
    """The shop's id, where the row says one that can be one."""
    code: Mapped[str | None]
    """Of the refusal, as `POST /orders` has it."""
    detail: Mapped[str | None]
    errors: Mapped[list[Any] | None]
    """Field, code and message of each, where fields are named."""
