"""A shop and Kopeck's two browser addresses on two loopback origins, and a real Chromium."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext

from tracker.pixel.scripts import DEBUG_SOURCE, SOURCE, current_script

GIF = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,"
GIF += b"\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A visitor of one's own: no cookies, no storage."""
    opened = browser.new_context()
    yield opened
    opened.close()


@dataclass
class Sites:
    """Where Kopeck and the shop answer, and what Kopeck's addresses received."""

    kopeck: str = ""
    shop: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    events_status: int = 200
    arrived: threading.Condition = field(default_factory=threading.Condition)
    page_script: str = ""
    """What the shop's page does before the pixel is there."""
    tag: str = ""
    """Further attributes of the pixel's tag."""
    body: str = ""
    """What else stands on the shop's page."""
    policy: str = ""
    """The shop's Content-Security-Policy; with one, the page holds no code of its own."""
    asked: list[str] = field(default_factory=list)
    """Addresses of the reports, with their parameters."""

    def wait_for_events(self, count: int, timeout_s: float = 10) -> list[dict[str, Any]]:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.events) >= count, timeout_s)
            return list(self.events)


@pytest.fixture
def sites() -> Iterator[Sites]:
    """127.0.0.1 is Kopeck, localhost is the shop: two sites to the browser."""
    shared = Sites()
    kopeck = ThreadingHTTPServer(("127.0.0.1", 0), _kopeck(shared))
    shop = ThreadingHTTPServer(("127.0.0.1", 0), _shop(shared))
    shared.kopeck = f"http://127.0.0.1:{kopeck.server_port}"
    shared.shop = f"http://localhost:{shop.server_port}"
    threads = [threading.Thread(target=s.serve_forever, daemon=True) for s in (kopeck, shop)]
    for thread in threads:
        thread.start()
    yield shared
    for server in (kopeck, shop):
        server.shutdown()
        server.server_close()
    for thread in threads:
        thread.join()


class _Quiet(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        return

    def reply(self, body: bytes, kind: str, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


def _kopeck(shared: Sites) -> type[BaseHTTPRequestHandler]:
    class Kopeck(_Quiet):
        def do_GET(self) -> None:
            source = {"/pixel.js": SOURCE, "/pixel-debug.js": DEBUG_SOURCE}.get(self.path)
            if source is not None:
                body = current_script(source).body
                self.reply(body, "text/javascript", Access_Control_Allow_Origin="*")
                return
            with shared.arrived:
                shared.images.append(self.path)
                shared.arrived.notify_all()
            self.reply(GIF, "image/gif")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers["Content-Type"].startswith("text/plain"), "would need a preflight"
            with shared.arrived:
                shared.events.append(json.loads(body))
                shared.asked.append(self.path)
                shared.arrived.notify_all()
            said = b'{"taken": true}' if self.path.endswith("?explain=1") else b""
            self.reply(said, "text/plain", shared.events_status, Access_Control_Allow_Origin="*")

    return Kopeck


def _shop(shared: Sites) -> type[BaseHTTPRequestHandler]:
    class Shop(_Quiet):
        def do_GET(self) -> None:
            queue = f"<script>window.kopeck = window.kopeck || []; {shared.page_script}</script>"
            page = f"""<!doctype html><title>Shop</title><h1>{self.path.partition("?")[0]}</h1>
                {"" if shared.policy else queue}
                <script async src="{shared.kopeck}/pixel.js" data-program="demo" {shared.tag}>
                </script>{shared.body}"""
            policy = {"Content_Security_Policy": shared.policy} if shared.policy else {}
            self.reply(page.encode(), "text/html; charset=utf-8", **policy)

    return Shop
