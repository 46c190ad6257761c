"""Take the next delivery and make its request ready, in one short transaction.

One endpoint that is slow or dead holds nobody up: each has a few deliveries in flight at most, one
that fails has one, and after failures in a row it rests. What happened to one object goes to one
endpoint in its order: a later delivery waits until the earlier one has arrived or was given up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
import structlog
from flask import Flask, current_app
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from affiliate.webhooks import keys, rules
from affiliate.webhooks.models import WebhookDelivery, WebhookEndpoint, WebhookEvent
from affiliate.webhooks.rules import DeliveryTrouble

LEASE: Final = timedelta(seconds=120)
"""More than an attempt takes, slow answers of name servers included."""
FLIGHT_MAX: Final = 4
"""Deliveries to one endpoint that are sent at once, over all processes."""
USER_AGENT: Final = "Kopeck webhooks (+https://www.standardwebhooks.com)"
EXTENSION: Final = "kopeck.click_blanks"

ClickBlanks = Callable[[Session, str, int], Mapping[str, str]]
"""Of an order (`order:17`) and an enrollment: the click that credited it and its sub-ids."""

_WAITING: Final = "{0}.delivered_at IS NULL AND {0}.given_up_at IS NULL"
_NEXT: Final = sa.text(
    f"""
    SELECT e.id AS endpoint_id, due.id AS delivery_id
    FROM webhook_endpoints e
    CROSS JOIN LATERAL (
        SELECT d.id FROM webhook_deliveries d
        WHERE d.endpoint_id = e.id AND {_WAITING.format("d")} AND d.next_try_at <= :now
          AND (d.leased_until IS NULL OR d.leased_until <= :now)
          AND NOT EXISTS (
              SELECT FROM webhook_deliveries earlier
              WHERE earlier.endpoint_id = e.id AND earlier.subject = d.subject
                AND earlier.id < d.id AND {_WAITING.format("earlier")})
        ORDER BY d.next_try_at, d.id LIMIT 1
    ) AS due
    WHERE e.deleted_at IS NULL AND e.disabled_at IS NULL
      AND (e.rests_until IS NULL OR e.rests_until <= :now)
      AND (e.failures = 0 OR :failing_too)
      AND (SELECT count(*) FROM webhook_deliveries f
           WHERE f.endpoint_id = e.id AND {_WAITING.format("f")} AND f.leased_until > :now)
          < CASE WHEN e.failures = 0 THEN :flight_max ELSE 1 END
    ORDER BY random() LIMIT 1
    FOR NO KEY UPDATE OF e SKIP LOCKED
    """  # noqa: S608 -- constants of ours, every value is bound
)
"""By lot, so that nobody with a long queue is always the first."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ready:
    """A delivery that is leased to this process, and its request."""

    delivery_id: int
    endpoint_id: int
    failing: bool
    """Its endpoint failed last time."""
    url: str = ""
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    trouble: DeliveryTrouble | None = None
    """Why nothing can be sent."""


def provide_click_blanks(app: Flask, asked: ClickBlanks) -> None:
    """Say who knows the clicks behind an order; this package knows none."""
    app.extensions[EXTENSION] = asked


def claim(
    session: Session, *, settings: Settings, real_now: datetime, failing_too: bool = True
) -> Ready | None:
    """Lease what is due next to some endpoint; None: nothing is, or others were quicker.

    `failing_too`: also to endpoints that failed last time. The caller commits before sending.
    """
    found = session.execute(
        _NEXT, {"now": real_now, "flight_max": FLIGHT_MAX, "failing_too": failing_too}
    ).one_or_none()
    if found is None:
        return None
    leased = session.scalar(
        sa.update(WebhookDelivery)
        .where(
            WebhookDelivery.id == found.delivery_id,
            WebhookDelivery.delivered_at.is_(None),
            WebhookDelivery.given_up_at.is_(None),
            sa.or_(
                WebhookDelivery.leased_until.is_(None), WebhookDelivery.leased_until <= real_now
            ),
        )
        .values(leased_until=real_now + LEASE)
        .returning(WebhookDelivery)
        .execution_options(populate_existing=True, synchronize_session=False)
    )
    if leased is None:
        return None
    endpoint = session.get_one(WebhookEndpoint, found.endpoint_id, populate_existing=True)
    try:
        return _ready(session, settings, endpoint, leased, real_now)
    except sa.exc.SQLAlchemyError:
        raise
    except Exception as error:  # noqa: BLE001 -- one strange event must not stop all others
        log.error("webhooks.broken", delivery=leased.id, error=type(error).__name__)
        return Ready(leased.id, endpoint.id, endpoint.failures > 0, trouble=DeliveryTrouble.BROKEN)


def _ready(
    session: Session,
    settings: Settings,
    endpoint: WebhookEndpoint,
    delivery: WebhookDelivery,
    real_now: datetime,
) -> Ready:
    event = _with_body(session, delivery.event_id)
    failing = endpoint.failures > 0
    if endpoint.enrollment_id is not None:
        if delivery.address is None:
            delivery.address = _address(session, endpoint, event)
            session.flush()
        return Ready(
            delivery.id, endpoint.id, failing, delivery.address, endpoint.method,
            {"User-Agent": USER_AGENT},
        )  # fmt: skip
    assert event.body is not None and event.message_id is not None
    try:
        signed = keys.signatures(
            settings, endpoint, message_id=event.message_id, body=event.body, now=real_now
        )
    except keys.SecretLost:
        log.error("webhooks.secret_lost", endpoint=endpoint.id)
        return Ready(delivery.id, endpoint.id, failing, trouble=DeliveryTrouble.SECRET_LOST)
    headers = {
        "User-Agent": USER_AGENT, "Content-Type": "application/json",
        "webhook-id": event.message_id, "webhook-timestamp": str(int(real_now.timestamp())),
        "webhook-signature": signed,
    }  # fmt: skip
    return Ready(
        delivery.id, endpoint.id, failing, endpoint.url, "POST", headers, event.body.encode()
    )


def _with_body(session: Session, event_id: int) -> WebhookEvent:
    """The event with its message, which the first to send it writes down for all."""
    event = session.get_one(WebhookEvent, event_id, populate_existing=True)
    if event.body is None:
        event = session.get_one(
            WebhookEvent, event_id, with_for_update={"key_share": True}, populate_existing=True
        )
    if event.body is None:
        event.message_id = rules.new_message_id()
        event.body = rules.body_of(event.type, event.at, event.facts)
        session.flush()
    return event


def _address(session: Session, endpoint: WebhookEndpoint, event: WebhookEvent) -> str:
    """The postback's address with everything filled in that is known."""
    values = rules.blanks_of(event.type, event.facts)
    asked: ClickBlanks | None = current_app.extensions.get(EXTENSION)
    # At level 2 the click is another affiliate's.
    if asked is not None and "via" not in event.facts and endpoint.enrollment_id is not None:
        values |= asked(session, event.subject, endpoint.enrollment_id)
    return rules.filled(endpoint.url, values)
