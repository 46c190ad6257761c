"""API keys as they come with a call: read off the header, found by prefix, judged, noted.

`kpk_<prefix>_<secret>`: the prefix finds the row, and the secret is compared in constant time by
its SHA-256. Format: docs/api.md, "Keys".
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.db import rows
from affiliate.core.errors import Unauthenticated
from affiliate.people.models import Affiliate, ApiKey, Enrollment, User
from affiliate.people.rules import Status

LAST_USED_GRAIN_S = 60
_SHAPE = re.compile(r"kpk_([A-Za-z0-9]{4,16})_([A-Za-z0-9_-]{20,80})")
_NOBODYS_HASH = hashlib.sha256(b"no key has this secret").digest()
KEY: Final = (
    "k.id, k.program_id, k.secret_hash, k.scopes, k.revoked_at, k.expires_at, k.last_used_at, "
    "k.enrollment_id"
)
"""What `identity_of` judges, of the key `k` whose prefix was sent."""
KEY_COLUMNS: Final = 8
_BY_PREFIX: Final = f"SELECT {KEY} FROM api_keys k WHERE k.prefix = %(prefix)s"  # noqa: S608


@dataclass(frozen=True)
class ApiKeyIdentity:
    """Who is calling: a key of one program, or of one affiliate of it."""

    id: int
    program_id: int
    prefix: str
    scopes: frozenset[str]
    last_used_at: datetime | None = None
    enrollment_id: int | None = None
    """Of an affiliate's own key."""

    @property
    def label(self) -> str:
        """As it stands in the audit log: `key:kpk_ab12`."""
        return f"key:kpk_{self.prefix}"


class KeyRefused(Unauthenticated):
    code = "key_refused"
    title = "Send a valid API key: Authorization: Bearer kpk_…"

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": 'Bearer realm="kopeck"'}


class KeyInAddress(KeyRefused):
    code = "key_in_address"
    title = (
        "The API key stood in the address, where logs and proxies keep it. It is burnt: revoke "
        "it, make a new one and send that in the Authorization header."
    )


@dataclass(frozen=True, slots=True)
class SentKey:
    """A key as it was sent: its prefix, and the hash of its secret."""

    prefix: str
    secret_hash: bytes


def authenticate(session: Session, *, authorization: str, now: datetime) -> ApiKeyIdentity:
    """The key behind an Authorization header; KeyRefused for anything else."""
    sent = sent_key(authorization)
    if sent is None:
        raise KeyRefused
    found = rows(session, _BY_PREFIX, {"prefix": sent.prefix})
    return identity_of(sent, found[0] if found else None, now=now)


def sent_key(authorization: str) -> SentKey | None:
    """What an Authorization header says; None where that cannot be a key."""
    scheme, _, credentials = authorization.partition(" ")
    shape = _SHAPE.fullmatch(credentials.strip())
    if scheme.lower() != "bearer" or shape is None:
        return None
    prefix, secret = shape.groups()
    return SentKey(prefix, hash_of(secret))


def identity_of(sent: SentKey, row: Sequence[Any] | None, *, now: datetime) -> ApiKeyIdentity:
    """The key that was sent, by the row of KEY under its prefix; KeyRefused for anything else.

    An unknown prefix costs the same comparison as a known one, so that the time of the
    answer does not tell which prefixes exist.
    """
    stored = row[2] if row else _NOBODYS_HASH
    matches = hmac.compare_digest(stored, sent.secret_hash)
    if not row or not matches:
        raise KeyRefused
    id_, program_id, _, scopes, revoked_at, expires_at, last_used_at, enrollment_id = row
    if revoked_at is not None or (expires_at is not None and expires_at <= now):
        raise KeyRefused
    return ApiKeyIdentity(
        id_, program_id, sent.prefix, frozenset(scopes), last_used_at, enrollment_id
    )


def owner_may(session: Session, *, enrollment_id: int) -> bool:
    """Whether whoever made an own key may still sign in and is still in the program."""
    return (
        session.scalar(
            sa.select(User.active & Enrollment.status.in_((Status.ACTIVE, Status.SUSPENDED)))
            .join(Affiliate, Affiliate.user_id == User.id)
            .join(Enrollment, Enrollment.affiliate_id == Affiliate.id)
            .where(Enrollment.id == enrollment_id)
        )
        is True
    )


def use_is_news(identity: ApiKeyIdentity, *, now: datetime) -> bool:
    """Whether `note_use` would write: told from what was read with the key."""
    last = identity.last_used_at
    return last is None or last <= now - timedelta(seconds=LAST_USED_GRAIN_S)


def note_use(session: Session, *, key_id: int, now: datetime) -> bool:
    """Write when the key was last used, at most once a minute. True when it was written."""
    noted = session.execute(
        sa.update(ApiKey)
        .where(
            ApiKey.id == key_id,
            ApiKey.last_used_at.is_(None)
            | (ApiKey.last_used_at <= now - timedelta(seconds=LAST_USED_GRAIN_S)),
        )
        .values(last_used_at=now.replace(second=0, microsecond=0))
        .returning(ApiKey.id)
    ).one_or_none()
    return noted is not None


def looks_like_key(text: str) -> bool:
    """Whether a text holds a whole key (to refuse it in addresses)."""
    return _SHAPE.search(text) is not None


def hash_of(secret: str) -> bytes:
    """What is stored of a secret: it is random, so one SHA-256 hides it."""
    return hashlib.sha256(secret.encode()).digest()
