"""One-time links in mails: signed, short-lived, and void once what they were made for is done.

Nothing of a link is stored. It carries the user's number and a keyed digest of the user's
state (password hash, address, verification), so that using it, or any later change of that
state, makes every earlier link of its kind invalid. Addresses start with the configured
public URL, never with the request's Host.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa
from flask import current_app
from itsdangerous import BadSignature, URLSafeTimedSerializer
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from affiliate.core.errors import Refusal
from affiliate.people.models import User

RESET_S = 60 * 60
CHANGE_EMAIL_S = 60 * 60
VERIFY_S = 3 * 86_400
"""A verification only proves the address, so it may wait for a weekend."""
_DIGEST_CHARS = 32


class Purpose(StrEnum):
    """What a link does; a link of one purpose is worth nothing for another."""

    VERIFY = "verify"
    RESET = "reset-password"
    CHANGE_EMAIL = "change-email"


MAX_AGE_S = {
    Purpose.VERIFY: VERIFY_S,
    Purpose.RESET: RESET_S,
    Purpose.CHANGE_EMAIL: CHANGE_EMAIL_S,
}


class LinkInvalid(Refusal):
    code = "link_invalid"
    status = 410
    title = "This link was used already or is too old. Ask for a new one."


@dataclass(frozen=True)
class Read:
    """A good link: whose it is and, for a change of address, the new one."""

    user: User
    email: str
    browser: str = ""
    """The mark of the browser that asked for it (`browser_mark`), where that was given."""


def make(user: User, purpose: Purpose, *, email: str = "", browser: str = "") -> str:
    """The token of a link for this user in the state they are in now."""
    return str(_serializer(purpose).dumps([user.id, email, _digest(user, purpose), browser]))


def read(session: Session, purpose: Purpose, token: str) -> Read:
    """Whose link it is, with the user's row locked; LinkInvalid when it cannot be used.

    The lock makes one of two simultaneous uses come second, and find the state changed.
    """
    try:
        # Links that were mailed before browsers were marked have three parts.
        user_id, email, digest, *rest = _serializer(purpose).loads(
            token, max_age=MAX_AGE_S[purpose]
        )
    except (BadSignature, TypeError, ValueError):
        raise LinkInvalid from None
    user = session.scalar(
        sa.select(User)
        .where(User.id == user_id, User.active)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if user is None or not hmac.compare_digest(digest, _digest(user, purpose)):
        raise LinkInvalid
    return Read(user, email, *rest)


def browser_mark(secret: str) -> str:
    """What a link carries of the secret that the asking browser keeps in its cookie."""
    return hashlib.sha256(secret.encode()).hexdigest()[:_DIGEST_CHARS]


def is_of_browser(link: Read, secret: object) -> bool:
    """Whether the browser with this secret asked for the link."""
    return (
        isinstance(secret, str)
        and bool(link.browser)
        and hmac.compare_digest(link.browser, browser_mark(secret))
    )


def address(path: str) -> str:
    """The whole address of a page of ours, for mails."""
    return _settings().public_url + path


def _serializer(purpose: Purpose) -> URLSafeTimedSerializer:
    keys = [key.hex() for key in reversed(_settings().keys("mail-link"))]
    return URLSafeTimedSerializer(keys, salt=f"kopeck:{purpose}")


def _digest(user: User, purpose: Purpose) -> str:
    state = [purpose, user.id, user.email.lower(), user.fs_uniquifier]
    if purpose is Purpose.VERIFY:
        state.append(user.confirmed_at is None)
    else:
        state.append(user.password or "")
    if purpose is Purpose.CHANGE_EMAIL:
        state.append(user.pending_email or "")
    key = _settings().key("mail-link-state")
    digest = hmac.new(key, repr(state).encode(), hashlib.sha256).hexdigest()
    return digest[:_DIGEST_CHARS]


def _settings() -> Settings:
    settings: Settings = current_app.extensions["kopeck.settings"]
    return settings
