"""Orders and refunds as Shopify's webhooks tell of them (pure).

Topics orders/create, orders/paid, orders/updated, orders/cancelled and refunds/create. Which of
them a body is, its shape says: the topic's header is not signed. All amounts are `shop_money`.
Source: shopify.dev/docs/api/admin-rest, "Order" and "Refund"; docs/shops/shopify.md.
"""

from __future__ import annotations

from typing import Any, Final

from affiliate.core.errors import Invalid
from affiliate.core.money import Money, divide_half_even, minor_unit_micros, total
from tracker.sources import bodies
from tracker.sources.bodies import Body, amount, at, listed, money_document, needed, text
from tracker.sources.rules import (
    Because,
    Cancel,
    Changes,
    Ignored,
    Options,
    Reading,
    Refund,
    Report,
    Step,
)

PAID: Final = frozenset({"paid", "partially_refunded", "refunded"})
"""`financial_status` of an order that was paid in full at some time."""
_REFUND: Final = (
    "id order_id created_at processed_at note transactions.kind transactions.status "
    "transactions.amount transactions.currency refund_line_items.quantity "
    "refund_line_items.subtotal refund_line_items.subtotal_set.shop_money "
    "refund_line_items.subtotal_set.presentment_money refund_line_items.total_tax "
    "refund_line_items.total_tax_set.shop_money refund_line_items.total_tax_set.presentment_money "
    "order_adjustments.kind order_adjustments.amount order_adjustments.amount_set.shop_money "
    "order_adjustments.amount_set.presentment_money "
    "order_adjustments.tax_amount order_adjustments.tax_amount_set.shop_money "
    "refund_shipping_lines.subtotal_amount_set.shop_money "
    "refund_shipping_lines.subtotal_amount_set.presentment_money "
    "refund_shipping_lines.tax_amount_set.shop_money "
    "refund_shipping_lines.tax_amount_set.presentment_money"
)
_ORDER: Final = (
    "id test currency created_at processed_at updated_at cancelled_at cancel_reason "
    "financial_status taxes_included email contact_email customer.id customer.email "
    "total_price total_price_set.shop_money subtotal_price subtotal_price_set.shop_money "
    "total_line_items_price total_line_items_price_set.shop_money total_tax "
    "total_tax_set.shop_money total_tip_received total_tip_received_set.shop_money "
    "original_total_duties_set.shop_money original_total_additional_fees_set.shop_money "
    "note_attributes discount_codes.code line_items.sku line_items.title line_items.product_type "
    "line_items.quantity line_items.price line_items.price_set.shop_money "
    "shipping_lines.price shipping_lines.price_set.shop_money shipping_lines.discounted_price "
    "shipping_lines.discounted_price_set.shop_money shipping_lines.tax_lines.price "
    "shipping_lines.tax_lines.price_set.shop_money shipping_lines.is_removed"
)
_GOODS: Final = (
    ("refund_line_items", "subtotal_set"), ("order_adjustments", "amount_set"),
    ("refund_shipping_lines", "subtotal_amount_set"),
)  # fmt: skip
"""Lists of a refund whose lines name their amount in the shop's currency and in the buyer's."""
_TAXES: Final = (
    ("refund_line_items", "total_tax_set"), ("refund_shipping_lines", "tax_amount_set"),
)  # fmt: skip
KEPT: Final = bodies.tree(
    f"{_ORDER} {_REFUND} {' '.join('refunds.' + name for name in _REFUND.split())}"
)
"""What of a body is stored: neither names nor postal addresses, telephones or networks."""


def read(body: Body, options: Options) -> Reading:
    """What follows from a body. Raises Invalid."""
    if "order_id" in body:
        return _alone(body)
    order_id = needed(body, "id")
    subject, as_of = f"order:{order_id}", bodies.moment(body, "updated_at")
    if at(body, "test") is True and not options.takes_tests:
        return Ignored(Because.TEST_ORDER)
    paid = text(body, "financial_status") in PAID
    steps: list[Step] = []
    if paid:
        steps.append(_report(body, order_id))
        steps += [step for each in listed(body, "refunds") if (step := _refund(each, order_id))]
    if text(body, "cancelled_at"):
        reason = text(body, "cancel_reason") or "cancelled"
        steps.append(Cancel(order_id, reason[:500], was_paid=paid))
    return Changes(subject, as_of, tuple(steps)) if steps else Ignored(
        Because.NOT_PAID, subject, as_of
    )  # fmt: skip


def _report(body: Body, order_id: str) -> Report:
    currency = needed(body, "currency").upper()
    lines = listed(body, "line_items")
    goods = _of(body, "total_line_items_price", currency)
    tax_of_shipping, shipping = _shipping(body, currency)
    included = at(body, "taxes_included") is True
    fees = total(
        (_of(body, name, currency) for name in (
            "total_tip_received", "original_total_duties", "original_total_additional_fees",
        )), currency,
    )  # fmt: skip
    document: dict[str, Any] = {
        "order_id": order_id,
        "placed_at": bodies.moment_text(bodies.moment(body, "created_at")),
        "total": money_document(_of(body, "total_price", currency, needs=True)),
        "discount": money_document(goods - _of(body, "subtotal_price", currency)),
        "tax": money_document(_of(body, "total_tax", currency) - tax_of_shipping),
        "tax_included": included,
        "shipping": money_document(shipping if included else shipping + tax_of_shipping),
        "fees": money_document(fees),
        "items": [_line(line, currency) for line in lines],
        **bodies.evidence(_attributes(body)),
    }
    buyer = bodies.customer(
        text(body, "customer.id"),
        text(body, "email") or text(body, "contact_email") or text(body, "customer.email"),
    )
    if buyer:
        document["customer"] = buyer
    codes = tuple(code for each in listed(body, "discount_codes") if (code := text(each, "code")))
    return Report(order_id, document, coupons=codes)


def _line(line: Body, currency: str) -> dict[str, Any]:
    return {
        "sku": text(line, "sku"),
        "name": text(line, "title")[:500],
        "category": text(line, "product_type")[:500],
        "quantity": at(line, "quantity"),
        "price": money_document(_of(line, "price", currency, needs=True)),
    }


def _shipping(body: Body, currency: str) -> tuple[Money, Money]:
    """The tax of shipping, and shipping after its discounts."""
    lines = [line for line in listed(body, "shipping_lines") if at(line, "is_removed") is not True]
    taxes = [tax for line in lines for tax in listed(line, "tax_lines")]
    named = "discounted_price"
    return (
        total((_of(tax, "price", currency) for tax in taxes), currency),
        total(
            (_of(line, named if _is_there(line, named) else "price", currency) for line in lines),
            currency,
        ),
    )


def _attributes(body: Body) -> list[tuple[str, str]]:
    return [(text(each, "name"), text(each, "value")) for each in listed(body, "note_attributes")]


def _alone(body: Body) -> Reading:
    """refunds/create: a refund by itself, which names its order and nothing else of it."""
    subject = f"refund:{needed(body, 'id')}"
    as_of = bodies.moment(body, "processed_at" if text(body, "processed_at") else "created_at")
    step = _refund(body, needed(body, "order_id"))
    if step is None:
        return Ignored(Because.NOTHING_REFUNDED, subject, as_of)
    return Changes(subject, as_of, (step,))


def _refund(body: Body, order_id: str) -> Refund | None:
    """A refund of which money went back; goods that were only put back in stock are none.

    The amount is what the transactions have paid so far: one that is pending, of a card beside a
    gift card say, adds to it under the same id once it has ended. Tax and shipping are named where
    they are known to be parts of it, so that shipping takes nothing back.
    """
    paid = [
        one for one in listed(body, "transactions")
        if text(one, "kind") == "refund" and text(one, "status") == "success"
    ]  # fmt: skip
    currency = _currency(body, paid)
    if not paid or not currency:
        return None
    whole = _given_back(body, paid, currency)
    if not whole:
        return None
    document = {
        "refund_id": needed(body, "id"),
        "amount": money_document(whole),
        **_parts(body, whole),
    }
    if note := text(body, "note"):
        document["reason"] = note[:500]
    return Refund(document, order_id=order_id, grows=True)


def _given_back(body: Body, paid: list[Any], currency: str) -> Money:
    """What the transactions paid, which is in what the buyer paid with. Raises Invalid."""
    given: dict[str, Money] = {}
    for one in paid:
        of = text(one, "currency").upper() or currency
        each = amount(one, "amount", of, needs=True)
        given[of] = given.get(of, Money.zero(of)) + (-each if each.micros < 0 else each)
    return total(
        (each if of == currency else _in_shops(body, each, currency) for of, each in given.items()),
        currency,
    )


def _in_shops(body: Body, given: Money, currency: str) -> Money:
    """The buyer's money in the shop's, at the rate of the lines, which name both. Raises Invalid.

    What all of them come to, with or without their tax, is taken as it stands: no cent is lost.
    """
    goods = _both(body, given.currency, currency, _GOODS)
    taxes = _both(body, given.currency, currency, _TAXES)
    with_taxes = (goods[0] + taxes[0], goods[1] + taxes[1])
    for shops, buyers in (goods, with_taxes):
        if buyers == given:
            return shops
    shops, buyers = goods if goods[1] else with_taxes
    if not buyers:
        message = f"The money went back in {given.currency}; what it is in {currency} is not said."
        raise Invalid.field("transactions.currency", "currency_mismatch", message)
    unit = minor_unit_micros(currency)
    units = divide_half_even(given.micros * shops.micros, buyers.micros * unit)
    return Money(units * unit, currency)


def _both(
    body: Body, buyers: str, shops: str, where: tuple[tuple[str, str], ...]
) -> tuple[Money, Money]:
    """What lines come to in the shop's currency and in the buyer's, of those that name both."""
    sums = (Money.zero(shops), Money.zero(buyers))
    for lines, name in where:
        for line in listed(body, lines):
            said = [f"{name}.{each}_money" for each in ("shop", "presentment")]
            if [text(line, f"{path}.currency_code").upper() for path in said] != [shops, buyers]:
                continue
            found = [amount(line, f"{path}.amount", of) for path, of in zip(
                said, (shops, buyers), strict=True)]  # fmt: skip
            plain = [-each if each.micros < 0 else each for each in found]
            sums = (sums[0] + plain[0], sums[1] + plain[1])
    return sums


def _parts(body: Body, whole: Money) -> dict[str, Any]:
    currency = whole.currency
    tax = total(
        (_of(line, "total_tax", currency) for line in listed(body, "refund_line_items")), currency
    )
    shipping = _refunded_shipping(body, currency)
    zero = Money.zero(currency)
    if tax < zero or shipping < zero or tax + shipping > whole:
        return {}
    return {"tax": money_document(tax), "shipping": money_document(shipping)}


def _refunded_shipping(body: Body, currency: str) -> Money:
    """Lines of their own since API version 2024-10; before, adjustments below zero."""
    names = ("subtotal_amount", "tax_amount")
    if lines := listed(body, "refund_shipping_lines"):
        return total((_of(line, name, currency) for line in lines for name in names), currency)
    moved = [
        one for one in listed(body, "order_adjustments") if text(one, "kind") == "shipping_refund"
    ]
    names = ("amount", "tax_amount")
    return -total((_of(one, name, currency) for one in moved for name in names), currency)


def _currency(body: Body, paid: list[Any]) -> str:
    """The shop's, which the lines say; else that in which the money went back."""
    for lines, name in _GOODS:
        for line in listed(body, lines):
            if said := text(line, f"{name}.shop_money.currency_code"):
                return said.upper()
    return text(paid[0], "currency").upper() if paid else ""


def _is_there(body: Body, name: str) -> bool:
    return bool(text(body, f"{name}_set.shop_money.amount") or text(body, name))


def _of(body: Body, name: str, currency: str, *, needs: bool = False) -> Money:
    """An amount in the shop's currency: `…_set.shop_money`, else the plain field, which is it."""
    path = f"{name}_set.shop_money.amount"
    return amount(body, path if text(body, path) else name, currency, needs=needs)
