"""Book clicks that are paid for."""

from __future__ import annotations

from affiliate.core import clock, queue
from affiliate.core.db import db
from tracker.paid_clicks import book


@queue.job(queue.GENERAL)
def book_clicks() -> None:
    """Book a part of what is due; rings again at once while there was something."""
    session = db.session()
    if book.book_due(session, now=clock.now(session)):
        book_clicks.after_commit(session)
