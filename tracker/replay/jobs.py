"""Run trials, and ask for those of shadows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from sqlalchemy.orm import Session

from affiliate.core import clock, queue
from affiliate.core.db import db, session_for
from affiliate.core.snapshot import read_once
from tracker.replay import runs


@queue.job(queue.HISTORY)
def run_replays() -> None:
    """Run what waits, one after another."""
    engine = db.engine
    made = session_for(engine)

    @contextmanager
    def write() -> Iterator[Session]:
        with made.begin() as session:
            yield session

    desk = runs.Desk(partial(read_once, engine), write, clock.real_now, clock.now)
    while runs.run_next(desk) is not None:
        pass


@queue.job(queue.GENERAL)
def ask_for_shadows() -> None:
    """Ask for the comparison of yesterday, where a draft runs in the shadow."""
    session = db.session()
    if runs.ask_for_shadows(session, now=clock.now(session)):
        run_replays.after_commit(session)
