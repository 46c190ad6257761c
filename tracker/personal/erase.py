"""Erase a person wholly: each package its own, in one transaction. Rule: docs/personal-data.md."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.people.models import User
from affiliate.personal.erase import Person, erase_identity, find_person
from payouts.personal.erase import erase_payee
from payouts.personal.owed import refuse_while_owed
from payouts.rails.registry import Rails
from tracker.personal.traces import CLICKS_AT_ONCE, erase_traces, unmark_clicks

SWEEP_AFTER: Final = timedelta(hours=1)
"""When what requests under way at the erasure wrote is erased: none of them lives so long."""
PEOPLE_AT_ONCE: Final = 20
ACTION: Final = "person.erase"


def erase_person(
    session: Session, *, user_id: int, by: int | None, rails: Rails, now: datetime
) -> None:
    """Erase a person with all their programs, roles and sign-ins; the books stay as they are.

    `by` is who does it, themselves included; None: the command line. Once erased, again changes
    nothing. Raises MoneyOpen while money has not come to its end, LastOwner, NotFound.
    """
    person = find_person(session, user_id=user_id, lock=True)
    if person.erased:
        return
    if person.affiliate_id is not None:
        refuse_while_owed(
            session,
            affiliate_id=person.affiliate_id,
            enrollment_ids=person.enrollment_ids,
            rails=rails,
        )
    _wipe(session, person, by=by, now=now)
    subject = f"user:{user_id}"
    audit.record(session, actor=audit.by_user(by), action=ACTION, subject=subject, now=now)


def to_sweep(session: Session, *, now: datetime) -> Sequence[int]:
    """Users who were erased an hour ago and have not been swept, a batch at most."""
    return session.scalars(
        sa.select(User.id)
        .where(User.erased_at <= now - SWEEP_AFTER, User.swept_at.is_(None))
        .order_by(User.erased_at, User.id)
        .limit(PEOPLE_AT_ONCE)
    ).all()


def sweep(session: Session, *, user_id: int, now: datetime) -> bool:
    """Erase once more, and take a batch of clicks their marks. True: all is done."""
    person = find_person(session, user_id=user_id, lock=True)
    _wipe(session, person, by=None, now=now)
    if unmark_clicks(session, enrollment_ids=person.enrollment_ids) >= CLICKS_AT_ONCE:
        return False
    session.execute(sa.update(User).where(User.id == user_id).values(swept_at=now))
    return True


def _wipe(session: Session, person: Person, *, by: int | None, now: datetime) -> None:
    if person.affiliate_id is not None:
        for erase in (erase_traces, erase_payee):
            erase(
                session,
                affiliate_id=person.affiliate_id,
                enrollment_ids=person.enrollment_ids,
                now=now,
            )
    erase_identity(session, person, by=by, now=now)
