"""Second factors of the demo's people: an app each, whose codes the demo's page shows.

They are real secrets, made on this machine and encrypted like any other; that page exists in
demo and test mode alone, and `totp.code_for` refuses in production as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.people import second_factor, totp
from affiliate.people.access import FACTOR_ROLES
from affiliate.people.models import SecondFactor, User
from tracker.demo.people import PEOPLE

WITH_FACTOR = tuple(person.email for person in PEOPLE if FACTOR_ROLES & set(person.roles))


@dataclass(frozen=True, slots=True)
class Code:
    """What the app of somebody of the demo shows now."""

    name: str
    email: str
    code: str


def give_apps(session: Session, *, now: datetime) -> None:
    """An app for whoever of the demo needs a second factor and has none."""
    for user in session.scalars(sa.select(User).where(User.email.in_(WITH_FACTOR))):
        if second_factor.factors_of(session, user_id=user.id).enrolled:
            continue
        second_factor.begin_app(session, user_id=user.id)
        session.get_one(SecondFactor, user.id).totp_since = now
        session.flush()


def codes_now(session: Session, *, now: datetime) -> list[Code]:
    """A code of each that would be taken now (real time)."""
    rows = session.execute(
        sa.select(User, SecondFactor)
        .join(SecondFactor, SecondFactor.user_id == User.id)
        .where(User.email.in_(WITH_FACTOR), SecondFactor.totp_since.is_not(None))
        .order_by(User.id)
    )
    return [
        Code(
            user.name,
            user.email,
            totp.code_for(row.totp_secret or "", after=row.totp_counter, at=now),
        )
        for user, row in rows
    ]
