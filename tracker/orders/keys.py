"""The keys that orders are read with: click tokens, order tokens, what is kept of buyers.

Each is derived from the installation's secret; none is stored.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from flask import current_app, has_app_context

from affiliate.core.config import Settings
from tracker.clicks.tokens import SigningKey, signing_keys
from tracker.clicks.visitors import AddressHasher

_NUMBERS: Final = re.compile(r"(?<![A-Z0-9])(?:[A-Z]{2}\d{2}[A-Z0-9]{10,30}|\d{12,34})(?![A-Z0-9])")
"""IBANs (ISO 13616) and account or card numbers in a text without spaces."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Current key first, then those that still verify what they made."""

    clicks: tuple[SigningKey, ...]
    emails: tuple[bytes, ...]
    payments: tuple[bytes, ...]
    devices: tuple[bytes, ...]
    networks: AddressHasher

    def email_hash(self, email_sha256: str) -> bytes:
        """What we keep of a buyer's address: an HMAC of the SHA-256 that the shop sent.

        A plain SHA-256 of an address is found by trying addresses; without the key this is not.
        """
        return hmac.digest(self.emails[0], email_sha256.lower().encode("ascii"), "sha256")

    def email_hashes_of(self, email: str) -> frozenset[bytes]:
        """A known address under every key, to compare with what is kept."""
        plain = hashlib.sha256(email.strip().lower().encode()).hexdigest().encode("ascii")
        return frozenset(hmac.digest(key, plain, "sha256") for key in self.emails)

    def payment_hash(self, payment_sha256: str) -> str:
        """What we keep of the account that paid: an HMAC of the SHA-256 that the shop sent."""
        return _payment(self.payments[0], payment_sha256.lower())

    def payment_hashes_of(self, account: str) -> frozenset[str]:
        """An account that we pay to, and each number in its text, under every key."""
        plain = "".join(account.split()).upper()
        sent = [
            hashlib.sha256(each.encode()).hexdigest() for each in {plain, *_NUMBERS.findall(plain)}
        ]
        return frozenset(_payment(key, each) for key in self.payments for each in sent)

    def device_marks(self, visitor: UUID) -> list[UUID]:
        """What is kept of a browser in which an affiliate's account was open, current key first.

        Not the visitor's id itself, which stands beside each of their clicks.
        """
        return [
            UUID(bytes=hashlib.blake2b(visitor.bytes, key=key, digest_size=16).digest())
            for key in self.devices
        ]

    def network_mark(self, address: str, at: datetime) -> UUID:
        """A network address as clicks keep it: hashed by the key of its UTC day."""
        return UUID(bytes=self.networks.hash(address, int(at.timestamp() * 1000)))


def _payment(key: bytes, sent: str) -> str:
    return hmac.digest(key, sent.encode("ascii"), "sha256").hex()


def order_keys(settings: Settings | None = None) -> Keys:
    """The keys of this installation."""
    found = settings or application_settings()
    return _derived(found.secrets, found)


def order_token_keys(program_id: int, settings: Settings | None = None) -> tuple[bytes, ...]:
    """A program's keys for signed order tokens; a shop is given the first (hexadecimal)."""
    return (settings or application_settings()).keys(f"order-token:{program_id}")


def application_settings() -> Settings:
    """The settings of the application around us; a verb outside of one is given them."""
    if not has_app_context():
        raise RuntimeError("outside the application, pass the settings")
    settings: Settings = current_app.extensions["kopeck.settings"]
    return settings


_cache: dict[tuple[str, ...], Keys] = {}


def _derived(secrets: tuple[str, ...], settings: Settings) -> Keys:
    keys = _cache.get(secrets)
    if keys is None:
        keys = Keys(
            clicks=signing_keys(settings.keys("click-token")),
            emails=settings.keys("customer-email"),
            payments=settings.keys("customer-payment"),
            devices=settings.keys("affiliate-device"),
            networks=AddressHasher(settings.key("address")),
        )
        _cache[secrets] = keys
    return keys
