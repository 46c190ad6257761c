"""How lately this session gave its password and its second factor: what money and roles ask first.

Real time, by the row of the session (affiliate.people.sessions).
"""

from __future__ import annotations

from datetime import datetime, timedelta

from affiliate.core import clock
from affiliate.core.errors import Unauthenticated
from affiliate.people import access

FRESH_S = 15 * 60
"""For how long after giving the password money actions need not ask again."""
FACTOR_FRESH_S = 5 * 60
"""For how long after a second factor an approval, or what is like one, need not ask again."""


class PasswordNeeded(Unauthenticated):
    """The session is live, but too long since the password was given."""

    code = "password_needed"
    title = "Give your password again to go on."


class FactorStale(Unauthenticated):
    """The session has shown a second factor, but too long ago for this."""

    code = "second_factor_stale"
    title = "Give your second factor again to go on."


def require_fresh(max_age_s: int = FRESH_S) -> None:
    """Before money moves: the password must have been given in the last `max_age_s`.

    Raises PasswordNeeded, which a browser meets as the page that asks for it.
    """
    if access.sign_in() is None:
        raise Unauthenticated
    if not is_fresh(max_age_s):
        raise PasswordNeeded


def is_fresh(max_age_s: int = FRESH_S) -> bool:
    """Whether the password was given that lately: a long form asks before it is filled in."""
    found = access.sign_in()
    if found is None:
        return False
    return clock.real_now() - found.fresh_at <= timedelta(seconds=max_age_s)


def factor_at() -> datetime | None:
    """When a second factor was given in this session, if that was in the last five minutes.

    Real time. None means that it has to be asked for.
    """
    found = access.sign_in()
    if found is None or found.factor_at is None:
        return None
    age_s = (clock.real_now() - found.factor_at).total_seconds()
    return found.factor_at if age_s <= FACTOR_FRESH_S else None


def require_factor() -> None:
    """Before roles, policies or locks change: a second factor of the last five minutes.

    Raises FactorStale, which a browser meets as the page that asks for it.
    """
    if access.sign_in() is None:
        raise Unauthenticated
    if factor_at() is None:
        raise FactorStale
