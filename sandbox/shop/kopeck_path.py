"""A path of the shop's own that leads to Kopeck: WSGI middleware, for any shop in Python.

    app.wsgi_app = KopeckPath(app.wsgi_app, kopeck="https://kopeck.example", secret="demo.…")

Copy this file; it needs nothing but Python. Why a shop wants it, and the same for other servers:
docs/integration.md, "A path of your own".
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable, Iterable
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

PASSED = re.compile(r"/(?:pixel(?:-[0-9a-z]+)?\.js|v1/(?:events|keep)|[pv]\.gif)")
"""All that leads to Kopeck: its pages for people have no business on the shop's domain."""
COOKIES = ("kopeck_clicks", "kopeck_visitor")
"""All of the buyer's cookies that Kopeck is told: the shop's session is none of its business."""
ASKED = ("Content-Type", "Origin", "Referer", "Sec-Fetch-Site", "If-None-Match")
ANSWERED = {"content-type", "cache-control", "etag", "set-cookie", "x-content-type-options"}
BODY_BYTES_MAX = 20_000
TIMEOUT_S = 5.0

App = Callable[..., Iterable[bytes]]


class KopeckPath:
    """Asks Kopeck for what stands under the path; everything else is the shop's own."""

    def __init__(self, app: App, *, kopeck: str, secret: str = "", path: str = "/kopeck") -> None:
        self._app = app
        self._kopeck = urlsplit(kopeck)
        self._secret = secret
        self._path = path.rstrip("/")

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if not path.startswith(f"{self._path}/"):
            return self._app(environ, start_response)
        asked = path.removeprefix(self._path)
        if not PASSED.fullmatch(asked) or environ["REQUEST_METHOD"] not in ("GET", "POST"):
            return _answer(start_response, HTTPStatus.NOT_FOUND)
        try:
            return self._ask(environ, start_response, asked)
        except (OSError, http.client.HTTPException):
            # The pixel keeps the report and sends it again.
            return _answer(start_response, HTTPStatus.BAD_GATEWAY)

    def _ask(self, environ: dict[str, Any], start_response: Any, asked: str) -> Iterable[bytes]:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if length > BODY_BYTES_MAX:
            return _answer(start_response, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        query = environ.get("QUERY_STRING", "")
        of = http.client.HTTPSConnection if self._kopeck.scheme == "https" else _Plain
        connection = of(self._kopeck.netloc, timeout=TIMEOUT_S)
        try:
            connection.request(
                environ["REQUEST_METHOD"],
                self._kopeck.path.rstrip("/") + asked + (f"?{query}" if query else ""),
                body=environ["wsgi.input"].read(length) if length else None,
                headers=self._headers(environ),
            )
            answer = connection.getresponse()
            headers = [each for each in answer.getheaders() if each[0].lower() in ANSWERED]
            start_response(f"{answer.status} {answer.reason}", headers)
            return [answer.read()]
        finally:
            connection.close()

    def _headers(self, environ: dict[str, Any]) -> dict[str, str]:
        found = {"Cookie": _cookies(environ.get("HTTP_COOKIE", ""))}
        for name in ASKED:
            key = name.upper().replace("-", "_")
            value = environ.get(key if name == "Content-Type" else f"HTTP_{key}")
            if value:
                found[name] = value
        if self._secret:
            # Behind a proxy of the shop's own, let ProxyFix make REMOTE_ADDR the buyer's first.
            found |= {
                "X-Kopeck-Proxy": self._secret,
                "X-Kopeck-Buyer": environ.get("REMOTE_ADDR", ""),
            }
        return found


_Plain = http.client.HTTPConnection


def _cookies(header: str) -> str:
    try:
        sent = SimpleCookie(header)
    except CookieError:
        return ""
    return "; ".join(f"{name}={sent[name].value}" for name in COOKIES if name in sent)


def _answer(start_response: Any, status: HTTPStatus) -> Iterable[bytes]:
    start_response(f"{status.value} {status.phrase}", [("Content-Type", "text/plain")])
    return [b""]
