"""A form that carries a second factor: a code in `code`, or what a passkey signed in `passkey`.

What came of it is committed here, before anything else is done: a wrong code counts, a right one
is used up, also when the form is then refused for another reason.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.db import db
from affiliate.core.errors import Forbidden, Unauthenticated
from affiliate.core.http import only_value
from affiliate.people import access, freshness, passkeys, second_factor
from affiliate.people import sessions as browser_sessions


class FactorMissing(Forbidden):
    code = "second_factor_missing"
    title = "Type a code of your app or use your passkey: the last time was too long ago."


def take() -> datetime:
    """When the signed-in person gave a second factor: in the last five minutes, or in this form.

    Raises FactorMissing, CodeWrong, TooManyCodes or PasskeyWrong.
    """
    found = access.sign_in()
    if found is None:
        raise Unauthenticated
    given, fresh = _given(), freshness.factor_at()
    if fresh is not None:
        return fresh
    if not given:
        raise FactorMissing
    session, now = db.session(), clock.real_now()
    try:
        check(session, user_id=found.user.id, session_id=found.id)
    except (second_factor.CodeWrong, passkeys.PasskeyWrong):
        # Of a double click the first has used the code up, and made the session fresh.
        access.forget()
        fresh = freshness.factor_at()
        if fresh is None:
            raise
        return fresh
    browser_sessions.give_factor(session, session_id=found.id, now=now)
    session.commit()
    access.forget()
    return now


def check(session: Session, *, user_id: int, session_id: int) -> None:
    """Check what the form carries. Commits a failed try; a good one is left to the caller.

    Raises FactorMissing, CodeWrong, TooManyCodes or PasskeyWrong.
    """
    if not _given():
        raise FactorMissing
    code, answer = only_value("code").strip(), only_value("passkey")
    now = clock.real_now()
    try:
        if answer:
            passkeys.prove(
                session, user_id=user_id, session_id=session_id, answer=answer, real_now=now
            )
        else:
            second_factor.prove(
                session,
                user_id=user_id,
                text=code[: second_factor.TEXT_CHARS_MAX],
                now=clock.now(session),
                real_now=now,
            )
    except (second_factor.CodeWrong, passkeys.PasskeyWrong):
        session.commit()
        raise


def _given() -> bool:
    return bool(only_value("code").strip() or only_value("passkey"))
