"""The whole application on granian, asked in bytes: what no HTTP client lets one send."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click_support import CHROME, Shop, rows
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from tracker.clicks.loader import Loader

ROOT = Path(__file__).resolve().parents[2]
HOST = b"Host: 127.0.0.1\r\n"
BROWSER = b"User-Agent: %b\r\n" % CHROME.encode()
CLOSE = b"Connection: close\r\n\r\n"
ANSWER_TIMEOUT_S = 20


@dataclass
class Served:
    """A granian with one worker, and how to talk to it."""

    port: int

    def ask(self, request: bytes) -> list[tuple[int, str]]:
        """Every answer that comes on one connection until it ends: status and head."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_TIMEOUT_S) as sock:
            said = b""
            try:
                sock.sendall(request)
                while piece := sock.recv(65_536):
                    said += piece
            except (ConnectionResetError, BrokenPipeError):
                pass
        heads = re.findall(rb"HTTP/1\.1 (\d{3})[^\r\n]*\r\n(.*?)\r\n\r\n", said, re.DOTALL)
        return [(int(status), head.decode("latin-1")) for status, head in heads]

    def statuses(self, request: bytes) -> list[int]:
        return [status for status, _head in self.ask(request)]


@pytest.fixture
def served(settings: Settings, shop: Shop) -> Iterator[Served]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "KOPECK_MODE": "test",
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "KOPECK_SECRET": settings.secrets[0],
        "KOPECK_PUBLIC_URL": settings.public_url,
        "KOPECK_TRUSTED_HOSTS": "127.0.0.1",
        "KOPECK_DATA_DIR": str(settings.data_dir),
        "KOPECK_LOG_LEVEL": "ERROR",
    }
    program = [sys.executable, "-m", "granian", "--interface", "wsgi", "--factory"]
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    options += ["--blocking-threads", "2", "--no-log", "wsgi:make_application"]
    process = subprocess.Popen([*program, *options], env=environment, start_new_session=True)
    made = Served(port)
    try:
        _wait(made, process)
        yield made
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(served: Served, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None, "the web process ended"
        assert time.monotonic() < deadline, "the web process did not come up"
        try:
            if served.statuses(b"GET /healthz HTTP/1.1\r\n" + HOST + CLOSE) == [200]:
                return
        except OSError:
            pass
        time.sleep(0.1)


def get(target: bytes, *headers: bytes, method: bytes = b"GET") -> bytes:
    lines = b"".join(header + b"\r\n" for header in headers)
    return b"%b %b HTTP/1.1\r\n" % (method, target) + HOST + BROWSER + lines + CLOSE


@pytest.mark.abuse("A46")
def test_odd_methods_and_ambiguous_requests_reach_nothing(
    served: Served, settings: Settings, session: Session
) -> None:
    for method in (b"TRACE", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"FROB"):
        [(status, head)] = served.ask(get(b"/r/abcde", method=method))
        assert status == 405, method
        assert "allow: GET, HEAD" in head or "Allow: GET, HEAD" in head
    for path in (b"/", b"/account/", b"/api/v1/orders", b"/pixel.js", b"/p.gif", b"/healthz"):
        for method in (b"TRACE", b"FROB"):
            [(status, head)] = served.ask(get(path, b"X-Secret: 7h15", method=method))
            assert status == 405, (method, path)
            assert "7h15" not in head

    hidden = b"GET /r/abcde?s1=smuggled HTTP/1.1\r\n" + HOST + BROWSER + b"\r\n"
    chunks = b"0\r\n\r\n"
    ambiguous = {
        "both lengths": b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunks
        + hidden,
        "two lengths": b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(hidden) + hidden,
        "a length in words": b"Content-Length: +5\r\n\r\nhello" + hidden,
        "an odd encoding": b"Transfer-Encoding: xchunked\r\n\r\n" + chunks + hidden,
        "a space": b"Transfer-Encoding : chunked\r\n\r\n" + chunks + hidden,
        "a folded line": b"X-A: b\r\n Transfer-Encoding: chunked\r\n\r\n" + chunks + hidden,
        "a bad chunk": b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n" + hidden,
    }
    for name, rest in ambiguous.items():
        statuses = served.statuses(b"POST /r/abcde HTTP/1.1\r\n" + HOST + BROWSER + rest)
        assert len(statuses) == 1, f"{name}: what was hidden behind it was answered too"
        assert statuses[0] in {400, 405}, name
    loader = Loader(settings)
    try:
        assert loader.round() == 0, "a request that was refused is recorded as a click"
    finally:
        loader.close()
    assert rows(session, "SELECT count(*) FROM clicks") == [(0,)]


@pytest.mark.abuse("A2", "A3", "A4", "A5")
def test_the_click_path_refuses_or_cuts_and_reflects_nothing(
    served: Served, settings: Settings, session: Session
) -> None:
    refused = {
        b"an address of 70 KB": (get(b"/r/" + b"a" * 70_000), {414}),
        b"a query of 9 KB": (get(b"/r/abcde?s1=" + b"a" * 9_000), {414}),
        b"a thousand parameters": (get(b"/r/abcde?" + b"&".join([b"a=1"] * 1_000)), {414}),
        b"a code of 9 KB": (get(b"/r/" + b"a" * 9_000), {404}),
        b"a header of 600 KB": (get(b"/r/abcde", b"X-A: " + b"a" * 600_000), {431}),
        b"a cookie of 600 KB": (get(b"/r/abcde", b"Cookie: kpk_v=" + b"a" * 600_000), {431}),
        b"two hundred headers": (get(b"/r/abcde", *[b"X-%d: a" % n for n in range(200)]), {431}),
        b"a line break in the address": (get(b"/r/abcde?s1=a\r\nX-Injected: 1"), {400}),
        b"an encoded line break": (get(b"/r/abcde?s1=a%0d%0aX-Injected:1"), {400}),
        b"bytes that no address has": (get(b"/r/abcde?s2=\xff\xfe"), {400}),
        b"a NUL in a header": (get(b"/r/abcde", b"X-A: a\0b"), {400}),
        b"a second host": (get(b"/r/abcde", b"Host: evil.example"), {302, 400}),
        b"another host": (get(b"/r/abcde").replace(HOST, b"Host: evil.example\r\n"), {400}),
        b"no host": (get(b"/r/abcde").replace(HOST, b""), {400}),
        b"an old protocol": (b"GET /r/abcde\r\n\r\n", {400}),
        b"no protocol at all": (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", {400}),
    }
    for name, (request, statuses) in refused.items():
        answers = served.ask(request)
        assert [status for status, _head in answers] in [[one] for one in statuses], name
        assert "injected" not in answers[0][1].lower(), name
        assert "evil.example" not in answers[0][1], name

    followed = [
        get(b"/r/abcde?s2=%ff%fe%00x"),
        get(b"/r/abcde?s2=%ED%A0%80y"),
        get(b"/r/abcde?s2=" + b"z" * 500),
        get(b"/r/abcde", b"Referer: https://blog.example/\xff?secret=1"),
        get(b"/r/abcde", b"Cookie: " + b"a" * 9_000),
        get(b"/r/abcde", b"X-Forwarded-Host: evil.example", b"X-Forwarded-For: 6.6.6.6"),
        get(b"/r/abcde", b"Forwarded: for=6.6.6.6;host=evil.example;proto=https"),
    ]
    for request in followed:
        [(status, head)] = served.ask(request)
        assert status == 302, request[:80]
        assert "location: https://shop.example/tea?a=1&kpk=" in head.lower()
    loader = Loader(settings)
    try:
        loader.round()
    finally:
        loader.close()
    assert rows(session, "SELECT count(*) FROM clicks") == [(len(followed),)]
    stored = rows(session, "SELECT s2, referrer FROM clicks ORDER BY clicked_at, click_id")
    assert all("\0" not in (s2 or "") and len(s2 or "") <= 100 for s2, _referrer in stored)
    assert all("secret" not in referrer for _s2, referrer in stored)
    [addresses] = rows(session, "SELECT count(DISTINCT address_hash) FROM clicks")
    assert addresses == (1,), "a header without a proxy of ours was believed"


@pytest.mark.abuse("A43", "A44")
def test_nothing_that_names_somebody_is_kept_by_a_cache_or_read_across_sites(
    served: Served,
) -> None:
    across = b"Origin: https://evil.example"
    never = [b"/r/abcde", b"/r/nothing", b"/account/", b"/manage/", b"/finance/", b"/p.gif?x=1"]
    for path in never:
        [(status, head)] = served.ask(get(path, across))
        assert "cache-control: no-store" in head.lower(), (path, status)
    for path in (b"/r/abcde", b"/account/", b"/api/v1/orders/1", b"/sign-in"):
        [(_status, head)] = served.ask(get(path, across))
        assert "access-control-allow-origin" not in head.lower(), path
        assert "access-control-allow-credentials" not in head.lower(), path
    for path in (b"/pixel.js", b"/p.gif?x=1"):
        [(_status, head)] = served.ask(get(path, across))
        assert "set-cookie" not in head.lower(), path
        assert "access-control-allow-credentials" not in head.lower(), path
    [(_status, head)] = served.ask(get(b"/r/abcde"))
    again = served.ask(get(b"/r/abcde"))[0][1]
    tokens = [re.search(r"kpk=([\w.-]+)", one) for one in (head, again)]
    assert tokens[0] and tokens[1] and tokens[0][1] != tokens[1][1]


@pytest.mark.abuse("A17", "A19")
def test_what_nobody_chose_to_follow_gets_no_token_and_its_reason(
    served: Served, settings: Settings, session: Session
) -> None:
    asked = {
        "framed": get(b"/r/abcde", b"Sec-Fetch-Dest: iframe", b"Sec-Fetch-Mode: navigate"),
        "subresource": get(b"/r/abcde", b"Sec-Fetch-Dest: image", b"Sec-Fetch-Mode: no-cors"),
        "prefetch": get(b"/r/abcde", b"Sec-Purpose: prefetch;prerender"),
        "head_request": get(b"/r/abcde", method=b"HEAD"),
        "empty_agent": get(b"/r/abcde").replace(BROWSER, b""),
        "link_preview": get(b"/r/abcde").replace(BROWSER, b"User-Agent: TelegramBot\r\n"),
        "bot": get(b"/r/abcde").replace(BROWSER, b"User-Agent: curl/8.5.0\r\n"),
    }
    for reason, request in asked.items():
        [(status, head)] = served.ask(request)
        assert status == 302, reason
        assert "kpk=" not in head, reason
        assert "set-cookie" not in head.lower(), reason
        assert "frame-ancestors 'none'" in head, reason
    late = get(b"/r/abcde").replace(BROWSER, b"User-Agent: acme-fetcher/0.3\r\n")
    [(status, head)] = served.ask(late)
    assert (status, "kpk=" in head) == (302, True)
    loader = Loader(settings)
    try:
        loader.round()
    finally:
        loader.close()
    found = rows(session, "SELECT reason, count(*) FROM clicks GROUP BY 1")
    assert dict(found) == {**dict.fromkeys(asked, 1), "bot": 2}
