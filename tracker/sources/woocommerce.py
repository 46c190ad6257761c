"""Orders as WooCommerce's webhooks tell of them (pure).

Topics order.created, order.updated, order.deleted and order.restored: each carries the order as
the REST API shows it, a deletion its id alone. Amounts of lines are without tax, whatever the
shop's prices are. Source: woocommerce.github.io/woocommerce-rest-api-docs, "Orders" and "Webhooks";
docs/shops/woocommerce.md.
"""

from __future__ import annotations

import re
from typing import Any, Final

from affiliate.core.money import Money, minor_unit_micros, total
from tracker.sources import bodies
from tracker.sources.bodies import Body, amount, at, listed, money_document, needed, text
from tracker.sources.rules import (
    EARLIEST,
    Because,
    Cancel,
    Changes,
    Ignored,
    Options,
    Reading,
    Refund,
    Report,
    Step,
    ranked,
)

COUNTS: Final = frozenset({"processing", "completed", "refunded"})
"""Statuses of an order that was paid, or that the shop treats as paid."""
OVER: Final = frozenset({"cancelled", "failed", "trash"})
KEPT: Final = bodies.tree(
    "id status currency date_created_gmt date_modified_gmt date_paid_gmt total customer_id "
    "billing.email shipping_total shipping_tax cart_tax meta_data.key meta_data.value "
    "line_items.sku line_items.name line_items.quantity line_items.subtotal line_items.total "
    "line_items.total_tax fee_lines.total fee_lines.total_tax coupon_lines.code "
    "refunds.id refunds.total refunds.reason"
)
"""What of a body is stored."""
_KEYS: Final = frozenset({"_kopeck_clicks", "_kopeck_visitor", "kopeck_clicks", "kopeck_visitor"})
_PING: Final = re.compile(rb"webhook_id=[0-9]{1,20}")


def is_ping(raw: bytes) -> bool:
    """Whether it is what WooCommerce sends when a webhook is saved: no order, and not signed."""
    return _PING.fullmatch(raw) is not None


def kept(body: Body) -> dict[str, Any]:
    """What of a body is stored; other plugins keep anything in `meta_data`."""
    found = bodies.kept(body, KEPT)
    if "meta_data" in found:
        found["meta_data"] = [
            each for each in listed(found, "meta_data") if text(each, "key") in _KEYS
        ]
    return found


def read(body: Body, _options: Options) -> Reading:
    """What follows from a body. Raises Invalid."""
    order_id = needed(body, "id")
    subject, status = f"order:{order_id}", text(body, "status")
    if not status:
        # order.deleted: nothing says when, so it is never too old.
        return Changes(subject, EARLIEST, (Cancel(order_id, "deleted", was_paid=False),))
    was_paid = bool(text(body, "date_paid_gmt"))
    # Within a second: what nobody has paid yet, what is paid, what is over although it was paid.
    rank = was_paid + (was_paid and status in OVER)
    as_of = ranked(bodies.moment(body, "date_modified_gmt", zone="+00:00"), rank)
    if status in COUNTS:
        return Changes(subject, as_of, tuple(_paid(body, order_id, status)))
    if status in OVER:
        # WooCommerce lets buyers pay an order that failed or was cancelled once more.
        cancel = Cancel(order_id, status, was_paid=was_paid, may_return=True)
        return Changes(subject, as_of, (cancel,))
    return Ignored(Because.NOT_PAID, subject, as_of)


def _paid(body: Body, order_id: str, status: str) -> list[Step]:
    currency = needed(body, "currency").upper()
    refunds = [_refund(each, order_id, currency) for each in listed(body, "refunds")]
    steps: list[Step] = [_report(body, order_id, currency), *(each for each in refunds if each)]
    if status == "refunded" and len(steps) == 1:
        # The status was set by hand: there is no refund, and nothing of the order is left.
        steps.append(Refund({"refund_id": "status-refunded"}, order_id=order_id))
    return steps


def _report(body: Body, order_id: str, currency: str) -> Report:
    lines, zero = listed(body, "line_items"), Money.zero(currency)

    def summed(of: list[Any], *names: str) -> Money:
        return total((amount(each, name, currency) for each in of for name in names), currency)

    fees = summed(listed(body, "fee_lines"), "total", "total_tax")
    discount = summed(lines, "subtotal") - summed(lines, "total")
    document: dict[str, Any] = {
        "order_id": order_id,
        "placed_at": bodies.moment_text(bodies.moment(body, "date_created_gmt", zone="+00:00")),
        "total": money_document(amount(body, "total", currency, needs=True)),
        # A fee below zero is a discount that some plugin made.
        "discount": money_document(discount - min(fees, zero)),
        "tax": money_document(summed(lines, "total_tax")),
        "tax_included": False,
        "shipping": money_document(
            amount(body, "shipping_total", currency) + amount(body, "shipping_tax", currency)
        ),
        "fees": money_document(max(fees, zero)),
        "items": [_line(line, currency) for line in lines],
        **bodies.evidence((text(each, "key"), text(each, "value"))
                          for each in listed(body, "meta_data")),
    }  # fmt: skip
    known = text(body, "customer_id")
    buyer = bodies.customer("" if known == "0" else known, text(body, "billing.email"))
    if buyer:
        document["customer"] = buyer
    codes = tuple(code for each in listed(body, "coupon_lines") if (code := text(each, "code")))
    return Report(order_id, document, coupons=codes)


def _line(line: Body, currency: str) -> dict[str, Any]:
    """The line's pieces at their price; as one piece where its price has no whole smallest unit."""
    subtotal, pieces = amount(line, "subtotal", currency, needs=True), at(line, "quantity")
    unit = minor_unit_micros(currency)
    if isinstance(pieces, int) and pieces > 1 and subtotal.micros % (pieces * unit) == 0:
        price = Money(subtotal.micros // pieces, currency)
    else:
        price, pieces = subtotal, 1
    return {
        "sku": text(line, "sku"),
        "name": text(line, "name")[:500],
        "quantity": pieces,
        "price": money_document(price),
    }


def _refund(body: Body, order_id: str, currency: str) -> Refund | None:
    given = amount(body, "total", currency, needs=True)
    if not given:
        return None
    document = {
        "refund_id": needed(body, "id"),
        "amount": money_document(-given if given.micros < 0 else given),
    }
    if reason := text(body, "reason"):
        document["reason"] = reason[:500]
    return Refund(document, order_id=order_id)
