"""Stripe Checkout and subscriptions: first payments, renewals, refunds, disputes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from affiliate.core import clock
from affiliate.core.money import Money
from payouts.commissions.release import release_due
from tests.orders.shop_world import DAY
from tests.sources.shop_systems import Shop
from tracker.sources import again, bodies, stripe_events
from tracker.sources.follow import WAIT_DAYS
from tracker.sources.models import SourceDelivery
from tracker.sources.rules import Because, Done, Options, State

MONTH = timedelta(days=30)


def test_a_paid_session_is_credited_by_its_client_reference(stripe: Shop) -> None:
    [delivery] = stripe.tells("checkout_session_completed")
    assert (delivery.state, delivery.results) == (State.DONE, [Done.REPORTED])
    assert delivery.delivery_id == "evt_1Paid"
    order = stripe.order
    assert (order.order_id, order.currency) == ("cs_live_a1Paid", "EUR")
    # 114.90 - 5.90 with its tax - (19.15 - 0.98) = 90.83.
    assert (order.net_micros, order.shipping_micros) == (90_830_000, 5_900_000)
    assert stripe.earned() == [(908, 0, None)]
    told = str(delivery.body).lower()
    for each in ("buyer.example", "berg", "lindenweg"):
        assert each not in told, each


def test_the_shops_own_order_number_goes_before_the_sessions(stripe: Shop) -> None:
    metadata = {"order_id": "A-77", "kopeck_coupon": "ANNA10"}
    stripe.tells(stripe.payload("checkout_session_completed", metadata=metadata))
    assert (stripe.order.order_id, stripe.order.coupon) == ("A-77", "ANNA10")
    assert stripe.tells("refund_created_full")[-1].results == [Done.REFUNDED]


def test_a_reference_that_is_no_token_names_nobody(stripe: Shop) -> None:
    stripe.tells(stripe.payload("checkout_session_completed", client_reference_id="user-17"))
    assert stripe.order.evidence["server"]["clicks"] == []


def test_a_promotion_code_counts_by_the_name_that_a_manager_gave(stripe: Shop) -> None:
    options = Options(coupons={"promo_1MtAnna": "ANNA10"})
    body = bodies.kept(stripe.payload("checkout_session_completed"), stripe_events.KEPT)
    reading = stripe_events.read(body, options)
    assert reading.steps[0].coupons == ("ANNA10",)  # type: ignore[union-attr]


def test_a_payment_that_takes_days_counts_when_it_has_come(stripe: Shop) -> None:
    told = stripe.tells("checkout_session_completed_unpaid")
    assert (told[0].state, told[0].because) == (State.IGNORED, Because.NOT_PAID)
    told = stripe.tells("checkout_session_async_payment_succeeded")
    assert told[-1].results == [Done.REPORTED]


def test_a_payment_that_never_came_is_nothing(stripe: Shop) -> None:
    told = stripe.tells(
        "checkout_session_completed_unpaid", "checkout_session_async_payment_failed"
    )
    assert told[-1].because == Because.NEVER_PAID
    assert stripe.orders() == []


def test_test_mode_counts_only_where_a_manager_says_so(stripe: Shop) -> None:
    event = {**stripe.payload("checkout_session_completed"), "livemode": False}
    [delivery] = stripe.tells(event)
    assert (delivery.state, delivery.because) == (State.IGNORED, Because.TEST_ORDER)
    body = bodies.kept(event, stripe_events.KEPT)
    assert len(stripe_events.read(body, Options(takes_tests=True)).steps) == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("units", "currency", "amount"),
    [
        (12_000, "JPY", Money(12_000_000_000, "JPY")),
        (1_999, "EUR", Money(19_990_000, "EUR")),
        (1_999, "KWD", Money(1_999_000, "KWD")),
        # Where Stripe counts otherwise than ISO 4217.
        (500, "ISK", Money(5_000_000, "ISK")),
        (500, "UGX", Money(5_000_000, "UGX")),
        (500, "MGA", Money(500_000_000, "MGA")),
    ],
)
def test_smallest_units_are_stripes(units: int, currency: str, amount: Money) -> None:
    body = {
        "id": "cs_1", "object": "checkout.session", "payment_status": "paid", "created": 1,
        "amount_total": units, "currency": currency.lower(), "mode": "payment",
    }  # fmt: skip
    event = {"type": "checkout.session.completed", "created": 1, "livemode": True,
             "data": {"object": body}}  # fmt: skip
    [step] = stripe_events.read(event, Options()).steps  # type: ignore[union-attr]
    assert step.document["total"] == bodies.money_document(amount)


def test_yen_have_no_smaller_unit(stripe: Shop) -> None:
    [delivery] = stripe.tells("checkout_session_completed_yen")
    # The program is in euros and has no rate of yen: refused, with the field.
    assert (delivery.state, delivery.because) == (State.REFUSED, "invalid")
    assert {error["code"] for error in delivery.errors} == {"currency_mismatch"}


def test_a_renewal_earns_the_original_affiliate_what_the_rules_say(stripe: Shop) -> None:
    stripe.tells("checkout_session_completed_subscription", "invoice_paid_first")
    first = stripe.order
    assert first.subscription == {"id": "sub_1MtLamp", "sequence": 1}
    assert stripe.earned() == [(200, 0, None)]
    later = stripe.world.now + MONTH
    told = stripe.tells("invoice_paid_renewal", now=later)
    assert told[-1].results == [Done.REPORTED]
    [_, renewal] = stripe.orders()
    assert (renewal.order_id, renewal.net_micros) == ("in_1MtSecond", 20_000_000)
    assert renewal.subscription == {"id": "sub_1MtLamp", "sequence": 2}
    # 5 % of 20.00: the buyer is bound to whoever brought them.
    assert stripe.earned() == [(200, 0, None), (100, 0, None)]


def test_the_first_invoice_is_the_sessions_order(stripe: Shop) -> None:
    told = stripe.tells("checkout_session_completed_subscription", "invoice_paid_first")
    assert (told[-1].state, told[-1].because) == (State.IGNORED, Because.FIRST_INVOICE)
    assert len(stripe.orders()) == 1


def test_renewals_in_the_wrong_order_keep_their_numbers(stripe: Shop) -> None:
    later = stripe.world.now + 2 * MONTH
    stripe.tells("checkout_session_completed_subscription")
    stripe.tells("invoice_paid_second_renewal", now=later)
    renewal = stripe.payload("invoice_paid_renewal", status_transitions={
        "paid_at": int((later - DAY).timestamp())})  # fmt: skip
    stripe.tells(renewal, now=later)
    numbers = {order.order_id: order.subscription["sequence"] for order in stripe.orders()}  # type: ignore[index]
    assert numbers == {"cs_live_a1Sub": 1, "in_1MtThird": 3, "in_1MtSecond": 2}


def test_an_invoice_of_before_names_its_payment_itself(stripe: Shop) -> None:
    later = stripe.world.now + MONTH
    stripe.tells("checkout_session_completed_subscription")
    stripe.tells("invoice_paid_renewal_before_2025_03_31", now=later)
    refund = stripe.payload("refund_created_full", payment_intent="pi_3MtOld", amount=2400)
    assert stripe.tells(refund, now=later)[-1].results == [Done.REFUNDED]
    assert stripe.earned()[-1] == (100, 100, None)


def test_a_refund_of_a_subscriptions_payment_finds_its_order(stripe: Shop) -> None:
    stripe.tells("checkout_session_completed_subscription", "refund_created_subscription")
    [_, waiting] = stripe.deliveries()
    assert (waiting.state, waiting.waits_for) == (State.WAITING, "pi_3MtFirst")
    # The payment's own event says of which invoice it is, and lets the refund go at once.
    stripe.tells("invoice_payment_paid")
    told = stripe.deliveries()
    assert [each.results for each in told] == [[Done.REPORTED], [Done.REFUNDED], [Done.LINKED]]
    assert stripe.earned() == [(200, 200, None)]


def test_a_refund_before_its_session_waits_for_it(stripe: Shop) -> None:
    [early] = stripe.tells("refund_created_partial")
    assert early.state == State.WAITING
    stripe.tells("checkout_session_completed")
    assert [each.state for each in stripe.deliveries()] == [State.DONE, State.DONE]
    # 43.05 of 114.90: 34.03 of the net.
    assert stripe.earned() == [(908, 340, None)]


def test_a_payment_that_nobody_knows_is_given_up_after_a_week(stripe: Shop) -> None:
    stripe.tells("refund_created_partial")
    over = clock.real_now() + timedelta(days=WAIT_DAYS, hours=1)
    assert stripe.follow(real_now=over) == 1
    [delivery] = stripe.deliveries()
    assert (delivery.state, delivery.because) == (State.IGNORED, Because.UNKNOWN_REFERENCE)


def test_parts_and_the_rest_take_all_back(stripe: Shop) -> None:
    rest = stripe.payload("refund_created_full", amount=11490 - 4305)
    told = stripe.tells("checkout_session_completed", "refund_created_partial", rest)
    assert [each.results for each in told[1:]] == [[Done.REFUNDED], [Done.REFUNDED]]
    assert stripe.earned() == [(908, 908, None)]


def test_a_refund_that_is_pending_counts_when_it_has_arrived(stripe: Shop) -> None:
    told = stripe.tells("checkout_session_completed", "refund_created_pending")
    assert told[-1].because == Because.REFUND_NOT_FINAL
    assert stripe.tells("refund_created_partial")[-1].results == [Done.REFUNDED]


def failed(stripe: Shop, name: str = "refund_created_full", after_s: int = 60) -> dict[str, Any]:
    """The event that a refund which had succeeded has failed after all."""
    event = stripe.payload(name, status="failed")
    return {**event, "id": "evt_1Failed", "type": "refund.failed",
            "created": event["created"] + after_s}  # fmt: skip


def test_a_refund_that_fails_after_it_succeeded_is_for_a_person(stripe: Shop) -> None:
    told = stripe.tells("checkout_session_completed", "refund_created_full", failed(stripe))
    assert (told[-1].state, told[-1].because) == (State.HELD, "refund_failed")
    assert told[-1].order_id == stripe.order.order_id
    assert stripe.order.refunded_micros == stripe.order.total_micros
    world = stripe.world
    again.take_as_it_is(
        world.session, delivery_id=told[-1].id, by="user:1", now=world.now,
        real_now=clock.real_now(),
    )  # fmt: skip
    world.session.commit()
    stripe.follow()
    last = stripe.deliveries()[-1]
    assert (last.state, last.results) == (State.DONE, [Done.REFUND_FAILED])


@pytest.mark.parametrize("known", [True, False])
def test_a_refund_that_never_succeeded_took_nothing(stripe: Shop, known: bool) -> None:
    told = stripe.tells(*["checkout_session_completed"] * known, failed(stripe))
    assert (told[-1].state, told[-1].because) == (State.IGNORED, Because.REFUND_NOT_FINAL)


def test_a_success_that_comes_after_the_failure_of_its_second_takes_nothing_back(
    stripe: Shop,
) -> None:
    late = failed(stripe, after_s=0)
    told = stripe.tells("checkout_session_completed", late, "refund_created_full")
    assert (told[-1].state, told[-1].because) == (State.IGNORED, Because.OLDER_STATE)
    assert stripe.order.refunded_micros == 0


def test_a_charges_refunds_count_once_however_they_come(stripe: Shop) -> None:
    told = stripe.tells(
        "checkout_session_completed", "charge_refunded", "charge_refunded_before_2022_11_15",
        "refund_created_partial",
    )  # fmt: skip
    assert told[1].because == Because.REFUND_COMES_ALONE
    assert [each.results for each in told[2:]] == [[Done.REFUNDED], [Done.KNOWN]]
    assert stripe.earned() == [(908, 340, None)]


def test_a_dispute_holds_what_was_earned_until_it_is_won(stripe: Shop) -> None:
    told = stripe.tells("checkout_session_completed", "charge_dispute_created")
    assert told[-1].results == [Done.DISPUTED]
    assert stripe.earned() == [(908, 0, "dispute")]
    assert released(stripe) == 0
    told = stripe.tells("charge_dispute_closed_won")
    assert told[-1].results == [Done.DISPUTE_WON]
    assert stripe.earned() == [(908, 0, None)]
    assert released(stripe) == 1


def test_a_lost_dispute_is_a_refund_of_its_amount(stripe: Shop) -> None:
    told = stripe.tells(
        "checkout_session_completed", "charge_dispute_created", "charge_dispute_closed_lost"
    )
    assert told[-1].results == [Done.DISPUTE_LOST]
    assert stripe.order.open_disputes == []
    assert stripe.earned() == [(908, 908, None)]


def test_a_lost_dispute_takes_back_what_was_released(stripe: Shop) -> None:
    stripe.tells("checkout_session_completed")
    assert released(stripe) == 1
    stripe.tells("charge_dispute_created", "charge_dispute_closed_lost")
    assert stripe.earned() == [(908, 908, None)]


def test_of_what_was_refunded_a_lost_dispute_takes_nothing_again(stripe: Shop) -> None:
    stripe.tells("checkout_session_completed", "refund_created_partial", "charge_dispute_created",
                 "charge_dispute_closed_lost")  # fmt: skip
    again = {**stripe.payload("charge_dispute_closed_lost"), "id": "evt_1Again"}
    assert stripe.tells(again)[-1].results == [Done.KNOWN]
    assert stripe.order.refunded_micros == stripe.order.total_micros


def test_a_dispute_that_ended_before_it_began_holds_nothing(stripe: Shop) -> None:
    told = stripe.tells(
        "checkout_session_completed", "charge_dispute_closed_won", "charge_dispute_created"
    )
    assert told[-1].because == Because.OLDER_STATE
    assert stripe.earned() == [(908, 0, None)]


def test_events_about_other_things_are_ignored(stripe: Shop) -> None:
    [delivery] = stripe.tells("customer_created")
    assert (delivery.state, delivery.because) == (State.IGNORED, Because.OTHER_TOPIC)


def test_an_event_that_comes_again_is_the_same(stripe: Shop) -> None:
    body = stripe.payload("checkout_session_completed")
    stripe.tells(body, {**body, "pending_webhooks": 0})
    count = sa.select(sa.func.count()).select_from(SourceDelivery)
    assert stripe.world.session.scalar(count) == 1


def released(shop: Shop) -> int:
    now = shop.world.now + timedelta(days=20)
    shop.world.tick()
    with shop.world.app.app_context():
        done = release_due(shop.world.session, now=now)
        shop.world.session.commit()
    return done
