"""Click ids and the signed click token that travels to the shop as ``?kpk=`` (pure).

A click id is a UUID of version 7 (RFC 9562, section 5.7): its first 48 bits are the
millisecond of the click, so the id alone says when it was and in which partition it lies.

Token: base64url without padding of ``version+flags(1) key id(2) click id(16) link id(8)
visitor id(16) mac(16)``: 59 bytes, 79 characters. Docs: docs/integration.md, "Click token".
"""

from __future__ import annotations

import hmac
import os
from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from binascii import b2a_base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import blake2b, sha256
from struct import Struct
from typing import Final
from uuid import UUID

TOKEN_CHARS: Final = 79
TOKENS_KEPT_MAX: Final = 20
"""What a browser keeps of them on the shop's domain; the oldest go first."""
TOKEN_CHARS_MAX: Final = 120
MAC_BYTES: Final = 16
MS_BYTES: Final = 6
"""Of a millisecond since the epoch, before an id's noise."""
CLICK_ID_NOISE_BYTES: Final = 10
VERSION: Final = 0x10
"""Upper four bits of the first byte; the lower four are flags."""
FLAG_UNRECORDED: Final = 0x01
NO_VISITOR: Final = bytes(16)

_BODY = Struct(">B2s16sq16s")
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_ALPHABET = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
_MARK_VERSION = bytes(0x70 | byte & 0x0F for byte in range(256))
_MARK_VARIANT = bytes(0x80 | byte & 0x3F for byte in range(256))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RANDOM_MASK = (0x0FFF << 64) | ((1 << 62) - 1)
_VERSION_AND_VARIANT = (0x7 << 76) | (0b10 << 62)


class BadTokenReason(StrEnum):
    """Why a token was not believed."""

    MALFORMED = "malformed"
    UNKNOWN_VERSION = "unknown_version"
    UNKNOWN_KEY = "unknown_key"
    BAD_SIGNATURE = "bad_signature"


@dataclass(frozen=True, slots=True)
class BadToken:
    """A token that credits nobody, and why."""

    reason: BadTokenReason


@dataclass(frozen=True, slots=True)
class ClickToken:
    """What a believed token says. Program and affiliate come from the link's row."""

    click_id: UUID
    link_id: int
    visitor_id: UUID | None
    """None in consent mode, where no visitor is remembered."""
    clicked_at: datetime
    unrecorded: bool
    """True when the click could be written nowhere; its order is credited all the same."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key with its short public id, so that a reader picks the right one of several."""

    key_id: bytes
    secret: bytes

    @classmethod
    def of(cls, secret: bytes) -> SigningKey:
        return cls(sha256(b"kopeck:click-token-key-id:" + secret).digest()[:2], secret)


def new_click_id(now_ms: int, random80: bytes) -> bytes:
    """A click id for this millisecond out of ten random bytes."""
    tail = int.from_bytes(random80, "big") & _RANDOM_MASK | _VERSION_AND_VARIANT
    return ((now_ms << 80) | tail).to_bytes(16, "big")


def click_id_noise(clicks: int) -> bytes:
    """What follows the six bytes of the millisecond in the ids of that many clicks, in a row.

    The same ids as ``new_click_id`` makes, drawn and marked many at a time: byte 6 of an id
    carries the version, byte 8 the variant (RFC 9562, section 5.7).
    """
    size = CLICK_ID_NOISE_BYTES
    noise = bytearray(os.urandom(size * clicks))
    noise[0::size] = noise[0::size].translate(_MARK_VERSION)
    noise[2::size] = noise[2::size].translate(_MARK_VARIANT)
    return bytes(noise)


def clicked_ms_of(click_id: bytes) -> int:
    """Milliseconds since the epoch at which the click was made."""
    return int.from_bytes(click_id[:6], "big")


def clicked_at_of(click_id: UUID) -> datetime:
    """The instant of the click, exactly as its row has it (to the millisecond, UTC).

    Raises OverflowError for an id that is not a click's and names a year past 9999.
    """
    return _EPOCH + timedelta(milliseconds=click_id.int >> 80)


def is_click_id(click_id: UUID) -> bool:
    """Whether the UUID can be a click's at all: version 7, in a year that a date can name."""
    return click_id.version == 7 and (click_id.int >> 80) < 253_402_300_800_000


class Minter:
    """Mints the tokens of one key; the key is set up once and not for each token."""

    def __init__(self, key: SigningKey) -> None:
        self._key_id = key.key_id
        self._mac = blake2b(key=key.secret, digest_size=MAC_BYTES).copy

    def mint(self, click_id: bytes, link_id: int, visitor_id: bytes, recorded: bool) -> str:
        """The token of a click, signed with keyed BLAKE2b of 128 bits (RFC 7693, section 2.9)."""
        head = VERSION if recorded else VERSION | FLAG_UNRECORDED
        body = _BODY.pack(head, self._key_id, click_id, link_id, visitor_id)
        mac = self._mac()
        mac.update(body)
        return url_safe(body + mac.digest())


def mint(
    key: SigningKey, click_id: bytes, link_id: int, visitor_id: bytes, *, unrecorded: bool = False
) -> str:
    """One token alone; who mints many keeps a ``Minter``."""
    return Minter(key).mint(click_id, link_id, visitor_id, not unrecorded)


def read(token: str, keys: Sequence[SigningKey]) -> ClickToken | BadToken:
    """Believe a token or say why not; compares in constant time. Never raises."""
    signed = _decode(token)
    if signed is None:
        return BadToken(BadTokenReason.MALFORMED)
    body, mac = signed[: _BODY.size], signed[_BODY.size :]
    head, key_id, click_id, link_id, visitor_id = _BODY.unpack(body)
    if head & 0xF0 != VERSION:
        return BadToken(BadTokenReason.UNKNOWN_VERSION)
    candidates = [key for key in keys if key.key_id == key_id]
    if not candidates:
        return BadToken(BadTokenReason.UNKNOWN_KEY)
    if not any(hmac.compare_digest(_mac(key, body), mac) for key in candidates):
        return BadToken(BadTokenReason.BAD_SIGNATURE)
    click = UUID(bytes=click_id)
    return ClickToken(
        click_id=click,
        link_id=link_id,
        visitor_id=None if visitor_id == NO_VISITOR else UUID(bytes=visitor_id),
        clicked_at=clicked_at_of(click),
        unrecorded=bool(head & FLAG_UNRECORDED),
    )


def signing_keys(secrets: Sequence[bytes]) -> tuple[SigningKey, ...]:
    """Keys for ``read``, current one first: ``signing_keys(settings.keys("click-token"))``."""
    return tuple(SigningKey.of(secret) for secret in secrets)


def url_safe(raw: bytes) -> str:
    """base64url without padding (RFC 4648, section 5), in a third of urlsafe_b64encode's time."""
    return b2a_base64(raw, newline=False).translate(_URL_SAFE, b"=").decode("ascii")


def _mac(key: SigningKey, body: bytes) -> bytes:
    return blake2b(body, key=key.secret, digest_size=MAC_BYTES).digest()


def _decode(token: str) -> bytes | None:
    if len(token) != TOKEN_CHARS or not token.isascii():
        return None
    text = token.encode("ascii")
    if not _ALPHABET.issuperset(text):
        return None
    try:
        signed = urlsafe_b64decode(text + b"=")
    except (Base64Error, ValueError):  # pragma: no cover - the alphabet was checked above
        return None
    # The last character carries two bits that nothing signs; only one spelling is ours.
    return signed if url_safe(signed) == token else None
