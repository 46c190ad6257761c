"""Wake the canaries, and clear away what the desk no longer shows."""

from __future__ import annotations

import secrets
from functools import partial

from flask import current_app

from affiliate.core import clock, queue
from affiliate.core.config import Settings
from affiliate.core.db import db
from tracker.clicks.tokens import signing_keys
from tracker.integration import canary, tidying
from tracker.integration.marks import RANDOM_CHARS, canary_order_id
from tracker.integration.way import Ways, walk


@queue.job(queue.GENERAL)
def walk_canaries() -> None:
    """Each canary whose turn it is: claim and commit, walk, write what came of it."""
    settings: Settings = current_app.extensions["kopeck.settings"]
    session = db.session()
    while (
        due := canary.claim_due(session, settings=settings, real=clock.real_now())
    ) is not None and not queue.stopping():
        now, program_id = clock.now(session), due.program_id
        session.commit()

        def came_through(order_id: str, program_id: int = program_id) -> bool:
            found = canary.find_test(session, program_id=program_id, order_id=order_id)
            session.commit()
            return found

        ways = Ways(
            public_url=settings.public_url, slug=due.slug, currency=due.currency, key=due.key,
            token_keys=signing_keys(settings.keys("click-token")), now=now,
            order_id=partial(_order_id, settings.key("canary-order")), came_through=came_through,
        )  # fmt: skip
        done = walk(ways)
        canary.note_walk(
            session, due=due, walk=done, settings=settings, now=now,
            real=clock.real_now(),
        )  # fmt: skip
        session.commit()


def _order_id(key: bytes) -> str:
    return canary_order_id(key, secrets.token_hex(RANDOM_CHARS // 2))


@queue.job(queue.GENERAL)
def tidy_integration() -> None:
    """Delete what is old."""
    session = db.session()
    tidying.tidy(session, now=clock.now(session))
