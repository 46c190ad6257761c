"""Wake what follows from events, the catching up, and the daily comparison."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

import sqlalchemy as sa
import structlog
from flask import Flask, current_app

from affiliate.core import clock, queue
from affiliate.core.config import Settings
from affiliate.core.db import db, session_for
from payouts.batches.jobs import AGREES, sweep
from payouts.provider import catch_up as catching
from payouts.provider.digest import EVENTS_MAX, Digestion, digest_due
from payouts.provider.gate import Gate
from payouts.provider.models import Reconciliation
from payouts.provider.receive import forget_old
from payouts.provider.reconcile import BATCH, Comparing, last_reconciliation, reconcile
from payouts.rails.protocol import Provider, RailAway, provider
from payouts.rails.registry import rails

RECONCILE_EVERY: Final = timedelta(hours=23)
FAILED_PAUSE: Final = timedelta(minutes=15)
BY: Final = "system:schedule"

log = structlog.get_logger(__name__)


def set_up(app: Flask, _settings: Settings) -> None:
    """Leave the question that is asked before each run of a batch."""
    app.extensions[AGREES] = Gate(
        sessions=lambda: session_for(db.engine), now=clock.now, real_now=clock.real_now
    )


@queue.job(queue.PAYOUTS)
def digest() -> None:
    """Take in the events that wait; whatever they settled or released moves at once."""
    for each in providers():
        run = Digestion(session_for(db.engine), each, now=clock.now, real_now=clock.real_now)
        looked_at = digest_due(run)
        if looked_at:
            sweep.after_commit(db.session())
        if looked_at == EVENTS_MAX:
            digest.after_commit(db.session())


@queue.job(queue.PAYOUTS)
def catch_up() -> None:
    """Find the events that no webhook brought, and forget those of long ago."""
    forget_old(db.session(), real_now=clock.real_now())
    db.session.commit()
    for each in providers():
        try:
            found = catching.catch_up(session_for(db.engine), each, real_now=clock.real_now)
        except RailAway as away:
            log.warning("payout.rail_away", rail=each.name, error=str(away))
            continue
        if found.new:
            log.warning("provider.caught_up", rail=each.name, events=found.new)
            digest.after_commit(db.session())


@queue.job(queue.PAYOUTS)
def reconcile_daily() -> None:
    """Compare the provider's list with ours, once a day; a quarter of an hour after a failure."""
    for each in providers():
        if _due(each):
            compared = reconcile(comparing(each), by=BY)
            log.info("payout.reconciled", rail=each.name, status=compared.status)


@queue.job(queue.PAYOUTS)
def reconcile_now(user_id: int) -> None:
    """Compare because a person asked for it on the finance desk."""
    for each in providers():
        reconcile(comparing(each), by=f"user:{user_id}")


def comparing(each: Provider) -> Comparing:
    """A comparison with the application's database and clocks."""
    return Comparing(session_for(db.engine), each, now=clock.now, real_now=clock.real_now)


def providers() -> Iterator[Provider]:
    """The providers of this installation that can be asked."""
    settings: Settings = current_app.extensions["kopeck.settings"]
    for rail in rails(settings).values():
        found = provider(rail)
        if found is not None:
            yield found


def _due(each: Provider) -> bool:
    session, now = db.session(), clock.real_now()
    failed_at = session.scalar(
        sa.select(sa.func.max(Reconciliation.covers_until)).where(
            Reconciliation.rail == each.name, Reconciliation.status == "failed"
        )
    )
    if failed_at is not None and now - failed_at < FAILED_PAUSE:
        return False
    last = last_reconciliation(session, rail=each.name)
    # Those before a batch look back an hour alone: the whole day is compared whatever they found.
    whole = session.scalar(
        sa.select(sa.func.max(Reconciliation.covers_until)).where(
            Reconciliation.rail == each.name,
            Reconciliation.status != "failed",
            Reconciliation.by != BATCH,
        )
    )
    return last is None or whole is None or now - whole >= RECONCILE_EVERY
