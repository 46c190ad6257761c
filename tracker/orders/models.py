"""Tables of orders, what was reported of them, refunds, parked calls and customers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from affiliate.core.db import Model


class Order(Model):
    """An order of a program's shop, as its best reporter says it is."""

    __tablename__ = "orders"
    __table_args__ = (
        sa.UniqueConstraint("program_id", "order_id"),
        sa.CheckConstraint("source IN ('api', 'browser', 'webhook', 'csv')", name="source_known"),
        sa.CheckConstraint(
            "status IN ('unconfirmed', 'confirmed', 'cancelled')", name="status_known"
        ),
        sa.CheckConstraint(
            "review_outcome IN ('released', 'declined')", name="review_outcome_known"
        ),
        sa.CheckConstraint(
            "total_micros >= 0 AND total_micros <= 1000000000000000000", name="total_in_range"
        ),
        sa.CheckConstraint("net_micros >= 0 AND net_micros <= total_micros", name="net_in_range"),
        sa.CheckConstraint(
            "refunded_net_micros >= 0 AND refunded_net_micros <= net_micros", name="refund_in_net"
        ),
        sa.CheckConstraint(
            "num_nonnulls(exchange_rate_id, rate_scaled, converted_net_micros) IN (0, 3) "
            "AND (converted_to IS NOT NULL OR rate_scaled IS NULL)",
            name="converted_whole",
        ),
        sa.CheckConstraint(
            "converted_net_micros BETWEEN 0 AND 1000000000000000000 AND converted_to <> currency",
            name="converted_in_range",
        ),
        sa.Index(
            "ix_orders_awaits_rate", "id",
            postgresql_where=sa.text("converted_to IS NOT NULL AND rate_scaled IS NULL"),
        ),
        sa.Index("ix_orders_program_placed", "program_id", "placed_at"),
        sa.Index("ix_orders_customer", "customer_id"),
        # What changed since: the first costs an order next to nothing, the others are of orders
        # to which something happened later.
        sa.Index("ix_orders_received", "received_at", postgresql_using="brin"),
        sa.Index(
            "ix_orders_confirmed_later", "confirmed_at",
            postgresql_where=sa.text("confirmed_at > received_at"),
        ),
        sa.Index(
            "ix_orders_cancelled", "cancelled_at",
            postgresql_where=sa.text("cancelled_at IS NOT NULL"),
        ),
        sa.Index(
            "ix_orders_reviewed", "reviewed_at",
            postgresql_where=sa.text("reviewed_at IS NOT NULL"),
        ),
        sa.Index(
            "ix_orders_subscription", "program_id", sa.text("(subscription ->> 'id')"),
            postgresql_where=sa.text("subscription IS NOT NULL"),
        ),
        sa.Index(
            "ix_orders_payment", "program_id",
            sa.text("(((evidence -> 'server') -> 'customer') ->> 'payment')"), "id",
            postgresql_where=sa.text(
                "(((evidence -> 'server') -> 'customer') ->> 'payment') IS NOT NULL"
            ),
        ),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    order_id: Mapped[str]
    """The shop's id, as it was sent."""
    source: Mapped[str]
    """Who is believed about it now; a server's report supersedes a browser's."""
    status: Mapped[str]
    placed_at: Mapped[datetime]
    received_at: Mapped[datetime]
    confirmed_at: Mapped[datetime | None]
    confirmed_by: Mapped[str | None]
    """`api`, `user:4`, `token`."""
    cancelled_at: Mapped[datetime | None]
    review_outcome: Mapped[str | None]
    """What a person said of its suspicious click (ReviewOutcome); none: nobody has yet."""
    reviewed_at: Mapped[datetime | None]
    reviewed_by: Mapped[str | None]
    """`user:4`."""
    currency: Mapped[str]
    total_micros: Mapped[int]
    discount_micros: Mapped[int]
    tax_micros: Mapped[int]
    tax_included: Mapped[bool]
    shipping_micros: Mapped[int]
    fees_micros: Mapped[int]
    credits_micros: Mapped[int]
    net_micros: Mapped[int]
    """total − shipping − fees − tax, never below zero."""
    converted_to: Mapped[str | None]
    """The program's currency, where the order is in another. Its own amounts stay its own."""
    exchange_rate_id: Mapped[int | None] = mapped_column(sa.ForeignKey("exchange_rates.id"))
    """The rate that holds for it, for life; none as long as it waits for one."""
    rate_scaled: Mapped[int | None]
    """That rate, in units of 10^-10."""
    converted_net_micros: Mapped[int | None]
    """The net in the program's currency: net × rate, half to even to a micro."""
    refunded_micros: Mapped[int] = mapped_column(server_default="0")
    """Of the total, by all refunds so far; held at most total by the locked row."""
    refunded_net_micros: Mapped[int] = mapped_column(server_default="0")
    open_disputes: Mapped[list[Any]] = mapped_column(server_default="[]")
    """Ids of the provider's disputes that have no end yet; nothing is released meanwhile."""
    items: Mapped[list[Any]]
    coupon: Mapped[str | None]
    customer_id: Mapped[int | None] = mapped_column(sa.ForeignKey("customers.id"))
    subscription: Mapped[dict[str, Any] | None]
    details: Mapped[dict[str, Any]]
    """The shop's `metadata`, kept and given back, never interpreted."""
    content_hash: Mapped[bytes]
    """SHA-256 of the canonical parsed report: decides between replay and conflict."""
    evidence: Mapped[dict[str, Any]]
    """Tokens, visitor, coupon and customer of every report, merged: attribution reads it."""


class OrderReport(Model):
    """What one reporter said of an order; a superseded browser's report stays here."""

    __tablename__ = "order_reports"
    __table_args__ = (sa.Index("ix_order_reports_order", "order_id"),)

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    order_id: Mapped[int] = mapped_column(sa.ForeignKey("orders.id"))
    source: Mapped[str]
    reported_by: Mapped[str]
    """`key:kpk_ab12` or `browser`."""
    body: Mapped[dict[str, Any]]
    content_hash: Mapped[bytes]
    received_at: Mapped[datetime]
    outcome: Mapped[str]
    """created, superseded_browser, evidence_added, not_heard, contested, conflict, replay."""


class Refund(Model):
    """Money given back to the buyer; takes commission back in proportion."""

    __tablename__ = "refunds"
    __table_args__ = (
        sa.UniqueConstraint("order_id", "refund_id"),
        sa.Index("ix_refunds_received_at", "received_at"),
        sa.CheckConstraint("amount_micros > 0", name="amount_positive"),
        sa.CheckConstraint("net_micros >= 0", name="net_not_negative"),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    order_id: Mapped[int] = mapped_column(sa.ForeignKey("orders.id"))
    refund_id: Mapped[str]
    amount_micros: Mapped[int]
    net_micros: Mapped[int]
    """The part of the order's net that this refund gives back."""
    reason: Mapped[str | None]
    body: Mapped[dict[str, Any]]
    content_hash: Mapped[bytes]
    received_at: Mapped[datetime]


class ParkedCall(Model):
    """A refund, confirmation or cancellation that came before its order."""

    __tablename__ = "parked_calls"
    __table_args__ = (
        sa.UniqueConstraint("program_id", "order_id", "kind", "call_id"),
        sa.CheckConstraint("kind IN ('refund', 'confirmation', 'cancellation')", name="kind_known"),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    order_id: Mapped[str]
    kind: Mapped[str]
    call_id: Mapped[str]
    """The refund's id; empty for the other two."""
    body: Mapped[dict[str, Any]]
    content_hash: Mapped[bytes]
    received_at: Mapped[datetime]
    applied_at: Mapped[datetime | None]
    refused_reason: Mapped[str | None]
    """Why it could not be applied when the order came."""
    expired_at: Mapped[datetime | None]


class Customer(Model):
    """A buyer of a program's shop: the shop's id, or a keyed hash of the e-mail."""

    __tablename__ = "customers"
    __table_args__ = (
        sa.UniqueConstraint("program_id", "shop_id"),
        sa.Index("ix_customers_email", "program_id", "email_hash"),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    shop_id: Mapped[str | None]
    email_hash: Mapped[bytes | None]
    """HMAC of the SHA-256 that the shop sent; the address itself is never seen."""
    first_ordered_at: Mapped[datetime | None]
    """placed_at of the earliest order we know; None for an imported customer."""
    imported_at: Mapped[datetime | None]
