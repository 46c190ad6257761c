"""Wake the letters that clicks, orders and weeks bring about; a full turn rings again."""

from __future__ import annotations

from flask import current_app

from affiliate.core import clock, queue
from affiliate.core.config import Settings
from affiliate.core.db import db
from tracker.letters import digests, firsts, sending


@queue.job(queue.GENERAL)
def tell_firsts() -> None:
    """Write about first clicks and first sales."""
    session, now = db.session(), clock.now(db.session())
    written = firsts.tell_first_clicks(session, settings=_settings(), now=now)
    written += firsts.tell_first_sales(session, settings=_settings(), now=now)
    if written >= firsts.LETTERS_MAX:
        tell_firsts.after_commit(session)


@queue.job(queue.GENERAL)
def tell_weeks() -> None:
    """Write the digests of last week."""
    session = db.session()
    written = digests.tell_weeks(session, settings=_settings(), now=clock.now(session))
    if written >= digests.LETTERS_MAX:
        tell_weeks.after_commit(session)


@queue.job(queue.GENERAL)
def send_newsletters() -> None:
    """Write newsletters whose day it is."""
    session = db.session()
    written = sending.send_newsletters(session, settings=_settings(), now=clock.now(session))
    if written >= sending.LETTERS_MAX:
        send_newsletters.after_commit(session)


def _settings() -> Settings:
    settings: Settings = current_app.extensions["kopeck.settings"]
    return settings
