"""What an order is worth and what a refund takes of it (pure).

Rules: docs/rules.md, "Commission base" and "Refunds"; docs/api.md, "Orders".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Protocol

from affiliate.core.money import Money, minor_unit_micros, total

PLACED_AHEAD_MAX: Final = timedelta(minutes=5)
PLACED_BACK_MAX: Final = timedelta(days=30)
PLACED_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""Before it no import is believed; windows reach back from here without leaving the calendar."""


class Source(StrEnum):
    """Who reports an order; all but the browser are the shop's own servers."""

    API = "api"
    BROWSER = "browser"
    WEBHOOK = "webhook"
    CSV = "csv"


class Outcome(StrEnum):
    """What a report did to the order."""

    CREATED = "created"
    SUPERSEDED_BROWSER = "superseded_browser"
    EVIDENCE_ADDED = "evidence_added"
    NOT_HEARD = "not_heard"
    """Another browser's word of an order that is confirmed: kept, and it changes nothing."""
    CONTESTED = "contested"
    """Another browser's word that fits as well and names other clicks: a person has to look."""
    REPLAY = "replay"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Item:
    """One line of an order."""

    price: Money
    """Of one piece, before the order's discount."""
    quantity: int = 1
    sku: str = ""
    name: str = ""
    category: str = ""


@dataclass(frozen=True, slots=True)
class CustomerIn:
    """The buyer as the shop knows them."""

    id: str | None = None
    email_sha256: str | None = None
    """Hexadecimal SHA-256 of the trimmed, lower-case address; the address itself never comes."""
    is_new: bool | None = None
    """The shop's word; our own record of an earlier order goes before it."""
    payment_sha256: str | None = None
    """Hexadecimal SHA-256 of the account that paid: an IBAN without spaces in capitals, or what
    the shop's payment provider calls the fingerprint of a card."""


class Brings(Protocol):
    """What a report brings for attribution, of an order or of a lead."""

    @property
    def clicks(self) -> tuple[str, ...]: ...
    @property
    def visitor(self) -> str | None: ...
    @property
    def coupon(self) -> str | None: ...
    @property
    def customer(self) -> CustomerIn | None: ...


@dataclass(frozen=True, slots=True)
class SubscriptionIn:
    """Which payment of a subscription the order is; 1 is the first."""

    id: str
    sequence: int


@dataclass(frozen=True, slots=True)
class OrderReportIn:
    """One report of an order, parsed: amounts as Money in one currency, moments in UTC."""

    order_id: str
    placed_at: datetime
    total: Money
    """What the buyer owes: items - discount + shipping + fees, plus tax where it is not
    included in the prices."""
    discount: Money | None = None
    tax: Money | None = None
    """On the goods alone; shipping is with its own tax."""
    tax_included: bool = True
    shipping: Money | None = None
    fees: Money | None = None
    credits: Money | None = None
    """Gift cards and store credit: how a part was paid; changes nothing."""
    items: tuple[Item, ...] = ()
    customer: CustomerIn | None = None
    subscription: SubscriptionIn | None = None
    clicks: tuple[str, ...] = ()
    """Click tokens, oldest first."""
    visitor: str | None = None
    ip: str | None = None
    """The network address from which the buyer ordered. Nothing but a hash of the day is kept of
    it, so that it has no part in what "the same content" means."""
    coupon: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def currency(self) -> str:
        return self.total.currency

    def part(self, name: str) -> Money:
        """An amount of the report by its name; zero where the shop gave none."""
        value: Money | None = getattr(self, name)
        return value if value is not None else Money.zero(self.currency)

    @property
    def amounts(self) -> tuple[tuple[str, Money], ...]:
        """Every amount given, with the path of its field."""
        named = [
            (f"{name}.currency", value)
            for name in ("total", "discount", "tax", "shipping", "fees", "credits")
            if (value := getattr(self, name)) is not None
        ]
        lines = [(f"items.{i}.price.currency", item.price) for i, item in enumerate(self.items)]
        return (*named, *lines)


@dataclass(frozen=True, slots=True)
class TestReport:
    """An order that is to be tried, and not taken (tracker.integration.trying)."""

    __test__ = False  # It is none of pytest's.

    report: OrderReportIn


@dataclass(frozen=True, slots=True)
class RefundItem:
    """A line that was given back."""

    amount: Money
    """Of the line as the buyer got it back, with its tax where prices include it."""
    quantity: int = 1
    sku: str = ""


@dataclass(frozen=True, slots=True)
class RefundIn:
    """One refund, parsed."""

    refund_id: str
    amount: Money | None = None
    """None: all that is left of the order."""
    items: tuple[RefundItem, ...] = ()
    tax: Money | None = None
    shipping: Money | None = None
    reason: str | None = None

    @property
    def amounts(self) -> tuple[tuple[str, Money], ...]:
        named = [
            (f"{name}.currency", value)
            for name in ("amount", "tax", "shipping")
            if (value := getattr(self, name)) is not None
        ]
        lines = [(f"items.{i}.amount.currency", item.amount) for i, item in enumerate(self.items)]
        return (*named, *lines)


@dataclass(frozen=True, slots=True)
class Refundable:
    """What a refund reads of its order; every amount is in the order's currency."""

    total: Money
    net: Money
    tax: Money
    tax_included: bool
    shipping: Money
    fees: Money
    refunded: Money
    """Of the total, by the refunds so far."""
    refunded_net: Money
    """Of the net, by the refunds so far."""


def net_of(report: OrderReportIn) -> Money:
    """The commission base: total - shipping - fees - tax, never below zero."""
    rest = report.total - report.part("shipping") - report.part("fees") - report.part("tax")
    return max(rest, Money.zero(report.currency))


def expected_total(report: OrderReportIn) -> Money:
    """What the parts of the order sum to."""
    goods = total(
        (Money(item.price.micros * item.quantity, item.price.currency) for item in report.items),
        report.currency,
    )
    sum_of_parts = goods - report.part("discount") + report.part("shipping") + report.part("fees")
    return sum_of_parts if report.tax_included else sum_of_parts + report.part("tax")


def total_matches(report: OrderReportIn) -> bool:
    """Whether the total is that of its lines, to one minor unit a line.

    Shops round each line on its own, so a difference of a unit a line says nothing. Without
    lines there is nothing to compare.
    """
    if not report.items:
        return True
    difference = abs((report.total - expected_total(report)).micros)
    return difference <= len(report.items) * minor_unit_micros(report.currency)


def placed_at_fits(placed_at: datetime, now: datetime, *, may_import: bool) -> str | None:
    """None, or the code of what is wrong with the time: `in_the_future`, `too_old`."""
    if placed_at - now > PLACED_AHEAD_MAX:
        return "in_the_future"
    back = now - placed_at > PLACED_BACK_MAX
    if (back and not may_import) or placed_at < PLACED_EARLIEST:
        return "too_old"
    return None


def refund_amount(order: Refundable, refund: RefundIn) -> Money:
    """What this refund gives back: what it says, or all that is left."""
    return refund.amount if refund.amount is not None else order.total - order.refunded


def refund_parts_match(order: Refundable, refund: RefundIn, amount: Money) -> bool:
    """Whether the named parts fit into the amount, to one minor unit a line."""
    zero = Money.zero(amount.currency)
    shipping, tax = refund.shipping or zero, refund.tax or zero
    if not refund.items:
        return shipping + tax <= amount
    named = total((item.amount for item in refund.items), amount.currency) + shipping
    named = named if order.tax_included else named + tax
    unit = minor_unit_micros(amount.currency)
    return abs((named - amount).micros) <= len(refund.items) * unit and shipping + tax <= amount


def refunded_net_of(order: Refundable, refund: RefundIn) -> Money:
    """The part of the order's net that this refund gives back.

    With shipping or tax named: the goods alone, so that shipping takes nothing back. Without:
    net x refunded / total. The refund that gives back the last of the total gives back the
    last of the net as well, so that any number of parts sums to it exactly.
    """
    amount = refund_amount(order, refund)
    zero = Money.zero(amount.currency)
    left = order.net - order.refunded_net
    if order.refunded + amount >= order.total:
        return left
    goods = amount - (refund.shipping or zero)
    if refund.tax is not None:
        part = goods - refund.tax
    elif refund.shipping is not None or refund.items:
        taxed = order.total - order.shipping - order.fees
        part = _fraction(order.net, goods, taxed)
    else:
        part = _fraction(order.net, amount, order.total)
    return min(max(part, zero), left)


def report_document(report: OrderReportIn) -> dict[str, Any]:
    """The report as plain JSON values, every default filled in: what "same content" means."""
    return {
        "order_id": report.order_id,
        "placed_at": report.placed_at.isoformat(),
        "currency": report.currency,
        "tax_included": report.tax_included,
        "items": line_documents(report),
        "customer": customer_document(report.customer),
        "subscription": subscription_document(report),
        "clicks": list(report.clicks),
        "visitor": report.visitor,
        "coupon": report.coupon,
        "metadata": dict(report.metadata),
        **{
            f"{name}_micros": report.part(name).micros
            for name in ("total", "discount", "tax", "shipping", "fees", "credits")
        },
    }


def customer_document(customer: CustomerIn | None) -> dict[str, Any] | None:
    """The buyer as the report says; one of whom nothing is said is the same as none."""
    if customer is None or customer == CustomerIn():
        return None
    document: dict[str, Any] = {
        "id": customer.id,
        "email": customer.email_sha256,
        "is_new": customer.is_new,
    }
    # Reports of before it could be said have to stay the same content.
    if customer.payment_sha256 is not None:
        document["payment"] = customer.payment_sha256
    return document


def line_documents(report: OrderReportIn) -> list[dict[str, Any]]:
    """The items as the order's row keeps them."""
    return [
        {
            "sku": item.sku,
            "name": item.name,
            "category": item.category,
            "quantity": item.quantity,
            "price_micros": item.price.micros,
        }
        for item in report.items
    ]


def subscription_document(report: OrderReportIn) -> dict[str, Any] | None:
    """Which payment of which subscription the order is, as its row keeps it."""
    said = report.subscription
    return None if said is None else {"id": said.id, "sequence": said.sequence}


def refund_document(refund: RefundIn) -> dict[str, Any]:
    """The refund as plain JSON values; an absent amount stays absent."""
    return {
        "refund_id": refund.refund_id,
        "amount": _money(refund.amount),
        "items": [
            {"sku": item.sku, "quantity": item.quantity, "amount": _money(item.amount)}
            for item in refund.items
        ],
        "tax": _money(refund.tax),
        "shipping": _money(refund.shipping),
        "reason": refund.reason,
    }


def refund_from(document: Mapping[str, Any]) -> RefundIn:
    """The refund of a stored document; `refund_from(refund_document(r)) == r`."""
    return RefundIn(
        refund_id=document["refund_id"],
        amount=_money_from(document["amount"]),
        items=tuple(
            RefundItem(
                amount=Money(line["amount"]["micros"], line["amount"]["currency"]),
                quantity=line["quantity"],
                sku=line["sku"],
            )
            for line in document["items"]
        ),
        tax=_money_from(document["tax"]),
        shipping=_money_from(document["shipping"]),
        reason=document["reason"],
    )


def content_hash(document: Mapping[str, Any]) -> bytes:
    """SHA-256 of the canonical spelling of a document: decides replay or conflict."""
    text = json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).digest()


def _fraction(net: Money, part: Money, whole: Money) -> Money:
    if whole.micros <= 0:
        return Money.zero(net.currency)
    return net.fraction(part.micros, whole.micros)


def _money(value: Money | None) -> dict[str, Any] | None:
    return None if value is None else {"micros": value.micros, "currency": value.currency}


def _money_from(value: Mapping[str, Any] | None) -> Money | None:
    return None if value is None else Money(value["micros"], value["currency"])
