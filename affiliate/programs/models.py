"""Tables of programs and of the immutable versions of their rules."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from affiliate.core.db import Model


class Program(Model):
    """An offer to affiliates: one currency, one set of sites, one schedule of payouts."""

    __tablename__ = "programs"
    __table_args__ = (
        sa.CheckConstraint("slug ~ '^[a-z0-9][a-z0-9-]{1,62}$'", name="slug_shape"),
        sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency_shape"),
        sa.CheckConstraint("status IN ('open', 'closing', 'closed')", name="status_known"),
        sa.CheckConstraint("payout_weekday BETWEEN 0 AND 6", name="weekday_known"),
        sa.CheckConstraint("payout_hour BETWEEN 0 AND 23", name="hour_known"),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    slug: Mapped[str] = mapped_column(unique=True)
    """Stands in addresses: /programs/<slug>."""
    name: Mapped[str]
    summary: Mapped[str] = mapped_column(server_default="")
    """One or two sentences for the public page."""
    currency: Mapped[str]
    """ISO 4217; every amount of the program is in it."""
    status: Mapped[str] = mapped_column(server_default="open")
    """open takes applications; closing credits until closes_at; closed credits nothing."""
    closes_at: Mapped[datetime | None]
    """End of the notice period; links credit clicks until then."""
    landing_url: Mapped[str]
    """Where a link without a destination of its own leads."""
    allowed_sites: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))
    """Host names that deep links may lead to; `.shop.example` allows every subdomain."""
    auto_approve: Mapped[bool] = mapped_column(server_default=sa.false())
    """True: an application by a verified address is approved at once."""
    rail: Mapped[str] = mapped_column(server_default="manual")
    """How its payouts leave: the name of a rail (payouts/rails)."""
    payout_weekday: Mapped[int] = mapped_column(sa.SmallInteger, server_default="0")
    """Day of the weekly batch, Monday is 0."""
    payout_hour: Mapped[int] = mapped_column(sa.SmallInteger, server_default="9")
    """Local hour at which the weekly batch is drafted."""
    time_zone: Mapped[str] = mapped_column(server_default="UTC")
    """IANA name; days of statistics and the payout hour are counted in it."""
    contact_email: Mapped[str] = mapped_column(server_default="")
    """Where affiliates of the program write to."""
    created_at: Mapped[datetime]


class RuleVersion(Model):
    """One immutable edition of a program's rules; the database refuses to change it."""

    __tablename__ = "rule_versions"
    __table_args__ = (
        sa.UniqueConstraint("program_id", "number"),
        sa.Index("ix_rule_versions_in_force", "program_id", "effective_at"),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    number: Mapped[int] = mapped_column(sa.Integer)
    """1, 2, 3 … within the program."""
    terms: Mapped[dict[str, Any]]
    """The validated document, as affiliate.programs.terms.Terms reads it."""
    effective_at: Mapped[datetime]
    """From this instant on it is in force, until a later version is."""
    announced_at: Mapped[datetime]
    created_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    """None for what the command line or the demo made."""
    created_at: Mapped[datetime]
