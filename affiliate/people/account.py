"""A person's own password and address: reset, changed, verified, each with a notice by mail."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit, clock, outbox
from affiliate.core.errors import Refusal
from affiliate.people import addresses, joining, mail_links, passwords, sessions, users
from affiliate.people.mail_links import LinkInvalid, Purpose
from affiliate.people.models import User

CHANGE_ADDRESS = "people/change_address"
"""The letter to an address that somebody asked for and has not shown to be theirs yet."""


class PasswordWrong(Refusal):
    code = "password_wrong"
    status = 422
    title = "The present password is not right."


def authenticate(session: Session, *, email: str, password: str) -> User | None:
    """The active user of this address and password, else None, after the same work.

    A hash made with a lower cost than today's is replaced.
    """
    user = users.find(session, email=email)
    matches = passwords.matches(None if user is None else user.password, password)
    if user is None or not matches or not user.active:
        return None
    if user.password is not None and passwords.outdated(user.password):
        user.password = passwords.hashed(password)
        session.flush()
    return user


def ask_reset(session: Session, *, email: str, now: datetime) -> None:
    """Mail a one-time link that sets a new password; nothing for an unknown address."""
    user = users.find(session, email=email)
    if user is None or not user.active:
        return
    token = mail_links.make(user, Purpose.RESET)
    outbox.send(
        session,
        to=user.email,
        template="people/reset_password",
        locale=user.locale,
        one_time=True,
        name=user.name,
        url=mail_links.address(f"/reset-password/{token}"),
        minutes=mail_links.RESET_S // 60,
        now=now,
    )


def reset(session: Session, *, token: str, password: str, now: datetime) -> User:
    """Set the password by a mailed link and end every session; the address is told.

    Following the link shows that the address is theirs, so it counts as verified. Raises
    LinkInvalid, or Invalid for a password that breaks the rules (the link stays good then).
    """
    user = mail_links.read(session, Purpose.RESET, token).user
    passwords.check_rules(password, email=user.email)
    _set_password(session, user, password, action="password.reset", now=now)
    user.confirmed_at = user.confirmed_at or now
    session.flush()
    sessions.revoke_all(session, user_id=user.id, now=clock.real_now())
    joining.address_verified(session, user_id=user.id, now=now)
    return user


def change_password(
    session: Session, *, user_id: int, present: str, password: str, session_id: int, now: datetime
) -> User:
    """Replace the password and end every other session; the address is told."""
    user = _lock(session, user_id)
    if not passwords.matches(user.password, present):
        raise PasswordWrong
    passwords.check_rules(password, email=user.email, field="password")
    _set_password(session, user, password, action="password.change", now=now)
    sessions.revoke_all(session, user_id=user_id, except_id=session_id, now=clock.real_now())
    return user


def ask_change_email(session: Session, *, user_id: int, email: str, now: datetime) -> None:
    """Mail a link to the new address; until it is followed, the old one stays.

    A taken address gets no mail and no different answer.
    """
    user = _lock(session, user_id)
    user.pending_email = users.check_email(email)
    session.flush()
    if users.find(session, email=user.pending_email) is not None:
        return
    token = mail_links.make(user, Purpose.CHANGE_EMAIL, email=user.pending_email)
    outbox.send(
        session,
        to=user.pending_email,
        template=CHANGE_ADDRESS,
        locale=user.locale,
        one_time=True,
        name=user.name,
        url=mail_links.address(f"/profile/email/{token}"),
        minutes=mail_links.CHANGE_EMAIL_S // 60,
        now=now,
    )


def change_email(session: Session, *, token: str, now: datetime) -> User:
    """Take the new address, which has just been shown to be theirs; the old one is told.

    Every link mailed to the old address is void from now on.
    """
    link = mail_links.read(session, Purpose.CHANGE_EMAIL, token)
    user, old = link.user, link.user.email
    if link.email != user.pending_email or users.find(session, email=link.email) is not None:
        raise LinkInvalid
    user.email, user.pending_email, user.confirmed_at = link.email, None, now
    session.flush()
    addresses.note_former(session, user_id=user.id, email=old, now=now)
    outbox.send(
        session,
        to=old,
        template="people/address_changed",
        locale=user.locale,
        name=user.name,
        now=now,
    )
    _audit(session, user, "email.change", now=now)
    return user


def change_profile(
    session: Session, *, user_id: int, name: str, locale: str, time_zone: str
) -> None:
    """Name, language and time zone, as the person wants to see them."""
    user = _lock(session, user_id)
    user.name, user.locale, user.time_zone = users.clean_name(name), locale, time_zone
    session.flush()


def choose_language(session: Session, *, user_id: int, locale: str) -> None:
    """The language of pages and letters, by the switch at the foot of a page."""
    _lock(session, user_id).locale = locale
    session.flush()


def _set_password(
    session: Session, user: User, password: str, *, action: str, now: datetime
) -> None:
    user.password = passwords.hashed(password)
    user.fs_uniquifier = users.new_uniquifier()
    user.pending_email = None
    session.flush()
    outbox.send(
        session,
        to=user.email,
        template="people/password_changed",
        locale=user.locale,
        name=user.name,
        reset_url=mail_links.address("/forgot-password"),
        now=now,
    )
    _audit(session, user, action, now=now)


def _audit(session: Session, user: User, action: str, *, now: datetime) -> None:
    actor, subject = audit.by_user(user.id), f"user:{user.id}"
    audit.record(session, actor=actor, action=action, subject=subject, now=now)


def _lock(session: Session, user_id: int) -> User:
    return session.scalars(sa.select(User).where(User.id == user_id).with_for_update()).one()
