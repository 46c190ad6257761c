"""Who clicked: the visitor cookie, the client's address, keyed hashes of it (pure)."""

from __future__ import annotations

import hmac
import threading
import time
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from ipaddress import ip_address
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from tracker.clicks.tokens import CLICK_ID_NOISE_BYTES, MS_BYTES, click_id_noise, url_safe

COOKIE_NAME: Final = "kpk_v"
COOKIE_DAYS: Final = 365
VALUE_CHARS: Final = 43
"""base64url of a visitor id (16 bytes) and its signature (16 bytes)."""
COOKIE_HEADER_CHARS_MAX: Final = 8192
FORWARDED_CHARS_MAX: Final = 60
"""An IPv6 address with its zone, brackets, port and spaces; longer ones are none."""
IPV4_MAPPED: Final = bytes(10) + b"\xff\xff"
DAY_MS: Final = 86_400_000

_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def new_visitor_ids(visitors: int) -> bytes:
    """That many new ids in a row, sixteen bytes each: of this millisecond and random from there.

    UUIDs of version 7, as click ids are (RFC 9562, section 5.7): new visitors then stand at the end
    of the index of visitors. In random order they cost PostgreSQL two fifths of a click.
    """
    begin = (time.time_ns() // 1_000_000).to_bytes(MS_BYTES, "big")
    noise, size = click_id_noise(visitors), CLICK_ID_NOISE_BYTES
    return b"".join([begin + noise[at : at + size] for at in range(0, len(noise), size)])


def cookie_name(*, https: bool) -> str:
    """``__Host-`` binds the cookie to this host and to https (RFC 6265bis, section 4.1.3)."""
    return f"__Host-{COOKIE_NAME}" if https else COOKIE_NAME


def cookie_attributes(*, https: bool) -> str:
    """Everything after the value in Set-Cookie."""
    secure = "; Secure" if https else ""
    return f"; Max-Age={COOKIE_DAYS * 86_400}; Path=/; HttpOnly; SameSite=Lax{secure}"


class VisitorCookie:
    """Our own memory of a visitor: base64url of the visitor's id and its signature.

    The signature is the id encrypted with AES: on messages of exactly one block that is a
    secure MAC (NIST SP 800-38B, of which CMAC is the general form), and a thousand of them
    cost one call. It is made with the current key and read with any.
    """

    def __init__(self, keys: Sequence[bytes], *, https: bool) -> None:
        # Blocks do not depend on each other in this mode, so one context serves for ever.
        self._encrypt = [Cipher(AES(key), ECB()).encryptor().update for key in keys]  # noqa: S305
        # The library lets other threads run while it works and refuses them the context then.
        self._one_at_a_time = threading.Lock()
        self.marker = cookie_name(https=https) + "="
        """Before the value, in Cookie and in Set-Cookie."""
        self.tail = cookie_attributes(https=https)
        """After the value, in Set-Cookie."""

    def sign(self, visitor_ids: bytes) -> bytes:
        """The signatures of any number of visitor ids, both in a row, sixteen bytes each."""
        with self._one_at_a_time:
            return self._encrypt[0](visitor_ids)

    def headers(self, visitor_ids: Sequence[bytes]) -> list[str]:
        """Set-Cookie's values for new visitors."""
        macs = self.sign(b"".join(visitor_ids))
        # With one byte between them, each value is a whole number of base64's triples.
        signed = b"\0".join(
            [
                visitor_id + macs[at : at + 16]
                for at, visitor_id in zip(range(0, len(macs), 16), visitor_ids, strict=True)
            ]
        )
        text, marker, tail = url_safe(signed), self.marker, self.tail
        return [
            f"{marker}{text[at : at + VALUE_CHARS]}{tail}"
            for at in range(0, len(text), VALUE_CHARS + 1)
        ]

    def read(self, header: str) -> bytes | None:
        """The visitor id out of a Cookie header, or None when absent or not signed by us.

        A tampered, foreign or oversized cookie is no error: the visitor is simply new.
        """
        if len(header) > COOKIE_HEADER_CHARS_MAX:
            return None
        for pair in header.split(";"):
            text = pair.strip()
            if text.startswith(self.marker):
                return self._verified(text[len(self.marker) :])
        return None

    def _verified(self, value: str) -> bytes | None:
        if len(value) != VALUE_CHARS or not _ALPHABET.issuperset(value):
            return None
        raw = urlsafe_b64decode(value + "=")
        visitor_id, mac = raw[:16], raw[16:]
        with self._one_at_a_time:
            expected = [encrypt(visitor_id) for encrypt in self._encrypt]
        known = any(hmac.compare_digest(one, mac) for one in expected)
        return visitor_id if known else None


class AddressHasher:
    """Hashes addresses with the salt of their day, which is set up once for each.

    IPv6 is cut to its /64: one household, one hash; the rest of it is the device's choice.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._salted = (-1, blake2b())

    def hash(self, address: str, now_ms: int) -> bytes:
        """16 bytes that tell addresses of one day apart; only the secret turns them back."""
        day, salted = self._salted
        if now_ms // DAY_MS != day:
            day = now_ms // DAY_MS
            salted = blake2b(key=address_salt(self._key, day), digest_size=16)
            self._salted = (day, salted)
        if ":" in address:
            address = _network(address)
        digest = salted.copy()
        digest.update(address.encode("utf-8", "replace"))
        return digest.digest()


def client_address(environ: Mapping[str, Any], proxy_hops: int) -> str:
    """The client's address: the one that our outermost proxy saw.

    ``X-Forwarded-For`` is believed for exactly as many hops as are ours, counted from the
    right; whatever the client wrote further left is its own invention. ``Forwarded`` (RFC
    7239) is not read at all: proxies pass it through that know nothing of it. What stands
    there and is no address is not believed either.
    """
    direct: str = environ.get("REMOTE_ADDR", "")
    # Reading the empty text as an address costs half a click, so it is not tried.
    if not proxy_hops or not environ.get("HTTP_X_FORWARDED_FOR"):
        return direct
    hops = environ["HTTP_X_FORWARDED_FOR"].rsplit(",", proxy_hops)
    if len(hops) < proxy_hops:
        return direct
    seen: str = hops[-proxy_hops]
    if len(seen) > FORWARDED_CHARS_MAX:
        return direct
    return _forwarded_address(seen) or direct


def address_salt(key: bytes, day: int) -> bytes:
    """The salt of one UTC day (days since the epoch), the same on every node."""
    return hmac.digest(key, b"kopeck:address:%d" % day, "sha256")


def _forwarded_address(seen: str) -> str | None:
    """The address that a proxy wrote down; some write the port behind it.

    The operating system's reading of the common case costs a tenth of ipaddress's, and most
    addresses are new ones: remembering them would not help.
    """
    text = seen.strip()
    try:
        inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    except (OSError, ValueError):
        return _unusual_address(text)
    return text


def _unusual_address(text: str) -> str | None:
    """Brackets, ports and zones; None for what is no address."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        return None


def _network(address: str) -> str:
    """An IPv6 address cut to its /64; one that carries an IPv4 address as that."""
    try:
        packed = inet_pton(AF_INET6, address.partition("%")[0])
    except (OSError, ValueError):
        return address
    if packed.startswith(IPV4_MAPPED):
        return inet_ntop(AF_INET, packed[len(IPV4_MAPPED) :])
    return inet_ntop(AF_INET6, packed[:8] + bytes(8))
