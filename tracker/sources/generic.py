"""Any shop's webhook, by a mapping that a manager writes: JMESPath, field by field (pure).

A body is an order, a refund or a cancellation, as the value of `event` says; without an `event`
every body is an order. Source of the language: jmespath.org/specification.html;
docs/shops/webhook.md.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import jmespath
from jmespath.exceptions import JMESPathError

from affiliate.core.errors import FieldError, Invalid, Phrase
from affiliate.core.money import Money, MoneyError, minor_unit_micros
from tracker.sources import bodies
from tracker.sources.bodies import Body, money_document
from tracker.sources.rules import (
    DELIVERY_ID_CHARS_MAX,
    EARLIEST,
    Because,
    Cancel,
    Changes,
    Ignored,
    Reading,
    Refund,
    Report,
    Step,
)

EXPRESSION_CHARS_MAX: Final = 300
WORDS_CHARS_MAX: Final = 500
ITEM_FIELDS: Final = ("item_sku", "item_name", "item_category", "item_quantity", "item_price")
ORDER_FIELDS: Final = (
    "order_id", "placed_at", "currency", "total", "discount", "tax", "tax_included", "shipping",
    "fees", "customer_id", "customer_email", "clicks", "visitor", "coupon", "subscription_id",
    "subscription_sequence", "items", *ITEM_FIELDS,
)  # fmt: skip
FIELDS: Final = (
    "event", "delivery_id", "changed_at", *ORDER_FIELDS, "refund_id", "refund_amount", "reason",
)  # fmt: skip
"""What a mapping may say, each with an expression."""
WORDS: Final = ("orders", "refunds", "cancellations")
"""Which values of `event` mean what; lists parted by commas."""
MINOR: Final = "minor"
_REQUIRED: Final = ("order_id", "placed_at", "currency", "total")
_AMOUNTS: Final = ("total", "discount", "tax", "shipping", "fees")

STARTING: Final[dict[str, Any]] = {
    "amounts": "decimal",
    "orders": "order.created, order.paid",
    "refunds": "order.refunded",
    "cancellations": "order.cancelled",
    "fields": {
        "event": "event", "changed_at": "sent_at",
        "order_id": "order.id", "placed_at": "order.placed_at", "currency": "order.currency",
        "total": "order.total", "discount": "order.discount", "tax": "order.tax",
        "shipping": "order.shipping", "customer_id": "order.customer.id",
        "customer_email": "order.customer.email", "clicks": "order.kopeck_clicks",
        "visitor": "order.kopeck_visitor", "coupon": "order.coupon", "items": "order.items",
        "item_sku": "sku", "item_name": "name", "item_quantity": "quantity",
        "item_price": "price", "refund_id": "refund.id", "refund_amount": "refund.amount",
        "reason": "reason",
    },
}  # fmt: skip
"""What a new source begins with. It names no id of events: what many shops call `id` is the order's
number, and its second event would be taken for a copy. The bytes of a body say enough."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """A mapping whose expressions are read."""

    fields: MappingABC[str, Any]
    """Compiled expressions by name."""
    orders: frozenset[str]
    refunds: frozenset[str]
    cancellations: frozenset[str]
    in_minor_units: bool


def mapping_of(document: MappingABC[str, Any]) -> Mapping:
    """Read a mapping's expressions. Raises Invalid with each field that is none."""
    said, fields, errors = document.get("fields", {}), {}, []
    for name in FIELDS:
        text = str(said.get(name, "")).strip()
        if not text:
            continue
        try:
            if len(text) > EXPRESSION_CHARS_MAX:
                raise ValueError
            fields[name] = jmespath.compile(text)
        except (JMESPathError, ValueError, RecursionError):
            message = Phrase("This is no JMESPath expression.")
            errors.append(FieldError(name, "not_an_expression", message))
    errors += [
        FieldError(name, "required", Phrase("This has to be said."))
        for name in _REQUIRED
        if not str(said.get(name, "")).strip()
    ]
    if errors:
        raise Invalid(errors=errors)
    words = {name: _words(document.get(name, "")) for name in WORDS}
    return Mapping(fields, **words, in_minor_units=document.get("amounts") == MINOR)


def read(body: Body, mapping: Mapping) -> Reading:
    """What follows from a body. Raises Invalid, whose fields are those of the mapping."""
    event = _text(body, mapping, "event")
    order_id = _text(body, mapping, "order_id")
    as_of = _moment(body, mapping, "changed_at") or EARLIEST
    subject = f"order:{order_id}"
    step: Step
    if event in mapping.refunds:
        step = _refund(body, mapping, _needed(body, mapping, "order_id"))
        subject = f"refund:{order_id}:{step.document['refund_id']}"
    elif event in mapping.cancellations:
        reason = _text(body, mapping, "reason") or "cancelled"
        step = Cancel(_needed(body, mapping, "order_id"), reason[:500], was_paid=True)
    elif not mapping.fields.get("event") or event in mapping.orders:
        step = _report(body, mapping, _needed(body, mapping, "order_id"))
    else:
        return Ignored(Because.OTHER_TOPIC)
    return Changes(subject, as_of, (step,))


def delivery_id(body: Body, mapping: Mapping) -> str:
    """The body's own id of its delivery; empty where the mapping names none."""
    return _text(body, mapping, "delivery_id")[:DELIVERY_ID_CHARS_MAX]


def order_id(body: Body, document: MappingABC[str, Any]) -> str:
    """The order's number, also where the rest of the mapping does not fit; empty for none."""
    try:
        return _text(body, mapping_of(document), "order_id")
    except Invalid:
        return ""


def _report(body: Body, mapping: Mapping, order_id: str) -> Report:
    errors: list[FieldError] = []
    placed_at, currency = None, ""
    try:
        currency = _needed(body, mapping, "currency").upper()
        minor_unit_micros(currency)
    except Invalid as refusal:
        errors += refusal.errors
    except MoneyError as error:
        errors.append(FieldError("currency", error.code, error.message))
    try:
        placed_at = _moment(body, mapping, "placed_at")
        if placed_at is None:
            raise _missing("placed_at")
    except Invalid as refusal:
        errors += refusal.errors
    document: dict[str, Any] = {"order_id": order_id}
    if placed_at is not None:
        document["placed_at"] = bodies.moment_text(placed_at)
    if not errors or currency:
        errors += _add_amounts(document, body, mapping, currency)
    if errors:
        raise Invalid(errors=errors)
    _add_rest(document, body, mapping)
    coupon = _text(body, mapping, "coupon")
    return Report(order_id, document, coupons=(coupon,) if coupon else ())


def _add_amounts(
    document: dict[str, Any], body: Body, mapping: Mapping, currency: str
) -> list[FieldError]:
    errors: list[FieldError] = []
    for name in _AMOUNTS:
        try:
            found = _amount(_found(body, mapping, name), mapping, currency, name)
            if found is not None:
                document[name] = money_document(found)
            elif name == "total":
                raise _missing(name)
        except Invalid as refusal:
            errors += refusal.errors
    lines = _found(body, mapping, "items")
    if lines is None:
        return errors
    if not isinstance(lines, list):
        message = Phrase("This has to be a list.")
        return [*errors, FieldError("items", "not_a_list", message)]
    document["items"] = []
    for line in lines:
        try:
            document["items"].append(_line(line, mapping, currency))
        except Invalid as refusal:
            errors += refusal.errors
    return errors


def _line(line: Any, mapping: Mapping, currency: str) -> dict[str, Any]:
    price = _amount(_found(line, mapping, "item_price"), mapping, currency, "item_price")
    if price is None:
        raise _missing("item_price")
    found: dict[str, Any] = {"price": money_document(price)}
    for name in ("sku", "name", "category"):
        if said := _text(line, mapping, f"item_{name}"):
            found[name] = said[:500]
    pieces = _found(line, mapping, "item_quantity")
    if pieces is not None:
        found["quantity"] = int(pieces) if str(pieces).isdecimal() and len(str(pieces)) < 8 else 0
    return found


def _add_rest(document: dict[str, Any], body: Body, mapping: Mapping) -> None:
    included = _found(body, mapping, "tax_included")
    if included is not None:
        document["tax_included"] = included in (True, "true", "yes", 1)
    clicks = _found(body, mapping, "clicks")
    joined = "|".join(map(str, clicks)) if isinstance(clicks, list) else str(clicks or "")
    document |= bodies.evidence(
        [("kopeck_clicks", joined), ("kopeck_visitor", _text(body, mapping, "visitor"))]
    )
    email = _text(body, mapping, "customer_email")
    if len(email) == 64:
        email = bodies.HASHED + email.lower()
    if buyer := bodies.customer(_text(body, mapping, "customer_id"), email):
        document["customer"] = buyer
    subscription = _text(body, mapping, "subscription_id")
    if subscription:
        number = _found(body, mapping, "subscription_sequence")
        said = int(number) if str(number).isdecimal() and len(str(number)) < 8 else 1
        document["subscription"] = {"id": subscription, "sequence": said}


def _refund(body: Body, mapping: Mapping, order_id: str) -> Refund:
    document: dict[str, Any] = {"refund_id": _needed(body, mapping, "refund_id")}
    found = _found(body, mapping, "refund_amount")
    if found is not None:
        currency = _needed(body, mapping, "currency").upper()
        given = _amount(found, mapping, currency, "refund_amount")
        assert given is not None, "there is an amount"
        document["amount"] = money_document(-given if given.micros < 0 else given)
    if reason := _text(body, mapping, "reason"):
        document["reason"] = reason[:500]
    return Refund(document, order_id=order_id)


def _found(body: Any, mapping: Mapping, name: str) -> Any:
    expression = mapping.fields.get(name)
    if expression is None:
        return None
    try:
        return expression.search(body)
    except (JMESPathError, RecursionError, TypeError, ValueError):
        message = Phrase("The expression does not fit this body.")
        raise Invalid.field(name, "does_not_fit", message) from None


def _text(body: Any, mapping: Mapping, name: str) -> str:
    found = _found(body, mapping, name)
    if isinstance(found, bool) or not isinstance(found, str | int):
        return ""
    return str(found).strip()


def _needed(body: Any, mapping: Mapping, name: str) -> str:
    found = _text(body, mapping, name)
    if not found:
        raise _missing(name)
    return found


def _missing(name: str) -> Invalid:
    return Invalid.field(name, "required", Phrase("Nothing stands there in this body."))


def _amount(found: Any, mapping: Mapping, currency: str, name: str) -> Money | None:
    if found is None or found == "":
        return None
    if isinstance(found, bool) or not isinstance(found, str | int):
        raise Invalid.field(name, "not_a_decimal", Phrase("This is no amount."))
    if not mapping.in_minor_units:
        return bodies.money(str(found), currency, name)
    text = str(found)
    if not text.lstrip("-").isdecimal() or len(text) > 16:
        raise Invalid.field(name, "not_a_number", Phrase("This is no whole number."))
    return Money(int(text) * minor_unit_micros(currency), currency)


def _moment(body: Any, mapping: Mapping, name: str) -> datetime | None:
    found = _found(body, mapping, name)
    if found is None or found == "":
        return None
    reads = bodies.seconds if isinstance(found, int) else bodies.moment
    return reads({name: found}, name)


def _words(text: Any) -> frozenset[str]:
    return frozenset(word.strip() for word in str(text).split(",") if word.strip())
