"""One order told by everybody at the same moment, and states of one order by several workers."""

from __future__ import annotations

import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import sqlalchemy as sa

from tests.sources.shop_systems import Shop, signed
from tracker.attribution.models import Decision
from tracker.orders.models import OrderReport

COPIES = 50


def test_fifty_copies_by_api_pixel_and_webhook_make_one_order(shopify: Shop) -> None:
    """The servers say the same amounts and clicks, the page other amounts, so that it is not heard
    (docs/api.md, "Which browser is heard"); deliveries are acted on meanwhile."""
    world, paid = shopify.world, shopify.payload("orders_paid")
    eur = {"currency": "EUR"}
    api = {
        "order_id": str(paid["id"]), "placed_at": paid["created_at"],
        "total": {"amount": "114.90", **eur}, "discount": {"amount": "10.00", **eur},
        "tax": {"amount": "18.17", **eur}, "shipping": {"amount": "5.90", **eur},
        "clicks": list(shopify.clicks),
    }  # fmt: skip
    claim = {**api, "total": {"amount": "9999.00", **eur}, "discount": None}
    claim = {name: value for name, value in claim.items() if value and name != "clicks"}
    gate = threading.Barrier(COPIES)

    def tell(number: int) -> int:
        client = world.app.test_client()
        client.environ_base.update(world.client.environ_base)
        gate.wait()
        match number % 3:
            case 0:
                return _post(client, "/api/v1/orders", api, world.headers)
            case 1:
                event = {"program": world.program.slug, "type": "order", "order": claim,
                         "clicks": list(shopify.clicks)}  # fmt: skip
                return _post(client, "/v1/events", event, {})
        raw = json.dumps({**paid, "number": number}).encode()
        headers = signed(shopify.kind, raw, shopify.secret, shopify.source)
        status = client.post(shopify.address, data=raw, headers=headers).status_code
        shopify.follow()
        return status

    with ThreadPoolExecutor(COPIES) as pool:
        statuses = Counter(pool.map(tell, range(COPIES)))
    # The API tells some copies that the webhook was first, with more to say: the first stands.
    assert set(statuses) <= {200, 201, 204, 409}, statuses
    shopify.follow()
    order = shopify.order
    assert (order.total_micros, order.net_micros) == (114_900_000, 90_830_000)
    assert (order.status, order.source in ("api", "webhook")) == ("confirmed", True)
    live = sa.select(sa.func.count()).where(Decision.voided_at.is_(None))
    assert world.session.scalar(live) == 1
    assert shopify.earned() == [(908, 0, None)]
    assert world.session.scalar(sa.select(sa.func.count()).select_from(OrderReport)) >= 2


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


def _post(client: Any, path: str, body: dict[str, Any], headers: dict[str, str]) -> int:
    answer = client.post(
        path, data=json.dumps(body).encode(), content_type="application/json", headers=headers
    )
    return int(answer.status_code)
