"""Wake what reports by itself."""

from __future__ import annotations

from flask import current_app

from affiliate.core import clock, queue
from affiliate.core.config import Settings
from affiliate.core.db import db
from payouts.reports.statement_letters import LETTERS_MAX, list_months, write_letters


@queue.job(queue.GENERAL)
def mail_statements() -> None:
    """List whose month is over, then write some of the letters; a full turn rings again."""
    session = db.session()
    settings: Settings = current_app.extensions["kopeck.settings"]
    now = clock.now(session)
    list_months(session, now=now)
    session.commit()
    written = write_letters(
        session, public_url=settings.public_url, now=now, real_now=clock.real_now()
    )
    if written == LETTERS_MAX:
        mail_statements.after_commit(session)
