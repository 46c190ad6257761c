"""Passwords: argon2id, rules that help, and the same work for addresses that nobody has.

Hashes are plain argon2id strings with argon2-cffi's recommended cost, which Flask-Security
(PASSWORD_SINGLE_HASH) reads as well.
"""

from __future__ import annotations

import unicodedata
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from affiliate.core.errors import Invalid, Phrase

CHARS_MIN = 10
CHARS_MAX = 200
DIFFERENT_CHARS_MIN = 5

_hasher = PasswordHasher()


def check_rules(password: str, *, email: str, field: str = "password") -> None:
    """Raise Invalid for a password that is too short, too long, or no secret at all."""
    plain = _normal(password)
    local_part = email.partition("@")[0].lower()
    if len(plain) < CHARS_MIN:
        raise Invalid.field(
            field, "too_short", Phrase("Use at least %(least)s characters.", least=CHARS_MIN)
        )
    if len(plain) > CHARS_MAX:
        raise Invalid.field(
            field, "too_long", Phrase("Use at most %(most)s characters.", most=CHARS_MAX)
        )
    if plain.lower() in (email.lower(), local_part):
        raise Invalid.field(field, "is_email", "The password cannot be your address.")
    if len(set(plain)) < DIFFERENT_CHARS_MIN:
        raise Invalid.field(field, "too_simple", "Use more different characters.")


def hashed(password: str) -> str:
    """The argon2id hash to store."""
    return _hasher.hash(_normal(password))


def matches(stored: str | None, password: str) -> bool:
    """Whether the password is the stored one. Without a stored one, costs the same."""
    try:
        return _hasher.verify(stored or _nobodys_hash(), _normal(password)) and stored is not None
    except (VerificationError, InvalidHashError):
        return False


def outdated(stored: str) -> bool:
    """Whether the hash was made with a lower cost than today's."""
    return _hasher.check_needs_rehash(stored)


def _normal(password: str) -> str:
    """The same password typed on another keyboard must be the same bytes (NIST 800-63B)."""
    return unicodedata.normalize("NFKC", password)


@cache
def _nobodys_hash() -> str:
    return _hasher.hash("nobody has this password")
