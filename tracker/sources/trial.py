"""What a mapping would make of a body: the order, or why not, field by field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from affiliate.core.errors import FieldError, Invalid, Phrase
from tracker.orders.rules import OrderReportIn, RefundIn, expected_total, total_matches
from tracker.sources import generic
from tracker.sources.rules import Because, Cancel, Ignored, Refund, Report
from tracker.sources.steps import order_of, refund_of

DOORS = {
    "customer.id": "customer_id",
    "customer.email_sha256": "customer_email",
    "subscription.id": "subscription_id",
    "subscription.sequence": "subscription_sequence",
    "coupon": "coupon",
}
"""Fields of the API's order, by the field of the mapping that they come from."""


@dataclass(frozen=True, slots=True)
class Tried:
    """One of these is there: an order, a refund, a cancelled order, a reason, or errors."""

    order: OrderReportIn | None = None
    refund: RefundIn | None = None
    cancelled: str | None = None
    because: Because | None = None
    errors: tuple[FieldError, ...] = ()


def try_mapping(document: Mapping[str, Any], body: Mapping[str, Any]) -> Tried:
    """Read a body by a mapping, through the API's own door."""
    try:
        reading = generic.read(body, generic.mapping_of(document))
        if isinstance(reading, Ignored):
            return Tried(because=reading.because)
        match reading.steps[0]:
            case Report() as step:
                return _order(step)
            case Refund() as step:
                return Tried(refund=refund_of(step.document))
            case Cancel() as step:
                return Tried(cancelled=step.order_id)
    except Invalid as refusal:
        errors = [FieldError(_field(each.field), each.code, each.message)
                  for each in refusal.errors]  # fmt: skip
        return Tried(errors=tuple(errors))
    raise AssertionError("a generic body asks for nothing else")


def _order(step: Report) -> Tried:
    order = order_of({**step.document, **({"coupon": step.coupons[0]} if step.coupons else {})})
    if total_matches(order):
        return Tried(order=order)
    message = Phrase(
        "The parts sum to %(expected)s; the order would be held for you.",
        expected=expected_total(order),
    )
    return Tried(order=order, errors=(FieldError("total", "total_mismatch", message),))


def _field(path: str) -> str:
    """The mapping's field behind a field of the API's order."""
    if path in DOORS:
        return DOORS[path]
    parts = path.split(".")
    if parts[0] == "items" and len(parts) > 2:
        return f"item_{parts[2]}"
    return "refund_amount" if path.startswith("amount") else parts[0]
