"""Wake what is fetched from shops: feeds every day, pictures of new products."""

from __future__ import annotations

from flask import current_app

from affiliate.core import clock, queue
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.products import fetching, pictures


@queue.job(queue.HISTORY)
def fetch_feeds() -> None:
    """Ask every address that is due, each in a transaction of its own; then for pictures."""
    session, production = db.session(), _production()
    while (due := fetching.claim_due(session, now=clock.now(session))) is not None:
        session.commit()
        answer = fetching.ask(due, production=production)
        fetching.note_answer(session, due=due, answer=answer, now=clock.now(session))
        fetch_pictures.after_commit(session)
        session.commit()


@queue.job(queue.HISTORY)
def fetch_pictures() -> None:
    """Fetch some of the pictures that are missing; a full run rings again at once."""
    session, production = db.session(), _production()
    pictures.forget_pictures(session)
    missing = pictures.wanted(session, now=clock.now(session))
    session.commit()
    came = 0
    for each in missing:
        answer = pictures.ask(each, production=production)
        came += not isinstance(answer, str)
        pictures.note_picture(session, each=each, answer=answer, now=clock.now(session))
        session.commit()
        if queue.stopping():
            return
    # A site that lets us wait for nothing is asked again at the next bell, not at once.
    if len(missing) == pictures.PICTURES_AT_ONCE and came * 2 >= len(missing):
        fetch_pictures.after_commit(session)


def _production() -> bool:
    settings: Settings = current_app.extensions["kopeck.settings"]
    return settings.production
