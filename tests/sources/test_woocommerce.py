"""Orders of a WooCommerce shop: statuses, refunds, the ping, whatever the prices include."""

from __future__ import annotations

import pytest

from affiliate.core import clock
from tests.sources.shop_systems import Shop
from tracker.sources import again
from tracker.sources.rules import Because, Done, State


def test_an_order_that_is_processed_is_credited_by_its_meta_data(woocommerce: Shop) -> None:
    [delivery] = woocommerce.tells("order_processing")
    assert (delivery.state, delivery.results) == (State.DONE, [Done.REPORTED])
    order = woocommerce.order
    assert (order.order_id, order.source, order.currency) == ("727", "webhook", "EUR")
    # 105.60 - (5.00 + 1.00) - (2.00 + 0.40) - 16.20 = 81.00, the lines without tax.
    assert order.net_micros == 81_000_000
    assert (order.shipping_micros, order.fees_micros) == (6_000_000, 2_400_000)
    assert (order.tax_micros, order.discount_micros) == (16_200_000, 9_000_000)
    assert woocommerce.earned() == [(810, 0, None)]
    assert order.coupon == "anna10"
    # Ten euros in three pieces have no price of a piece: the line is told as one.
    assert [(item["sku"], item["quantity"]) for item in order.items] == [
        ("LAMP-1", 2), ("FERN-2", 1),
    ]  # fmt: skip


def test_the_buyers_address_and_other_plugins_data_are_not_stored(woocommerce: Shop) -> None:
    [delivery] = woocommerce.tells("order_processing")
    told = str(delivery.body).lower()
    for each in ("buyer.example", "berg", "lindenweg", "555", "203.0.113.7", "de123456789"):
        assert each not in told, each
    assert woocommerce.order.evidence["server"]["customer"]["id"] == "26"


def test_a_guest_has_no_id(woocommerce: Shop) -> None:
    woocommerce.tells(woocommerce.payload("order_processing", customer_id=0))
    assert woocommerce.order.evidence["server"]["customer"]["id"] is None


@pytest.mark.parametrize("status", ["pending", "on-hold", "checkout-draft"])
def test_an_order_that_is_not_paid_waits_for_its_payment(woocommerce: Shop, status: str) -> None:
    told = woocommerce.tells(woocommerce.payload("order_pending", status=status))
    assert (told[0].state, told[0].because) == (State.IGNORED, Because.NOT_PAID)
    assert woocommerce.tells("order_processing")[-1].results == [Done.REPORTED]


@pytest.mark.parametrize("status", ["failed", "cancelled"])
@pytest.mark.parametrize("in_order", [True, False])
def test_an_attempt_that_failed_in_the_second_of_the_payment_cancels_nothing(
    woocommerce: Shop, status: str, in_order: bool
) -> None:
    paid = woocommerce.payload("order_processing")
    tried = {**paid, "status": status, "date_paid": None, "date_paid_gmt": None}
    woocommerce.tells(*([tried, paid] if in_order else [paid, tried]))
    assert woocommerce.order.status == "confirmed"
    assert woocommerce.earned() == [(810, 0, None)]


@pytest.mark.parametrize("in_order", [True, False])
def test_a_paid_order_that_ends_in_the_same_second_is_cancelled(
    woocommerce: Shop, in_order: bool
) -> None:
    paid = woocommerce.payload("order_processing")
    over = {**paid, "status": "cancelled"}
    woocommerce.tells(*([paid, over] if in_order else [over, paid]))
    assert woocommerce.earned() == []


def test_parts_of_a_refund_come_with_the_order_and_count_once(woocommerce: Shop) -> None:
    told = woocommerce.tells("order_processing", "order_partly_refunded")
    assert told[-1].results == [Done.KNOWN, Done.REFUNDED]
    # A fifth of the total: 16.20 of the net, 1.62 of the commission.
    assert woocommerce.earned() == [(810, 162, None)]
    told = woocommerce.tells("order_refunded")
    assert told[-1].results == [Done.KNOWN, Done.REFUNDED, Done.KNOWN]
    assert woocommerce.earned() == [(810, 810, None)]


def test_a_refund_of_an_order_that_a_person_took_as_it_is_waits_for_nobody(
    woocommerce: Shop,
) -> None:
    # A plugin's gift card has paid five euros: the total is not its parts, then and ever after.
    world = woocommerce.world
    [held] = woocommerce.tells(woocommerce.payload("order_processing", total="100.60"))
    assert held.state == State.HELD
    again.take_as_it_is(
        world.session, delivery_id=held.id, by="user:1", now=world.now, real_now=clock.real_now()
    )
    world.session.commit()
    woocommerce.follow()
    assert woocommerce.order.total_micros == 100_600_000
    told = woocommerce.tells(woocommerce.payload("order_partly_refunded", total="100.60"))
    assert told[-1].results == [Done.KNOWN, Done.REFUNDED]


def test_a_status_that_was_set_by_hand_gives_all_back(woocommerce: Shop) -> None:
    woocommerce.tells("order_processing", woocommerce.payload("order_refunded", refunds=[]))
    assert woocommerce.earned() == [(810, 810, None)]


def test_a_refunded_order_that_was_never_told_of_is_reported_and_given_back(
    woocommerce: Shop,
) -> None:
    told = woocommerce.tells("order_refunded")
    assert told[0].results == [Done.REPORTED, Done.REFUNDED, Done.REFUNDED]
    assert woocommerce.earned() == [(810, 810, None)]


@pytest.mark.parametrize("status", ["cancelled", "failed", "trash"])
def test_an_order_that_is_over_is_cancelled(woocommerce: Shop, status: str) -> None:
    told = woocommerce.tells(
        "order_processing", woocommerce.payload("order_cancelled", status=status)
    )
    assert told[-1].results == [Done.CANCELLED]
    assert woocommerce.earned() == []


def test_a_deleted_order_is_cancelled(woocommerce: Shop) -> None:
    assert woocommerce.tells("order_processing", "order_deleted")[-1].results == [Done.CANCELLED]
    assert woocommerce.earned() == []


def test_states_in_the_wrong_order_leave_the_newest(woocommerce: Shop) -> None:
    told = woocommerce.tells("order_cancelled", "order_processing", "order_pending")
    assert told[0].results == [Done.CANCELLATION_PARKED]
    assert [each.because for each in told[1:]] == [Because.OLDER_STATE] * 2
    assert woocommerce.orders() == []
    # The shop's own page, or an import, names the order later: it is born cancelled.
    body = woocommerce.world.order("727", total={"amount": "105.60", "currency": "EUR"},
                                   discount=None, tax=None, shipping=None, items=None)  # fmt: skip
    assert woocommerce.world.post(body).status_code == 201
    assert woocommerce.order.status == "cancelled"


def test_two_orders_of_one_second_share_a_delivery_id_and_are_both_taken(
    woocommerce: Shop,
) -> None:
    # WooCommerce makes the id of the webhook's number and the second (WC_Webhook).
    same = {"X-WC-Webhook-Delivery-ID": "5f1d0c9a8b7e6d5c4b3a291807f6e5d4"}
    for number in (727, 728):
        body = woocommerce.payload("order_processing", id=number)
        assert woocommerce.sends(body, headers=same).status_code == 200
    woocommerce.follow()
    assert [order.order_id for order in woocommerce.orders()] == ["727", "728"]


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_payment_that_failed_and_then_came_counts_also_where_a_page_claimed_the_order(
    woocommerce: Shop, status: str
) -> None:
    claim = {"order_id": "727", "total": {"amount": "105.60", "currency": "EUR"}}
    woocommerce.world.client.post(
        "/v1/events",
        json={"program": "euros", "type": "order", "order": claim,
              "clicks": list(woocommerce.clicks)},
    )  # fmt: skip
    assert woocommerce.order.status == "unconfirmed"
    failed = woocommerce.payload("order_pending", status=status)
    [told] = woocommerce.tells(failed)
    assert (told.state, told.because) == (State.IGNORED, Because.NEVER_PAID)
    woocommerce.tells("order_processing")
    assert woocommerce.order.status == "confirmed"
    assert woocommerce.earned() == [(810, 0, None)]


def test_the_ping_of_a_new_webhook_is_answered_and_not_stored(woocommerce: Shop) -> None:
    world = woocommerce.world
    answer = world.client.post(woocommerce.address, data={"webhook_id": "3"})
    assert answer.status_code == 200
    assert woocommerce.deliveries() == []
    forged = world.client.post(woocommerce.address, data={"webhook_id": "3", "id": "727"})
    assert forged.status_code == 400


def test_a_fee_below_zero_is_a_discount(woocommerce: Shop) -> None:
    fees = [{"id": 1, "total": "-2.00", "total_tax": "-0.40"}]
    woocommerce.tells(woocommerce.payload("order_processing", fee_lines=fees, total="100.80"))
    order = woocommerce.order
    assert (order.fees_micros, order.discount_micros) == (0, 11_400_000)
