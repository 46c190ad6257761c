"""Reports of one order that lie far apart, or say its time differently."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.config import Settings
from affiliate.people.recruiters import set_recruiter
from affiliate.programs.terms import CustomerPolicy
from tests.orders.shop_world import DAY, World, affiliates_of, earned, of, rub


def later(world: World, by: timedelta) -> None:
    """Business time moves on for the application."""
    with world.app.app_context():
        clock.advance(world.session, by=by)
        world.session.commit()


class TestAnOrderOfLongAgo:
    """placed_at is judged when an order is new; of a known one only the content counts."""

    def test_is_answered_again_as_it_stands(self, world: World) -> None:
        body = world.order(placed_at=(world.now - 25 * DAY).isoformat())
        assert world.post(body).status_code == 201
        later(world, 6 * DAY)
        again = world.post(body)
        assert again.status_code == 200, again.text
        assert again.headers["Idempotent-Replayed"] == "true"

    def test_is_a_conflict_with_other_content(self, world: World) -> None:
        body = world.order(placed_at=(world.now - 25 * DAY).isoformat())
        assert world.post(body).status_code == 201
        later(world, 6 * DAY)
        answer = world.post({**body, "coupon": "OTHER"})
        assert (answer.status_code, answer.get_json()["code"]) == (409, "order_conflict")

    def test_still_needs_the_scope_where_only_a_browser_knows_it(self, world: World) -> None:
        world.event({"order_id": "A-10042", "total": rub("4490.00")})
        answer = world.post(world.order(placed_at=(world.now - 31 * DAY).isoformat()))
        assert answer.status_code == 422
        assert answer.get_json()["errors"][0]["code"] == "too_old"

    @pytest.mark.parametrize("day", ["0001-01-01", "0001-01-20", "1999-12-31"])
    def test_is_refused_before_there_were_shops_whatever_the_scope(
        self, world: World, day: str
    ) -> None:
        token = world.click(world.link(world.affiliate("anna")))
        importer = world.key("orders:write", "orders:import")
        body = world.order(placed_at=f"{day}T00:00:00Z", clicks=[token])
        answer = world.post(body, headers=importer)
        assert answer.status_code == 422, answer.text
        assert answer.get_json()["errors"][0]["code"] == "too_old"


@pytest.fixture
def new_customers_only(
    app: Flask, settings: Settings, client: FlaskClient, session: Session
) -> World:
    return World.build(
        app, settings, client, session,
        attribution={
            "model": "last_click", "window_days": 30, "coupon": "loses",
            "existing_customer": CustomerPolicy.REFUSES.value, "self_purchase": "refuses",
        },
    )  # fmt: skip


class TestAnOrderIsNotItsOwnEarlierOrder:
    """A browser's confirmed report makes a customer; the server names the time anew."""

    def confirmed_claim(self, world: World) -> tuple[dict[str, object], str]:
        anna = world.affiliate("anna")
        world.coupon(anna, "ANNA10")
        known = {"coupon": "ANNA10", "customer": {"id": "c-1"}}
        world.event(
            {
                "order_id": "A-10042",
                "total": rub("4490.00"),
                "placed_at": (world.now - timedelta(minutes=1)).isoformat(),
                **known,
            }
        )
        assert world.post({}, "/A-10042/confirmation").status_code == 200
        assert earned(world.get())[0][:3] == (of(anna), 1, "449.00")
        return known, of(anna)

    def test_the_server_may_place_it_later(self, new_customers_only: World) -> None:
        world = new_customers_only
        known, anna = self.confirmed_claim(world)
        answer = world.post(world.order(**known))
        assert answer.status_code == 201, answer.text
        assert earned(answer.get_json()) == [(anna, 1, "350.00", "pending", "hold_period")]
        since = world.session.scalar(sa.text("SELECT first_ordered_at FROM customers"))
        assert since == world.now

    def test_another_order_before_it_still_counts(self, new_customers_only: World) -> None:
        world = new_customers_only
        known, _ = self.confirmed_claim(world)
        earlier = world.order(
            "A-1", placed_at=(world.now - DAY).isoformat(), customer={"id": "c-1"}
        )
        assert world.post(earlier).status_code == 201
        body = world.post(world.order(**known)).get_json()
        assert body["attribution"]["reason"] == "existing_customer"


def test_a_new_recruiter_counts_from_the_next_order_not_from_the_next_report(world: World) -> None:
    rita, olga = world.affiliate("rita"), world.affiliate("olga")
    anna = world.affiliate("anna", recruiter=rita)
    token = world.click(world.link(anna))
    world.event({"order_id": "A-10042", "total": rub("4490.00")}, clicks=[token])
    assert affiliates_of(world.get()) == [of(anna), of(rita)]
    set_recruiter(
        world.session, enrollment_id=anna.id, recruiter_id=olga.id, by=None,
        now=world.now, reason="moved",
    )  # fmt: skip
    world.session.commit()
    superseded = world.post(world.order())
    assert superseded.status_code == 201
    assert affiliates_of(superseded.get_json()) == [of(anna), of(rita)]
    following = world.post(world.order("A-10043", clicks=[token]))
    assert affiliates_of(following.get_json()) == [of(anna), of(olga)]


def test_a_refund_that_was_taken_does_not_stop_the_servers_report(world: World) -> None:
    """Its parts fitted the claim, whose prices included the tax; the server's do not."""
    token = world.click(world.link(world.affiliate("anna")))
    world.event({"order_id": "A-10042", "total": rub("110.00")}, clicks=[token])
    assert world.post({}, "/A-10042/confirmation").status_code == 200
    part = {
        "refund_id": "R-1",
        "amount": rub("55.00"),
        "tax": rub("5.00"),
        "items": [{"sku": "LAMP-1", "amount": rub("55.00")}],
    }
    assert world.post(part, "/A-10042/refunds").status_code == 201
    answer = world.post(
        world.order(
            total=rub("110.00"), tax=rub("10.00"), tax_included=False, discount=None,
            shipping=None, items=None, clicks=[token],
        )
    )  # fmt: skip
    assert answer.status_code == 201, answer.text
    body = answer.get_json()
    assert body["refunds"][0]["net"] == rub("50.00")
    assert earned(body)[0][2] == "10.00"
    assert body["commissions"][0]["reversed"] == rub("5.00")
