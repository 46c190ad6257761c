"""Forget what its time is over of, and finish erasures."""

from __future__ import annotations

from flask import current_app

from affiliate.core import clock, queue
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.personal.retention import forget_old
from tracker.personal.erase import PEOPLE_AT_ONCE, sweep, to_sweep


@queue.job(queue.GENERAL)
def forget() -> None:
    """One batch of each, each erased person in a transaction; what is full rings again at once."""
    settings: Settings = current_app.extensions["kopeck.settings"]
    session = db.session()
    now = clock.now(session)
    more = forget_old(session, settings=settings, now=now, real_now=clock.real_now())
    session.commit()
    waiting = to_sweep(session, now=now)
    for user_id in waiting:
        more |= not sweep(session, user_id=user_id, now=now)
        session.commit()
    if more or len(waiting) == PEOPLE_AT_ONCE:
        forget.after_commit(session)
