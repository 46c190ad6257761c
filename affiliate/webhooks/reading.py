"""What the pages ask: endpoints with how they fare, their deliveries, one with its attempts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.errors import NotFound
from affiliate.webhooks.endpoints import Owner, endpoints_of, find_endpoint
from affiliate.webhooks.models import (
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookEvent,
)


class State(StrEnum):
    """Where a delivery stands."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"
    """Given up."""


@dataclass(frozen=True, slots=True)
class Faring:
    """An endpoint and what becomes of what it is told."""

    row: WebhookEndpoint
    waiting: int
    failed: int
    """Given up, of those that are kept."""
    delivered_at: datetime | None
    """When it last took something."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A delivery in a list."""

    id: int
    type: str
    subject: str
    at: datetime
    state: State
    attempts: int
    next_try_at: datetime
    ended_at: datetime | None
    status: int | None
    """Of the last attempt."""
    trouble: str | None


@dataclass(frozen=True, slots=True)
class Shown:
    """One delivery with everything about it."""

    listed: Listed
    endpoint: WebhookEndpoint
    message_id: str | None
    body: str | None
    """None before the first attempt; of a postback: its address."""
    attempts: Sequence[WebhookAttempt]


def faring(session: Session, *, owner: Owner) -> list[Faring]:
    """The owner's endpoints, oldest first."""
    rows = endpoints_of(session, owner=owner)
    waiting = sa.and_(WebhookDelivery.delivered_at.is_(None), WebhookDelivery.given_up_at.is_(None))
    found = session.execute(
        sa.select(
            WebhookDelivery.endpoint_id,
            sa.func.count().filter(waiting),
            sa.func.count(WebhookDelivery.given_up_at),
            sa.func.max(WebhookDelivery.delivered_at),
        )
        .where(WebhookDelivery.endpoint_id.in_([row.id for row in rows]))
        .group_by(WebhookDelivery.endpoint_id)
    )
    counted = {endpoint_id: rest for endpoint_id, *rest in found}
    return [Faring(row, *counted.get(row.id, (0, 0, None))) for row in rows]


def deliveries(
    session: Session,
    *,
    owner: Owner,
    endpoint_id: int,
    state: State | None = None,
    before: int | None = None,
    rows_max: int,
) -> list[Listed]:
    """Deliveries of an endpoint, newest first; NotFound for somebody else's."""
    find_endpoint(session, owner=owner, endpoint_id=endpoint_id)
    query = _listed().where(WebhookDelivery.endpoint_id == endpoint_id)
    ended = {
        State.DELIVERED: WebhookDelivery.delivered_at.is_not(None),
        State.FAILED: WebhookDelivery.given_up_at.is_not(None),
        State.WAITING: sa.and_(
            WebhookDelivery.delivered_at.is_(None), WebhookDelivery.given_up_at.is_(None)
        ),
    }
    if state is not None:
        query = query.where(ended[state])
    if before is not None:
        query = query.where(WebhookDelivery.id < before)
    found = session.execute(query.order_by(WebhookDelivery.id.desc()).limit(rows_max))
    return [_as_listed(row) for row in found]


def delivery(session: Session, *, owner: Owner, endpoint_id: int, delivery_id: int) -> Shown:
    """One delivery with its message and attempts; NotFound for somebody else's."""
    endpoint = find_endpoint(session, owner=owner, endpoint_id=endpoint_id)
    row = session.execute(
        _listed()
        .add_columns(WebhookEvent.message_id, WebhookEvent.body, WebhookDelivery.address)
        .where(WebhookDelivery.id == delivery_id, WebhookDelivery.endpoint_id == endpoint_id)
    ).one_or_none()
    if row is None:
        raise NotFound
    attempts = session.scalars(
        sa.select(WebhookAttempt)
        .where(WebhookAttempt.delivery_id == delivery_id)
        .order_by(WebhookAttempt.id.desc())
    ).all()
    body = row.body if endpoint.enrollment_id is None else row.address
    return Shown(_as_listed(row), endpoint, row.message_id, body, attempts)


def _listed() -> sa.Select[*tuple[object, ...]]:
    last = (
        sa.select(WebhookAttempt.status, WebhookAttempt.trouble)
        .where(WebhookAttempt.delivery_id == WebhookDelivery.id)
        .order_by(WebhookAttempt.id.desc())
        .limit(1)
        .lateral("last")
    )
    return (
        sa.select(
            WebhookDelivery.id,
            WebhookEvent.type,
            WebhookDelivery.subject,
            WebhookEvent.at,
            WebhookDelivery.attempts,
            WebhookDelivery.next_try_at,
            WebhookDelivery.delivered_at,
            WebhookDelivery.given_up_at,
            last.c.status,
            last.c.trouble,
        )
        .join(WebhookEvent, WebhookEvent.id == WebhookDelivery.event_id)
        .outerjoin(last, sa.true())
    )


def _as_listed(row: sa.Row[*tuple[object, ...]]) -> Listed:
    state = State.WAITING
    if row.delivered_at is not None:
        state = State.DELIVERED
    elif row.given_up_at is not None:
        state = State.FAILED
    return Listed(
        id=row.id, type=row.type, subject=row.subject, at=row.at, state=state,
        attempts=row.attempts, next_try_at=row.next_try_at,
        ended_at=row.delivered_at or row.given_up_at, status=row.status, trouble=row.trouble,
    )  # fmt: skip
