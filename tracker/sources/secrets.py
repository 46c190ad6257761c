"""Secrets that we verify with, and therefore have to know: encrypted while they lie in the table.

Fernet (AES-128-CBC with HMAC-SHA256) under a key of KOPECK_SECRET; after that has been changed the
older one opens what it closed.
"""

from __future__ import annotations

import secrets
from base64 import b64encode, urlsafe_b64encode
from typing import Final

import structlog
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from affiliate.core.config import Settings

PURPOSE: Final = "source-secret"
RANDOM_BYTES: Final = 32

log = structlog.get_logger(__name__)


def closed(plain: str, settings: Settings) -> str:
    """The secret as it is stored."""
    return _box(settings).encrypt(plain.encode()).decode("ascii")


def opened(stored: str, settings: Settings) -> str | None:
    """The secret; None where it was closed under a KOPECK_SECRET that was taken away."""
    try:
        return _box(settings).decrypt(stored.encode("ascii")).decode()
    except InvalidToken:
        log.error("source.secret_unreadable")
        return None


def made_up(*, standard: bool) -> str:
    """A new secret; in the form of Standard Webhooks where the other side knows that."""
    if standard:
        return "whsec_" + b64encode(secrets.token_bytes(RANDOM_BYTES)).decode("ascii")
    return secrets.token_urlsafe(RANDOM_BYTES)


def _box(settings: Settings) -> MultiFernet:
    return MultiFernet([Fernet(urlsafe_b64encode(key)) for key in settings.keys(PURPOSE)])
