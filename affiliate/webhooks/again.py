"""Send again what was sent or given up: one delivery, or all that failed since a day."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.errors import NotFound
from affiliate.webhooks.endpoints import EndpointDisabled, Owner, lock_endpoint
from affiliate.webhooks.models import WebhookDelivery, WebhookEndpoint


def send_again(session: Session, *, owner: Owner, endpoint_id: int, delivery_id: int) -> None:
    """Queue a delivery at once, under the id that its message had before.

    One that still waits is tried now. Raises NotFound and EndpointDisabled.
    """
    endpoint = _open(session, owner, endpoint_id)
    found = session.execute(
        _anew(endpoint).where(WebhookDelivery.id == delivery_id).returning(WebhookDelivery.id)
    )
    if found.first() is None:
        raise NotFound


def send_failed_again(session: Session, *, owner: Owner, endpoint_id: int, since: datetime) -> int:
    """Queue every delivery that was given up since then; how many. Raises EndpointDisabled.

    The oldest goes first, and what happened to one object goes in its order.
    """
    endpoint = _open(session, owner, endpoint_id)
    found = session.execute(
        _anew(endpoint).where(WebhookDelivery.given_up_at >= since).returning(WebhookDelivery.id)
    )
    return len(found.all())


def _open(session: Session, owner: Owner, endpoint_id: int) -> WebhookEndpoint:
    endpoint = lock_endpoint(session, owner=owner, endpoint_id=endpoint_id)
    if endpoint.disabled_at is not None:
        raise EndpointDisabled
    endpoint.rests_until = None
    session.flush()
    return endpoint


def _anew(endpoint: WebhookEndpoint) -> sa.Update:
    """What is being sent in this moment is left alone."""
    now = clock.real_now()
    free = sa.or_(WebhookDelivery.leased_until.is_(None), WebhookDelivery.leased_until <= now)
    return (
        sa.update(WebhookDelivery)
        .where(WebhookDelivery.endpoint_id == endpoint.id, free)
        .values(delivered_at=None, given_up_at=None, leased_until=None, attempts=0, next_try_at=now)
        .execution_options(synchronize_session=False)
    )
