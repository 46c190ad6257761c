"""The demo shop as its own process, against an HTTP server that answers as Kopeck would."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser

from sandbox.shop.catalogue import bill_for, coupon_from, decimal
from sandbox.shop.report import clicks_from, email_hash
from tracker.pixel.scripts import current_script

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 30.0
TOKEN = "EA".ljust(79, "x")
OLDER = "EB".ljust(79, "y")
VISITOR = "0123456789abcdef0123456789abcdef"


@dataclass
class Kopeck:
    """What Kopeck's addresses were told, and what they answer."""

    url: str = ""
    told: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    status: int = 201
    clock: str = ""
    """What the demo's clock says; nothing: there is no such clock."""

    def paths(self) -> list[str]:
        return [path for path, _ in self.told]

    def bodies(self, path: str) -> list[dict[str, Any]]:
        return [body for told, body in self.told if told == path]


@pytest.fixture
def kopeck() -> Iterator[Kopeck]:
    double = Kopeck()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(double))
    double.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield double
    server.shutdown()
    server.server_close()
    thread.join()


def _handler(double: Kopeck) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            return

        def do_GET(self) -> None:
            if self.path == "/pixel.js":
                self._reply(200, current_script().body, "text/javascript")
            elif self.path == "/demo/clock" and double.clock:
                self._reply(200, json.dumps({"now": double.clock}).encode(), "application/json")
            else:
                self._reply(404, b"{}", "application/problem+json")

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            double.keys.append(self.headers.get("Authorization", ""))
            double.told.append((self.path, body))
            self._reply(double.status, b'{"code": "as_told"}', "application/json")

        def _reply(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Access-Control-Allow-Origin", "*")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


@dataclass
class RunningShop:
    url: str
    process: subprocess.Popen[bytes]

    @contextlib.contextmanager
    def buyer(self) -> Iterator[requests.Session]:
        with requests.Session() as session:
            session.headers["Origin"] = self.url
            yield session

    def buy(self, session: requests.Session, sku: str = "LAMP-1", coupon: str = "") -> str:
        """Put one into the cart and order it; the order's id."""
        session.post(f"{self.url}/cart", data={"sku": sku, "add": "1"}).raise_for_status()
        form = {"name": "Vera", "email": " Vera@Example.org ", "coupon": coupon}
        answer = session.post(f"{self.url}/orders", data=form)
        answer.raise_for_status()
        return answer.url.rpartition("/")[2]


@contextlib.contextmanager
def running(
    kopeck: Kopeck, data: Path, *words: str, port: int | None = None
) -> Iterator[RunningShop]:
    port = port or _free_port()
    command = [sys.executable, "-m", "sandbox.shop", "--port", str(port), "--kopeck", kopeck.url]
    process = subprocess.Popen(
        [*command, "--data", str(data), *words],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://localhost:{port}"
        wait_until(lambda: _answers(f"{url}/healthz"))
        yield RunningShop(url, process)
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


@pytest.fixture
def shop(kopeck: Kopeck, tmp_path: Path) -> Iterator[RunningShop]:
    with running(kopeck, tmp_path / "shop", "--api-key", "kpk_test_secret") as started:
        yield started


def wait_until(true: Callable[[], bool]) -> None:
    """Poll until it holds; fails at the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline, "it did not come to hold in time"
        time.sleep(0.05)


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).status_code == 200
    except requests.RequestException:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# ---- what a cart costs ----


@pytest.mark.parametrize(
    ("cart", "coupon", "goods", "discount", "shipping", "tax", "total"),
    [
        # 4200 + 290 shipping; tax 4200 × 20/120 = 700, so net is 4490 − 290 − 700 = 3500.
        ({"LAMP-1": 1}, "", "4200.00", "0.00", "290.00", "700.00", "4490.00"),
        # 5 % of 4200 is 210; 3990 × 20/120 = 665.
        ({"LAMP-1": 1}, "ANNA10", "4200.00", "210.00", "290.00", "665.00", "4280.00"),
        # 4200 + 2 × 720 = 5640: shipping is free from 5000.
        ({"LAMP-1": 1, "POT-1": 2}, "", "5640.00", "0.00", "0.00", "940.00", "5640.00"),
        # 1500 − 75 = 1425; tax 237.50.
        ({"LEAF-2": 1}, "X-1", "1500.00", "75.00", "290.00", "237.50", "1715.00"),
        ({}, "", "0.00", "0.00", "0.00", "0.00", "0.00"),
    ],
)
def test_a_bill_adds_up(
    cart: dict[str, int],
    coupon: str,
    goods: str,
    discount: str,
    shipping: str,
    tax: str,
    total: str,
) -> None:
    bill = bill_for(cart, coupon, "RUB")
    assert [decimal(n) for n in (bill.goods, bill.discount, bill.shipping, bill.tax)] == [
        goods,
        discount,
        shipping,
        tax,
    ]
    assert decimal(bill.total) == total
    assert bill.goods - bill.discount + bill.shipping == bill.total


def test_prices_in_another_currency_are_a_hundredth_of_the_rubles() -> None:
    assert decimal(bill_for({"LAMP-1": 1}, "", "EUR").total) == "44.90"


@pytest.mark.parametrize(
    ("typed", "code"), [(" anna10 ", "ANNA10"), ("", ""), ("a b", None), ("<b>", None), ("1", None)]
)
def test_a_code_is_letters_and_digits(typed: str, code: str | None) -> None:
    assert coupon_from(typed) == code


def test_tokens_are_read_from_the_cookie_once_each_and_only_well_formed() -> None:
    cookie = "|".join([OLDER, TOKEN, OLDER, "short", "z" * 121, "<script>alert(1)</script>"])
    assert clicks_from({"kopeck_clicks": cookie}) == [OLDER, TOKEN]


# ---- what Kopeck is told ----


def test_an_order_reaches_kopeck_from_the_shops_server(shop: RunningShop, kopeck: Kopeck) -> None:
    with shop.buyer() as buyer:
        buyer.cookies.set("kopeck_clicks", f"{OLDER}|{TOKEN}", domain="localhost.local")
        buyer.cookies.set("kopeck_visitor", VISITOR, domain="localhost.local")
        order_id = shop.buy(buyer, coupon="anna10")
    wait_until(lambda: "/api/v1/orders" in kopeck.paths())

    (order,) = kopeck.bodies("/api/v1/orders")
    assert kopeck.keys == ["Bearer kpk_test_secret"]
    assert order.pop("placed_at").endswith("+00:00")
    assert order == {
        "order_id": order_id,
        "total": {"amount": "4280.00", "currency": "RUB"},
        "discount": {"amount": "210.00", "currency": "RUB"},
        "tax": {"amount": "665.00", "currency": "RUB"},
        "tax_included": True,
        "shipping": {"amount": "290.00", "currency": "RUB"},
        "items": [
            {
                "sku": "LAMP-1",
                "name": "Heron desk lamp",
                "category": "lighting",
                "quantity": 1,
                "price": {"amount": "4200.00", "currency": "RUB"},
            }
        ],
        "coupon": "ANNA10",
        "customer": {
            "id": "c-1",
            "email_sha256": hashlib.sha256(b"vera@example.org").hexdigest(),
            "is_new": True,
        },
        "clicks": [OLDER, TOKEN],
        "visitor": VISITOR,
        "metadata": {"channel": "web"},
    }
    assert order["customer"]["email_sha256"] == email_hash(" Vera@Example.org ")


def test_the_second_order_of_a_customer_is_not_new(shop: RunningShop, kopeck: Kopeck) -> None:
    with shop.buyer() as buyer:
        shop.buy(buyer)
        shop.buy(buyer)
    wait_until(lambda: len(kopeck.told) == 2)
    customers = [body["customer"] for body in kopeck.bodies("/api/v1/orders")]
    assert [(c["id"], c["is_new"]) for c in customers] == [("c-1", True), ("c-1", False)]


def test_orders_are_placed_in_the_demos_moved_time(shop: RunningShop, kopeck: Kopeck) -> None:
    kopeck.clock = "2031-01-02T03:04:05.678+00:00"
    with shop.buyer() as buyer:
        shop.buy(buyer)
    wait_until(lambda: len(kopeck.told) == 1)
    assert kopeck.told[0][1]["placed_at"] == "2031-01-02T03:04:05.678+00:00"


def test_the_clock_stays_as_far_ahead_while_kopeck_does_not_answer(
    shop: RunningShop, kopeck: Kopeck
) -> None:
    moved = datetime.now(UTC) + timedelta(days=15)
    kopeck.clock = moved.isoformat()
    with shop.buyer() as buyer:
        shop.buy(buyer)
        kopeck.clock = ""
        shop.buy(buyer)
    wait_until(lambda: len(kopeck.told) == 2)
    placed = datetime.fromisoformat(kopeck.told[1][1]["placed_at"])
    assert moved - timedelta(seconds=1) <= placed <= moved + timedelta(days=1)


def test_refunds_and_a_cancellation_follow_in_order(shop: RunningShop, kopeck: Kopeck) -> None:
    with shop.buyer() as buyer:
        first, second = shop.buy(buyer), shop.buy(buyer)
        room = f"{shop.url}/admin/orders"
        buyer.post(f"{room}/{first}/refunds", data={"amount": "10.5"}).raise_for_status()
        too_much = buyer.post(f"{room}/{first}/refunds", data={"amount": "4480.00"})
        all_left = buyer.post(f"{room}/{first}/refunds", data={"amount": ""})
        buyer.post(f"{room}/{second}/cancellation").raise_for_status()
        buyer.post(f"{room}/{second}/cancellation").raise_for_status()

    assert "more than is left" in too_much.text
    assert "as_told" in all_left.text
    assert kopeck.bodies(f"/api/v1/orders/{first}/refunds") == [
        {
            "refund_id": f"{first}-R1",
            "reason": "returned",
            "amount": {"amount": "10.50", "currency": "RUB"},
        },
        {"refund_id": f"{first}-R2", "reason": "returned"},
    ]
    assert kopeck.bodies(f"/api/v1/orders/{second}/cancellation") == [{}]


def test_a_refusal_is_shown_and_not_repeated(shop: RunningShop, kopeck: Kopeck) -> None:
    kopeck.status = 409
    with shop.buyer() as buyer:
        order_id = shop.buy(buyer)
        wait_until(lambda: "refused, 409" in buyer.get(f"{shop.url}/admin/orders/{order_id}").text)
        kopeck.status = 201
        second = shop.buy(buyer)
        wait_until(lambda: len(kopeck.told) > 1)
    assert [body["order_id"] for body in kopeck.bodies("/api/v1/orders")] == [order_id, second]


def test_an_order_waits_while_kopeck_is_away(shop: RunningShop, kopeck: Kopeck) -> None:
    kopeck.status = 503
    with shop.buyer() as buyer:
        shop.buy(buyer)
    wait_until(lambda: len(kopeck.told) == 1)
    kopeck.status = 201
    wait_until(lambda: len(kopeck.told) == 2)
    first, second = kopeck.bodies("/api/v1/orders")
    assert first == second


def test_an_order_survives_a_kill_of_the_shop(kopeck: Kopeck, tmp_path: Path) -> None:
    kopeck.status = 503
    with running(kopeck, tmp_path / "shop", "--api-key", "k") as shop:
        with shop.buyer() as buyer:
            order_id = shop.buy(buyer)
        wait_until(lambda: len(kopeck.told) >= 1)
        os.kill(shop.process.pid, signal.SIGKILL)
        shop.process.wait(DEADLINE_S)
        wait_until(lambda: not _answers(f"{shop.url}/healthz"))
    kopeck.status = 201
    kopeck.told.clear()
    port = int(shop.url.rpartition(":")[2])
    with running(kopeck, tmp_path / "shop", "--api-key", "k", port=port):
        wait_until(lambda: len(kopeck.told) >= 1)
    assert kopeck.bodies("/api/v1/orders")[0]["order_id"] == order_id


def test_the_key_may_be_written_after_the_shop_has_started(kopeck: Kopeck, tmp_path: Path) -> None:
    kopeck.status = 401
    with running(kopeck, tmp_path / "shop") as shop:
        with shop.buyer() as buyer:
            shop.buy(buyer)
        wait_until(lambda: len(kopeck.told) == 1)
        (tmp_path / "shop-api-key").write_text("kpk_late_secret\n")
        kopeck.status = 201
        wait_until(lambda: len(kopeck.told) == 2)
    assert kopeck.keys == ["Bearer ", "Bearer kpk_late_secret"]


def test_in_pixel_mode_the_server_is_silent_until_somebody_confirms(
    kopeck: Kopeck, tmp_path: Path
) -> None:
    words = ("--api-key", "k", "--mode", "pixel")
    with running(kopeck, tmp_path / "shop", *words) as shop, shop.buyer() as buyer:
        order_id = shop.buy(buyer)
        buyer.post(f"{shop.url}/admin/orders/{order_id}/confirmation").raise_for_status()
    assert kopeck.told == [(f"/api/v1/orders/{order_id}/confirmation", {})]


# ---- the shop's own manners ----


def test_only_the_shop_and_kopeck_are_allowed_on_its_pages(
    shop: RunningShop, kopeck: Kopeck
) -> None:
    policy = requests.get(shop.url, timeout=5).headers["Content-Security-Policy"]
    assert f"script-src 'self' {kopeck.url};" in policy
    assert f"connect-src 'self' {kopeck.url};" in policy
    assert "unsafe" not in policy


def test_another_site_cannot_order_or_refund(shop: RunningShop, kopeck: Kopeck) -> None:
    with shop.buyer() as buyer:
        order_id = shop.buy(buyer)
        buyer.headers["Origin"] = "https://elsewhere.example"
        answer = buyer.post(f"{shop.url}/admin/orders/{order_id}/refunds")
    assert answer.status_code == 403
    wait_until(lambda: len(kopeck.told) == 1)
    assert kopeck.paths() == ["/api/v1/orders"]


def test_a_strangers_order_page_is_not_shown(shop: RunningShop) -> None:
    with shop.buyer() as buyer:
        order_id = shop.buy(buyer)
    assert requests.get(f"{shop.url}/orders/{order_id}", timeout=5).status_code == 404
    assert requests.get(f"{shop.url}/orders/nonsense", timeout=5).status_code == 404


def test_the_price_with_a_code_needs_neither_name_nor_address(shop: RunningShop) -> None:
    with shop.buyer() as buyer:
        buyer.post(f"{shop.url}/cart", data={"sku": "LAMP-1", "add": "1"})
        priced = buyer.post(f"{shop.url}/orders", data={"coupon": "anna10", "price": "yes"})
        ordered = buyer.post(f"{shop.url}/orders", data={"coupon": "a b"})
    assert (priced.status_code, ordered.status_code) == (200, 422)
    assert "Code ANNA10" in priced.text
    for complaint in ("whom the parcel", "e-mail address has", "letters and digits"):
        assert complaint in ordered.text


@pytest.mark.browser
def test_a_buyer_who_came_by_a_link_is_reported_by_browser_and_server_alike(
    shop: RunningShop, kopeck: Kopeck, browser: Browser
) -> None:
    page = browser.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(f"{shop.url}/?kpk={TOKEN}")
    page.wait_for_url(f"{shop.url}/")
    page.get_by_text("Heron desk lamp").click()
    page.get_by_role("button", name="Put into the cart").click()
    page.get_by_role("link", name="To the checkout").click()
    page.get_by_label("Name").fill("Vera")
    page.get_by_label("E-mail").fill("vera@example.org")
    page.get_by_role("button", name="Place the order").click()
    order_id = page.locator("#order-number").inner_text()
    wait_until(lambda: len(kopeck.told) == 2)
    page.close()

    (by_server,) = kopeck.bodies("/api/v1/orders")
    (by_browser,) = kopeck.bodies("/v1/events")
    assert by_server["order_id"] == by_browser["order"]["order_id"] == order_id
    assert by_server["clicks"] == by_browser["clicks"] == [TOKEN]
    assert by_server["visitor"] == by_browser["visitor"]
    assert by_server["total"] == by_browser["order"]["total"]
    assert "customer" not in by_browser["order"]
    assert complaints == []
