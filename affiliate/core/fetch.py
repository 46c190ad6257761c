"""Fetch from a stranger's server, or tell it something: bounded in bytes and time, never inside.

The name is resolved once, every address of it is judged, and the connection goes to an address
that was judged: a name that answers differently the second time gains nothing. Nothing is followed:
a redirect is an answer that a person has to read. (docs/security.md, A30.)
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv6Address, ip_address
from typing import Final
from urllib.parse import urlsplit

CONNECT_S: Final = 5.0
READ_S: Final = 10.0
"""For one packet; the whole is bounded by the caller."""
ADDRESSES_TRIED_MAX: Final = 3
CHUNK_BYTES: Final = 64 * 1024
HTTPS_PORT: Final = 443
LOOPBACK: Final = frozenset(("localhost", "127.0.0.1", "::1"))
USER_AGENT: Final = "Kopeck (product feed)"


class Trouble(StrEnum):
    """Why nothing could be fetched; closed, as pages have a sentence for each."""

    NOT_ALLOWED = "not_allowed"
    """Not https on its own port, or a name and password in the address."""
    NO_SUCH_HOST = "no_such_host"
    PRIVATE = "private"
    """The name leads into a private network."""
    UNREACHABLE = "unreachable"
    """No connection, a certificate that is not its own, or an answer that broke off."""
    TOO_SLOW = "too_slow"
    REDIRECTED = "redirected"
    REFUSED = "refused"
    """Answered with anything but 200."""
    PACKED = "packed"
    """Compressed although nobody asked for it: its size would be anybody's guess."""
    TOO_LARGE = "too_large"


class FetchFailed(Exception):
    """Nothing came of it, and why."""

    def __init__(self, trouble: Trouble) -> None:
        self.trouble = trouble
        super().__init__(trouble.value)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an address leads, before anything was looked up."""

    host: str
    port: int
    target: str
    """Path and query, as they stand in the request."""
    netloc: str
    https: bool
    inside: bool
    """A demo's own machine, which is allowed there alone."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What a server said to a message."""

    status: int
    """Any, redirects too: nothing is followed."""
    retry_after: str | None
    """That header as it came."""
    start: bytes
    """The first bytes of the body; the rest was not read."""


def fetch(url: str, *, plain_loopback: bool, bytes_max: int, total_s: float) -> bytes:
    """The body that https://… answers with. Raises FetchFailed.

    `plain_loopback` allows http on this very machine, for demo and test mode alone.
    """
    place = _place(url, plain_loopback=plain_loopback)
    with _opened(place, total_s) as line:
        content = _asked(line.socket, place, bytes_max)
        if line.late:
            raise FetchFailed(Trouble.TOO_SLOW)
        return content


def call(
    url: str,
    *,
    method: str,
    headers: Mapping[str, str],
    body: bytes = b"",
    plain_loopback: bool,
    start_bytes_max: int,
    total_s: float,
) -> Answered:
    """Send a message to https://… and say what was answered. Raises FetchFailed.

    Once there is a status, what becomes of the body is no failure: the server has answered.
    """
    place = _place(url, plain_loopback=plain_loopback)
    with _opened(place, total_s) as line:
        return _told(line.socket, place, method, headers, body, start_bytes_max)


def is_allowed(url: str, *, plain_loopback: bool) -> bool:
    """Whether an address may be asked at all, as far as can be said without looking it up."""
    try:
        place = _place(url, plain_loopback=plain_loopback)
    except FetchFailed:
        return False
    try:
        ip_address(place.host)
    except ValueError:
        return place.inside or place.host not in LOOPBACK
    return place.inside or is_public(place.host)


def is_public(text: str) -> bool:
    """Whether an address belongs to the internet at large.

    Addresses that hide another one (mapped, 6to4, NAT64) are reserved or are judged by it.
    """
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(str(address.ipv4_mapped))
        if address.sixtofour is not None:
            return is_public(str(address.sixtofour))
        if address.is_site_local:  # fec0::/10, given up by RFC 3879, which Python calls global.
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


@contextmanager
def _opened(place: Place, total_s: float) -> Iterator[_Line]:
    """A line to the place that is cut when the time is over; its errors are FetchFailed."""
    deadline = time.monotonic() + total_s
    line = _Line(_connected(place, deadline), deadline)
    # A server that sends a byte now and then keeps every single read in time: the line is cut.
    watch = threading.Timer(max(0.0, deadline - time.monotonic()), line.cut)
    watch.daemon = True
    watch.start()
    try:
        if place.https:
            line.secure(place.host)
        yield line
    except (OSError, ValueError, http.client.HTTPException) as error:
        late = isinstance(error, TimeoutError) or line.late
        raise FetchFailed(Trouble.TOO_SLOW if late else Trouble.UNREACHABLE) from error
    finally:
        watch.cancel()
        line.socket.close()


class _Line:
    """The connection, which another thread may cut."""

    def __init__(self, opened: socket.socket, deadline: float) -> None:
        self.socket = opened
        self._deadline = deadline

    @property
    def late(self) -> bool:
        """Whether its time is over."""
        return time.monotonic() >= self._deadline

    def secure(self, host: str) -> None:
        """Speak TLS with whoever can prove to be this host."""
        context = ssl.create_default_context()
        # The handshake comes after the socket is known here, so that it can be cut as well.
        self.socket = context.wrap_socket(
            self.socket, server_hostname=host, do_handshake_on_connect=False
        )
        self.socket.do_handshake()

    def cut(self) -> None:
        with contextlib.suppress(OSError):
            # Not that of TLS, which would take the session away from under the reader.
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)


def _place(url: str, *, plain_loopback: bool) -> Place:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise FetchFailed(Trouble.NOT_ALLOWED) from None
    inside = plain_loopback and host in LOOPBACK
    https = parts.scheme == "https"
    port = port or (HTTPS_PORT if https else 80)
    odd = not url.isascii() or not url.isprintable() or " " in url or "@" in parts.netloc
    allowed = (https and port == HTTPS_PORT) or (inside and parts.scheme in ("http", "https"))
    if odd or not host or not allowed:
        raise FetchFailed(Trouble.NOT_ALLOWED)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Place(host, port, target, parts.netloc, https, inside)


def _connected(place: Place, deadline: float) -> socket.socket:
    """A connection to an address of the host, all of which were judged."""
    try:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise FetchFailed(Trouble.NO_SUCH_HOST) from None
    addresses = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    for _, address in addresses:
        text = str(address[0])
        fits = ip_address(text.partition("%")[0]).is_loopback if place.inside else is_public(text)
        if not fits:
            raise FetchFailed(Trouble.PRIVATE)
    trouble = Trouble.UNREACHABLE
    for family, address in addresses[:ADDRESSES_TRIED_MAX]:
        left = deadline - time.monotonic()
        if left <= 0:
            raise FetchFailed(Trouble.TOO_SLOW)
        opened = socket.socket(family, socket.SOCK_STREAM)
        try:
            opened.settimeout(min(CONNECT_S, left))
            opened.connect(address)
        except OSError as error:
            opened.close()
            trouble = Trouble.TOO_SLOW if isinstance(error, TimeoutError) else trouble
        else:
            opened.settimeout(READ_S)
            return opened
    raise FetchFailed(trouble)


def _asked(opened: socket.socket, place: Place, bytes_max: int) -> bytes:
    connection = http.client.HTTPConnection(place.host, place.port)
    connection.sock = opened
    headers = {
        "Host": place.netloc, "User-Agent": USER_AGENT, "Accept": "*/*",
        "Accept-Encoding": "identity", "Connection": "close",
    }  # fmt: skip
    connection.request("GET", place.target, headers=headers)
    with connection.getresponse() as answer:
        if 300 <= answer.status < 400:
            raise FetchFailed(Trouble.REDIRECTED)
        if answer.status != 200:
            raise FetchFailed(Trouble.REFUSED)
        if (answer.getheader("Content-Encoding") or "identity").lower() != "identity":
            raise FetchFailed(Trouble.PACKED)
        if (answer.length or 0) > bytes_max:
            raise FetchFailed(Trouble.TOO_LARGE)
        parts, count = [], 0
        while part := answer.read(CHUNK_BYTES):
            parts.append(part)
            count += len(part)
            if count > bytes_max:
                raise FetchFailed(Trouble.TOO_LARGE)
        if answer.length:  # So much was still to come when the line broke.
            raise FetchFailed(Trouble.UNREACHABLE)
    return b"".join(parts)


def _told(
    opened: socket.socket,
    place: Place,
    method: str,
    headers: Mapping[str, str],
    body: bytes,
    start_bytes_max: int,
) -> Answered:
    connection = http.client.HTTPConnection(place.host, place.port)
    connection.sock = opened
    own = {"Host": place.netloc, "Accept": "*/*", "Accept-Encoding": "identity"}
    connection.request(
        method, place.target, body=body or None,
        headers={**headers, **own, "Connection": "close"},
    )  # fmt: skip
    with connection.getresponse() as answer:
        start = b""
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            while len(start) < start_bytes_max:
                part = answer.read1(start_bytes_max - len(start))
                if not part:
                    break
                start += part
        return Answered(answer.status, answer.getheader("Retry-After"), start)
