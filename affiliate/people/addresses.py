"""Addresses that people gave up: known for some weeks, so that a take-over is told to both.

Whoever takes an account over changes its address first and the account for payouts second: the
notice of the second would reach nobody but them. Rule: docs/security.md, A29.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.people.models import FormerAddress, User

FORMER_DAYS = 30
"""For how long a former address is told of what happens to money, and is kept at all."""


def note_former(session: Session, *, user_id: int, email: str, now: datetime) -> None:
    """This address was given up now."""
    session.add(FormerAddress(user_id=user_id, email=email, replaced_at=now))
    session.flush()


def former(session: Session, *, user_id: int, now: datetime) -> list[str]:
    """Addresses that were this person's in the last 30 days and no longer are, newest first."""
    rows = session.scalars(
        sa.select(FormerAddress.email)
        .join(User, User.id == FormerAddress.user_id)
        .where(
            FormerAddress.user_id == user_id,
            FormerAddress.replaced_at > now - timedelta(days=FORMER_DAYS),
            sa.func.lower(FormerAddress.email) != sa.func.lower(User.email),
        )
        .order_by(FormerAddress.replaced_at.desc(), FormerAddress.id.desc())
    )
    return list(dict.fromkeys(rows))


def changed_lately(session: Session, *, user_id: int, now: datetime) -> bool:
    """Whether the address was changed in the last 30 days, even if it was changed back."""
    found = session.scalar(
        sa.select(FormerAddress.id)
        .where(
            FormerAddress.user_id == user_id,
            FormerAddress.replaced_at > now - timedelta(days=FORMER_DAYS),
        )
        .limit(1)
    )
    return found is not None


def forget(session: Session, *, now: datetime) -> int:
    """Delete addresses that were given up longer ago; returns how many."""
    gone = session.execute(
        sa.delete(FormerAddress)
        .where(FormerAddress.replaced_at <= now - timedelta(days=FORMER_DAYS))
        .returning(FormerAddress.id)
    )
    return len(gone.all())
