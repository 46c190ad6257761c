"""What goes by itself after a time, a batch at once. Rule: docs/personal-data.md, "By itself".

Former addresses, sightings and clicks have jobs of their own, beside what they are for.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import outbox, repeats
from affiliate.core.config import Settings
from affiliate.people.models import Enrollment, Invitation, UserSession
from affiliate.people.rules import Status
from affiliate.webhooks import keeping

FORGET_ROWS_MAX: Final = 5_000
"""Of each kind in one run; a full one is followed by the next at once."""
SESSION_DAYS: Final = 90
"""For how long a sign-in that has ended is shown to a person who asks what happened."""
INVITATION_DAYS: Final = 30
"""After an invitation was accepted or ran out."""
REJECTED_DAYS: Final = 180
"""After an application was rejected: long enough for an objection."""


def forget_old(session: Session, *, settings: Settings, now: datetime, real_now: datetime) -> bool:
    """Delete what its time is over of. True: a batch was full, and there may be more."""
    gone = (
        outbox.forget_old(session, real_now=real_now, rows_max=FORGET_ROWS_MAX),
        repeats.forget_old(session, real_now=real_now, rows_max=FORGET_ROWS_MAX),
        _forget_sign_ins(session, settings=settings, real_now=real_now),
        _forget_invitations(session, now=now),
        _forget_rejected(session, now=now),
        keeping.forget_old(session, real_now=real_now, rows_max=FORGET_ROWS_MAX),
    )
    return max(gone) >= FORGET_ROWS_MAX


def _forget_sign_ins(session: Session, *, settings: Settings, real_now: datetime) -> int:
    """A session that nobody can use any more: ended, or older than any may be."""
    longest = timedelta(seconds=settings.session_absolute_s)
    kept = timedelta(days=SESSION_DAYS)
    over = sa.or_(
        UserSession.revoked_at < real_now - kept,
        UserSession.created_at < real_now - kept - longest,
    )
    old = sa.select(UserSession.id).where(over).limit(FORGET_ROWS_MAX)
    gone = session.execute(
        sa.delete(UserSession).where(UserSession.id.in_(old)).returning(UserSession.id)
    )
    return len(gone.all())


def _forget_invitations(session: Session, *, now: datetime) -> int:
    over = sa.func.coalesce(Invitation.accepted_at, Invitation.expires_at)
    old = (
        sa.select(Invitation.id)
        .where(over < now - timedelta(days=INVITATION_DAYS))
        .limit(FORGET_ROWS_MAX)
    )
    gone = session.execute(
        sa.delete(Invitation).where(Invitation.id.in_(old)).returning(Invitation.id)
    )
    return len(gone.all())


def _forget_rejected(session: Session, *, now: datetime) -> int:
    """What a rejected applicant wrote; that they applied and were rejected stays."""
    old = (
        sa.select(Enrollment.id)
        .where(
            Enrollment.status == Status.REJECTED,
            Enrollment.decided_at < now - timedelta(days=REJECTED_DAYS),
            Enrollment.answers != {},
        )
        .limit(FORGET_ROWS_MAX)
        .with_for_update(skip_locked=True, key_share=True)
    )
    gone = session.execute(
        sa.update(Enrollment)
        .where(Enrollment.id.in_(old))
        .values(answers={}, decision_reason=None)
        .returning(Enrollment.id)
        .execution_options(synchronize_session=False)
    )
    return len(gone.all())
