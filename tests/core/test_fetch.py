"""Fetching from strangers, against real servers on this machine: bounded, pinned, never inside."""

from __future__ import annotations

import socket
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from served import replying, serving

from affiliate.core import fetch as fetching
from affiliate.core.fetch import FetchFailed, Trouble, fetch, is_public


def inside(url: str, *, bytes_max: int = 1_000, total_s: float = 5.0) -> bytes:
    return fetch(url, plain_loopback=True, bytes_max=bytes_max, total_s=total_s)


def trouble(url: str, *, plain_loopback: bool = True, **limits: Any) -> Trouble:
    with pytest.raises(FetchFailed) as caught:
        fetch(url, plain_loopback=plain_loopback, **{"bytes_max": 1_000, "total_s": 5.0, **limits})
    return caught.value.trouble


def test_what_an_address_holds_comes_whole_and_is_asked_for_by_its_name() -> None:
    seen: list[tuple[str, str | None, str | None]] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        headers = handler.headers
        seen.append((handler.path, headers["Host"], headers["Accept-Encoding"]))
        replying(b"<rss/>")(handler)

    with serving(answer) as url:
        assert inside(f"{url}/feed.xml?a=1&b=2#part") == b"<rss/>"
        assert seen == [("/feed.xml?a=1&b=2", url.removeprefix("http://"), "identity")]


def test_a_body_in_chunks_and_one_that_ends_with_the_connection_come_whole() -> None:
    def chunked(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")

    def until_end(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b"abcde")

    for answer in (chunked, until_end):
        with serving(answer) as url:
            assert inside(url) == b"abcde"


@pytest.mark.abuse("A30")
@pytest.mark.parametrize(
    "url",
    [
        "http://shop.example/feed", "ftp://shop.example/feed", "file:///etc/passwd",
        "gopher://127.0.0.1/", "//shop.example/", "https://", "https://shop.example:8443/",
        "https://user:secret@shop.example/", "https://shop.example:99999/", "https://[::1/",
        "https://shop.example/a b", "https://shop.example/\r\nX: 1", "https://shöp.example/", "",
    ],
)  # fmt: skip
def test_an_address_that_is_not_plain_https_is_not_asked(url: str) -> None:
    assert trouble(url) is Trouble.NOT_ALLOWED


@pytest.mark.abuse("A30")
@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.9.9.9", "localhost", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1",
        "169.254.169.254", "100.64.0.1", "224.0.0.1", "255.255.255.255", "2130706433",
        "0x7f000001", "0177.0.0.1", "127.1", "[::1]", "[::]", "[::ffff:127.0.0.1]",
        "[::ffff:a9fe:a9fe]", "[fe80::1]", "[fc00::1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
        "[::127.0.0.1]", "[2001:db8::1]", "[ff02::1]",
    ],
)  # fmt: skip
def test_nothing_is_asked_of_a_private_network_however_it_is_written(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(*_: Any) -> None:
        raise AssertionError("connected")

    monkeypatch.setattr(socket.socket, "connect", connect)
    assert trouble(f"https://{host}/", plain_loopback=False) in (
        Trouble.PRIVATE, Trouble.NO_SUCH_HOST,
    )  # fmt: skip


@pytest.mark.abuse("A30")
def test_plain_http_on_this_machine_is_for_the_demo_alone() -> None:
    with serving(replying(b"secret")) as url:
        assert trouble(url, plain_loopback=False) is Trouble.NOT_ALLOWED
        assert inside(url) == b"secret"
        assert inside(url.replace("127.0.0.1", "localhost")) == b"secret"


@pytest.mark.abuse("A30")
def test_the_demo_reaches_this_machine_and_no_other_of_the_private_network() -> None:
    for host in ("10.0.0.1", "169.254.169.254", "127.0.0.2", "192.168.0.1"):
        assert trouble(f"http://{host}/") is Trouble.NOT_ALLOWED


@pytest.mark.abuse("A30")
def test_a_name_of_which_one_address_is_private_is_not_asked_and_none_is_asked_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rebinding: the second look-up would say something else, and there is none."""
    asked: list[str] = []
    tried: list[Any] = []

    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        public = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", port))
        private = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.7", port))
        return [public, private] if host == "both.example" else [public]

    def connect(_socket: Any, address: Any) -> None:
        tried.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket.socket, "connect", connect)
    assert trouble("https://both.example/", plain_loopback=False) is Trouble.PRIVATE
    assert tried == []
    assert trouble("https://public.example/", plain_loopback=False) is Trouble.UNREACHABLE
    assert (asked, tried) == (["both.example", "public.example"], [("93.184.216.34", 443)])


@pytest.mark.abuse("A30")
def test_a_redirect_is_not_followed() -> None:
    with serving(replying(b"inside")) as inner:
        for status in (301, 302, 303, 307, 308):
            with serving(replying(b"", status, Location=f"{inner}/secret")) as url:
                assert trouble(url) is Trouble.REDIRECTED


@pytest.mark.parametrize("status", [201, 204, 404, 401, 500, 503])
def test_anything_but_200_is_no_answer(status: int) -> None:
    with serving(replying(b"", status)) as url:
        assert trouble(url) is Trouble.REFUSED


def test_a_compressed_answer_is_not_taken() -> None:
    with serving(replying(b"\x1f\x8b", Content_Encoding="gzip")) as url:
        assert trouble(url) is Trouble.PACKED


def test_what_is_too_large_is_refused_by_its_length_and_by_its_bytes() -> None:
    with serving(replying(b"x" * 1_000)) as url:
        assert len(inside(url)) == 1_000
    with serving(replying(b"x" * 1_001)) as url:
        assert trouble(url) is Trouble.TOO_LARGE

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(b"x" * 65_536)

    with serving(endless) as url:
        assert trouble(url) is Trouble.TOO_LARGE


def test_an_answer_that_breaks_off_is_none() -> None:
    def short(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "500")
        handler.end_headers()
        handler.wfile.write(b"half")

    def chunk(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"ff\r\nhalf")

    def nonsense(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"\x00\x01nonsense\r\n\r\n")

    for answer in (short, chunk, nonsense):
        with serving(answer) as url:
            assert trouble(url) is Trouble.UNREACHABLE


@pytest.mark.parametrize("where", ["header", "body", "never"])
def test_a_server_that_sends_a_byte_now_and_then_is_cut_off(where: str) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        if where == "body":
            handler.send_response(200)
            handler.end_headers()
        for _ in range(200):
            if where != "never":
                handler.wfile.write(b"x")
            time.sleep(0.05)

    with serving(drip) as url:
        began = time.monotonic()
        assert trouble(url, total_s=0.5) is Trouble.TOO_SLOW
        assert time.monotonic() - began < 3


def test_nobody_at_home_is_unreachable() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert trouble(f"http://127.0.0.1:{port}/") is Trouble.UNREACHABLE
    assert trouble("https://no-such-host.invalid/") is Trouble.NO_SUCH_HOST


def test_a_certificate_that_is_not_its_own_is_not_believed() -> None:
    with serving(replying(b"plain")) as url:
        assert trouble(url.replace("http://", "https://")) is Trouble.UNREACHABLE


def test_public_is_what_the_internet_can_reach() -> None:
    assert is_public("93.184.216.34")
    assert is_public("2606:2800:220:1:248:1893:25c8:1946")
    assert not is_public("nonsense")
    assert not is_public("fec0::1")
    assert fetching.USER_AGENT.startswith("Kopeck")
