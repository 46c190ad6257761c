"""Staff join by a mailed link: an owner invites to any role, a manager to their program's desk."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit, outbox
from affiliate.core.errors import Invalid, NotFound
from affiliate.people import grants, mail_links, passwords, users
from affiliate.people.mail_links import LinkInvalid
from affiliate.people.models import Invitation, User
from affiliate.programs.models import Program

INVITATION_DAYS = 7
TOKEN_BYTES = 32


def invite(
    session: Session,
    *,
    email: str,
    role: str,
    program_id: int | None,
    by: int | None,
    now: datetime,
) -> Invitation:
    """Mail a one-time link that makes a staff member of whoever follows it.

    Raises Invalid for the address or role, RoleNotYours when the inviter may not give it.
    """
    email = users.check_email(email)
    grants.check_role(role, program_id)
    grants.check_may_give(session, by=by, user_id=None, role=role, program_id=program_id)
    token = secrets.token_urlsafe(TOKEN_BYTES)
    invitation = Invitation(
        email=email,
        role=role,
        program_id=program_id,
        token_hash=_hash(token),
        invited_by=by,
        created_at=now,
        expires_at=now + timedelta(days=INVITATION_DAYS),
    )
    session.add(invitation)
    session.flush()
    program = None if program_id is None else session.get(Program, program_id)
    inviter = None if by is None else session.get(User, by)
    outbox.send(
        session,
        to=email,
        template="people/invitation",
        locale="en" if inviter is None else inviter.locale,
        one_time=True,
        role=role,
        program="" if program is None else program.name,
        inviter="" if inviter is None else inviter.name or inviter.email,
        url=mail_links.address(f"/invitations/{token}"),
        days=INVITATION_DAYS,
        now=now,
    )
    _audit(session, "invitation.send", invitation, actor=audit.by_user(by), now=now)
    return invitation


def find(session: Session, *, token: str, now: datetime) -> Invitation:
    """The open invitation of a link, locked; LinkInvalid when used, withdrawn or too old."""
    invitation = session.scalar(
        sa.select(Invitation)
        .where(
            Invitation.token_hash == _hash(token),
            Invitation.accepted_at.is_(None),
            Invitation.expires_at > now,
        )
        .with_for_update()
    )
    if invitation is None:
        raise LinkInvalid
    return invitation


def accept(
    session: Session, *, token: str, name: str, password: str, locale: str, now: datetime
) -> User:
    """Join: a new user with this name and password, or the role for the known address.

    A known address proves itself by its present password: the link alone, in a mailbox that
    somebody else reads, must not open an account that exists. Raises LinkInvalid or Invalid.
    """
    invitation = find(session, token=token, now=now)
    user = users.find(session, email=invitation.email)
    if user is None or user.password is None:
        user = _join(session, user, invitation, name, password, locale, now)
    elif not user.active or not passwords.matches(user.password, password):
        raise Invalid.field("password", "password_wrong", "This is not your present password.")
    user.confirmed_at = user.confirmed_at or now
    invitation.accepted_at = now
    session.flush()
    if invitation.invited_by is not None:
        _still_here(session, invitation.invited_by)
    grants.grant_role(
        session,
        user_id=user.id,
        role=invitation.role,
        program_id=invitation.program_id,
        by=invitation.invited_by,
        now=now,
    )
    _audit(session, "invitation.accept", invitation, actor=audit.by_user(user.id), now=now)
    return user


def withdraw(session: Session, *, invitation_id: int, by: int, now: datetime) -> None:
    """Make an open invitation void. NotFound for one that the person could not have sent."""
    invitation = session.scalar(
        sa.select(Invitation)
        .where(Invitation.id == invitation_id, Invitation.accepted_at.is_(None))
        .with_for_update()
    )
    if invitation is None:
        raise NotFound
    grants.check_may_give(
        session, by=by, user_id=None, role=invitation.role, program_id=invitation.program_id
    )
    invitation.expires_at = min(invitation.expires_at, now)
    session.flush()
    _audit(session, "invitation.withdraw", invitation, actor=audit.by_user(by), now=now)


def open_ones(session: Session, *, now: datetime) -> Sequence[Invitation]:
    """Invitations that can still be accepted, the newest first."""
    return session.scalars(
        sa.select(Invitation)
        .where(Invitation.accepted_at.is_(None), Invitation.expires_at > now)
        .order_by(Invitation.id.desc())
    ).all()


def _still_here(session: Session, inviter_id: int) -> None:
    """An inviter who was disabled since gives nothing any more; a lost role is refused later."""
    inviter = session.get(User, inviter_id)
    if inviter is None or not inviter.active:
        raise LinkInvalid("Whoever invited you has left. Ask for a new invitation.")


def _join(
    session: Session,
    user: User | None,
    invitation: Invitation,
    name: str,
    password: str,
    locale: str,
    now: datetime,
) -> User:
    """A new user, or one who was made without a password and gets it now."""
    if user is None:
        return users.create_user(
            session,
            email=invitation.email,
            password=password,
            name=name,
            locale=locale,
            verified=True,
            by=invitation.invited_by,
            now=now,
        )
    passwords.check_rules(password, email=user.email)
    user.password = passwords.hashed(password)
    user.fs_uniquifier = users.new_uniquifier()
    user.name = users.clean_name(name) or user.name
    session.flush()
    return user


def _audit(
    session: Session, action: str, invitation: Invitation, *, actor: str, now: datetime
) -> None:
    audit.record(
        session,
        actor=actor,
        action=action,
        subject=f"invitation:{invitation.id}",
        scope=invitation.program_id,
        new={"role": invitation.role},
        now=now,
    )


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
