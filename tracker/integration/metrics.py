"""What /metrics and /readyz say of canaries, and the hook behind every answer."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from flask import Flask
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from affiliate.core import clock, health
from affiliate.core.config import Settings
from affiliate.core.db import db
from tracker.integration import noticing
from tracker.integration.canary import broken_programs
from tracker.integration.models import Canary


def set_up(app: Flask, settings: Settings) -> None:
    """Add canaries to what the health addresses report; let answers be looked at."""
    noticing.set_up(app, settings)
    health.report(app, metrics=[_tables], alarms=_alarms)


def _alarms() -> list[str]:
    try:
        broken = broken_programs(db.session())
    except sa.exc.SQLAlchemyError:
        db.session.rollback()
        return []
    return [
        f"canary_broken: the canary of {slug} does not come through; see /manage/integration"
        for slug in broken
    ]


def _tables() -> Iterable[Metric]:
    """Nothing while the database is away: other families say so."""
    try:
        session = db.session()
        on = Canary.off_since.is_(None)
        broken, oldest = session.execute(
            sa.select(
                sa.func.count().filter(on & Canary.broken_since.is_not(None)),
                sa.func.min(sa.func.coalesce(Canary.last_well_at, Canary.on_since)).filter(on),
            )
        ).one()
        now = clock.now(session)
    except sa.exc.SQLAlchemyError:
        db.session.rollback()
        return
    yield GaugeMetricFamily(
        "kopeck_canaries_broken", "Programs whose canary fails, twice in a row or more.", broken
    )
    age_s = (now - oldest).total_seconds() if oldest is not None else 0.0
    said = "Since when the canary that waits longest has not come through; 0: none is on."
    yield GaugeMetricFamily("kopeck_canary_age_seconds", said, max(0.0, age_s))
