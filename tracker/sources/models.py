"""Tables of shop systems that report orders by webhooks: who they are and what they sent."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from affiliate.core.db import Model


class Source(Model):
    """A shop system of a program, with an address of its own to send to."""

    __tablename__ = "sources"
    __table_args__ = (
        sa.CheckConstraint(
            "kind IN ('shopify', 'woocommerce', 'stripe', 'generic')", name="kind_known"
        ),
        sa.CheckConstraint(
            "(previous_secret IS NULL) = (previous_until IS NULL)", name="previous_ends"
        ),
        sa.Index("ix_sources_program", "program_id"),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    kind: Mapped[str]
    name: Mapped[str]
    """The merchant's own word for it."""
    is_on: Mapped[bool] = mapped_column(server_default=sa.true())
    """Off: its address answers as if it were not there."""
    secret: Mapped[str | None]
    """What the system signs with, encrypted under a key of KOPECK_SECRET; none: it has not been
    pasted yet, as the system shows it only once it knows the address."""
    previous_secret: Mapped[str | None]
    """The one before, while the system is being given the new one."""
    previous_until: Mapped[datetime | None]
    """Real time up to which it still counts."""
    scheme: Mapped[str] = mapped_column(server_default="")
    """How a generic source signs (Scheme)."""
    header: Mapped[str] = mapped_column(server_default="")
    """In which header."""
    mapping: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    """Of a generic source: what stands where in its bodies."""
    options: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    """`takes_tests`, and `coupons`: codes by what the system calls them."""
    created_at: Mapped[datetime]
    created_by: Mapped[str]
    """`user:4`."""


class SourceDelivery(Model):
    """One webhook, stored before it was answered; what follows from it comes later."""

    __tablename__ = "source_deliveries"
    __table_args__ = (
        sa.UniqueConstraint("source_id", "delivery_id"),
        sa.UniqueConstraint("source_id", "body_hash"),
        sa.CheckConstraint(
            "state IN ('waiting', 'done', 'ignored', 'held', 'refused')", name="state_known"
        ),
        sa.CheckConstraint("(state = 'waiting') = (processed_at IS NULL)", name="waits_or_ended"),
        sa.Index(
            "ix_source_deliveries_waiting", "next_try_at",
            postgresql_where=sa.text("processed_at IS NULL"),
        ),
        sa.Index("ix_source_deliveries_newest", "source_id", "id"),
        sa.Index("ix_source_deliveries_order", "source_id", "order_id"),
        sa.Index(
            "ix_source_deliveries_held", "source_id", postgresql_where=sa.text("state = 'held'")
        ),
        sa.Index(
            "ix_source_deliveries_bodies", "received_at",
            postgresql_where=sa.text("body IS NOT NULL"),
        ),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    source_id: Mapped[int] = mapped_column(sa.ForeignKey("sources.id"))
    delivery_id: Mapped[str]
    """The system's own of the delivery or the event; else the body's SHA-256."""
    topic: Mapped[str]
    """What the system calls it, for the reader alone: the header is not signed."""
    body: Mapped[dict[str, Any] | None]
    """What the rules read of it, addresses hashed; none once it was forgotten."""
    body_hash: Mapped[bytes]
    """SHA-256 of the bytes that came."""
    received_at: Mapped[datetime]
    """Real time, as all below."""
    state: Mapped[str] = mapped_column(server_default="waiting")
    next_try_at: Mapped[datetime]
    tries: Mapped[int] = mapped_column(sa.Integer, server_default="0")
    error: Mapped[str | None]
    """Why the last try did not end."""
    waits_for: Mapped[str | None]
    """The payment of which no order has come yet."""
    processed_at: Mapped[datetime | None]
    because: Mapped[str | None]
    """Why nothing followed (Because), or the refusal's code."""
    errors: Mapped[list[Any]] = mapped_column(server_default="[]")
    """What was wrong with which field."""
    results: Mapped[list[Any]] = mapped_column(server_default="[]")
    """What was done (Done), step by step."""
    order_id: Mapped[str | None]
    """The shop's id of the order that it was about."""
    accepted_by: Mapped[str | None]
    """Who took what a person had to look at."""


class SourceSubject(Model):
    """The newest state that was taken in of each thing: an older one that comes later is none."""

    __tablename__ = "source_subjects"

    source_id: Mapped[int] = mapped_column(sa.ForeignKey("sources.id"), primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    """`order:820982911946154508`."""
    as_of: Mapped[datetime]
    """By the system's clock."""


class SourceReference(Model):
    """By what else a system names an order: payments and invoices, of which refunds speak."""

    __tablename__ = "source_references"

    source_id: Mapped[int] = mapped_column(sa.ForeignKey("sources.id"), primary_key=True)
    reference: Mapped[str] = mapped_column(primary_key=True)
    order_id: Mapped[str]
    """The shop's."""
