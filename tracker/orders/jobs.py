"""Give up parked calls whose order never came."""

from __future__ import annotations

from affiliate.core import clock, queue
from affiliate.core.db import db
from tracker.orders import parked


@queue.job(queue.GENERAL)
def expire_parked_calls() -> None:
    """Expire a batch; a full batch rings again at once."""
    session = db.session()
    if parked.expire_parked(session, now=clock.now(session)) == parked.EXPIRE_ROWS_MAX:
        expire_parked_calls.after_commit(session)
