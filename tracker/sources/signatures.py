"""Whether a body is the shop system's: its signature over the raw bytes, in constant time (pure).

Any of the secrets that are valid may have signed. Sources: shopify.dev/docs/apps/build/webhooks,
"Verify"; woocommerce.github.io/woocommerce-rest-api-docs/#webhooks; docs.stripe.com/webhooks,
"Verify manually"; standardwebhooks.com.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from tracker.sources.rules import Kind

TOLERANCE_S: Final = 300
"""How far the time of a signature that has one may be from ours, to either side."""
SIGNATURES_MAX: Final = 20
"""A header may bring several while its sender rolls a key; a stranger might bring thousands."""
_STANDARD: Final = "whsec_"


class Scheme(StrEnum):
    """How a generic source signs."""

    HMAC_HEX = "hmac_hex"
    HMAC_BASE64 = "hmac_base64"
    STANDARD = "standard"


class Headers(Protocol):
    """Names are looked up whatever their case: a request's headers."""

    def get(self, key: str, default: str, /) -> str: ...


def is_signed(
    kind: Kind,
    *,
    raw: bytes,
    headers: Headers,
    secrets: Sequence[str],
    now: datetime,
    scheme: Scheme = Scheme.HMAC_HEX,
    header: str = "",
) -> bool:
    """Whether one of the secrets signed this very body, and lately where the signature says when.

    `scheme` and `header` are of a generic source. Never raises.
    """
    if kind is Kind.SHOPIFY:
        return _fits(_one(headers, "X-Shopify-Hmac-SHA256"), raw, secrets, _base64)
    if kind is Kind.WOOCOMMERCE:
        return _fits(_one(headers, "X-WC-Webhook-Signature"), raw, secrets, _base64)
    if kind is Kind.STRIPE:
        return _stripe(headers.get("Stripe-Signature", ""), raw, secrets, now)
    if scheme is Scheme.STANDARD:
        return _standard(headers, raw, secrets, now)
    encode = _hex if scheme is Scheme.HMAC_HEX else _base64
    said = headers.get(header, "").strip()
    return _fits([said.removeprefix("sha256=")], raw, secrets, encode)


def _one(headers: Headers, name: str) -> list[str]:
    return [headers.get(name, "").strip()]


def _stripe(said: str, raw: bytes, secrets: Sequence[str], now: datetime) -> bool:
    """t=…,v1=…: the HMAC is over the seconds, a point and the body."""
    parts = [part.partition("=") for part in said.split(",")[:SIGNATURES_MAX]]
    times = [value for name, _, value in parts if name.strip() == "t"]
    signatures = [value for name, _, value in parts if name.strip() == "v1"]
    if len(times) != 1 or not _is_recent(times[0], now):
        return False
    return _fits(signatures, times[0].encode() + b"." + raw, secrets, _hex)


def _standard(headers: Headers, raw: bytes, secrets: Sequence[str], now: datetime) -> bool:
    """webhook-signature: v1,… v1,…; the HMAC is over id, seconds and body, joined by points."""
    id_, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    said = headers.get("webhook-signature", "").split(" ")[:SIGNATURES_MAX]
    if not id_ or not _is_recent(at, now):
        return False
    signed = f"{id_}.{at}.".encode("utf-8", "replace") + raw
    found = [each.removeprefix("v1,") for each in said if each.startswith("v1,")]
    keys = [key for secret in secrets if (key := _standard_key(secret))]
    return _fits(found, signed, keys, _base64)


def _standard_key(secret: str) -> bytes:
    try:
        return b64decode(secret.removeprefix(_STANDARD), validate=True)
    except (Base64Error, ValueError):
        return b""


def _is_recent(seconds: str, now: datetime) -> bool:
    if not (seconds.isascii() and seconds.isdecimal() and len(seconds) <= 12):
        return False
    return abs(now.timestamp() - int(seconds)) <= TOLERANCE_S


def _fits(
    said: Sequence[str],
    signed: bytes,
    secrets: Sequence[str] | Sequence[bytes],
    encode: Callable[[bytes], str],
) -> bool:
    """Compares with every secret, whichever fits, so that the time tells nothing."""
    found = [
        hmac.compare_digest(expected.encode(), each.encode("utf-8", "replace"))
        for expected in _expected(signed, secrets, encode)
        for each in said
    ]
    return any(found)


def _expected(
    signed: bytes,
    secrets: Sequence[str] | Sequence[bytes],
    encode: Callable[[bytes], str],
) -> Iterator[str]:
    for secret in secrets:
        key = secret if isinstance(secret, bytes) else secret.encode()
        if key:
            yield encode(hmac.digest(key, signed, "sha256"))


def _hex(digest: bytes) -> str:
    return digest.hex()


def _base64(digest: bytes) -> str:
    return b64encode(digest).decode()
