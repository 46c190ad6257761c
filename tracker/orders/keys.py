"""The keys that orders are read with: click tokens, order tokens, buyers' addresses.

Each is derived from the installation's secret; none is stored.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from flask import current_app, has_app_context

from affiliate.core.config import Settings
from tracker.clicks.tokens import SigningKey, signing_keys


@dataclass(frozen=True, slots=True)
class Keys:
    """Current key first, then those that still verify what they made."""

    clicks: tuple[SigningKey, ...]
    emails: tuple[bytes, ...]

    def email_hash(self, email_sha256: str) -> bytes:
        """What we keep of a buyer's address: an HMAC of the SHA-256 that the shop sent.

        A plain SHA-256 of an address is found by trying addresses; without the key this is not.
        """
        return hmac.digest(self.emails[0], email_sha256.lower().encode("ascii"), "sha256")

    def email_hashes_of(self, email: str) -> frozenset[bytes]:
        """A known address under every key, to compare with what is kept."""
        plain = hashlib.sha256(email.strip().lower().encode()).hexdigest().encode("ascii")
        return frozenset(hmac.digest(key, plain, "sha256") for key in self.emails)


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
        keys = Keys(signing_keys(settings.keys("click-token")), settings.keys("customer-email"))
        _cache[secrets] = keys
    return keys
