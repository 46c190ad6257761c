"""Apply what was parked for an order, in the transaction in which it arrives."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from affiliate.core.errors import Refusal
from affiliate.core.money import Money
from tracker.orders.effects import apply_cancellation, apply_confirmation, apply_refund
from tracker.orders.models import Order, ParkedCall
from tracker.orders.parked import Kind
from tracker.orders.records import ProgramFacts
from tracker.orders.rules import refund_from

log = structlog.get_logger(__name__)

# A confirmation goes first: refunds wait for it.
_TURN: Final = {Kind.CONFIRMATION: 0, Kind.REFUND: 1, Kind.CANCELLATION: 1}


def apply_waiting(session: Session, *, order: Order, program: ProgramFacts, now: datetime) -> None:
    """Apply what waits for a locked order; what it refuses is kept with the reason.

    Refunds go on waiting while the order is only a browser's claim.
    """
    calls = session.scalars(
        sa.select(ParkedCall)
        .where(
            ParkedCall.program_id == order.program_id,
            ParkedCall.order_id == order.order_id,
            ParkedCall.applied_at.is_(None),
            ParkedCall.refused_reason.is_(None),
            ParkedCall.expired_at.is_(None),
        )
        .order_by(ParkedCall.id)
        .with_for_update()
    ).all()
    for call in sorted(calls, key=lambda call: _TURN[Kind(call.kind)]):
        if call.kind == Kind.REFUND and order.status == "unconfirmed":
            continue
        try:
            _apply(session, order, call, now)
            call.applied_at = now
        except Refusal as refusal:
            call.refused_reason = refusal.code
            log.error(
                "parked_call.refused",
                program=program.slug,
                order_id=order.order_id,
                kind=call.kind,
                code=refusal.code,
            )
    session.flush()


def _apply(session: Session, order: Order, call: ParkedCall, now: datetime) -> None:
    if call.kind == Kind.REFUND:
        apply_refund(session, order=order, refund=refund_from(call.body), now=now)
    elif call.kind == Kind.CANCELLATION:
        apply_cancellation(
            session, order=order, reason=call.body["reason"], by=call.body["by"], now=now
        )
    else:
        total = call.body["total"]
        apply_confirmation(
            session,
            order=order,
            total=total and Money(total["micros"], total["currency"]),
            by=call.body["by"],
            now=now,
        )
