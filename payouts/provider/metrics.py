"""What /metrics and /readyz say of providers: events that wait, and how old the comparison is."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from flask import Flask
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from affiliate.core import clock, health
from affiliate.core.config import Settings
from affiliate.core.db import db
from payouts.provider.models import Difference, ProviderEvent, Reconciliation


def set_up(app: Flask, _settings: Settings) -> None:
    """Add providers to what the health addresses report."""
    health.report(app, metrics=[_tables])


def _tables() -> Iterable[Metric]:
    """Nothing while the database is away: other families say so."""
    try:
        session = db.session()
        waiting = session.scalar(
            sa.select(sa.func.count()).where(ProviderEvent.processed_at.is_(None))
        )
        differences = session.scalar(
            sa.select(sa.func.count()).where(Difference.resolved_at.is_(None))
        )
        compared = session.execute(
            sa.select(Reconciliation.rail, sa.func.max(Reconciliation.covers_until))
            .where(Reconciliation.status != "failed")
            .group_by(Reconciliation.rail)
        ).all()
    except sa.exc.SQLAlchemyError:
        db.session.rollback()
        return
    yield GaugeMetricFamily(
        "kopeck_provider_events_waiting", "Stored events that were not taken in yet.", waiting
    )
    yield GaugeMetricFamily(
        "kopeck_provider_differences_open",
        "Contradictions between a provider's books and ours that wait for a person.",
        differences,
    )
    age = GaugeMetricFamily(
        "kopeck_reconciliation_age_seconds",
        "Since when the provider's list was last compared to its end.",
        labels=["rail"],
    )
    now = clock.real_now()
    for rail, until in compared:
        age.add_metric([rail], (now - until).total_seconds())
    yield age
