"""Wake the closing of programs whose notice period is over."""

from __future__ import annotations

from affiliate.core import clock, queue
from affiliate.core.db import db
from affiliate.programs import programs


@queue.job(queue.GENERAL)
def close_programs() -> None:
    """Close what is due to be closed."""
    session = db.session()
    programs.close_due(session, now=clock.now(session))
