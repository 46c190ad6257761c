"""Tables: who is told, what happened, each delivery of it, and each attempt at one.

Events and their deliveries are written by triggers of the database, in the transaction of the
fact itself (docs/decisions/0034-outgoing-webhooks.md).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from affiliate.core.db import Model

LIVE = sa.text("deleted_at IS NULL AND disabled_at IS NULL")
WAITING = sa.text("delivered_at IS NULL AND given_up_at IS NULL")
LEASED = sa.text("delivered_at IS NULL AND given_up_at IS NULL AND leased_until IS NOT NULL")


class WebhookEndpoint(Model):
    """A merchant's endpoint, or the postback of an affiliate (then `enrollment_id` is set)."""

    __tablename__ = "webhook_endpoints"
    __table_args__ = (
        sa.ForeignKeyConstraint(
            ["program_id", "enrollment_id"], ["enrollments.program_id", "enrollments.id"]
        ),
        sa.CheckConstraint("method IN ('GET', 'POST')", name="method_known"),
        sa.CheckConstraint(
            "enrollment_id IS NOT NULL OR deleted_at IS NOT NULL OR secret IS NOT NULL",
            name="endpoint_signs",
        ),
        sa.CheckConstraint(
            "(previous_secret IS NULL) = (previous_until IS NULL)", name="previous_has_end"
        ),
        sa.Index("ix_webhook_endpoints_live", "program_id", postgresql_where=LIVE),
        sa.Index("ix_webhook_endpoints_program_id", "program_id", "id"),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    enrollment_id: Mapped[int | None]
    """Whose postback it is; none: the program's own endpoint."""
    url: Mapped[str]
    """Of a postback: with its blanks."""
    method: Mapped[str]
    description: Mapped[str]
    types: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))
    """What it is told (EventType)."""
    secret: Mapped[str | None]
    """Encrypted under a key of KOPECK_SECRET; a postback has none."""
    previous_secret: Mapped[str | None]
    previous_until: Mapped[datetime | None]
    """Until when the secret before signs as well. Real time, as all of delivery."""
    created_at: Mapped[datetime]
    created_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    failures: Mapped[int] = mapped_column(sa.Integer, server_default="0")
    """Attempts that failed since the last that did not."""
    failing_since: Mapped[datetime | None]
    """The first of them."""
    rests_until: Mapped[datetime | None]
    disabled_at: Mapped[datetime | None]
    disabled_for: Mapped[str | None]
    """Why (DisabledFor)."""
    deleted_at: Mapped[datetime | None]


class WebhookEvent(Model):
    """Something that happened while somebody wanted to know."""

    __tablename__ = "webhook_events"
    __table_args__ = (sa.Index("ix_webhook_events_written_at", "written_at"),)

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    program_id: Mapped[int] = mapped_column(sa.ForeignKey("programs.id"))
    type: Mapped[str]
    subject: Mapped[str]
    """The object: `order:17`. What happens to one object is told in its order."""
    facts: Mapped[dict[str, Any]]
    """As the database wrote them: numbers of rows and micros."""
    at: Mapped[datetime]
    """Business time."""
    written_at: Mapped[datetime]
    """Real time."""
    message_id: Mapped[str | None] = mapped_column(unique=True)
    """`webhook-id`; given, with the body, when it is first sent."""
    body: Mapped[str | None]


class WebhookDelivery(Model):
    """One event on its way to one endpoint."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        sa.UniqueConstraint("endpoint_id", "event_id"),
        sa.CheckConstraint("num_nonnulls(delivered_at, given_up_at) <= 1", name="one_end"),
        sa.Index(
            "ix_webhook_deliveries_due", "endpoint_id", "next_try_at", postgresql_where=WAITING
        ),
        sa.Index(
            "ix_webhook_deliveries_order", "endpoint_id", "subject", "id", postgresql_where=WAITING
        ),
        sa.Index(
            "ix_webhook_deliveries_leased", "endpoint_id", "leased_until", postgresql_where=LEASED
        ),
        sa.Index("ix_webhook_deliveries_listed", "endpoint_id", "id"),
        sa.Index("ix_webhook_deliveries_event_id", "event_id"),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    endpoint_id: Mapped[int] = mapped_column(sa.ForeignKey("webhook_endpoints.id"))
    event_id: Mapped[int] = mapped_column(sa.ForeignKey("webhook_events.id"))
    subject: Mapped[str]
    """The event's."""
    address: Mapped[str | None]
    """Of a postback: with its blanks filled in, from the first attempt on."""
    next_try_at: Mapped[datetime]
    leased_until: Mapped[datetime | None]
    """A process is sending it; after that moment another may."""
    attempts: Mapped[int] = mapped_column(sa.Integer, server_default="0")
    """Of this round: sending again by hand begins another."""
    delivered_at: Mapped[datetime | None]
    given_up_at: Mapped[datetime | None]


class WebhookAttempt(Model):
    """One request, and what came of it."""

    __tablename__ = "webhook_attempts"
    __table_args__ = (sa.Index("ix_webhook_attempts_delivery_id", "delivery_id", "id"),)

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    delivery_id: Mapped[int] = mapped_column(
        sa.ForeignKey("webhook_deliveries.id", ondelete="CASCADE")
    )
    at: Mapped[datetime]
    took_ms: Mapped[int]
    status: Mapped[int | None] = mapped_column(sa.Integer)
    """Of HTTP; none where there was no answer."""
    trouble: Mapped[str | None]
    """Why there was none (affiliate.core.fetch.Trouble, or DeliveryTrouble)."""
    answer: Mapped[str]
    """Its first characters."""
