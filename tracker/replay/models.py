"""Tables of what was asked of history; the books know nothing of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from affiliate.core.db import Model


class RuleShadow(Model):
    """A draft that is tried every day on all orders since it began; closed with its draft."""

    __tablename__ = "rule_shadows"
    __table_args__ = (
        sa.Index(
            "uq_rule_shadows_live", "draft_id", unique=True,
            postgresql_where=sa.text("ended_at IS NULL"),
        ),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    draft_id: Mapped[int] = mapped_column(sa.ForeignKey("rule_drafts.id"))
    begins: Mapped[datetime]
    """The first instant of its first day, by the program's time zone."""
    started_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class RuleReplay(Model):
    """One trial of a draft, as it was written then, over the orders placed in [begins, ends)."""

    __tablename__ = "rule_replays"
    __table_args__ = (
        sa.CheckConstraint(
            "status IN ('waiting', 'running', 'done', 'failed')", name="status_known"
        ),
        sa.CheckConstraint("(status = 'done') = (result IS NOT NULL)", name="done_has_result"),
        sa.CheckConstraint("begins < ends", name="ends_after_it_begins"),
        sa.UniqueConstraint("shadow_id", "draft_revision", "ends"),
        sa.Index("ix_rule_replays_draft_id", "draft_id"),
        sa.Index(
            "ix_rule_replays_open", "asked_at",
            postgresql_where=sa.text("status IN ('waiting', 'running')"),
        ),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    draft_id: Mapped[int] = mapped_column(sa.ForeignKey("rule_drafts.id"))
    draft_revision: Mapped[int]
    shadow_id: Mapped[int | None] = mapped_column(sa.ForeignKey("rule_shadows.id"))
    """None: somebody asked for it once."""
    name: Mapped[str]
    document: Mapped[dict[str, Any]]
    begins: Mapped[datetime]
    ends: Mapped[datetime]
    status: Mapped[str]
    attempts: Mapped[int] = mapped_column(sa.Integer, server_default="0")
    orders_done: Mapped[int] = mapped_column(server_default="0")
    orders_total: Mapped[int | None]
    """None: not counted yet."""
    result: Mapped[dict[str, Any] | None]
    """`Comparison.document()`."""
    asked_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    asked_at: Mapped[datetime]
    beat_at: Mapped[datetime | None]
    """When its worker was last heard of, by the machine's clock."""
    ended_at: Mapped[datetime | None]
    """By the machine's clock."""
