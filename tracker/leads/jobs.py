"""Look up the verdicts on clicks that leads are credited with."""

from __future__ import annotations

from affiliate.core import clock, queue
from affiliate.core.db import db
from tracker.attribution import click_checks
from tracker.leads.click_checks import LEADS


@queue.job(queue.GENERAL)
def check_lead_clicks() -> None:
    """Check a batch of what waits; a full batch rings again at once."""
    session = db.session()
    moved = click_checks.check_clicks(session, now=clock.now(session), of=LEADS)
    if moved >= click_checks.CHECK_ROWS_MAX:
        check_lead_clicks.after_commit(session)
