"""What the audit and /metrics say about webhooks of shop systems: that they are acted on."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from flask import Flask
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from affiliate.core import health
from affiliate.core.config import Settings
from affiliate.core.db import db
from payouts.audit.run import Check, Severity, register
from tracker.sources.models import SourceDelivery
from tracker.sources.rules import State

CHECKS = (
    Check(
        "X1",
        Severity.LIVENESS,
        "webhooks of shop systems are acted on within an hour",
        """
        SELECT d.id AS delivery_id, d.source_id, d.received_at, d.error
        FROM source_deliveries d
        WHERE d.processed_at IS NULL AND d.waits_for IS NULL
          AND d.received_at < CAST(:real_now AS timestamptz) - interval '1 hour'
        ORDER BY d.id
        """,
    ),
)


def set_up(app: Flask, settings: Settings) -> None:  # noqa: ARG001 -- the shape of every set_up
    """Let `kopeck audit` and /metrics know."""
    register(app, CHECKS)
    health.report(app, metrics=[_deliveries])


def _deliveries() -> Iterable[Metric]:
    waiting, held = (
        db.session()
        .execute(
            sa.select(
                sa.func.count().filter(SourceDelivery.processed_at.is_(None)),
                sa.func.count().filter(SourceDelivery.state == State.HELD.value),
            ).where(
                sa.or_(
                    SourceDelivery.processed_at.is_(None), SourceDelivery.state == State.HELD.value
                )
            )
        )
        .one()
    )
    yield GaugeMetricFamily(
        "kopeck_source_deliveries_waiting", "Webhooks of shop systems to act on.", waiting
    )
    yield GaugeMetricFamily(
        "kopeck_source_deliveries_held", "Of them, those that wait for a person.", held
    )
