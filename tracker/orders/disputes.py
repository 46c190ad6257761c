"""The buyer's bank asks the money of an order back: nothing of it is released until that ends."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.money import Money
from tracker.attribution.decide import update_wait
from tracker.orders.models import Order, Refund
from tracker.orders.records import find_order
from tracker.orders.refunds import refund_order
from tracker.orders.rules import RefundIn

REASON: Final = "dispute lost"


def open_dispute(
    session: Session, *, program_id: int, order_id: str, dispute_id: str, now: datetime
) -> bool | None:
    """Hold what the order earned and has not been released. False: it is held by this one
    already; None: the order is not known."""
    order = find_order(session, program_id=program_id, order_id=order_id)
    if order is None:
        return None
    if dispute_id in order.open_disputes:
        return False
    order.open_disputes = [*order.open_disputes, dispute_id]
    _recompute(session, order, now)
    return True


def close_dispute(
    session: Session,
    *,
    program_id: int,
    order_id: str,
    dispute_id: str,
    lost: Money | None,
    now: datetime,
) -> bool | None:
    """Let the order go on; `lost` is what the buyer got back, None where the shop has won.

    What is lost is a refund of that amount, at most of what is left of the order, so that
    commissions that were released or paid are taken back by the same path. False: nothing changed;
    None: the order is not known. Raises Invalid for another currency than the order's.
    """
    order = find_order(session, program_id=program_id, order_id=order_id)
    if order is None:
        return None
    was_open = dispute_id in order.open_disputes
    if was_open:
        order.open_disputes = [each for each in order.open_disputes if each != dispute_id]
        _recompute(session, order, now)
    if lost is None:
        return was_open
    return _give_back(session, order, f"dispute:{dispute_id}", lost, now) or was_open


def _give_back(session: Session, order: Order, refund_id: str, lost: Money, now: datetime) -> bool:
    if _is_given_back(session, order, refund_id):
        return False
    left = Money(order.total_micros - order.refunded_micros, order.currency)
    if lost.currency == order.currency:
        # Of what was refunded before, nothing is taken back a second time.
        lost = min(lost, left)
    if not lost:
        return False
    refund_order(
        session,
        program_id=order.program_id,
        order_id=order.order_id,
        refund=RefundIn(refund_id, amount=lost, reason=REASON),
        now=now,
    )
    return True


def _is_given_back(session: Session, order: Order, refund_id: str) -> bool:
    known = sa.select(Refund.id).where(Refund.order_id == order.id, Refund.refund_id == refund_id)
    return session.scalar(known) is not None


def _recompute(session: Session, order: Order, now: datetime) -> None:
    session.flush()
    update_wait(session, order_row_id=order.id, confirmed=order.status != "unconfirmed", now=now)
