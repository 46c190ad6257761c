"""Look up the verdicts on credited clicks."""

from __future__ import annotations

from affiliate.core import clock, queue
from affiliate.core.db import db
from tracker.attribution import click_checks, sightings


@queue.job(queue.GENERAL)
def check_clicks() -> None:
    """Check a batch of what waits; a full batch rings again at once."""
    session = db.session()
    moved = click_checks.check_clicks(session, now=clock.now(session))
    if moved >= click_checks.CHECK_ROWS_MAX:
        check_clicks.after_commit(session)


@queue.job(queue.GENERAL)
def forget_sightings() -> None:
    """Forget in which browsers and networks accounts were open; a full batch rings again."""
    session = db.session()
    if sightings.forget_sightings(session, now=clock.now(session)) >= sightings.FORGET_ROWS_MAX:
        forget_sightings.after_commit(session)
