"""The recipes of docs/examples for a path of the shop's own, each in its own server."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from requests.adapters import HTTPAdapter
from sqlalchemy.orm import Session
from werkzeug.serving import make_server

from affiliate.core.config import Settings
from tests.orders.shop_world import World, rub
from tests.programs import caddy, certificate, free_port, nginx, program, serving_at
from tracker.orders.keys import order_keys
from tracker.orders.models import Order
from tracker.pixel.proxied import proxy_secret

EXAMPLES = Path(__file__).resolve().parents[2] / "docs/examples"
SECRET = "demo.1"
BUYER = "127.0.0.77"
RECIPES = ("express", "worker", "nginx", "caddy")
"""Those whose server is a program of its own; the WSGI one is tried in test_shop_path.py."""

EXPRESS = """
import { createServer } from "node:http";
import { kopeckPath } from "%(file)s";
const pass = kopeckPath({ kopeck: "%(kopeck)s", secret: "%(secret)s" });
createServer((q, a) => pass(q, a, () => a.end("the shop"))).listen(%(port)s, "127.0.0.1");
"""
WORKER = """
import { createServer } from "node:http";
import worker from "%(file)s";
createServer(async (q, a) => {
  const parts = []; for await (const part of q) { parts.push(part); }
  const answer = await worker.fetch(new Request("http://shop" + q.url, {
    method: q.method, headers: { ...q.headers, "cf-connecting-ip": q.socket.remoteAddress },
    body: parts.length ? Buffer.concat(parts) : undefined,
  }), { KOPECK: "%(kopeck)s", KOPECK_SECRET: "%(secret)s" });
  a.statusCode = answer.status;
  a.setHeader("set-cookie", answer.headers.getSetCookie());
  a.end(await answer.text());
}).listen(%(port)s, "127.0.0.1");
"""
NGINX = """
%(before)s
server { listen 127.0.0.1:%(port)s; location / { return 200 "the shop"; } %(recipe)s }
"""
CADDY = """
http://127.0.0.1:%(port)s {
	%(recipe)s
	respond "the shop"
}
"""


def text_of(name: str, changes: dict[str, str]) -> str:
    """A recipe with a reader's own values; each of them has to stand in it."""
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


@contextmanager
def shop_with(recipe: str, kopeck: str, folder: Path, secret: str = SECRET) -> Iterator[str]:
    """A shop with that recipe in front of it."""
    port = free_port()
    values: dict[str, object] = {"kopeck": kopeck, "port": port, "secret": secret, "before": ""}
    here = {"https://kopeck.example": kopeck, "demo.0000": secret}
    if recipe == "nginx":
        trusted, _ = certificate(folder, "kopeck.example")
        here |= {"/etc/ssl/certs/ca-certificates.crt": str(trusted)}
        values["recipe"] = text_of("kopeck.nginx.conf", here)
        command = nginx(folder, NGINX % values)
    elif recipe == "caddy":
        values["recipe"] = text_of("kopeck.Caddyfile", here)
        command = caddy(folder, CADDY % values)
    else:
        names = {"express": ("kopeck-path.mjs", EXPRESS), "worker": ("kopeck-worker.mjs", WORKER)}
        name, code = names[recipe]
        values["file"] = (EXAMPLES / name).as_uri()
        command = [program("node"), "--input-type=module", "-e", code % values]
    with serving_at(port, command, folder):
        yield f"http://127.0.0.1:{port}"


class Heard:
    """What came to Kopeck's address."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []


@contextmanager
def hearing(keys: tuple[Path, Path] | None = None) -> Iterator[Heard]:
    """A server that takes what comes as Kopeck does; with a certificate by TLS."""
    told = Heard()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            return

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            told.requests.append((self.command, self.path, headers, body))
            self.send_response(204 if self.command == "POST" else 200)
            self.send_header("Set-Cookie", "kopeck_clicks=a; Path=/; HttpOnly")
            self.send_header("Set-Cookie", "kopeck_visitor=b; Path=/; HttpOnly")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if keys:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*keys)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    told.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def kopeck() -> Iterator[Heard]:
    with hearing() as told:
        yield told


@pytest.fixture(scope="module", params=RECIPES)
def begun(
    request: pytest.FixtureRequest, kopeck: Heard, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    with shop_with(request.param, kopeck.url, tmp_path_factory.mktemp(request.param)) as url:
        yield url


@pytest.fixture
def heard(kopeck: Heard) -> Heard:
    kopeck.requests.clear()
    return kopeck


@pytest.fixture
def shop(begun: str, heard: Heard) -> str:
    """Each recipe in turn, and nothing heard of it yet."""
    return begun


class _Of(HTTPAdapter):
    """Requests of the buyer, whose address is not that of the shop."""

    def init_poolmanager(self, *args: Any, **more: Any) -> None:
        super().init_poolmanager(*args, **more, source_address=(BUYER, 0))


@pytest.fixture
def buyer() -> Iterator[requests.Session]:
    with requests.Session() as made:
        made.mount("http://", _Of())
        yield made


class TestRecipes:
    """Every recipe for a path of the shop's own hands on the same and nothing else."""

    def test_a_report_goes_on_with_the_pixels_cookies_and_the_buyers_address(
        self, shop: str, heard: Heard, buyer: requests.Session
    ) -> None:
        answer = buyer.post(
            f"{shop}/kopeck/v1/keep?x=1",
            data=json.dumps({"clicks": []}),
            headers={
                "Content-Type": "application/json", "Origin": shop,
                "Cookie": "session=secret; kopeck_clicks=a|b; kopeck_visitor=v",
                "Sec-Fetch-Site": "same-origin", "Authorization": "Bearer of-the-shop",
                "X-Kopeck-Buyer": "203.0.113.9", "X-Kopeck-Proxy": "of-the-buyer",
            },
            timeout=10,
        )  # fmt: skip
        assert answer.status_code == 204
        assert set(answer.raw.headers.getlist("Set-Cookie")) == {
            "kopeck_clicks=a; Path=/; HttpOnly", "kopeck_visitor=b; Path=/; HttpOnly",
        }  # fmt: skip
        [(method, path, headers, body)] = heard.requests
        assert (method, path, body) == ("POST", "/v1/keep?x=1", b'{"clicks": []}')
        assert headers["cookie"] == "kopeck_clicks=a|b; kopeck_visitor=v"
        assert headers["x-kopeck-proxy"] == SECRET
        assert headers["x-kopeck-buyer"] == BUYER
        assert headers["sec-fetch-site"] == "same-origin"
        assert headers["content-type"].startswith("application/json")
        assert "authorization" not in headers

    @pytest.mark.parametrize(
        "path", ["/pixel.js", "/pixel-debug.js", "/pixel-0123abcd.js", "/p.gif?a=b", "/v.gif"]
    )
    def test_what_is_the_pixels_is_handed_on(self, shop: str, heard: Heard, path: str) -> None:
        assert requests.get(f"{shop}/kopeck{path}", timeout=10).status_code == 200
        assert [asked for _, asked, _, _ in heard.requests] == [path]

    @pytest.mark.parametrize(
        "path", ["/sign-in", "/api/v1/orders", "/metrics", "/", "/v1/events/x", "/pixel.js/x"]
    )
    def test_nothing_else_is(self, shop: str, heard: Heard, path: str) -> None:
        assert requests.get(f"{shop}/kopeck{path}", timeout=10).status_code == 404
        assert heard.requests == []

    def test_no_way_out_of_the_path_leads_to_more(self, shop: str, heard: Heard) -> None:
        for path in ("/kopeck/pixel.js/../sign-in", "/kopeck/../kopeck/sign-in", "/kopeck//sign-in",
                     "/kopeck/v1%2F..%2Fsign-in", "/kopeck/pixel.js%0a/sign-in"):  # fmt: skip
            asked = requests.Request("GET", shop).prepare()
            asked.url = shop + path
            with requests.Session() as session:
                session.send(asked, timeout=10)
        assert heard.requests == []

    def test_a_body_larger_than_a_report_is_not_handed_on(self, shop: str, heard: Heard) -> None:
        answer = requests.post(f"{shop}/kopeck/v1/events", data=b"x" * 50_000, timeout=10)
        # Caddy breaks off while it hands the body on, and knows no better word for it.
        assert answer.status_code in (413, 502)
        assert [body for _, _, _, body in heard.requests if len(body) > 20_480] == []


@pytest.mark.parametrize(("host", "status"), [("kopeck.example", 200), ("evil.example", 502)])
def test_nginx_tells_its_secret_to_nobody_but_kopeck(
    tmp_path: Path, host: str, status: int
) -> None:
    # Either is vouched for as by an authority; only one of them is Kopeck.
    keys = certificate(tmp_path, host)
    changes = {"/etc/ssl/certs/ca-certificates.crt": str(keys[0])}
    with hearing(keys) as told:
        port, address = free_port(), told.url.removeprefix("http://")
        values = {
            "port": port, "recipe": text_of("kopeck.nginx.conf", changes),
            "before": f"upstream kopeck.example {{ server {address}; }}",
        }  # fmt: skip
        with serving_at(port, nginx(tmp_path, NGINX % values), tmp_path):
            answer = requests.get(f"http://127.0.0.1:{port}/kopeck/pixel.js", timeout=10)
        assert answer.status_code == status
        assert len(told.requests) == (status == 200)


@pytest.fixture
def world(app: Flask, settings: Settings, client: FlaskClient, session: Session) -> World:
    return World.build(app, settings, client, session)


@pytest.fixture
def real_kopeck(world: World) -> Iterator[str]:
    world.app.config.update(SERVER_NAME=None, TRUSTED_HOSTS=["127.0.0.1", "kopeck.example"])
    server = make_server("127.0.0.1", 0, world.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_kopeck_believes_the_buyers_address_by_every_recipe(
    world: World, real_kopeck: str, buyer: requests.Session, tmp_path: Path
) -> None:
    secret = proxy_secret(world.settings, world.program.slug)
    for recipe in RECIPES:
        folder = tmp_path / recipe
        folder.mkdir()
        order = {"order_id": f"A-{recipe}", "total": rub("10.00")}
        body = {"program": world.program.slug, "type": "order", "order": order}
        with shop_with(recipe, real_kopeck, folder, secret) as shop:
            answer = buyer.post(f"{shop}/kopeck/v1/events", data=json.dumps(body), timeout=30)
        assert answer.status_code == 204, recipe
    world.tick()
    with world.app.app_context():
        mark = order_keys().network_mark(BUYER, world.now).hex
    found = world.session.scalars(sa.select(Order)).all()
    assert {order.order_id: order.evidence["browser"].get("network") for order in found} == {
        f"A-{recipe}": mark for recipe in RECIPES
    }
