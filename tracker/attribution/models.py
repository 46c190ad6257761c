"""Tables of attribution decisions: at most one of an order is live."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from affiliate.core.db import Model


class CustomerBinding(Model):
    """A buyer who stays with the affiliate of an order, by the rules that order was under."""

    __tablename__ = "customer_bindings"
    __table_args__ = (
        sa.CheckConstraint("ends_at > bound_at", name="ends_after_it_begins"),
        sa.Index(
            "uq_customer_bindings_live", "customer_id", unique=True,
            postgresql_where=sa.text("voided_at IS NULL"),
        ),
        sa.Index("ix_customer_bindings_order_id", "order_id"),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    customer_id: Mapped[int] = mapped_column(sa.ForeignKey("customers.id"))
    enrollment_id: Mapped[int] = mapped_column(sa.ForeignKey("enrollments.id"))
    order_id: Mapped[int] = mapped_column(sa.ForeignKey("orders.id"))
    """The order that bound them; when its credit falls, the binding falls."""
    bound_at: Mapped[datetime]
    """placed_at of that order."""
    ends_at: Mapped[datetime | None]
    """The first instant at which it no longer counts; None: for life."""
    created_at: Mapped[datetime]
    voided_at: Mapped[datetime | None]
    """When its order lost the credit, or a later order bound the buyer anew after its end."""


class AffiliateSighting(Model):
    """A browser or a network in which an affiliate's account was open.

    Both stand here as hashes: whoever reads the tables cannot look up an affiliate's clicks, and
    without the installation's secret nothing turns them back.
    """

    __tablename__ = "affiliate_sightings"
    __table_args__ = (
        # Its key is its only index: orders find rows by their marks, and a plan that was made
        # while the table was small must have no other choice when it has grown.
        sa.CheckConstraint("kind IN ('device', 'address')", name="kind_known"),
    )

    mark: Mapped[UUID] = mapped_column(primary_key=True)
    """Of a device: keyed hash of the visitor's id. Of a network: the address as clicks keep it,
    by the key of its UTC day."""
    affiliate_id: Mapped[int] = mapped_column(sa.ForeignKey("affiliates.id"), primary_key=True)
    kind: Mapped[str]
    """`device` or `address` (BuyerBy)."""
    first_seen_at: Mapped[datetime]
    """Business time, as orders have it."""
    last_seen_at: Mapped[datetime]


class Decided:
    """Columns of a decision, of whatever it is: who is credited and why, and what was read."""

    number: Mapped[int] = mapped_column(sa.Integer)
    """1 for the first decision; a later one voids the one before."""
    rule_version_id: Mapped[int] = mapped_column(sa.ForeignKey("rule_versions.id"))
    """The program's version in force at placed_at."""
    outcome: Mapped[str]
    reason: Mapped[str | None]
    """Why nobody was credited (closed enum)."""
    shares: Mapped[list[Any]]
    """[{enrollment_id, weight: "1/2", evidence, click_id, clicked_at, existing_customer,
    other_clicks: [{click_id, clicked_at}]}], the last only where there are any."""
    trace: Mapped[list[Any]]
    """Every candidate and check in order."""
    snapshot: Mapped[dict[str, Any]]
    """Candidates and state as read, so that replay reads the same."""
    decided_at: Mapped[datetime]
    click_check_due_at: Mapped[datetime | None]
    """Until when the loader's verdict on the credited clicks is awaited; cleared by it."""
    review_reason: Mapped[str | None]
    """Why a person has to look before it is released (ReviewReason); none: nobody has to. What
    they said stands in the order."""
    voided_at: Mapped[datetime | None]
    void_reason: Mapped[str | None]


class Decision(Decided, Model):
    """Whose order it is and why, with everything that was read to decide it."""

    __tablename__ = "decisions"
    __table_args__ = (
        sa.UniqueConstraint("order_id", "number"),
        sa.Index(
            "uq_decisions_live", "order_id", unique=True,
            postgresql_where=sa.text("voided_at IS NULL"),
        ),
        sa.Index(
            "ix_decisions_click_check", "decided_at",
            postgresql_where=sa.text("click_check_due_at IS NOT NULL AND voided_at IS NULL"),
        ),
        sa.Index(
            "ix_decisions_review", "order_id",
            postgresql_where=sa.text("review_reason IS NOT NULL AND voided_at IS NULL"),
        ),
        sa.Index(
            "ix_decisions_again", "decided_at", postgresql_where=sa.text("number > 1")
        ),
        sa.CheckConstraint("outcome IN ('attributed', 'unattributed')", name="outcome_known"),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    order_id: Mapped[int] = mapped_column(sa.ForeignKey("orders.id"))
