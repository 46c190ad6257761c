"""Wake what is due about programs and their rules: closings, letters."""

from __future__ import annotations

from affiliate.core import clock, queue
from affiliate.core.db import db
from affiliate.people import enrollments
from affiliate.programs import programs, telling


@queue.job(queue.GENERAL)
def close_programs() -> None:
    """Close what is due to be closed."""
    session = db.session()
    programs.close_due(session, now=clock.now(session))


@queue.job(queue.GENERAL)
def close_enrollments() -> None:
    """Close the enrollments of those who declined new rules, when it is time."""
    session = db.session()
    enrollments.close_due(session, now=clock.now(session))


@queue.job(queue.GENERAL)
def tell_affiliates() -> None:
    """Write the letters about new rules that are owed."""
    session = db.session()
    telling.tell(session, now=clock.now(session))
