"""Give up parked calls whose order never came; convert orders whose rate has come."""

from __future__ import annotations

from affiliate.core import clock, queue
from affiliate.core.db import db
from tracker.orders import parked, rates


@queue.job(queue.GENERAL)
def expire_parked_calls() -> None:
    """Expire a batch; a full batch rings again at once."""
    session = db.session()
    if parked.expire_parked(session, now=clock.now(session)) == parked.EXPIRE_ROWS_MAX:
        expire_parked_calls.after_commit(session)


@queue.job(queue.GENERAL)
def convert_waiting_orders() -> None:
    """Convert a batch; a full batch rings again at once."""
    session = db.session()
    if rates.convert_waiting(session, now=clock.now(session)) >= rates.CONVERT_ROWS_MAX:
        convert_waiting_orders.after_commit(session)
