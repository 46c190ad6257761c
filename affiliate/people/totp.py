"""Codes of an authenticator app: Flask-Security's TOTP, with our keys and our memory of use.

RFC 6238: six digits, 30 seconds, SHA-1. A code of the step before or after is taken too, for
clocks that differ; the caller keeps the step that was used, so that a code works once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import structlog
from flask import current_app
from flask_security.totp import Totp
from passlib.totp import TOTP, AppWallet, TokenError

from affiliate.core.config import Settings

STEP_S = 30
DIGITS = 6
LASTING_S = 5
PURPOSE = "totp"

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Matched:
    """A good code: the step that it is of, and the secret as it is to be stored from now on."""

    counter: int
    secret: str


class _Totp(Totp):
    """Flask-Security's, whose own wallet would encrypt under the key with the largest name."""

    def __init__(self, settings: Settings) -> None:
        keys = {_key_id(key): key.hex() for key in settings.keys(PURPOSE)}
        wallet = AppWallet(keys, default_tag=_key_id(settings.key(PURPOSE)))
        host = urlsplit(settings.public_url).hostname or ""
        self._totp = TOTP.using(issuer=f"Kopeck {host}", wallet=wallet)

    def match(self, secret: str, code: str, *, after: int | None, at: datetime) -> Matched | None:
        """The step that the code is of, later than step `after`; None for no such."""
        known = self._totp.from_source(secret)
        try:
            found = known.match(code, time=at, window=STEP_S, last_counter=after)
        except TokenError:
            return None
        return Matched(int(found.counter), known.to_json(encrypt=True) if known.changed else secret)

    def code_at(self, secret: str, at: datetime) -> str:
        """The code that an app would show at that moment."""
        return str(self._totp.from_source(secret).generate(time=at).token)


def new_secret() -> str:
    """A random secret, encrypted under the key of today's KOPECK_SECRET."""
    return str(_ours().generate_totp_secret())


def match(secret: str, code: str, *, after: int | None, at: datetime) -> Matched | None:
    """See `_Totp.match`. None as well for a secret of a KOPECK_SECRET that was taken away."""
    try:
        return _ours().match(secret, code, after=after, at=at)
    except KeyError:
        log.error("totp.key_unknown")
        return None


def address(secret: str, email: str) -> str:
    """The `otpauth://` address that the QR code holds."""
    return str(_ours().get_totp_uri(email, secret))


def typed_key(secret: str) -> str:
    """The secret for whoever types it: groups of four."""
    return str(_ours().get_totp_pretty_key(secret))


def code_for(secret: str, *, after: int | None, at: datetime) -> str:
    """A code that would be taken now, for the demo's page and for tests; never in production.

    The first of the steps that count for LASTING_S and come after the last used one; after all of
    them were used it is the latest, which is good again when its time has passed.
    """
    if _settings().production:
        raise RuntimeError("codes are shown in demo mode alone")
    step = int(at.timestamp()) // STEP_S
    first = int(at.timestamp() + LASTING_S) // STEP_S - 1
    if after is not None:
        first = max(first, after + 1)
    moment = at + timedelta(seconds=STEP_S * (min(first, step + 1) - step))
    return _ours().code_at(secret, moment)


def recovery_codes(number: int) -> list[str]:
    """Random codes of 48 bits, in groups of four, as Flask-Security makes them."""
    made: list[str] = _ours().generate_recovery_codes(number)
    return made


def _key_id(key: bytes) -> str:
    """A name for the key that tells nothing of it."""
    return hashlib.sha256(b"kopeck-totp-key-id" + key).hexdigest()[:12]


def _ours() -> _Totp:
    return _Totp(_settings())


def _settings() -> Settings:
    settings: Settings = current_app.extensions["kopeck.settings"]
    return settings
