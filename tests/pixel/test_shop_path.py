"""A path of the shop's own that leads to Kopeck: the demo shop with it, and the real Kopeck."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Browser, BrowserContext, Page
from sqlalchemy.orm import Session
from werkzeug.serving import make_server

from affiliate.core import metrics
from affiliate.core.config import Settings
from sandbox.shop.kopeck_path import KopeckPath
from tests.orders.shop_world import World, affiliates_of, of
from tests.sandbox.test_shop import Kopeck, running, wait_until
from tracker.orders.models import Order
from tracker.orders.web import LOST
from tracker.pixel.keeping import DAY_S, KEEP_DAYS
from tracker.pixel.proxied import BUYER_HEADER, SECRET_HEADER, proxy_secret

BUYER = "203.0.113.7"
CLICKS, VISITOR = "kopeck_clicks", "kopeck_visitor"


@pytest.fixture
def world(app: Flask, settings: Settings, client: FlaskClient, session: Session) -> World:
    return World.build(app, settings, client, session)


@pytest.fixture
def kopeck(world: World) -> Iterator[str]:
    """The real application on a port of its own."""
    world.app.config["SERVER_NAME"] = None
    server = make_server("127.0.0.1", 0, world.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Shop:
    world: World
    url: str

    def token(self, name: str = "anna") -> tuple[str, str]:
        """A click on the link of a new affiliate, and whose it is."""
        anna = self.world.affiliate(name)
        return self.world.click(self.world.link(anna)), of(anna)

    def buy(self, page: Page) -> str:
        page.goto(f"{self.url}/products/lamp-1")
        page.click("main form button")
        page.goto(f"{self.url}/checkout")
        page.fill("[name=name]", "Vera")
        page.fill("[name=email]", "vera@example.org")
        page.click("main form button:not([name=price])")
        page.wait_for_url("**/orders/*")
        return page.inner_text("#order-number")

    def told(self, order_id: str, *, by: str) -> dict[str, Any]:
        """The order once it stands by this one's word: page and server tell of it side by side,
        and the server's word stays."""
        wait_until(lambda: self.order(order_id)["source"] == by)
        return self.order(order_id)

    def order(self, order_id: str) -> dict[str, Any]:
        """The order, once Kopeck has it."""

        def there() -> bool:
            self.world.tick()
            return self.world.session.scalar(sa.select(sa.func.count()).select_from(Order)) == 1

        wait_until(there)
        return self.world.get(order_id)


def shop_in(mode: str, world: World, kopeck: str, folder: Path) -> Iterator[Shop]:
    secret = proxy_secret(world.settings, world.program.slug)
    key = world.key("orders:write", "orders:read")["Authorization"].removeprefix("Bearer ")
    words = ["--program", world.program.slug, "--api-key", key, "--mode", mode]
    words += ["--path", "/kopeck", "--path-secret", secret]
    with running(Kopeck(url=kopeck), folder / "shop", *words) as started:
        yield Shop(world, started.url)


@pytest.fixture
def shop(world: World, kopeck: str, tmp_path: Path) -> Iterator[Shop]:
    """The demo shop, whose server sends each order."""
    yield from shop_in("server", world, kopeck, tmp_path)


@pytest.fixture
def quiet_shop(world: World, kopeck: str, tmp_path: Path) -> Iterator[Shop]:
    """The demo shop, of whose orders the buyers' browsers alone tell."""
    yield from shop_in("pixel", world, kopeck, tmp_path)


def kept(context: BrowserContext) -> dict[str, Any]:
    return {c["name"]: c for c in context.cookies() if c["name"].startswith("kopeck_")}


@pytest.mark.browser
class TestInABrowser:
    def test_the_server_sets_the_cookies_for_longer_than_scripts_may(
        self, shop: Shop, context: BrowserContext
    ) -> None:
        token, anna = shop.token()
        page = context.new_page()
        page.goto(f"{shop.url}/?kpk={token}")
        page.wait_for_function("location.search === ''")
        wait_until(lambda: set(kept(context)) == {CLICKS, VISITOR})
        cookies = kept(context)
        assert cookies[CLICKS]["value"] == token
        for cookie in cookies.values():
            assert (cookie["domain"], cookie["httpOnly"], cookie["sameSite"]) == (
                "localhost", True, "Lax",
            )  # fmt: skip
            assert cookie["expires"] > time.time() + (KEEP_DAYS - 1) * DAY_S
        assert "kopeck" not in page.evaluate("document.cookie")
        assert page.evaluate("Object.keys(localStorage)") == []

        body = shop.told(shop.buy(page), by="api")
        assert body["status"] == "confirmed"
        assert affiliates_of(body) == [anna]

    def test_a_second_click_is_added_to_what_scripts_cannot_read(
        self, shop: Shop, context: BrowserContext
    ) -> None:
        first, second = shop.token("anna")[0], shop.token("boris")[0]
        page = context.new_page()
        for token in (first, second):
            page.goto(f"{shop.url}/?kpk={token}")
            wait_until(lambda t=token: t in kept(context).get(CLICKS, {}).get("value", ""))  # type: ignore[misc]
        assert kept(context)[CLICKS]["value"] == f"{first}|{second}"

    def test_the_pixels_report_brings_the_cookies_along(
        self, quiet_shop: Shop, context: BrowserContext
    ) -> None:
        token, anna = quiet_shop.token()
        page = context.new_page()
        page.goto(f"{quiet_shop.url}/?kpk={token}")
        wait_until(lambda: CLICKS in kept(context))
        body = quiet_shop.told(quiet_shop.buy(page), by="browser")
        assert body["status"] == "unconfirmed"
        assert affiliates_of(body) == [anna]

    @pytest.mark.parametrize("reported_by", ["quiet_shop", "shop"])
    def test_without_any_script_clicks_and_orders_count_by_images(
        self, request: pytest.FixtureRequest, browser: Browser, reported_by: str
    ) -> None:
        shop: Shop = request.getfixturevalue(reported_by)
        token, anna = shop.token()
        context = browser.new_context(java_script_enabled=False)
        page = context.new_page()
        page.goto(f"{shop.url}/?kpk={token}")
        wait_until(lambda: CLICKS in kept(context))
        source = "browser" if reported_by == "quiet_shop" else "api"
        assert affiliates_of(shop.told(shop.buy(page), by=source)) == [anna]
        context.close()

    def test_with_the_script_blocked_the_server_and_the_coupon_still_count(
        self, shop: Shop, context: BrowserContext
    ) -> None:
        page = context.new_page()
        page.route("**/pixel.js", lambda route: route.abort())
        page.goto(f"{shop.url}/")
        body = shop.told(shop.buy(page), by="api")
        assert (body["status"], body["commissions"]) == ("confirmed", [])


class TestThePath:
    @pytest.mark.parametrize(
        "path",
        ["/sign-in", "/api/v1/orders", "/r/abc", "/pixel.js/../sign-in", "/v1/events/x", "/", "",
         "/metrics", "/pixel-../x.js", "/demo"],
    )  # fmt: skip
    def test_nothing_but_the_pixel_is_passed_on(self, shop: Shop, path: str) -> None:
        request = requests.Request("GET", f"{shop.url}/kopeck{path}").prepare()
        request.url = f"{shop.url}/kopeck{path}"
        with requests.Session() as session:
            assert session.send(request).status_code == 404

    def test_while_kopeck_is_away_the_pixel_is_told_to_send_again(self, tmp_path: Path) -> None:
        words = ["--api-key", "kpk_none", "--path", "/kopeck"]
        with running(Kopeck(url="http://127.0.0.1:1"), tmp_path / "shop", *words) as started:
            assert requests.post(f"{started.url}/kopeck/v1/events", data="{}").status_code == 502
            assert requests.get(started.url).status_code == 200

    def test_kopeck_hears_of_no_other_cookie(self) -> None:
        path = KopeckPath(lambda *_: [b""], kopeck="http://127.0.0.1:1")
        sent = path._headers({"HTTP_COOKIE": "session=secret; kopeck_clicks=a|b; shop=1"})
        assert sent["Cookie"] == "kopeck_clicks=a|b"


class TestKeep:
    """`POST /v1/keep` and `GET /v.gif` as Kopeck answers them."""

    TOKEN = "EA".ljust(79, "x")

    def keep(self, client: FlaskClient, said: Any, **headers: str) -> list[str]:
        answer = client.post(
            "/v1/keep",
            data=json.dumps(said),
            content_type=headers.pop("content_type", "application/json"),
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )
        assert (answer.status_code, answer.data) == (204, b"")
        assert "Access-Control-Allow-Origin" not in answer.headers
        return answer.headers.getlist("Set-Cookie")

    def test_cookies_are_readable_unless_the_shop_wants_otherwise(
        self, client: FlaskClient
    ) -> None:
        said = {"clicks": [self.TOKEN], "visitor": "0" * 32, "domain": ".shop.example"}
        clicks, visitor = self.keep(client, said, Origin="https://shop.example")
        assert clicks.startswith(f"kopeck_clicks={self.TOKEN}; Domain=shop.example; ")
        for part in ("Max-Age=34560000", "Secure", "Path=/", "SameSite=Lax"):
            assert part in clicks and part in visitor
        assert "HttpOnly" not in clicks
        assert "HttpOnly" in self.keep(client, {**said, "http_only": True})[0]

    def test_what_is_forgotten_is_taken_from_the_browser(self, client: FlaskClient) -> None:
        clicks, visitor = self.keep(client, {"forget": True})
        assert clicks.startswith("kopeck_clicks=;") and "Max-Age=0" in clicks
        assert visitor.startswith("kopeck_visitor=;") and "Max-Age=0" in visitor

    @pytest.mark.abuse("A17")
    @pytest.mark.parametrize(
        "headers",
        [
            {"Sec_Fetch_Site": "cross-site"},
            {"Sec_Fetch_Site": "same-site"},
            {"content_type": "text/plain"},
            {"content_type": "application/x-www-form-urlencoded"},
        ],
    )
    def test_another_sites_page_stuffs_no_cookie(
        self, client: FlaskClient, headers: dict[str, str]
    ) -> None:
        assert self.keep(client, {"clicks": [self.TOKEN]}, **headers) == []

    @pytest.mark.abuse("A17", "A43")
    def test_a_preflight_of_another_site_is_not_answered_with_leave(
        self, client: FlaskClient
    ) -> None:
        answer = client.options("/v1/keep", headers={"Origin": "https://mallory.example"})
        assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]

    @pytest.mark.abuse("A3", "A4")
    @pytest.mark.parametrize(
        "said",
        [
            None, [], 7, {}, {"clicks": "x"}, {"clicks": ["a;b" * 9, "short", 7, None]},
            {"clicks": ["x" * 20 + "\r\nSet-Cookie: a=b"]}, {"visitor": "a b" * 9},
            {"clicks": ["x" * 121]}, {"pad": "x" * 5_000},
        ],
    )  # fmt: skip
    def test_garbage_sets_nothing(self, client: FlaskClient, said: Any) -> None:
        assert self.keep(client, said) == []

    @pytest.mark.parametrize("domain", ["shop", "a b.example", "x;y.example", 7, ["a.example"]])
    def test_a_domain_that_is_none_is_left_out(self, client: FlaskClient, domain: Any) -> None:
        assert "Domain" not in self.keep(client, {"clicks": [self.TOKEN], "domain": domain})[0]

    @pytest.mark.abuse("A17")
    @pytest.mark.parametrize(
        ("site", "page", "count"),
        [
            ("same-origin", "https://shop.example/lamp?kpk=TOKEN&s=1", 2),
            ("cross-site", "https://mallory.example/?kpk=TOKEN", 0),
            ("", "https://shop.example/lamp?kpk=TOKEN", 0),
            ("same-origin", "https://shop.example/lamp", 0),
            ("same-origin", "https://shop.example/lamp?kpk=short", 0),
            ("same-origin", "http://[", 0),
        ],
    )
    def test_an_image_takes_the_token_of_the_page_that_shows_it(
        self, client: FlaskClient, site: str, page: str, count: int
    ) -> None:
        headers = {"Referer": page.replace("TOKEN", self.TOKEN)}
        if site:
            headers["Sec-Fetch-Site"] = site
        answer = client.get("/v.gif", headers=headers)
        assert (answer.status_code, answer.content_type) == (200, "image/gif")
        assert answer.headers["Cache-Control"] == "no-store"
        assert len(answer.headers.getlist("Set-Cookie")) == count


class TestTheBuyersAddress:
    def network(self, world: World, headers: dict[str, str]) -> str | None:
        body = {"program": "lamps", "type": "order", "order": {
            "order_id": "A-1", "total": {"amount": "10.00", "currency": "RUB"}}}  # fmt: skip
        world.client.post("/v1/events", data=json.dumps(body), headers=headers)
        world.tick()
        order = world.session.scalars(sa.select(Order)).one()
        found: str | None = order.evidence["browser"].get("network")
        return found

    def mark(self, world: World, address: str) -> str:
        with world.app.app_context():
            from tracker.orders.keys import order_keys

            return order_keys().network_mark(address, world.now).hex

    def test_it_is_the_one_that_a_proxy_with_the_secret_names(self, world: World) -> None:
        secret = proxy_secret(world.settings, "lamps")
        headers = {SECRET_HEADER: secret, BUYER_HEADER: BUYER}
        assert self.network(world, headers) == self.mark(world, BUYER)

    @pytest.mark.abuse("A2")
    @pytest.mark.parametrize("secret", ["", "lamps.00", "lamps", "x" * 300, "\xe9.00"])
    def test_without_the_secret_nobody_is_believed(self, world: World, secret: str) -> None:
        headers = {SECRET_HEADER: secret, BUYER_HEADER: BUYER}
        assert self.network(world, headers) == self.mark(world, "127.0.0.1")

    def test_what_is_no_address_is_none(self, world: World) -> None:
        secret = proxy_secret(world.settings, "lamps")
        assert self.network(world, {SECRET_HEADER: secret, BUYER_HEADER: "x"}) is None


class TestWithoutConsent:
    def lost(self) -> dict[str, float]:
        (family,) = [each for each in metrics.counted() if each.name == LOST]
        return {s.labels["what"]: s.value for s in family.samples if "what" in s.labels}

    def test_lost_clicks_are_counted_and_nothing_else_is_kept(self, world: World) -> None:
        before = self.lost().get("click", 0)
        for clicks in (2, 0, -1, 21, True, "3", None, 1.5, [world.program.slug]):
            body = {"program": "lamps", "type": "lost", "clicks": clicks}
            assert world.client.post("/v1/events", data=json.dumps(body)).status_code == 204
        assert self.lost()["click"] == before + 2

    @pytest.mark.abuse("A40")
    def test_an_order_without_consent_names_nobody_whatever_the_cookies_say(
        self, world: World
    ) -> None:
        token = world.click(world.link(world.affiliate("anna")))
        before = self.lost().get("order", 0)
        world.client.set_cookie(CLICKS, token, domain="127.0.0.1")
        world.client.set_cookie(VISITOR, "0" * 32, domain="127.0.0.1")
        order = {"order_id": "A-10042", "total": {"amount": "10.00", "currency": "RUB"}}
        world.event({**order, "clicks": [token]}, consent=False, clicks=[token], visitor="0" * 32)
        world.tick()
        evidence = world.session.scalars(sa.select(Order)).one().evidence["browser"]
        assert evidence == {"clicks": [], "visitor": None, "coupon": None, "customer": None}
        assert self.lost()["order"] == before + 1


class TestImage:
    """The address of the image in `<noscript>`."""

    def test_its_parameters_name_an_order(self, world: World) -> None:
        anna = world.affiliate("anna")
        first, second = world.click(world.link(anna)), world.click(world.link(anna))
        answer = world.client.get(
            "/p.gif",
            query_string={
                "program": "lamps", "order_id": "A-10042", "total": "4490.00", "currency": "RUB",
                "tax": "700.00", "shipping": "290.00", "clicks": f"{first}|{second}",
                "visitor": "0" * 32,
            },
        )  # fmt: skip
        assert answer.content_type == "image/gif"
        body = world.get()
        assert (body["status"], body["net"]) == ("unconfirmed", {
            "amount": "3500.00", "currency": "RUB"})  # fmt: skip
        assert affiliates_of(body) == [of(anna)]

    @pytest.mark.abuse("A36")
    @pytest.mark.parametrize(
        "query",
        [
            "program=lamps&order_id=A-10042&total=1.00&total=2.00&currency=RUB",
            "program=lamps&order_id=A-10042&order_id=A-1&total=1.00&currency=RUB",
            "program=lamps&order_id=A-10042&total=1.00",
            "program=lamps&order_id=A-10042&total=1e3&currency=RUB",
            "order_id=A-10042&total=1.00&currency=RUB",
        ],
    )
    def test_what_is_ambiguous_or_wrong_is_no_order(self, world: World, query: str) -> None:
        assert world.client.get(f"/p.gif?{query}").status_code == 200
        world.tick()
        assert world.session.scalar(sa.select(sa.func.count()).select_from(Order)) == 0


class TestExplaining:
    def test_it_says_what_of_the_report_was_wrong(self, world: World) -> None:
        body = {"program": "lamps", "type": "order", "order": {"order_id": "A 1", "total": 3}}
        answer = world.client.post("/v1/events?explain=1", data=json.dumps(body)).get_json()
        assert (answer["taken"], answer["code"]) == (False, "invalid")
        assert {error["field"] for error in answer["errors"]} == {"order_id", "total"}

    @pytest.mark.abuse("A24")
    def test_of_what_is_known_of_an_order_it_says_nothing(self, world: World) -> None:
        world.post(world.order())
        total = {"amount": "1.00", "currency": "RUB"}
        said = [
            world.client.post(
                "/v1/events?explain=1",
                data=json.dumps({"program": "lamps", "type": "order", "order": {
                    "order_id": order_id, "total": total}}),
            ).get_json()
            for order_id in ("A-10042", "A-999")
        ]  # fmt: skip
        assert said == [{"taken": True}] * 2
