"""For how long deliveries are kept, and what of them goes with an erased affiliate."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.webhooks.models import WebhookDelivery, WebhookEndpoint, WebhookEvent

KEEP_DAYS: Final = 30
"""Deliveries and their attempts, after they arrived or were given up."""


def forget_old(session: Session, *, real_now: datetime, rows_max: int) -> int:
    """Delete what ended long ago, a batch at most; how many deliveries and events went."""
    cutoff = real_now - timedelta(days=KEEP_DAYS)
    # An endpoint that was ended is told nothing more: not even what a transaction that was under
    # way told it, which nobody saw and gave up.
    ended = sa.func.coalesce(
        WebhookDelivery.delivered_at, WebhookDelivery.given_up_at, WebhookEndpoint.deleted_at
    )
    old = (
        sa.select(WebhookDelivery.id)
        .join(WebhookEvent, WebhookEvent.id == WebhookDelivery.event_id)
        .join(WebhookEndpoint, WebhookEndpoint.id == WebhookDelivery.endpoint_id)
        .where(WebhookEvent.written_at < cutoff, ended < cutoff)
        .order_by(WebhookDelivery.id)
        .limit(rows_max)
        .with_for_update(skip_locked=True, of=WebhookDelivery)
    )
    deliveries = session.execute(
        sa.delete(WebhookDelivery)
        .where(WebhookDelivery.id.in_(old))
        .returning(WebhookDelivery.id)
        .execution_options(synchronize_session=False)
    ).all()
    kept = sa.exists().where(WebhookDelivery.event_id == WebhookEvent.id)
    alone = (
        sa.select(WebhookEvent.id)
        .where(WebhookEvent.written_at < cutoff, ~kept)
        .order_by(WebhookEvent.written_at)
        .limit(rows_max)
    )
    events = session.execute(
        sa.delete(WebhookEvent)
        .where(WebhookEvent.id.in_(alone))
        .returning(WebhookEvent.id)
        .execution_options(synchronize_session=False)
    ).all()
    _forget_former_secrets(session, real_now)
    return max(len(deliveries), len(events))


def forget_postbacks(session: Session, *, enrollment_ids: Sequence[int]) -> None:
    """Delete an affiliate's postbacks with everything that was sent to them."""
    theirs = session.scalars(
        sa.select(WebhookEndpoint.id)
        .where(WebhookEndpoint.enrollment_id.in_(enrollment_ids))
        .order_by(WebhookEndpoint.id)
        .with_for_update()
    ).all()
    for statement in (
        sa.delete(WebhookDelivery).where(WebhookDelivery.endpoint_id.in_(theirs)),
        sa.delete(WebhookEndpoint).where(WebhookEndpoint.id.in_(theirs)),
    ):
        session.execute(statement.execution_options(synchronize_session=False))


def _forget_former_secrets(session: Session, real_now: datetime) -> None:
    session.execute(
        sa.update(WebhookEndpoint)
        .where(WebhookEndpoint.previous_until < real_now)
        .values(previous_secret=None, previous_until=None)
        .execution_options(synchronize_session=False)
    )
