"""Wake what moves commissions: releases, and the make-ups of tiers."""

from __future__ import annotations

from affiliate.core import clock, queue
from affiliate.core.db import db
from payouts.commissions import make_up, release


@queue.job(queue.GENERAL)
def release_due() -> None:
    """Release a batch of what is due; a full batch rings again at once."""
    session = db.session()
    released = release.release_due(session, now=clock.now(session))
    if released == release.RELEASE_ROWS_MAX:
        release_due.after_commit(session)


@queue.job(queue.GENERAL)
def release_budgeted() -> None:
    """Release what waited for a budget that has room again."""
    session = db.session()
    release.release_budgeted(session, now=clock.now(session))


@queue.job(queue.GENERAL)
def make_up_tiers() -> None:
    """Book the make-ups of tiers whose period is over; a full batch rings again at once."""
    session = db.session()
    if make_up.make_up_due(session, now=clock.now(session)) >= make_up.MAKE_UPS_MAX:
        make_up_tiers.after_commit(session)
