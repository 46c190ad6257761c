"""API keys of shops and affiliates: made and shown once, rotated, revoked, listed.

`kpk_<prefix>_<secret>`: the secret is 32 random bytes of which only the SHA-256 is stored. How
a key that is sent is recognised: affiliate.people.sent_keys. Format: docs/api.md, "Keys".
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Conflict, Invalid, NotFound, Phrase
from affiliate.people.models import ApiKey, Enrollment
from affiliate.people.rules import Status
from affiliate.people.sent_keys import hash_of

SCOPES = (
    "orders:read",
    "orders:write",
    "orders:import",
    "leads:read",
    "leads:write",
    "leads:import",
    "affiliates:read",
    "affiliates:write",
    "affiliates:manage",
    "applications:read",
    "applications:decide",
    "coupons:read",
    "coupons:write",
    "creatives:read",
    "commissions:read",
    "customers:read",
    "customers:erase",
    "withdrawals:read",
    "withdrawals:write",
    "batches:read",
    "statements:read",
    "statistics:read",
    "webhooks:read",
    "webhooks:write",
)
"""What a shop's key can be allowed; each view of the API names the one that it needs."""
OWN_SCOPES = ("own:read", "own:links")
"""What an affiliate's own key can be allowed, of what is theirs alone."""
OWN_KEYS_MAX = 10
"""Of an affiliate in a program, those that are not revoked."""
SECRET_BYTES = 32
PREFIX_BYTES = 4
OVERLAP_DAYS = 7
"""How long the key before goes on working after a rotation, unless told otherwise."""
OVERLAP_DAYS_MAX = 90
NAME_CHARS_MAX = 100
OURS = "kopeck."
"""What the names of keys begin with that a part of Kopeck made for itself, as the canary does."""


class KeysOfActiveOnly(Conflict):
    code = "keys_of_active_only"
    title = "Only an active affiliate of the program can make keys."


class TooManyKeys(Conflict):
    code = "too_many_keys"
    title = Phrase("You have %(most)s keys; revoke one that is not used.", most=OWN_KEYS_MAX)


class KeyIsOurs(Conflict):
    code = "key_is_ours"
    title = "Kopeck made this key for itself; what uses it makes a new one when it is switched on."


class KeyEnded(Conflict):
    code = "key_ended"
    title = "This key has ended; make a new one."


def create_key(
    session: Session,
    *,
    program_id: int,
    scopes: Collection[str],
    name: str,
    by: int | None,
    now: datetime,
    expires_at: datetime | None = None,
    secret: str | None = None,
) -> tuple[ApiKey, str]:
    """Make a key; the second value is the whole key, which nobody can read again.

    `by` is the user who made it, none for the command line. `secret` is for who can derive as
    good a one again and stores it nowhere. Raises Invalid for no scope or an unknown one.
    """
    _check_scopes(scopes, SCOPES)
    return _create(
        session, program_id, None, scopes, name=name, by=by, now=now, expires_at=expires_at,
        secret=secret,
    )  # fmt: skip


def create_own_key(
    session: Session,
    *,
    enrollment_id: int,
    scopes: Collection[str],
    name: str,
    by: int,
    now: datetime,
) -> tuple[ApiKey, str]:
    """Make an active affiliate's own key, which reaches nothing but what is theirs.

    Raises NotFound, KeysOfActiveOnly, TooManyKeys, and Invalid (`scopes`).
    """
    _check_scopes(scopes, OWN_SCOPES)
    # Locked, so that two requests at once do not both see the last free place.
    enrollment = session.get(
        Enrollment, enrollment_id, with_for_update={"key_share": True}, populate_existing=True
    )
    if enrollment is None:
        raise NotFound
    if enrollment.status != Status.ACTIVE:
        raise KeysOfActiveOnly
    live = sa.select(sa.func.count()).where(
        ApiKey.enrollment_id == enrollment_id, ApiKey.revoked_at.is_(None)
    )
    if (session.scalar(live) or 0) >= OWN_KEYS_MAX:
        raise TooManyKeys
    return _create(session, enrollment.program_id, enrollment_id, scopes, name=name, by=by, now=now)


def _check_scopes(scopes: Collection[str], known: Sequence[str]) -> None:
    unknown = sorted(set(scopes) - set(known))
    if unknown or not scopes:
        raise Invalid.field(
            "scopes",
            "unknown_scope" if unknown else "missing",
            Phrase("Name at least one of: %(scopes)s.", scopes=", ".join(known)),
        )


def _create(
    session: Session,
    program_id: int,
    enrollment_id: int | None,
    scopes: Collection[str],
    *,
    name: str,
    by: int | None,
    now: datetime,
    expires_at: datetime | None = None,
    secret: str | None = None,
) -> tuple[ApiKey, str]:
    secret = secret or secrets.token_urlsafe(SECRET_BYTES)
    key = ApiKey(
        program_id=program_id,
        enrollment_id=enrollment_id,
        name=_tidy(name),
        prefix=secrets.token_hex(PREFIX_BYTES),
        secret_hash=hash_of(secret),
        scopes=sorted(set(scopes)),
        created_by=by,
        created_at=now,
        expires_at=expires_at,
    )
    session.add(key)
    session.flush()
    audit.record(
        session,
        actor=audit.by_user(by),
        action="api_key.create",
        subject=f"key:kpk_{key.prefix}",
        scope=program_id,
        new={"name": key.name, "scopes": key.scopes},
        now=now,
    )
    return key, f"kpk_{key.prefix}_{secret}"


def rotate_key(
    session: Session,
    *,
    program_id: int,
    key_id: int,
    by: int | None,
    now: datetime,
    overlap: timedelta = timedelta(days=OVERLAP_DAYS),
) -> tuple[ApiKey, str]:
    """Make a key that may do what a shop's key may, and let that one end after the overlap.

    Until then both work, so that no call fails while the shop changes over. Returns what
    `create_key` returns. `now` is real time, as keys expire by it. Raises NotFound for
    anybody else's key, KeyIsOurs, KeyEnded, and Invalid (`days`).
    """
    if not timedelta(0) <= overlap <= timedelta(days=OVERLAP_DAYS_MAX):
        message = Phrase("Between 0 and %(most)s days.", most=OVERLAP_DAYS_MAX)
        raise Invalid.field("days", "out_of_range", message)
    old = _locked(session, program_id, key_id, None)
    if old.name.startswith(OURS):
        raise KeyIsOurs
    if old.has_ended(now):
        raise KeyEnded
    new, whole = _create(session, program_id, None, old.scopes, name=old.name, by=by, now=now)
    ends_at = now + overlap
    old.expires_at = min(old.expires_at or ends_at, ends_at)
    session.flush()
    audit.record(
        session,
        actor=audit.by_user(by),
        action="api_key.rotate",
        subject=f"key:kpk_{old.prefix}",
        scope=program_id,
        new={"by": f"kpk_{new.prefix}", "ends_at": old.expires_at.isoformat()},
        now=now,
    )
    return new, whole


def _tidy(name: str) -> str:
    """One line without what cannot be seen; a name is for its reader alone, so nothing is said."""
    seen = "".join(char if char.isprintable() else " " for char in name)
    return " ".join(seen.split())[:NAME_CHARS_MAX]


def revoke_key(
    session: Session,
    *,
    program_id: int,
    key_id: int,
    by: int | None,
    now: datetime,
    enrollment_id: int | None = None,
) -> None:
    """End a shop's key, or with `enrollment_id` that affiliate's own, for good.

    NotFound for anybody else's. Safe to repeat.
    """
    key = _locked(session, program_id, key_id, enrollment_id)
    if key.revoked_at is not None:
        return
    key.revoked_at = now
    session.flush()
    audit.record(
        session,
        actor=audit.by_user(by),
        action="api_key.revoke",
        subject=f"key:kpk_{key.prefix}",
        scope=program_id,
        now=now,
    )


def _locked(session: Session, program_id: int, key_id: int, enrollment_id: int | None) -> ApiKey:
    """The key, so that two who end or rotate it come one after the other."""
    key = session.scalar(
        sa.select(ApiKey)
        .where(
            ApiKey.id == key_id,
            ApiKey.program_id == program_id,
            ApiKey.enrollment_id.is_not_distinct_from(enrollment_id),
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if key is None:
        raise NotFound
    return key


def in_order(scopes: Collection[str]) -> list[str]:
    """As the form offers them; one that is offered no more stands last."""
    known = [scope for scope in SCOPES if scope in scopes]
    return known + sorted(set(scopes) - set(known))


def keys_of(session: Session, *, program_ids: Collection[int]) -> Sequence[ApiKey]:
    """Shops' keys of these programs, the newest first, revoked ones included."""
    return session.scalars(
        sa.select(ApiKey)
        .where(ApiKey.program_id.in_(program_ids), ApiKey.enrollment_id.is_(None))
        .order_by(ApiKey.id.desc())
    ).all()


def own_keys(session: Session, *, enrollment_id: int) -> Sequence[ApiKey]:
    """An affiliate's own keys in a program that are not revoked, the newest first."""
    return session.scalars(
        sa.select(ApiKey)
        .where(ApiKey.enrollment_id == enrollment_id, ApiKey.revoked_at.is_(None))
        .order_by(ApiKey.id.desc())
    ).all()
