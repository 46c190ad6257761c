"""Signed-in browsers: one row each, so that a sign-in can be listed and ended by its owner.

The cookie holds a random token inside Flask's signed session, the row its SHA-256. All
moments here are real time: a moved demo clock must not sign people out.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.errors import NotFound
from affiliate.people.models import User, UserSession

COOKIE_KEY = "sign_in"
"""Name of the token inside Flask's session cookie."""
WAITING_COOKIE_KEY = "sign_in_waits"
"""The same, between the password and the second factor."""
WAITING_S = 10 * 60
"""For how long the second factor may come after the password."""
CHALLENGE_S = 5 * 60
"""For how long a passkey may take to sign."""
TOKEN_BYTES = 32
TOUCH_INTERVAL_S = 60
AGENT_CHARS_MAX = 300


@dataclass(frozen=True)
class SignIn:
    """A live session and whose it is."""

    id: int
    user: User
    fresh_at: datetime
    """When the password was last given in it."""
    last_seen_at: datetime
    factor_at: datetime | None = None
    """When a second factor was last given in it."""


def begin(
    session: Session,
    *,
    user_id: int,
    agent: str,
    now: datetime,
    factor_at: datetime | None = None,
    awaits_factor: bool = False,
) -> str:
    """Open a session; returns the token that the cookie shall hold. Never reuses one.

    One that awaits the second factor signs nobody in: `find_waiting` alone finds it.
    """
    token = secrets.token_urlsafe(TOKEN_BYTES)
    session.execute(
        sa.insert(UserSession).values(
            user_id=user_id,
            token_hash=_hash(token),
            agent=agent[:AGENT_CHARS_MAX],
            created_at=now,
            last_seen_at=now,
            fresh_at=now,
            factor_at=factor_at,
            awaits_factor=awaits_factor,
        )
    )
    return token


def find(
    session: Session, *, token: str, idle_s: int, absolute_s: int, now: datetime
) -> SignIn | None:
    """The live session of this token: not revoked, not idle, not too old, user active."""
    row = session.execute(
        sa.select(
            UserSession.id,
            User,
            UserSession.fresh_at,
            UserSession.last_seen_at,
            UserSession.factor_at,
        )
        .join(User, User.id == UserSession.user_id)
        .where(
            UserSession.token_hash == _hash(token),
            *_alive(idle_s=idle_s, absolute_s=absolute_s, now=now),
            User.active,
        )
    ).one_or_none()
    return None if row is None else SignIn(*row)


def find_waiting(session: Session, *, token: str, now: datetime) -> SignIn | None:
    """Whose password was right a few minutes ago, and whose second factor is awaited."""
    row = session.execute(
        sa.select(UserSession.id, User, UserSession.fresh_at, UserSession.last_seen_at)
        .join(User, User.id == UserSession.user_id)
        .where(
            UserSession.token_hash == _hash(token),
            UserSession.awaits_factor,
            UserSession.revoked_at.is_(None),
            UserSession.created_at > now - timedelta(seconds=WAITING_S),
            User.active,
        )
    ).one_or_none()
    return None if row is None else SignIn(*row)


def give_factor(session: Session, *, session_id: int, now: datetime) -> None:
    """A second factor was given again in this session."""
    session.execute(
        sa.update(UserSession).where(UserSession.id == session_id).values(factor_at=now)
    )


def forget_factor(session: Session, *, user_id: int) -> None:
    """The person has none any more: the roles that need one sleep in every session."""
    session.execute(
        sa.update(UserSession).where(UserSession.user_id == user_id).values(factor_at=None)
    )


def set_challenge(session: Session, *, session_id: int, challenge: bytes, now: datetime) -> None:
    """Remember what a passkey is to sign; the one before is void."""
    session.execute(
        sa.update(UserSession)
        .where(UserSession.id == session_id)
        .values(challenge=challenge, challenge_at=now)
    )


def take_challenge(session: Session, *, session_id: int, now: datetime) -> bytes | None:
    """The challenge, taken away for good, so that no answer to it counts twice; None: too old."""
    row = session.scalars(
        sa.select(UserSession)
        .where(UserSession.id == session_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()
    challenge, at = row.challenge, row.challenge_at
    row.challenge = row.challenge_at = None
    session.flush()
    if challenge is None or at is None or now - at > timedelta(seconds=CHALLENGE_S):
        return None
    return challenge


def touch(session: Session, *, found: SignIn, now: datetime) -> bool:
    """Note that the session was seen, at most once a minute. True when it was written."""
    if (now - found.last_seen_at).total_seconds() < TOUCH_INTERVAL_S:
        return False
    session.execute(
        sa.update(UserSession).where(UserSession.id == found.id).values(last_seen_at=now)
    )
    return True


def refresh(session: Session, *, session_id: int, now: datetime) -> None:
    """The password was given again: money actions are open for a while."""
    session.execute(sa.update(UserSession).where(UserSession.id == session_id).values(fresh_at=now))


def live(
    session: Session, *, user_id: int, idle_s: int, absolute_s: int, now: datetime
) -> Sequence[UserSession]:
    """The user's live sessions, last seen first."""
    return session.scalars(
        sa.select(UserSession)
        .where(
            UserSession.user_id == user_id,
            *_alive(idle_s=idle_s, absolute_s=absolute_s, now=now),
        )
        .order_by(UserSession.last_seen_at.desc(), UserSession.id.desc())
    ).all()


def revoke(session: Session, *, user_id: int, session_id: int, now: datetime) -> None:
    """End one of the user's own sessions; NotFound for anybody else's."""
    ended = session.execute(
        sa.update(UserSession)
        .where(UserSession.id == session_id, UserSession.user_id == user_id)
        .values(revoked_at=sa.func.coalesce(UserSession.revoked_at, now))
        .returning(UserSession.id)
    ).one_or_none()
    if ended is None:
        raise NotFound


def revoke_all(
    session: Session, *, user_id: int, except_id: int | None = None, now: datetime
) -> int:
    """End every session of the user but one; returns how many were ended."""
    ended = session.execute(
        sa.update(UserSession)
        .where(
            UserSession.user_id == user_id,
            UserSession.revoked_at.is_(None),
            UserSession.id.is_distinct_from(except_id),
        )
        .values(revoked_at=now)
        .returning(UserSession.id)
    )
    return len(ended.all())


def _alive(*, idle_s: int, absolute_s: int, now: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        UserSession.revoked_at.is_(None),
        ~UserSession.awaits_factor,
        UserSession.last_seen_at > now - timedelta(seconds=idle_s),
        UserSession.created_at > now - timedelta(seconds=absolute_s),
    )


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
