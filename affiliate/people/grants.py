"""Roles of staff: given, taken back, given up. Nobody changes their own, and one owner stays.

Every change is audited. What a role lets a person do is in affiliate.people.access.
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Conflict, Forbidden, Invalid, NotFound, Phrase, Refusal
from affiliate.people.models import Grant, User

STAFF_ROLES = ("finance", "curator", "manager", "analyst", "owner")
MANAGERS_GIVE = ("curator", "analyst")
"""Roles that the manager of a program may give in it; an owner gives any."""
OWNERS_LOCK = 0x6B70_6B6F
"""Number of the advisory lock under which roles are taken."""


class SelfEscalation(Forbidden):
    code = "self_escalation"
    title = "Nobody changes their own roles; ask another owner."


class RoleNotYours(Forbidden):
    code = "role_not_yours"
    title = "Your role does not let you give or take this one."


class ProgramNeeded(Refusal):
    code = "program_needed"
    title = "Choose the program; only owners have all of them."


class LastOwner(Conflict):
    code = "last_owner"
    title = "This is the last owner. Make another owner first."


def grant_role(
    session: Session,
    *,
    user_id: int,
    role: str,
    program_id: int | None,
    by: int | None,
    now: datetime,
) -> Grant:
    """Give a staff role in a program, or `owner` with no program. Giving it again is harmless.

    `by` is the user who gives it, none for the command line. Raises SelfEscalation for one's
    own roles, RoleNotYours when the giver may not give it.
    """
    check_role(role, program_id)
    check_may_give(session, by=by, user_id=user_id, role=role, program_id=program_id)
    given: Grant | None = session.scalar(
        insert(Grant)
        .values(user_id=user_id, role=role, program_id=program_id, granted_by=by, granted_at=now)
        .on_conflict_do_nothing()
        .returning(Grant)
    )
    if given is not None:
        _audit_role(session, "role.grant", given, by=by, now=now)
        return given
    return session.scalars(
        sa.select(Grant).where(
            Grant.user_id == user_id,
            Grant.role == role,
            Grant.program_id.is_not_distinct_from(program_id),
            Grant.revoked_at.is_(None),
        )
    ).one()


def revoke_role(session: Session, *, grant_id: int, by: int | None, now: datetime) -> None:
    """Take a role back at once. Raises LastOwner for the last one, and as grant_role does."""
    one_at_a_time(session)
    grant = session.scalar(
        sa.select(Grant).where(Grant.id == grant_id, Grant.revoked_at.is_(None)).with_for_update()
    )
    if grant is None:
        raise NotFound
    check_may_give(
        session, by=by, user_id=grant.user_id, role=grant.role, program_id=grant.program_id
    )
    if grant.role == "owner":
        keep_an_owner(session, without=grant.user_id)
    grant.revoked_at = now
    session.flush()
    _audit_role(session, "role.revoke", grant, by=by, now=now)


def give_up_roles(session: Session, *, user_id: int, by: int | None, now: datetime) -> None:
    """Take every staff role off whoever is erased; their numbers stay. Raises LastOwner."""
    one_at_a_time(session)
    keep_an_owner(session, without=user_id)
    held = sa.select(Grant).where(Grant.user_id == user_id, Grant.revoked_at.is_(None))
    for grant in session.scalars(held.order_by(Grant.id).with_for_update()).all():
        grant.revoked_at = now
        session.flush()
        _audit_role(session, "role.revoke", grant, by=by, now=now)


def check_may_give(
    session: Session, *, by: int | None, user_id: int | None, role: str, program_id: int | None
) -> None:
    """Raise unless `by` may give or take this role; `by` of None is the command line."""
    if by is None:
        return
    if by == user_id:
        raise SelfEscalation
    if _owns(session, by):
        return
    manages = session.scalar(
        sa.select(Grant.id).where(
            Grant.user_id == by,
            Grant.role == "manager",
            Grant.program_id == program_id,
            Grant.revoked_at.is_(None),
        )
    )
    if manages is None or role not in MANAGERS_GIVE:
        raise RoleNotYours


def check_role(role: str, program_id: int | None) -> None:
    """Raise Invalid for a role that is none, or does not go with that program."""
    if role not in STAFF_ROLES:
        raise Invalid.field(
            "role", "unknown_role", Phrase("One of: %(roles)s.", roles=", ".join(STAFF_ROLES))
        )
    if (role == "owner") != (program_id is None):
        raise Invalid.field(
            "program", "program_and_role", "An owner has all programs; other roles need one."
        )


def one_at_a_time(session: Session) -> None:
    """Taking roles is serialised: "one owner stays" is a rule about a set, not about a row.

    Two owners who removed each other at once would each see the other still there.
    """
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(OWNERS_LOCK)))


def keep_an_owner(session: Session, *, without: int) -> None:
    """Raise LastOwner when this person owns the installation and nobody else could."""
    if not _owns(session, without):
        return
    other = session.scalar(
        sa.select(Grant.id)
        .join(User, User.id == Grant.user_id)
        .where(Grant.role == "owner", Grant.revoked_at.is_(None), User.active, User.id != without)
        .limit(1)
    )
    if other is None:
        raise LastOwner


def _owns(session: Session, user_id: int) -> bool:
    return (
        session.scalar(
            sa.select(Grant.id).where(
                Grant.user_id == user_id, Grant.role == "owner", Grant.revoked_at.is_(None)
            )
        )
        is not None
    )


def _audit_role(
    session: Session, action: str, grant: Grant, *, by: int | None, now: datetime
) -> None:
    audit.record(
        session,
        actor=audit.by_user(by),
        action=action,
        subject=f"user:{grant.user_id}",
        scope=grant.program_id,
        new={"role": grant.role},
        now=now,
    )
