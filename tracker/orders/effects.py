"""What a call does to a locked order: refund, confirmation, cancellation, new amounts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import FieldError, Invalid
from affiliate.core.money import Money
from payouts.commissions.rules import VoidReason
from payouts.commissions.void import take_back
from tracker.attribution.asking import effective
from tracker.attribution.bindings import bind_customer
from tracker.attribution.decide import decide_again, update_wait, void_decision
from tracker.attribution.subject import reference_of
from tracker.orders import converting
from tracker.orders.browser_evidence import browser_evidence
from tracker.orders.customers import remember_customer
from tracker.orders.models import Order, Refund
from tracker.orders.records import program_facts, subject_of
from tracker.orders.refusals import (
    OrderCancelled,
    RefundedMore,
    RefundExceedsOrder,
    RefundMismatch,
    TotalDiffers,
)
from tracker.orders.rules import (
    Refundable,
    RefundIn,
    content_hash,
    refund_amount,
    refund_document,
    refund_from,
    refund_parts_match,
    refunded_net_of,
)


def apply_refund(session: Session, *, order: Order, refund: RefundIn, now: datetime) -> int:
    """Write the refund of a locked order and take the commissions back. Returns its row's id."""
    before = refundable(order)
    amount, net = _measure(before, refund)
    if not refund_parts_match(before, refund, amount):
        raise RefundMismatch(f"The parts of the refund do not fit its amount of {amount}.")
    document = refund_document(refund)
    refund_row_id: int = session.execute(
        sa.insert(Refund)
        .values(
            order_id=order.id,
            refund_id=refund.refund_id,
            amount_micros=amount.micros,
            net_micros=net.micros,
            reason=refund.reason,
            body=document,
            content_hash=content_hash(document),
            received_at=now,
        )
        .returning(Refund.id)
    ).scalar_one()
    order.refunded_micros += amount.micros
    order.refunded_net_micros += net.micros
    session.flush()
    take_back(
        session,
        reference=reference_of(order.id),
        refund=f"refund:{refund_row_id}",
        refunded_net=converting.refunded_net_of(order),
        net=converting.sale_net_of(order).net,
        now=now,
    )
    return refund_row_id


def apply_confirmation(
    session: Session, *, order: Order, total: Money | None, by: str, now: datetime
) -> bool:
    """Confirm a locked order. False when it was confirmed already."""
    if order.cancelled_at is not None:
        raise OrderCancelled
    if total is not None and total != Money(order.total_micros, order.currency):
        raise TotalDiffers
    if order.status == "confirmed":
        return False
    order.status, order.confirmed_at, order.confirmed_by = "confirmed", now, by
    brought = browser_evidence(session, order, now=now)
    session.flush()
    if brought != order.evidence.get("browser"):
        # Others than the buyer had claimed the order too; they are heard no longer.
        order.evidence = {**order.evidence, "browser": brought}
        session.flush()
        decide_again(
            session,
            order=subject_of(order, program_facts(session, order.program_id)),
            reason=VoidReason.DECISION_REPLACED,
            now=now,
        )
    update_wait(session, order_row_id=order.id, confirmed=True, now=now)
    remember_customer(
        session,
        program_id=order.program_id,
        order_row_id=order.id,
        customer=effective(order.evidence).get("customer"),
        placed_at=order.placed_at,
    )
    bind_customer(session, order_row_id=order.id, now=now)
    return True


def apply_cancellation(
    session: Session, *, order: Order, reason: str | None, by: str, now: datetime
) -> bool:
    """Cancel a locked order. False when it was cancelled already."""
    if order.cancelled_at is not None:
        return False
    audit.record(
        session,
        actor=by,
        action="order.cancel",
        subject=f"order:{order.id}",
        scope=order.program_id,
        old={"status": order.status},
        reason=reason,
        now=now,
    )
    order.status, order.cancelled_at = "cancelled", now
    session.flush()
    void_decision(session, order_row_id=order.id, reason=VoidReason.ORDER_CANCELLED, now=now)
    return True


def recount(session: Session, *, order: Order) -> None:
    """Measure the refunds so far by the order's new amounts, after these were superseded.

    Their parts were judged when they came, by the amounts that were known then. Raises
    RefundedMore, and Invalid where they were in another currency than the order is now.
    """
    if not order.refunded_micros:
        return
    order.refunded_micros = order.refunded_net_micros = 0
    for row in refunds_of(session, order_row_id=order.id):
        try:
            amount, net = _measure(refundable(order), refund_from(row.body))
        except RefundExceedsOrder as refusal:
            raise RefundedMore from refusal
        except Invalid as refusal:
            message = "Refunds of this order were reported in another currency."
            raise Invalid.field("total.currency", "currency_mismatch", message) from refusal
        row.amount_micros, row.net_micros = amount.micros, net.micros
        order.refunded_micros += amount.micros
        order.refunded_net_micros += net.micros


def refunds_of(session: Session, *, order_row_id: int) -> Sequence[Refund]:
    """The refunds of an order in the order in which they came."""
    return session.scalars(
        sa.select(Refund).where(Refund.order_id == order_row_id).order_by(Refund.id)
    ).all()


def refundable(order: Order) -> Refundable:
    """What a refund reads of the row."""

    def amount(name: str) -> Money:
        return Money(getattr(order, f"{name}_micros"), order.currency)

    return Refundable(
        total=amount("total"),
        net=amount("net"),
        tax=amount("tax"),
        tax_included=order.tax_included,
        shipping=amount("shipping"),
        fees=amount("fees"),
        refunded=amount("refunded"),
        refunded_net=amount("refunded_net"),
    )


def check_refund(refund: RefundIn, currency: str) -> None:
    """Refuse amounts that an order in this currency could not give back."""
    errors = [
        FieldError(path, "currency_mismatch", f"The order is in {currency}.")
        for path, amount in refund.amounts
        if amount.currency != currency
    ]
    if refund.amount is not None and not refund.amount:
        errors.append(FieldError("amount.amount", "zero", "A refund is more than nothing."))
    if errors:
        raise Invalid(errors=errors)


def _measure(order: Refundable, refund: RefundIn) -> tuple[Money, Money]:
    """The refund's amount and the part of the net in it, or why not."""
    check_refund(refund, order.total.currency)
    amount, left = refund_amount(order, refund), order.total - order.refunded
    if amount > left or not amount:
        raise RefundExceedsOrder(
            f"{left} of the order's {order.total} is left, the refund is {amount}.",
            errors=[FieldError("amount", "refund_exceeds_order", f"At most {left}.")],
        )
    return amount, refunded_net_of(order, refund)
