"""Refunds, cancellations and confirmations, also before their order."""

from __future__ import annotations

import itertools
import json
import threading
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from affiliate.core.money import Money
from payouts.commissions.release import release_due
from payouts.ledger.balances import balances
from tests.orders.shop_world import World, earned, of, rub
from tracker.orders.models import Order, ParkedCall
from tracker.orders.parked import expire_parked

HOLD = timedelta(days=14)


@pytest.fixture
def sold(world: World) -> World:
    """The contract's example, credited to anna, recruited by boris."""
    boris = world.affiliate("boris")
    anna = world.affiliate("anna", recruiter=boris)
    token = world.click(world.link(anna))
    assert world.post(world.order(clicks=[token])).status_code == 201
    return world


def left(world: World, order_id: str = "A-10042") -> list[tuple[int, str]]:
    """(level, amount less what was reversed) of each commission, in micros as decimals."""
    found = []
    for commission in world.get(order_id)["commissions"]:
        amount = Money.parse(commission["amount"]["amount"], "RUB")
        text = commission.get("reversed", rub("0"))["amount"]
        whole, _, fraction = text.partition(".")
        reversed_ = Money(int(whole) * 10**6 + int(fraction.ljust(6, "0") or 0), "RUB")
        found.append((commission["level"], (amount - reversed_).decimal))
    return found


def refund(world: World, refund_id: str, amount: str | None = None, **parts: Any) -> Any:
    body = {"refund_id": refund_id, **parts, **({"amount": rub(amount)} if amount else {})}
    return world.post(body, "/A-10042/refunds")


class TestRefund:
    def test_a_part_takes_both_levels_back_in_proportion(self, sold: World) -> None:
        answer = refund(sold, "r-1", "449.00", reason="one lamp less")
        assert answer.status_code == 201
        # net 3500 x 449 / 4490 = 350; so a tenth of 350 and of 70
        assert answer.get_json()["net"] == rub("350.00")
        assert left(sold) == [(1, "315.00"), (2, "63.00")]
        shown = sold.get()
        assert (shown["refunded"], shown["refunds"][0]["reason"]) == (
            rub("449.00"), "one lamp less",
        )  # fmt: skip

    def test_without_an_amount_all_that_is_left_is_given_back(self, sold: World) -> None:
        refund(sold, "r-1", "1000.00")
        answer = refund(sold, "r-2")
        assert answer.get_json()["amount"] == rub("3490.00")
        assert left(sold) == [(1, "0.00"), (2, "0.00")]
        assert {c["status"] for c in sold.get()["commissions"]} == {"reversed"}

    def test_any_parts_of_all_reverse_to_exactly_zero(self, sold: World) -> None:
        for number, part in enumerate(("0.01", "1234.56", "333.33", "2922.09", "0.01")):
            assert refund(sold, f"r-{number}", part).status_code == 201
        assert left(sold) == [(1, "0.00"), (2, "0.00")]

    def test_shipping_alone_takes_nothing_back(self, sold: World) -> None:
        answer = refund(sold, "r-1", "290.00", shipping=rub("290.00"))
        assert answer.get_json()["net"] == rub("0.00")
        assert left(sold) == [(1, "350.00"), (2, "70.00")]

    def test_items_and_tax_take_back_what_they_say(self, sold: World) -> None:
        item = {"sku": "LAMP-1", "quantity": 1, "amount": rub("1200.00")}
        answer = refund(sold, "r-1", "1200.00", items=[item], tax=rub("200.00"))
        assert answer.get_json()["net"] == rub("1000.00")  # 1200 - 200
        assert left(sold) == [(1, "250.00"), (2, "50.00")]

    @pytest.mark.abuse("A10")
    def test_the_same_refund_again_changes_nothing(self, sold: World) -> None:
        first, second = refund(sold, "r-1", "449.00"), refund(sold, "r-1", "449.00")
        assert (first.status_code, second.status_code) == (201, 200)
        assert second.headers["Idempotent-Replayed"] == "true"
        assert second.get_json() == first.get_json()
        assert left(sold) == [(1, "315.00"), (2, "63.00")]

    @pytest.mark.abuse("A10")
    def test_the_same_id_with_other_content_is_a_conflict(self, sold: World) -> None:
        refund(sold, "r-1", "449.00")
        answer = refund(sold, "r-1", "450.00")
        assert (answer.status_code, answer.get_json()["code"]) == (409, "refund_conflict")

    @pytest.mark.abuse("A10")
    def test_nothing_over_the_rest_is_given_back(self, sold: World) -> None:
        answer = refund(sold, "r-0", "4490.01")
        assert (answer.status_code, answer.get_json()["code"]) == (422, "refund_exceeds_order")
        refund(sold, "r-1", "4000.00")
        assert refund(sold, "r-2", "490.01").status_code == 422
        assert refund(sold, "r-3", "490.00").status_code == 201
        assert refund(sold, "r-4", "0.01").status_code == 422
        assert refund(sold, "r-5").status_code == 422

    @pytest.mark.abuse("A10")
    @pytest.mark.parametrize(
        ("body", "field", "code"),
        [
            ({"amount": {"amount": "1", "currency": "EUR"}}, "amount.currency",
                "currency_mismatch"),
            ({"amount": rub("0.00")}, "amount.amount", "zero"),
            ({"amount": rub("-1")}, "amount.amount", "not_a_decimal"),
            ({"refund_id": "a b"}, "refund_id", "not_an_id"),
            ({"net": rub("1")}, "net", "unknown_field"),
        ],
    )  # fmt: skip
    def test_a_wrong_field_is_refused(
        self, sold: World, body: dict[str, Any], field: str, code: str
    ) -> None:
        answer = sold.post({"refund_id": "r", **body}, "/A-10042/refunds")
        assert answer.status_code == 422
        assert (field, code) in [(e["field"], e["code"]) for e in answer.get_json()["errors"]]

    def test_parts_that_do_not_fit_are_refused(self, sold: World) -> None:
        answer = refund(sold, "r-1", "10.00", shipping=rub("10.01"))
        assert (answer.status_code, answer.get_json()["code"]) == (422, "refund_mismatch")

    def test_after_the_release_the_balance_pays_it_back(self, sold: World) -> None:
        release_due(sold.session, now=sold.now + HOLD, rows_max=10)
        sold.session.commit()
        refund(sold, "r-1")
        sold.tick()
        order = sold.get()
        assert {c["status"] for c in order["commissions"]} == {"reversed"}

    @pytest.mark.abuse("A10")
    def test_twenty_refunds_at_once_never_pass_the_order(self, sold: World) -> None:
        statuses: list[int] = []
        numbers, lock = itertools.count(), threading.Lock()
        start = threading.Barrier(5)

        def send() -> None:
            client = sold.app.test_client()
            client.environ_base["HTTP_HOST"] = "127.0.0.1:8000"
            start.wait()
            for _ in range(4):
                with lock:
                    body = {"refund_id": f"r-{next(numbers)}", "amount": rub("449.00")}
                answer = client.post(
                    "/api/v1/orders/A-10042/refunds",
                    data=json.dumps(body),
                    content_type="application/json",
                    headers=sold.headers,
                )
                with lock:
                    statuses.append(answer.status_code)

        threads = [threading.Thread(target=send) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [201] * 10 + [422] * 10
        assert left(sold) == [(1, "0.00"), (2, "0.00")]


class TestParked:
    @pytest.mark.abuse("A11")
    def test_a_refund_before_its_order_is_applied_when_it_comes(self, world: World) -> None:
        anna = world.affiliate("anna")
        parked = refund(world, "r-1", "449.00")
        assert (parked.status_code, parked.get_json()["status"]) == (202, "refund_parked")
        token = world.click(world.link(anna))
        body = world.post(world.order(clicks=[token])).get_json()
        assert body["refunds"][0]["amount"] == rub("449.00")
        assert left(world) == [(1, "315.00")]
        assert refund(world, "r-1", "449.00").status_code == 200

    @pytest.mark.abuse("A11")
    def test_what_waits_answers_as_what_was_applied(self, world: World) -> None:
        assert refund(world, "r-1", "449.00").status_code == 202
        assert refund(world, "r-1", "449.00").status_code == 202
        assert refund(world, "r-1", "450.00").status_code == 409
        answer = refund(world, "r-2", "0.00")
        assert answer.status_code == 422

    def test_a_cancellation_before_its_order_voids_it_when_it_comes(self, world: World) -> None:
        token = world.click(world.link(world.affiliate("anna")))
        parked = world.post({"reason": "fraud"}, "/A-10042/cancellation")
        assert (parked.status_code, parked.get_json()["status"]) == (202, "cancellation_parked")
        body = world.post(world.order(clicks=[token])).get_json()
        assert body["status"] == "cancelled"
        assert [c["status"] for c in body["commissions"]] == ["voided"]

    def test_a_refund_that_does_not_fit_its_order_is_kept_with_the_reason(
        self, world: World
    ) -> None:
        refund(world, "r-1", "9999.00")
        assert world.post(world.order()).status_code == 201
        assert world.get()["refunds"] == []
        [reason] = world.session.scalars(sa.select(ParkedCall.refused_reason))
        assert reason == "refund_exceeds_order"

    @pytest.mark.abuse("A11")
    def test_a_call_whose_order_never_comes_expires(self, world: World) -> None:
        refund(world, "r-1", "449.00")
        assert expire_parked(world.session, now=world.now + timedelta(days=6)) == 0
        assert expire_parked(world.session, now=world.now + timedelta(days=8)) == 1
        assert expire_parked(world.session, now=world.now + timedelta(days=8)) == 0
        world.session.commit()
        assert world.post(world.order()).get_json()["refunds"] == []

    def test_a_refund_and_its_order_at_once_always_meet(self, world: World) -> None:
        for number in range(10):
            order_id = f"race-{number}"
            calls = [
                ("", world.order(order_id)),
                (f"/{order_id}/refunds", {"refund_id": "r", "amount": rub("449.00")}),
            ]
            start = threading.Barrier(2)

            def send(path: str, body: Any, start: threading.Barrier = start) -> None:
                client = world.app.test_client()
                client.environ_base["HTTP_HOST"] = "127.0.0.1:8000"
                start.wait()
                client.post(
                    f"/api/v1/orders{path}",
                    data=json.dumps(body),
                    content_type="application/json",
                    headers=world.headers,
                )

            threads = [threading.Thread(target=send, args=call) for call in calls]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert world.get(order_id)["refunded"] == rub("449.00")


class TestCancellation:
    def test_it_voids_everything_of_the_order(self, sold: World) -> None:
        answer = sold.post({"reason": "out of stock"}, "/A-10042/cancellation")
        assert answer.status_code == 200
        body = answer.get_json()
        assert body["status"] == "cancelled"
        assert {(c["status"], c["reason"]) for c in body["commissions"]} == {
            ("voided", "order_cancelled")
        }

    def test_a_second_one_is_a_replay(self, sold: World) -> None:
        sold.post({}, "/A-10042/cancellation")
        again = sold.post({}, "/A-10042/cancellation")
        assert (again.status_code, again.headers["Idempotent-Replayed"]) == (200, "true")

    def test_a_body_is_not_needed(self, sold: World) -> None:
        answer = sold.client.post("/api/v1/orders/A-10042/cancellation", headers=sold.headers)
        assert answer.status_code == 200

    def test_a_refund_after_it_is_kept_and_takes_nothing_more(self, sold: World) -> None:
        sold.post({}, "/A-10042/cancellation")
        assert refund(sold, "r-1").status_code == 201
        assert {c["status"] for c in sold.get()["commissions"]} == {"voided"}

    def test_a_cancelled_order_is_not_confirmed(self, sold: World) -> None:
        sold.post({}, "/A-10042/cancellation")
        answer = sold.post({}, "/A-10042/confirmation")
        assert (answer.status_code, answer.get_json()["code"]) == (409, "order_cancelled")

    def test_after_the_release_nothing_is_left_of_the_balance(self, sold: World) -> None:
        release_due(sold.session, now=sold.now + HOLD, rows_max=10)
        sold.session.commit()
        sold.post({}, "/A-10042/cancellation")
        sold.tick()
        enrollment_id = sold.session.scalar(sa.text("SELECT min(id) FROM enrollments")) or 0
        for number in (enrollment_id, enrollment_id + 1):
            found = balances(sold.session, enrollment_id=number, currency="RUB")
            assert (found.pending, found.available) == (Money.zero("RUB"), Money.zero("RUB"))


def test_confirming_a_servers_order_is_a_replay(sold: World) -> None:
    answer = sold.post({}, "/A-10042/confirmation")
    assert (answer.status_code, answer.headers["Idempotent-Replayed"]) == (200, "true")


def test_a_server_that_refunds_first_and_confirms_later_ends_the_same(world: World) -> None:
    """Refund, cancellation and confirmation in the path of another program's id stay there."""
    anna = world.affiliate("anna")
    token = world.click(world.link(anna))
    refund(world, "r-1", "449.00")
    world.event({"order_id": "A-10042", "total": rub("4490.00")}, clicks=[token])
    assert world.get()["refunds"] == []  # a claim is nothing to measure a refund by
    assert world.post({"total": rub("4490.00")}, "/A-10042/confirmation").status_code == 200
    shown = world.get()
    assert shown["refunds"][0]["amount"] == rub("449.00")
    # net is the whole claimed total: 10 % of 4490, less a tenth
    assert earned(shown) == [(of(anna), 1, "449.00", "pending", "hold_period")]
    assert left(world) == [(1, "404.10")]
    assert world.session.scalar(sa.select(Order.confirmed_by)) == "api"
