"""Orders of a Shopify shop: what its webhooks say, in whatever order they come."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.sources.shop_systems import Shop
from tracker.sources.rules import Because, Done, State


def test_a_paid_order_is_credited_by_the_cart_attributes(shopify: Shop) -> None:
    [delivery] = shopify.tells("orders_paid")
    assert (delivery.state, delivery.results) == (State.DONE, [Done.REPORTED])
    order = shopify.order
    assert (order.order_id, order.source, order.status) == (
        "820982911946154508", "webhook", "confirmed",
    )  # fmt: skip
    # In the shop's currency, not in the buyer's: 114.90 - 5.90 - 18.17 = 90.83.
    assert (order.currency, order.total_micros) == ("EUR", 114_900_000)
    assert (order.shipping_micros, order.tax_micros) == (5_900_000, 18_170_000)
    assert order.net_micros == 90_830_000
    assert shopify.earned() == [(908, 0, None)]
    assert [item["sku"] for item in order.items] == ["LAMP-1", "FERN-2"]
    assert order.coupon == "ANNA10"


def test_taxes_on_top_tips_and_taxed_shipping_leave_the_goods(shopify: Shop) -> None:
    # 123.80 - (10.00 + 0.80) - 5.00 - 8.00 = 100.00.
    shopify.tells("orders_paid_taxes_on_top")
    order = shopify.order
    assert (order.net_micros, order.fees_micros) == (100_000_000, 5_000_000)
    assert (order.shipping_micros, order.tax_included) == (10_800_000, False)


def test_the_buyers_address_is_never_stored_plain(shopify: Shop) -> None:
    [delivery] = shopify.tells("orders_paid")
    told = str(delivery.body).lower()
    for each in ("buyer.example", "berg", "lindenweg", "555", "203.0.113.7", "gift wrap yes"):
        assert each not in told, each
    buyer = shopify.order.evidence["server"]["customer"]
    assert buyer["id"] == "115310627314723954"
    assert len(buyer["email"]) == 64


@pytest.mark.parametrize("status", ["pending", "authorized", "partially_paid", "voided", "expired"])
def test_an_order_counts_once_it_is_paid(shopify: Shop, status: str) -> None:
    waiting = shopify.payload("orders_paid", financial_status=status)
    [delivery] = shopify.tells(waiting)
    assert (delivery.state, delivery.because) == (State.IGNORED, Because.NOT_PAID)
    assert shopify.orders() == []
    later = later_by(shopify.payload("orders_paid"), seconds=60)
    assert shopify.tells(later)[-1].results == [Done.REPORTED]


def test_a_test_order_counts_for_nothing(shopify: Shop) -> None:
    [delivery] = shopify.tells(shopify.payload("orders_paid", test=True))
    assert (delivery.state, delivery.because) == (State.IGNORED, Because.TEST_ORDER)


def test_create_paid_and_updated_are_one_order(shopify: Shop) -> None:
    first = shopify.payload("orders_paid")
    told = shopify.tells(first, later_by(first, seconds=5), later_by(first, seconds=50))
    assert [each.results for each in told] == [[Done.REPORTED], [Done.KNOWN], [Done.KNOWN]]
    assert shopify.earned() == [(908, 0, None)]


def test_a_duplicated_delivery_is_stored_once(shopify: Shop) -> None:
    body = shopify.payload("orders_paid")
    shopify.tells(body, body)
    assert len(shopify.deliveries()) == 1
    again = {**body, "number": 2}
    headers = {"X-Shopify-Webhook-Id": shopify.deliveries()[0].delivery_id}
    assert shopify.sends(again, headers=headers).status_code == 200
    assert len(shopify.deliveries()) == 1


def test_a_partial_refund_takes_back_its_part(shopify: Shop) -> None:
    told = shopify.tells("orders_paid", "refunds_create_partial")
    assert told[-1].results == [Done.REFUNDED]
    # 43.05 with 7.18 of tax: 35.87 of 90.83 of the net, and so of the 9.083.
    assert shopify.order.refunded_net_micros == 35_870_000
    assert shopify.earned() == [(908, 358, None)]


def test_a_full_refund_takes_all_back(shopify: Shop) -> None:
    shopify.tells("orders_paid", "refunds_create_full")
    assert shopify.earned() == [(908, 908, None)]


def test_refunded_shipping_takes_nothing_back(shopify: Shop) -> None:
    shopify.tells("orders_paid", "refunds_create_shipping_before_2024_10")
    assert shopify.order.refunded_micros == 5_900_000
    assert shopify.earned() == [(908, 0, None)]


def test_a_refund_before_its_order_waits_for_it(shopify: Shop) -> None:
    [early] = shopify.tells("refunds_create_partial")
    assert early.results == [Done.REFUND_PARKED]
    shopify.tells("orders_paid")
    assert shopify.earned() == [(908, 358, None)]


def test_the_refunds_within_an_order_are_those_that_come_alone(shopify: Shop) -> None:
    refund = shopify.payload("refunds_create_partial")
    paid = shopify.payload(
        "orders_paid", financial_status="partially_refunded", refunds=[refund]
    )  # fmt: skip
    told = shopify.tells(paid, refund)
    assert [each.results for each in told] == [[Done.REPORTED, Done.REFUNDED], [Done.KNOWN]]
    assert shopify.earned() == [(908, 358, None)]


def in_steps(shopify: Shop, *amounts: str) -> dict[str, Any]:
    """The partial refund, of whose 43.05 only these payments have ended so far."""
    refund = shopify.payload("refunds_create_partial")
    [first] = refund["transactions"]
    refund["transactions"] = [
        {**first, "id": number, "amount": amount} for number, amount in enumerate(amounts)
    ]
    return refund


def test_a_refund_whose_payments_end_one_by_one_takes_back_each_once(shopify: Shop) -> None:
    told = shopify.tells("orders_paid", in_steps(shopify, "20.00"))
    assert told[-1].results == [Done.REFUNDED]
    # 20.00 less its tax of 7.18 of the 90.83.
    assert shopify.order.refunded_net_micros == 12_820_000
    told = shopify.tells(in_steps(shopify, "20.00", "23.05"))
    assert told[-1].results == [Done.REFUNDED]
    assert shopify.order.refunded_micros == 43_050_000
    assert shopify.order.refunded_net_micros == 35_870_000, "as the refund in one piece"
    assert shopify.earned() == [(908, 358, None)]
    again = [{**in_steps(shopify, "20.00", *more), "note": "again"} for more in ((), ("23.05",))]
    assert [each.results for each in shopify.tells(*again)[-2:]] == [[Done.KNOWN]] * 2
    assert shopify.order.refunded_micros == 43_050_000


def test_it_grows_as_well_while_it_waits_for_its_order(shopify: Shop) -> None:
    told = shopify.tells(in_steps(shopify, "20.00"), in_steps(shopify, "20.00", "23.05"))
    assert [each.results for each in told] == [[Done.REFUND_PARKED]] * 2
    shopify.tells("orders_paid")
    assert shopify.order.refunded_micros == 43_050_000
    assert shopify.order.refunded_net_micros == 35_870_000


def test_a_refund_by_the_api_that_changes_is_still_a_conflict(shopify: Shop) -> None:
    shopify.tells("orders_paid")
    path, eur = f"/{shopify.order.order_id}/refunds", {"currency": "EUR"}
    for amount, status in (("20.00", 201), ("43.05", 409)):
        refund = {"refund_id": "R-1", "amount": {"amount": amount, **eur}}
        assert shopify.world.post(refund, path).status_code == status


def abroad(refund: dict[str, Any], **given: str) -> dict[str, Any]:
    """The refund of a buyer who saw dollars, 1.20 of them for a euro: the transaction is in what
    they paid with, the shop's money stands beside it in the lines."""
    for line in refund["refund_line_items"]:
        line["subtotal_set"]["presentment_money"] = {"amount": "51.66", "currency_code": "USD"}
        line["total_tax_set"]["presentment_money"] = {"amount": "8.62", "currency_code": "USD"}
    refund["transactions"][0] |= {"amount": "51.66", "currency": "USD", **given}
    return refund


def test_a_refund_to_a_buyer_abroad_counts_in_the_shops_currency(shopify: Shop) -> None:
    told = shopify.tells("orders_paid", abroad(shopify.payload("refunds_create_partial")))
    assert told[-1].results == [Done.REFUNDED]
    assert shopify.order.refunded_micros == 43_050_000
    assert shopify.earned() == [(908, 358, None)]


def test_of_a_part_of_it_the_part_is_reckoned_by_the_lines(shopify: Shop) -> None:
    # 10.00 of 51.66 dollars: 8.333 of 43.05 euros.
    refund = abroad(shopify.payload("refunds_create_partial"), amount="10.00")
    shopify.tells("orders_paid", refund)
    assert shopify.order.refunded_micros == 8_330_000


def test_a_refund_abroad_that_does_not_name_the_shops_money_is_for_a_person(
    shopify: Shop,
) -> None:
    refund = abroad(shopify.payload("refunds_create_partial"))
    refund["transactions"][0]["currency"] = "CAD"
    told = shopify.tells("orders_paid", refund)
    assert (told[-1].state, told[-1].errors[0]["code"]) == (State.REFUSED, "currency_mismatch")
    assert shopify.order.refunded_micros == 0


def test_goods_that_only_went_back_on_the_shelf_are_no_refund(shopify: Shop) -> None:
    refund = shopify.payload("refunds_create_partial", transactions=[])
    [delivery] = shopify.tells(refund)
    assert (delivery.state, delivery.because) == (State.IGNORED, Because.NOTHING_REFUNDED)


def test_a_cancellation_voids_everything(shopify: Shop) -> None:
    told = shopify.tells("orders_paid", "orders_cancelled")
    assert told[-1].results == [Done.KNOWN, Done.CANCELLED]
    assert shopify.order.status == "cancelled"
    assert shopify.earned() == []


def test_an_older_state_never_undoes_a_newer_one(shopify: Shop) -> None:
    told = shopify.tells("orders_cancelled", "orders_paid")
    assert told[0].results == [Done.REPORTED, Done.CANCELLED]
    assert (told[1].state, told[1].because) == (State.IGNORED, Because.OLDER_STATE)
    assert shopify.order.status == "cancelled"
    assert shopify.earned() == []


def test_an_order_that_was_cancelled_unpaid_and_that_nobody_knows_is_nothing(shopify: Shop) -> None:
    never = shopify.payload("orders_cancelled", financial_status="voided")
    [delivery] = shopify.tells(never)
    assert (delivery.state, delivery.because) == (State.IGNORED, Because.NEVER_PAID)


def test_a_total_that_is_not_its_parts_is_held_for_a_person(shopify: Shop) -> None:
    [delivery] = shopify.tells(shopify.payload("orders_paid", total_price_set=None,
                                               total_price="130.00"))  # fmt: skip
    assert (delivery.state, delivery.because) == (State.HELD, "total_mismatch")
    assert delivery.errors[0]["field"] == "total.amount"
    assert shopify.orders() == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"total_price": "abc", "total_price_set": None}, "total_price"),
        ({"currency": ""}, "currency"),
        ({"currency": "XXX"}, "currency"),
        ({"created_at": "yesterday"}, "created_at"),
        ({"line_items": [{"quantity": 1}]}, "price"),
        ({"id": "with space"}, "order_id"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_field(
    shopify: Shop, change: dict[str, Any], field: str
) -> None:
    [delivery] = shopify.tells(shopify.payload("orders_paid", **change))
    assert (delivery.state, delivery.because) == (State.REFUSED, "invalid")
    assert field in {error["field"].split(".")[0] for error in delivery.errors}
    assert shopify.orders() == []


def later_by(body: dict[str, Any], *, seconds: int) -> dict[str, Any]:
    at = datetime.fromisoformat(body["updated_at"]) + timedelta(seconds=seconds)
    return {**body, "updated_at": at.isoformat()}
