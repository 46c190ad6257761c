"""Look after open cases."""

from __future__ import annotations

from affiliate.core import clock, queue
from affiliate.core.db import db
from tracker.claims import upkeep


@queue.job(queue.GENERAL)
def answer_claims() -> None:
    """Answer what solved itself; a full batch rings again at once."""
    session = db.session()
    if upkeep.answer_solved(session, now=clock.now(session)) == upkeep.SOLVED_ROWS_MAX:
        answer_claims.after_commit(session)


@queue.job(queue.GENERAL)
def remind_of_claims() -> None:
    """Write to those who can decide; a full batch rings again at once."""
    session = db.session()
    if upkeep.remind_of_due(session, now=clock.now(session)) == upkeep.REMINDED_ROWS_MAX:
        remind_of_claims.after_commit(session)
