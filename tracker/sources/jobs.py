"""Wake what follows from webhooks of shop systems, and forget their bodies."""

from __future__ import annotations

from affiliate.core import clock, queue
from affiliate.core.db import db, session_for
from tracker.sources.again import FORGET_ROWS_MAX, forget_bodies
from tracker.sources.follow import DELIVERIES_MAX, Following, follow_due


@queue.job(queue.GENERAL)
def follow() -> None:
    """Act on the deliveries that wait; a full run rings again at once."""
    run = Following(session_for(db.engine), now=clock.now, real_now=clock.real_now)
    if follow_due(run) == DELIVERIES_MAX:
        follow.after_commit(db.session())


@queue.job(queue.GENERAL)
def forget() -> None:
    """Forget a batch; a full one rings again at once."""
    session = db.session()
    if forget_bodies(session, real_now=clock.real_now()) >= FORGET_ROWS_MAX:
        forget.after_commit(session)
