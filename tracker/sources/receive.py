"""Store a webhook once, before it is answered; what follows from it comes later."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core.errors import Invalid
from tracker.sources import bodies, generic, shopify, stripe_events, woocommerce
from tracker.sources.models import Source, SourceDelivery
from tracker.sources.rules import DELIVERY_ID_CHARS_MAX, Kind
from tracker.sources.signatures import Headers

TOPIC_CHARS_MAX: Final = 100


def store(
    session: Session, *, source: Source, raw: bytes, headers: Headers, real_now: datetime
) -> bool:
    """Write a signed body down, if it is not there yet. True: it was new. Raises Malformed.

    It is known by the id of its delivery or event, and by its bytes: a copy under another id is
    the same.
    """
    kind, body = Kind(source.kind), bodies.read(raw)
    hashed = hashlib.sha256(raw).digest()
    made = session.execute(
        insert(SourceDelivery)
        .values(
            source_id=source.id,
            delivery_id=_delivery_id(source, body, headers) or hashed.hex(),
            topic=_topic(kind, body, headers),
            body=kept(kind, body),
            body_hash=hashed,
            received_at=real_now,
            next_try_at=real_now,
        )
        .on_conflict_do_nothing()
        .returning(SourceDelivery.id)
    )
    return made.one_or_none() is not None


def kept(kind: Kind, body: bodies.Body) -> dict[str, Any]:
    """What is stored of a body: of systems that we know, what the rules read."""
    match kind:
        case Kind.SHOPIFY:
            return bodies.kept(body, shopify.KEPT)
        case Kind.WOOCOMMERCE:
            return woocommerce.kept(body)
        case Kind.STRIPE:
            return bodies.kept(body, stripe_events.KEPT)
        case Kind.GENERIC:
            return dict(body)


def newest(session: Session, *, source_id: int) -> datetime | None:
    """When the last webhook of a source came."""
    return session.scalar(
        sa.select(SourceDelivery.received_at)
        .where(SourceDelivery.source_id == source_id)
        .order_by(SourceDelivery.id.desc())
        .limit(1)
    )


def _delivery_id(source: Source, body: Mapping[str, Any], headers: Headers) -> str:
    match Kind(source.kind):
        case Kind.SHOPIFY:
            found = headers.get("X-Shopify-Webhook-Id", "")
        case Kind.WOOCOMMERCE:
            # Its X-WC-Webhook-Delivery-ID is the webhook's number and the second, hashed: two
            # orders of one second share it. It never sends twice, so the bytes say enough.
            found = ""
        case Kind.STRIPE:
            found = bodies.text(body, "id")
        case Kind.GENERIC:
            found = headers.get("webhook-id", "") or _mapped_id(source, body)
    return found.strip().replace("\0", "")[:DELIVERY_ID_CHARS_MAX]


def _mapped_id(source: Source, body: Mapping[str, Any]) -> str:
    try:
        return generic.delivery_id(body, generic.mapping_of(source.mapping))
    except Invalid:
        return ""  # The mapping is not right yet: the body's bytes say which it is.


def _topic(kind: Kind, body: Mapping[str, Any], headers: Headers) -> str:
    match kind:
        case Kind.SHOPIFY:
            found = headers.get("X-Shopify-Topic", "")
        case Kind.WOOCOMMERCE:
            found = headers.get("X-WC-Webhook-Topic", "")
        case Kind.STRIPE:
            found = bodies.text(body, "type")
        case Kind.GENERIC:
            found = ""
    return found.replace("\0", "")[:TOPIC_CHARS_MAX]
