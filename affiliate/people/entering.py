"""Signing a browser in and out: the password, the second factor where there is one, the page after.

The row of affiliate.people.sessions is the sign-in; the cookie carries its token.
"""

from __future__ import annotations

from datetime import datetime

from flask import flash, g, request
from flask import session as cookie
from flask_babel import gettext as _
from flask_security.utils import login_user, logout_user

from affiliate.core import clock
from affiliate.core.db import db
from affiliate.people import access, navigation, second_factor
from affiliate.people import sessions as browser_sessions
from affiliate.people.models import User
from affiliate.people.next_page import own_next, with_next


def admit(user: User) -> str:
    """The password was right: sign in, or ask for the second factor first; where to go on.

    Whoever has a second factor is not signed in by the password alone, by whatever page.
    """
    if not second_factor.factors_of(db.session(), user_id=user.id).enrolled:
        enter(user)
        return after_sign_in()
    _end_what_was()
    cookie[browser_sessions.WAITING_COOKIE_KEY] = _begin(user, awaits_factor=True)
    return with_next("/second-factor")


def enter(user: User, *, factor_at: datetime | None = None) -> None:
    """Sign this browser in as the user, under a new session and an empty cookie.

    `factor_at` is when the person gave their second factor, if they did. Whatever the browser
    brought (a session planted by somebody else, an older sign-in) ends here, so a fixed id is
    worth nothing.
    """
    _end_what_was()
    ways = ["password"] if factor_at is None else ["password", "mfa"]
    login_user(user, remember=False, authn_via=ways)  # type: ignore[arg-type]
    cookie[browser_sessions.COOKIE_KEY] = _begin(user, factor_at=factor_at)
    cookie.permanent = True
    access.forget()


def waiting() -> browser_sessions.SignIn | None:
    """Who has given the password in this browser and is asked for the second factor."""
    token = cookie.get(browser_sessions.WAITING_COOKIE_KEY)
    if not isinstance(token, str):
        return None
    return browser_sessions.find_waiting(db.session(), token=token, now=clock.real_now())


def leave() -> None:
    """Sign this browser out, on the server as well as in the cookie."""
    logout_user()
    _end_what_was()


def after_sign_in() -> str:
    """The page that was asked for, when it is ours; else the desk where the role lives.

    A role that sleeps for want of a second factor leads to where one is set up.
    """
    if access.asleep():
        return with_next("/profile/second-factor")
    return own_next() or navigation.landing(access.roles())


def remind() -> None:
    """Say that the form which was sent before the password or code has done nothing yet."""
    if "sent" in request.args:
        flash(
            _("Thank you. Nothing of what you sent before was done: please send it again."), "info"
        )


def _begin(user: User, *, factor_at: datetime | None = None, awaits_factor: bool = False) -> str:
    return browser_sessions.begin(
        db.session(),
        user_id=user.id,
        agent=request.headers.get("User-Agent", ""),
        now=clock.real_now(),
        factor_at=factor_at,
        awaits_factor=awaits_factor,
    )


def _end_what_was() -> None:
    session, now = db.session(), clock.real_now()
    for found in (access.sign_in(), waiting()):
        if found is not None:
            browser_sessions.revoke(session, user_id=found.user.id, session_id=found.id, now=now)
    cookie.clear()
    g.pop("csrf_token", None)
    access.forget()
