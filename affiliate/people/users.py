"""Users: made, verified, found, disabled, enabled again. Every change is audited.

Their roles are in affiliate.people.grants, the passwords' own flows (reset, change, change of
address) in affiliate.people.account.
"""

from __future__ import annotations

import re
import secrets
from datetime import datetime
from urllib.parse import urlencode

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core import audit, clock, outbox
from affiliate.core.errors import Conflict, Invalid, NotFound
from affiliate.people import grants, joining, mail_links, passwords, sessions
from affiliate.people.mail_links import Purpose
from affiliate.people.models import User

EMAIL_CHARS_MAX = 254
NAME_CHARS_MAX = 120
_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f<>,;:\"()\[\]\\]{1,64}@(?:[\w-]{1,63}\.)*[\w-]{1,63}")


class EmailTaken(Conflict):
    code = "email_taken"
    title = "Somebody with this address is registered already."


class Erased(Conflict):
    code = "erased"
    title = "This person was erased: there is nobody to let in."


def create_user(
    session: Session,
    *,
    email: str,
    password: str | None,
    name: str = "",
    locale: str = "en",
    time_zone: str = "UTC",
    verified: bool = False,
    by: int | None = None,
    now: datetime,
) -> User:
    """Make a user; a password of None waits for an invitation or a reset.

    Raises Invalid for an address or password that cannot be used, EmailTaken for a known
    address: for staff and commands, never for strangers' forms.
    """
    user = _insert(
        session,
        email=email,
        password=password,
        name=name,
        locale=locale,
        time_zone=time_zone,
        verified=verified,
        now=now,
    )
    if user is None:
        raise EmailTaken
    audit.record(
        session,
        actor=audit.by_user(by),
        action="user.create",
        subject=f"user:{user.id}",
        now=now,
    )
    return user


def register_affiliate_user(
    session: Session,
    *,
    email: str,
    password: str,
    name: str,
    locale: str,
    next_path: str = "",
    browser: str = "",
    now: datetime,
) -> User | None:
    """A stranger signs up: a new user who must verify the address by the mail sent here.

    None for an address that is registered already; its holder gets a mail that says so. The
    page must answer the same in both cases and must do nothing for the known address, for
    whoever fills the form has not shown that it is theirs. `next_path` is the page of ours
    that follows the verification, `browser` the mark of theirs (mail_links.browser_mark).
    """
    user = _insert(session, email=email, password=password, name=name, locale=locale, now=now)
    if user is not None:
        actor = audit.by_user(user.id)
        subject = f"user:{user.id}"
        audit.record(session, actor=actor, action="user.register", subject=subject, now=now)
        send_verification(session, user=user, next_path=next_path, browser=browser, now=now)
        return user
    known = find(session, email=email)
    if known is not None and known.active:
        outbox.send(
            session,
            to=known.email,
            template="people/already_registered",
            locale=known.locale,
            name=known.name,
            sign_in_url=mail_links.address(f"/sign-in{_query(next_path)}"),
            reset_url=mail_links.address("/forgot-password"),
            now=now,
        )
    return None


def send_verification(
    session: Session, *, user: User, next_path: str = "", browser: str = "", now: datetime
) -> None:
    """Mail the link that verifies the address; `next_path` is the page of ours to go on to."""
    token = mail_links.make(user, Purpose.VERIFY, browser=browser)
    outbox.send(
        session,
        to=user.email,
        template="people/verify_address",
        locale=user.locale,
        one_time=True,
        name=user.name,
        url=mail_links.address(f"/verify/{token}{_query(next_path)}"),
        days=mail_links.VERIFY_S // 86_400,
        now=now,
    )


def verify(session: Session, *, token: str, now: datetime) -> User:
    """The address is the user's: they followed the link. LinkInvalid when it cannot be used."""
    user = mail_links.read(session, Purpose.VERIFY, token).user
    user.confirmed_at = now
    session.flush()
    actor, subject = audit.by_user(user.id), f"user:{user.id}"
    audit.record(session, actor=actor, action="user.verify", subject=subject, now=now)
    joining.address_verified(session, user_id=user.id, now=now)
    return user


def find(session: Session, *, email: str) -> User | None:
    """The user of an address, compared without case."""
    return session.scalar(sa.select(User).where(sa.func.lower(User.email) == email.strip().lower()))


def disable_user(session: Session, *, user_id: int, by: int | None, now: datetime) -> None:
    """Shut a person out: their sessions end at the next request. Raises LastOwner."""
    grants.one_at_a_time(session)
    user = _lock(session, user_id)
    if by == user_id:
        raise grants.SelfEscalation("Nobody disables themselves; ask another owner.")
    if not user.active:
        return
    grants.keep_an_owner(session, without=user_id)
    user.active = False
    session.flush()
    sessions.revoke_all(session, user_id=user_id, now=clock.real_now())
    actor, subject = audit.by_user(by), f"user:{user_id}"
    audit.record(session, actor=actor, action="user.disable", subject=subject, now=now)


def enable_user(session: Session, *, user_id: int, by: int | None, now: datetime) -> None:
    """Let a disabled person in again; they sign in anew. Raises Erased."""
    user = _lock(session, user_id)
    if user.erased_at is not None:
        raise Erased
    if user.active:
        return
    user.active = True
    session.flush()
    actor, subject = audit.by_user(by), f"user:{user_id}"
    audit.record(session, actor=actor, action="user.enable", subject=subject, now=now)


def check_email(email: str, *, field: str = "email") -> str:
    """The address as it is stored; Invalid for what cannot be one (line breaks included)."""
    stripped = email.strip()
    if len(stripped) > EMAIL_CHARS_MAX or not _EMAIL.fullmatch(stripped):
        raise Invalid.field(field, "not_an_address", "This is not an e-mail address.")
    return stripped


def clean_name(name: str) -> str:
    """One line, no control characters, at most 120 characters."""
    plain = "".join(char if char.isprintable() else " " for char in name)
    return " ".join(plain.split())[:NAME_CHARS_MAX]


def new_uniquifier() -> str:
    """A value that no earlier sign-in carries."""
    return secrets.token_hex(16)


def _insert(
    session: Session,
    *,
    email: str,
    password: str | None,
    name: str,
    locale: str,
    now: datetime,
    time_zone: str = "UTC",
    verified: bool = False,
) -> User | None:
    """None when the address is taken. The hash is computed either way: the same time."""
    email = check_email(email)
    if password is not None:
        passwords.check_rules(password, email=email)
    return session.scalar(
        insert(User)
        .values(
            email=email,
            name=clean_name(name),
            password=None if password is None else passwords.hashed(password),
            fs_uniquifier=new_uniquifier(),
            locale=locale,
            time_zone=time_zone,
            confirmed_at=now if verified else None,
            created_at=now,
        )
        .on_conflict_do_nothing()
        .returning(User)
    )


def _query(next_path: str) -> str:
    return f"?{urlencode({'next': next_path})}" if next_path else ""


def _lock(session: Session, user_id: int) -> User:
    user = session.scalar(sa.select(User).where(User.id == user_id).with_for_update())
    if user is None:
        raise NotFound
    return user
