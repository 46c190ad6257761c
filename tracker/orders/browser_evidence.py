"""What browsers' reports add to a confirmed order: read anew out of all that they said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.money import Money
from tracker.attribution.asking import TOKENS_MAX
from tracker.orders.hearing import Confirmed, Word, heard, own_visitor
from tracker.orders.models import Order, OrderReport
from tracker.orders.rules import Source


def browser_evidence(session: Session, order: Order) -> dict[str, Any] | None:
    """The evidence of the browser that is heard; None: none is.

    A signed token stands for itself: its page was the shop's, whatever others said.
    """
    known: Mapping[str, Any] | None = order.evidence.get("browser")
    if known is None or order.confirmed_by == "token":
        return None if known is None else dict(known)
    words = words_of(session, order)
    listened = heard(words, confirmed_of(order))
    if not listened:
        return None
    merged = _merged(listened)
    # The network is the first reporter's; of others none is kept.
    if known.get("network") and words[0] is listened[0]:
        merged["network"] = known["network"]
    return merged


def confirmed_of(order: Order) -> Confirmed:
    """What a browser's word has to fit."""
    said = order.source != Source.BROWSER.value
    server = order.evidence.get("server") or {}
    return Confirmed(
        total=Money(order.total_micros, order.currency),
        placed_at=order.placed_at if said else None,
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
