"""The proxy of docs/operations.md as it stands there, in nginx, before Kopeck on granian."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from affiliate.core.config import ROOT, Settings
from tests.orders.shop_world import World, rub
from tests.programs import certificate, free_port, nginx, serving_at
from tests.served import replying, serving
from tracker.clicks.loader import Loader
from tracker.clicks.models import Click
from tracker.clicks.visitors import AddressHasher
from tracker.orders.keys import order_keys
from tracker.orders.models import Order

DOC = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
HOST = "kopeck.example"
CLIENT = "127.0.0.77"
LIES = {
    "X-Forwarded-For": "203.0.113.9", "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "http", "X-Real-IP": "203.0.113.9", "Forwarded": "for=203.0.113.9",
}  # fmt: skip
"""What a client says of itself and must not be believed."""


def recipe(changes: dict[str, str]) -> str:
    """The recipe with a machine's own values; each of them has to stand in it."""
    text = DOC.split("```nginx\n")[1].split("```")[0]
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


@dataclass
class Proxy:
    """nginx, and how to speak to it."""

    port: int
    plain_port: int
    trusted: Path

    def open(self) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=str(self.trusted))
        raw = socket.create_connection(
            ("127.0.0.1", self.port), timeout=30, source_address=(CLIENT, 0)
        )
        return context.wrap_socket(raw, server_hostname=HOST)

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(HOST)
        connection.sock = self.open()
        sent = {**LIES, **{name.replace("_", "-"): value for name, value in headers.items()}}
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        answer.text = answer.read().decode("utf-8", "replace")  # type: ignore[attr-defined]
        connection.close()
        return answer

    def announces(self, path: str, length: int) -> int | None:
        """The status of a body that is announced and does not come; None: it is waited for."""
        with self.open() as sock:
            head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n"
            sock.sendall(head.encode())
            sock.settimeout(0.3)
            try:
                return int(sock.recv(64).split()[1])
            except TimeoutError:
                return None


@contextmanager
def proxy_before(address: str, folder: Path) -> Iterator[Proxy]:
    trusted, key = certificate(folder, HOST)
    port, plain_port = free_port(), free_port()
    text = recipe(
        {
            "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
            "listen 80": f"listen 127.0.0.1:{plain_port}",
            "/etc/ssl/kopeck.pem": str(trusted),
            "/etc/ssl/kopeck.key": str(key),
            "http://127.0.0.1:8000": address,
            # Nobody waits for ten seconds here.
            "client_body_timeout 10s": "client_body_timeout 1s",
        }
    )
    with serving_at(port, nginx(folder, text), folder):
        yield Proxy(port, plain_port, trusted)


class TestBeforeAStandIn:
    """What the proxy does by itself, whoever stands behind it."""

    @pytest.fixture
    def seen(self) -> list[dict[str, str]]:
        return []

    @pytest.fixture
    def proxy(self, seen: list[dict[str, str]], tmp_path: Path) -> Iterator[Proxy]:
        def answer(handler: Any) -> None:
            length = int(handler.headers.get("Content-Length") or 0)
            handler.rfile.read(length)
            headers = {name.lower(): value for name, value in handler.headers.items()}
            seen.append({**headers, "path": handler.path, "read": str(length)})
            replying(b"behind")(handler)

        with serving(answer) as address, proxy_before(address, tmp_path) as made:
            yield made

    @pytest.mark.abuse("A2")
    def test_what_a_client_says_of_itself_is_replaced(
        self, proxy: Proxy, seen: list[dict[str, str]]
    ) -> None:
        for path in ("/", "/manage/moving-in", "/manage/promo/new", "/api/v1/orders/imports",
                     "/finance/batches/1/statements", "/webhooks/shops/x"):  # fmt: skip
            assert proxy.ask("GET", path).status == 200
            told = seen.pop()
            assert told["path"] == path
            assert told["x-forwarded-for"] == CLIENT, path
            assert (told["x-forwarded-proto"], told["x-forwarded-host"]) == ("https", HOST), path
            assert told["host"] == HOST, path

    @pytest.mark.parametrize("path", ["/metrics", "//metrics", "/%6detrics", "/x/../metrics"])
    def test_metrics_stay_inside(self, proxy: Proxy, seen: list[dict[str, str]], path: str) -> None:
        assert proxy.ask("GET", path).status == 404
        assert seen == []

    @pytest.mark.abuse("A4")
    def test_a_body_goes_on_whole_or_not_at_all(
        self, proxy: Proxy, seen: list[dict[str, str]]
    ) -> None:
        assert proxy.ask("POST", "/api/v1/orders", b"x" * 1_000_000).status == 200
        assert seen.pop()["read"] == "1000000"
        assert proxy.announces("/api/v1/orders", 1_100_000) == 413
        with proxy.open() as sock:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: kopeck.example\r\nContent-Length: 9\r\n\r\nx")
            assert sock.recv(64) == b""  # closed without a word; its log says 408
        assert seen == []

    @pytest.mark.abuse("A4")
    def test_what_kopeck_takes_the_proxy_lets_through_and_little_more(
        self, proxy: Proxy, app: Flask
    ) -> None:
        found = {}
        for rule in app.url_map.iter_rules():
            most = getattr(app.view_functions[rule.endpoint], "kopeck_body_bytes_max", None)
            if most is not None and "POST" in (rule.methods or ()):
                found[re.sub(r"<[^>]+>", "x1", rule.rule)] = most
        assert len(found) > 5
        for path, most in found.items():
            assert proxy.announces(path, most) is None, f"{path} takes {most} bytes"
            assert proxy.announces(path, max(8 * most, 2_000_000)) == 413, path

    def test_plain_http_is_sent_to_https(self, proxy: Proxy) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", proxy.plain_port, timeout=10)
        connection.request("GET", "/r/abc?x=1", headers={"Host": HOST})
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Location"]) == (301, f"https://{HOST}/r/abc?x=1")
        connection.close()


def test_links_of_an_old_host_go_on_to_the_same_codes(tmp_path: Path) -> None:
    """docs/moving-in.md, "Links"."""
    text = (ROOT / "docs/moving-in.md").read_text(encoding="utf-8")
    found = re.search(r"in nginx `(rewrite [^`]+)`", text)
    assert found
    port = free_port()
    http_block = f"server {{ listen 127.0.0.1:{port}; {found[1]} return 404; }}"
    with serving_at(port, nginx(tmp_path, http_block), tmp_path):
        for path, location in {
            "/go/anna-lamps": "https://kopeck.example/r/anna-lamps",
            "/go/anna_1?s1=a%20b": "https://kopeck.example/r/anna_1?s1=a%20b",
            "/go/a.b": None,
            "/go/anna/more": None,
        }.items():
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", path)
            assert connection.getresponse().headers["Location"] == location
            connection.close()


@pytest.fixture
def world(app: Flask, settings: Settings, client: FlaskClient, session: Session) -> World:
    return World.build(app, settings, client, session)


@contextmanager
def granian(settings: Settings, folder: Path) -> Iterator[str]:
    """Kopeck in production as its unit in docs/operations.md starts it, with one worker."""
    found = re.search(r"^ExecStart=\S+/granian ((?:[^\\\n]|\\\n)+)", DOC, re.MULTILINE)
    assert found
    port = free_port()
    words = found[1].replace("\\\n", " ").replace("8000", str(port)).split()
    words[words.index("--workers") + 1] = "1"
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "KOPECK_SECRET": settings.secrets[0],
        "KOPECK_PUBLIC_URL": f"https://{HOST}",
        "KOPECK_PROXY_HOPS": "1",
        "KOPECK_DATA_DIR": str(settings.data_dir),
        "KOPECK_LOG_LEVEL": "WARNING",
    }
    folder.mkdir()
    command = [sys.executable, "-m", "granian", *words]
    with serving_at(port, command, folder, environment):
        yield f"http://127.0.0.1:{port}"


@pytest.mark.abuse("A2", "A4")
def test_kopeck_behind_it_sees_clients_as_they_are(
    world: World, settings: Settings, tmp_path: Path
) -> None:
    link = world.link(world.affiliate("anna"))
    with granian(settings, tmp_path / "kopeck") as address, \
            proxy_before(address, tmp_path) as proxy:  # fmt: skip
        click = proxy.ask("GET", f"/r/{link.code}", User_Agent="Mozilla/5.0 Chrome/141.0")
        assert click.status == 302
        token = click.headers["Location"].partition("kpk=")[2]
        assert token and "Secure" in click.headers["Set-Cookie"]

        order = json.dumps(world.order(clicks=[token])).encode()
        taken = proxy.ask(
            "POST", "/api/v1/orders", order, Content_Type="application/json", **world.headers
        )
        assert taken.status == 201, taken.text
        assert json.loads(taken.text)["commissions"]

        page = {"order_id": "A-2", "total": rub("10.00")}
        body = {"program": world.program.slug, "type": "order", "order": page}
        assert proxy.ask("POST", "/v1/events", json.dumps(body).encode()).status == 204

        too_large = proxy.ask(
            "POST", "/api/v1/orders", b" " * 1_010_000, Content_Type="application/json",
            **world.headers,
        )  # fmt: skip
        assert too_large.status == 413
        assert json.loads(too_large.text)["code"] == "request_entity_too_large"
        assert proxy.announces("/api/v1/orders", 1_100_000) == 413
        _sign_in(proxy)
    _seen_as_it_is(world, settings)


def _sign_in(proxy: Proxy) -> None:
    """A form's origin and cookie fit: it is refused for its password alone."""
    page = proxy.ask("GET", "/sign-in")
    token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page.text)
    assert token, page.text
    cookies = "; ".join(c.partition(";")[0] for c in page.headers.get_all("Set-Cookie"))
    form = f"csrf_token={token[1]}&email=nobody%40example.com&password=wrong-password-1"
    answer = proxy.ask(
        "POST", "/sign-in", form.encode(), Cookie=cookies, Origin=f"https://{HOST}",
        Referer=f"https://{HOST}/sign-in", Content_Type="application/x-www-form-urlencoded",
    )  # fmt: skip
    assert answer.status == 401, answer.text


def _seen_as_it_is(world: World, settings: Settings) -> None:
    loader = Loader(settings)
    try:
        assert loader.round() == 1
    finally:
        loader.close()
    world.tick()
    click = world.session.scalars(sa.select(Click)).one()
    at_ms = int(click.clicked_at.timestamp() * 1000)
    assert click.address_hash.bytes == AddressHasher(settings.key("address")).hash(CLIENT, at_ms)
    report = world.session.scalars(sa.select(Order).where(Order.order_id == "A-2")).one()
    with world.app.app_context():
        assert report.evidence["browser"]["network"] == (
            order_keys().network_mark(CLIENT, world.now).hex
        )
