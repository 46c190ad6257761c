"""One order told by everybody at the same moment, and states of one order by several workers."""

from __future__ import annotations

import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import sqlalchemy as sa

from tests.served import asked, granian
from tests.sources.shop_systems import Shop, signed
from tracker.attribution.models import Decision
from tracker.orders.models import OrderReport

COPIES = 50


def test_fifty_copies_by_api_pixel_and_webhook_make_one_order(shopify: Shop) -> None:
    """As most shops are built: the servers know no click, the buyer's page does. All over real
    sockets, in whatever order they come; deliveries are acted on meanwhile."""
    paid = shopify.payload("orders_paid", note_attributes=[])
    eur = {"currency": "EUR"}
    api = {
        "order_id": str(paid["id"]), "placed_at": paid["created_at"],
        "total": {"amount": "114.90", **eur}, "discount": {"amount": "10.00", **eur},
        "tax": {"amount": "18.17", **eur}, "shipping": {"amount": "5.90", **eur},
    }  # fmt: skip
    with granian(shopify.world.settings) as (port, _):
        statuses = tell_at_once(shopify, port, paid, api)
    # The API tells some copies that the webhook was first, with more to say: the first stands.
    assert set(statuses) <= {200, 201, 204, 409}, statuses
    shopify.follow()
    session, order = shopify.world.session, shopify.order
    assert (order.total_micros, order.net_micros) == (114_900_000, 90_830_000)
    assert (order.status, order.source in ("api", "webhook")) == ("confirmed", True)
    [decision] = session.scalars(sa.select(Decision).where(Decision.voided_at.is_(None)))
    assert [share["click_id"] for share in decision.shares] == [shopify.click_id]
    assert shopify.earned() == [(908, 0, None)]
    assert session.scalar(sa.select(sa.func.count()).select_from(OrderReport)) >= 2


def tell_at_once(shop: Shop, port: int, paid: dict[str, Any], api: dict[str, Any]) -> Counter[int]:
    """The order by the API, by its page's pixel and by the shop's webhook; every answer."""
    world, gate = shop.world, threading.Barrier(COPIES)
    claim = {"order_id": api["order_id"], "total": api["total"]}
    event = {"program": world.program.slug, "type": "order", "order": claim,
             "clicks": list(shop.clicks)}  # fmt: skip

    def tell(number: int) -> int:
        gate.wait()
        if number % 3 == 0:
            headers = {**world.headers, "Content-Type": "application/json"}
            return asked(port, "POST", "/api/v1/orders", json.dumps(api).encode(), headers)[0]
        if number % 3 == 1:
            headers = {"Content-Type": "text/plain"}
            return asked(port, "POST", "/v1/events", json.dumps(event).encode(), headers)[0]
        raw = json.dumps({**paid, "number": number}).encode()
        headers = signed(shop.kind, raw, shop.secret, shop.source)
        headers["Content-Type"] = "application/json"
        status = asked(port, "POST", shop.address, raw, headers)[0]
        shop.follow()
        return status

    with ThreadPoolExecutor(COPIES) as pool:
        return Counter(pool.map(tell, range(COPIES)))


def test_states_of_one_order_come_one_by_one_whoever_acts(woocommerce: Shop) -> None:
    """Eight workers at once over created, refunded in parts and cancelled, each twice."""
    names = ("order_processing", "order_partly_refunded", "order_refunded", "order_cancelled")
    for number in range(2):
        for name in names:
            woocommerce.sends(woocommerce.payload(name, version=f"9.{number}"))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _number: woocommerce.follow(), range(8)))
    assert {each.state for each in woocommerce.deliveries()} <= {"done", "ignored"}
    assert woocommerce.order.status == "cancelled"
    assert woocommerce.earned() == []
