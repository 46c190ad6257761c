"""A refund takes commission back in proportion, at most once and never over the order."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.rates.lookup import takes_currency
from tracker.orders import parked
from tracker.orders.effects import apply_refund, check_refund
from tracker.orders.growing import further_part, known_parts
from tracker.orders.models import Order, Refund
from tracker.orders.records import ProgramFacts, find_order, lock_order_id
from tracker.orders.refusals import RefundConflict
from tracker.orders.rules import RefundIn, content_hash, refund_document


@dataclass(frozen=True, slots=True)
class Refunded:
    """What a call about a refund did."""

    order_row_id: int | None
    """None: parked, the order is not known yet."""
    refund_row_id: int | None
    replayed: bool


def refund_order(
    session: Session,
    *,
    program_id: int,
    order_id: str,
    refund: RefundIn,
    now: datetime,
    grows: bool = False,
) -> Refunded:
    """Give money back, or park the refund while no server has told us of the order.

    A refund also waits for an order that only a browser claimed: its amounts are nothing to
    measure a refund by. `grows`: the system adds to a refund under its id, and what it says more
    than before is a further part instead of a conflict. Raises Invalid (currency_mismatch, zero),
    RefundConflict, RefundExceedsOrder, RefundMismatch.
    """
    order = find_order(session, program_id=program_id, order_id=order_id)
    if order is None:
        program = lock_order_id(session, program_id=program_id, order_id=order_id)
        currency = _currency(session, program, refund)
        check_refund(refund, currency)
        order = find_order(session, program_id=program_id, order_id=order_id)
    if grows:
        known_before = known_parts(
            session,
            program_id=program_id,
            order_id=order_id,
            order=order,
            refund_id=refund.refund_id,
        )
        further = further_part(refund, known_before)
        if further is None:
            return Refunded(order.id if order else None, None, replayed=True)
        refund = further
    if order is None or order.status == "unconfirmed":
        check_refund(refund, order.currency if order else currency)
        replayed = parked.park(
            session,
            program_id=program_id,
            order_id=order_id,
            kind=parked.Kind.REFUND,
            call_id=refund.refund_id,
            body=refund_document(refund),
            now=now,
        )
        return Refunded(None, None, replayed)
    known = _known(session, order, refund)
    if known is not None:
        return Refunded(order.id, known, replayed=True)
    return Refunded(order.id, apply_refund(session, order=order, refund=refund, now=now), False)


def _currency(session: Session, program: ProgramFacts, refund: RefundIn) -> str:
    """That of an order which is not known yet: any that the program takes; the program's, if in
    doubt."""
    said = {amount.currency for _, amount in refund.amounts}
    if len(said) == 1 and takes_currency(
        session, program_id=program.id, currency=(currency := said.pop())
    ):
        return currency
    return program.currency


def _known(session: Session, order: Order, refund: RefundIn) -> int | None:
    row = session.execute(
        sa.select(Refund.id, Refund.content_hash).where(
            Refund.order_id == order.id, Refund.refund_id == refund.refund_id
        )
    ).one_or_none()
    if row is None:
        return None
    if bytes(row.content_hash) != content_hash(refund_document(refund)):
        raise RefundConflict
    return int(row.id)
