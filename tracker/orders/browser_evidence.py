"""What browsers' reports add to a confirmed order: read anew out of all that they said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.money import Money
from tracker.attribution.asking import TOKENS_MAX
from tracker.orders.hearing import Confirmed, Hearing, Word, hear, own_visitor
from tracker.orders.models import Order, OrderReport
from tracker.orders.rules import Source


def browser_evidence(session: Session, order: Order, *, now: datetime) -> dict[str, Any] | None:
    """The evidence of the browser that is heard; None: none is.

    A signed token stands for itself: its page was the shop's, whatever others said.
    """
    known: Mapping[str, Any] | None = order.evidence.get("browser")
    if known is None or order.confirmed_by == "token":
        return None if known is None else dict(known)
    words = words_of(session, order)
    hearing = hear(words, confirmed_of(session, order, now=now))
    # The network is the first reporter's; of others none is kept.
    is_first = bool(hearing.words) and words[0] is hearing.words[0]
    return evidence_heard(hearing, network=known.get("network") if is_first else None)


def evidence_heard(hearing: Hearing, *, network: str | None) -> dict[str, Any] | None:
    """What the browser that is heard adds to the order's evidence; None: none is heard."""
    if not hearing.words:
        return None
    merged = _merged(hearing.words)
    if network:
        merged["network"] = network
    if hearing.contested_by:
        merged["contested"] = True
    return merged


def confirmed_of(session: Session, order: Order, *, now: datetime) -> Confirmed:
    """What a browser's word has to fit; `now` stands for a server's word that is being taken."""
    said = order.source != Source.BROWSER.value
    server = order.evidence.get("server") or {}
    told_at = session.scalar(
        sa.select(sa.func.min(OrderReport.received_at)).where(
            OrderReport.order_id == order.id, OrderReport.source != Source.BROWSER.value
        )
    )
    return Confirmed(
        total=Money(order.total_micros, order.currency),
        placed_at=order.placed_at if said else None,
        told_at=told_at or now,
        visitor=own_visitor(server.get("visitor")),
    )


def words_of(session: Session, order: Order) -> list[Word]:
    """What browsers said of the order, in the order in which it came."""
    rows = session.execute(
        sa.select(OrderReport.body, OrderReport.received_at)
        .where(OrderReport.order_id == order.id, OrderReport.source == Source.BROWSER.value)
        .order_by(OrderReport.id)
    )
    return [
        Word(
            total=Money(body["total_micros"], body["currency"]),
            received_at=received_at,
            visitor=body["visitor"],
            clicks=tuple(body["clicks"]),
            coupon=body["coupon"],
            customer=body["customer"],
        )
        for body, received_at in rows
    ]


def _merged(words: Sequence[Word]) -> dict[str, Any]:
    clicks = list(dict.fromkeys(token for word in words for token in word.clicks))
    return {
        "clicks": clicks[:TOKENS_MAX],
        "visitor": next((word.visitor for word in words if word.visitor), None),
        "coupon": next((word.coupon for word in words if word.coupon), None),
        "customer": next((word.customer for word in words if word.customer), None),
    }
