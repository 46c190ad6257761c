"""Orders, renewals, refunds and disputes as Stripe's events tell of them (pure).

The first payment is a Checkout session; each later one of a subscription is an invoice. A refund
and a dispute name a payment: which order that is, the session or invoice has said, or an
`invoice_payment.paid` (since API version 2025-03-31 invoices do not name their payment).
Source: docs.stripe.com/api, "Checkout Session", "Invoice", "Refund", "Dispute", "Invoice Payment";
docs.stripe.com/currencies, "Special cases"; docs/shops/stripe.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from affiliate.core.errors import Invalid
from affiliate.core.money import Money, MoneyError, exponent
from tracker.sources import bodies
from tracker.sources.bodies import Body, at, listed, money_document, needed, text
from tracker.sources.rules import (
    Because,
    Cancel,
    Changes,
    Dispute,
    Ignored,
    Link,
    Options,
    Reading,
    Refund,
    RefundFailed,
    Renewal,
    Report,
    Step,
    ranked,
)

OTHER_DIGITS: Final = {"ISK": 2, "UGX": 2, "MGA": 0}
"""Where Stripe's smallest unit is not that of ISO 4217."""
RENEWS: Final = frozenset({"subscription_cycle", "subscription_update", "subscription_threshold"})
GONE: Final = frozenset({"failed", "canceled"})
"""Of a refund: nothing reaches the buyer, also where it had been said to have succeeded."""
LOST, WON = frozenset({"lost"}), frozenset({"won", "warning_closed", "prevented"})
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{79}")
"""A click token; whatever else a shop puts into client_reference_id is its own affair."""
_META: Final = "order_id kopeck_clicks kopeck_visitor kopeck_coupon"


def _under(head: str, names: str) -> str:
    return " ".join(f"{head}.{name}" for name in names.split())


_REFUND: Final = "id object amount currency status charge payment_intent reason created"
_OBJECT: Final = " ".join((
    "id object mode payment_status currency amount_total amount_subtotal created customer invoice "
    "subscription payment_intent charge client_reference_id total_details.amount_discount "
    "total_details.amount_shipping total_details.amount_tax shipping_cost.amount_total "
    "shipping_cost.amount_tax customer_details.email customer_email billing_reason total "
    "total_excluding_tax discounts.promotion_code status_transitions.paid_at lines.data.period "
    "parent.subscription_details.subscription payment amount status reason",
    _under("metadata", _META),
    _under("subscription_details.metadata", _META),
    _under("parent.subscription_details.metadata", _META),
    _under("refunds.data", _REFUND),
))  # fmt: skip
KEPT: Final = bodies.tree(f"id type created livemode {_under('data.object', _OBJECT)}")
"""What of an event is stored."""


def read(body: Body, options: Options) -> Reading:
    """What follows from an event. Raises Invalid."""
    kind, created = needed(body, "type"), bodies.seconds(body, "created")
    found = at(body, "data.object")
    if not isinstance(found, Mapping):
        raise Invalid.field("data.object", "required", "It is missing.")
    reads = _READERS.get(text(found, "object"))
    if reads is None or not _TOPICS.fullmatch(kind):
        return Ignored(Because.OTHER_TOPIC)
    if at(body, "livemode") is not True and not options.takes_tests:
        return Ignored(Because.TEST_ORDER)
    return reads(found, kind, created, options)


_TOPICS: Final = re.compile(
    r"checkout\.session\.(?:completed|async_payment_succeeded|async_payment_failed)"
    r"|invoice\.(?:paid|payment_succeeded)|invoice_payment\.paid"
    r"|(?:charge\.)?refund\.(?:created|updated|failed)|charge\.refunded"
    r"|charge\.dispute\.(?:created|updated|closed)"
)


def _session(found: Body, kind: str, created: datetime, options: Options) -> Reading:
    order_id = text(found, "metadata.order_id") or needed(found, "id")
    subject = f"session:{needed(found, 'id')}"
    if text(found, "mode") == "setup":
        return Ignored(Because.NOT_PAID, subject, created)
    if kind.endswith("async_payment_failed"):
        cancel = Cancel(order_id, "payment failed", was_paid=False)
        return Changes(subject, created, (cancel,))
    if text(found, "payment_status") not in ("paid", "no_payment_required"):
        return Ignored(Because.NOT_PAID, subject, created)
    return Changes(subject, created, (_first(found, order_id, options),))


def _first(found: Body, order_id: str, options: Options) -> Report:
    """The order of a Checkout session: bought once, or the first payment of a subscription."""
    currency = needed(found, "currency").upper()
    whole = _units(found, "amount_total", currency, needs=True)
    tax, shipping = _units(found, "total_details.amount_tax", currency), _shipping(found, currency)
    discount = _units(found, "total_details.amount_discount", currency)
    named = _units(found, "shipping_cost.amount_tax", currency)
    document: dict[str, Any] = {
        "order_id": order_id,
        "placed_at": bodies.moment_text(bodies.seconds(found, "created")),
        "total": money_document(whole),
        "discount": money_document(discount),
        "tax": money_document(tax - named),
        # A session may hold prices of both kinds; without lines nothing is added up.
        "tax_included": True,
        "shipping": money_document(shipping),
        **_evidence(found, ("metadata",)),
    }
    if subscription := _id(found, "subscription"):
        document["subscription"] = {"id": subscription, "sequence": 1}
    _add_buyer(document, found)
    names = (_id(found, name) for name in ("payment_intent", "invoice"))
    return Report(order_id, document, _coupons(found, options), tuple(filter(None, names)))


def _invoice(found: Body, _kind: str, created: datetime, options: Options) -> Reading:
    invoice, why = needed(found, "id"), text(found, "billing_reason")
    subject = f"invoice:{invoice}"
    subscription = _id(found, "parent.subscription_details.subscription") or _id(
        found, "subscription"
    )
    names = [name for name in (_id(found, "payment_intent"), _id(found, "charge")) if name]
    if why == "subscription_create":
        # Its order is the Checkout session's; the payment's names are news where it has them.
        links = tuple(Link(name, invoice) for name in names)
        return Changes(subject, created, links) if links else Ignored(
            Because.FIRST_INVOICE, subject, created
        )  # fmt: skip
    if why not in RENEWS or not subscription:
        return Ignored(Because.NO_SUBSCRIPTION, subject, created)
    return Changes(subject, created, (_renewal(found, invoice, subscription, names, options),))


def _renewal(
    found: Body, invoice: str, subscription: str, names: list[str], options: Options
) -> Report:
    currency = needed(found, "currency").upper()
    whole = _units(found, "total", currency, needs=True)
    named = _units(found, "shipping_cost.amount_tax", currency)
    taxed = text(found, "total_excluding_tax")
    tax = whole - _units(found, "total_excluding_tax", currency) if taxed else Money.zero(currency)
    paid = "status_transitions.paid_at"
    document: dict[str, Any] = {
        "order_id": invoice,
        "placed_at": bodies.moment_text(
            bodies.seconds(found, paid if at(found, paid) is not None else "created")
        ),
        "total": money_document(whole),
        "tax": money_document(tax - named),
        "tax_included": True,
        "shipping": money_document(_shipping(found, currency)),
        **_evidence(found, (
            "metadata", "subscription_details.metadata", "parent.subscription_details.metadata",
        )),
    }  # fmt: skip
    _add_buyer(document, found)
    begins, ends = _stretch(found)
    return Report(
        invoice,
        document,
        _coupons(found, options),
        (invoice, *names),
        Renewal(subscription, begins, ends - begins),
    )


def _stretch(found: Body) -> tuple[int, int]:
    """The longest stretch that a line pays for: beside it stand parts of months that changed."""
    stretches = [
        (int(at(line, "period.start")), int(at(line, "period.end")))
        for line in listed(found, "lines.data")
        if isinstance(at(line, "period.start"), int) and isinstance(at(line, "period.end"), int)
    ]
    return max(stretches, key=lambda each: each[1] - each[0], default=(0, 0))


def _invoice_payment(found: Body, _kind: str, created: datetime, _options: Options) -> Reading:
    subject, invoice = f"invoice_payment:{needed(found, 'id')}", _id(found, "invoice")
    names = [_id(found, f"payment.{name}") for name in ("payment_intent", "charge")]
    links = tuple(Link(name, invoice) for name in names if name and invoice)
    if not links:
        return Ignored(Because.OTHER_TOPIC, subject, created)
    return Changes(subject, created, links)


def _refund_alone(found: Body, _kind: str, created: datetime, _options: Options) -> Reading:
    subject = f"refund:{needed(found, 'id')}"
    step = _refund(found)
    if step is not None:
        return Changes(subject, created, (step,))
    if text(found, "status") not in GONE:
        return Ignored(Because.REFUND_NOT_FINAL, subject, created)
    reference = _id(found, "payment_intent") or _id(found, "charge")
    failed = RefundFailed(needed(found, "id"), reference)
    # It succeeds before it fails, also within one second.
    return Changes(subject, ranked(created, 1), (failed,))


def _refund(found: Body, payment: str = "") -> Refund | None:
    """A refund that has arrived; one that is pending comes again, one that failed gave nothing."""
    if text(found, "status") != "succeeded":
        return None
    currency = needed(found, "currency").upper()
    reference = _id(found, "payment_intent") or payment or _id(found, "charge")
    document = {
        "refund_id": needed(found, "id"),
        "amount": money_document(_units(found, "amount", currency, needs=True)),
    }
    if reason := text(found, "reason"):
        document["reason"] = reason
    return Refund(document, reference=reference)


def _charge(found: Body, kind: str, created: datetime, _options: Options) -> Reading:
    """charge.refunded: names its refunds in API versions before 2022-11-15 alone."""
    subject = f"charge:{needed(found, 'id')}"
    if kind != "charge.refunded":
        return Ignored(Because.OTHER_TOPIC, subject, created)
    payment = _id(found, "payment_intent") or needed(found, "id")
    refunds = [_refund(each, payment) for each in listed(found, "refunds.data")]
    steps: tuple[Step, ...] = tuple(each for each in refunds if each)
    if not steps:
        return Ignored(Because.REFUND_COMES_ALONE, subject, created)
    return Changes(subject, created, steps)


def _dispute(found: Body, kind: str, created: datetime, _options: Options) -> Reading:
    dispute, status = needed(found, "id"), text(found, "status")
    currency = needed(found, "currency").upper()
    lost = True if status in LOST else False if status in WON else None
    step = Dispute(
        dispute,
        _id(found, "payment_intent") or _id(found, "charge"),
        _units(found, "amount", currency, needs=True),
        lost=lost,
    )
    if kind.endswith("updated") and lost is None:
        return Ignored(Because.OTHER_TOPIC, f"dispute:{dispute}", created)
    return Changes(f"dispute:{dispute}", created, (step,))


_READERS: Final[Mapping[str, Callable[[Body, str, datetime, Options], Reading]]] = {
    "checkout.session": _session,
    "invoice": _invoice,
    "invoice_payment": _invoice_payment,
    "refund": _refund_alone,
    "charge": _charge,
    "dispute": _dispute,
}


def _units(found: Body, path: str, currency: str, *, needs: bool = False) -> Money:
    """Stripe's smallest units as money, zero where there are none. Raises Invalid."""
    units = at(found, path)
    if units is None and not needs:
        return Money.zero(currency)
    if isinstance(units, bool) or not isinstance(units, int) or units < 0:
        raise Invalid.field(path, "not_a_number", "Write smallest units as a whole number.")
    try:
        digits = OTHER_DIGITS.get(currency, exponent(currency))
    except MoneyError as error:
        raise Invalid.field("currency", error.code, error.message) from None
    return Money(units * 10 ** (6 - digits), currency)


def _shipping(found: Body, currency: str) -> Money:
    """With its own tax, where Stripe says it; else what the total's details name."""
    if at(found, "shipping_cost.amount_total") is not None:
        return _units(found, "shipping_cost.amount_total", currency)
    return _units(found, "total_details.amount_shipping", currency)


def _id(found: Body, path: str) -> str:
    """An id, also where the object itself stands."""
    value = at(found, path)
    return text(value, "id") if isinstance(value, Mapping) else text(found, path)


def _evidence(found: Body, where: tuple[str, ...]) -> dict[str, Any]:
    pairs = [
        (name, text(found, f"{head}.{name}"))
        for head in where
        for name in ("kopeck_clicks", "kopeck_visitor")
    ]
    brought = bodies.evidence(pairs)
    reference = text(found, "client_reference_id")
    if "clicks" not in brought and _TOKEN.fullmatch(reference):
        brought["clicks"] = [reference]
    return brought


def _coupons(found: Body, options: Options) -> tuple[str, ...]:
    """The codes that buyers typed. Events carry ids of promotion codes, which a manager names."""
    said = [text(found, "metadata.kopeck_coupon")]
    for each in listed(found, "discounts"):
        said.append(text(each, "promotion_code.code"))
        said.append(options.coupons.get(_id(each, "promotion_code"), ""))
    return tuple(dict.fromkeys(filter(None, said)))


def _add_buyer(document: dict[str, Any], found: Body) -> None:
    email = text(found, "customer_details.email") or text(found, "customer_email")
    if buyer := bodies.customer(_id(found, "customer"), email):
        document["customer"] = buyer
