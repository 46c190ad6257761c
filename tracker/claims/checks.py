"""What the audit and /metrics say about cases: that they are answered in time."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from flask import Flask
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from affiliate.core import clock, health
from affiliate.core.config import Settings
from affiliate.core.db import db
from payouts.audit.run import Check, Severity, register
from tracker.claims.models import Claim
from tracker.claims.rules import Status

CHECKS = (
    Check(
        "Q1",
        Severity.LIVENESS,
        "claims and appeals are answered by their deadline",
        """
        SELECT c.id AS claim_id, c.program_id, c.due_at FROM claims c
        WHERE c.status = 'open' AND c.due_at < CAST(:real_now AS timestamptz) + make_interval(
            secs => coalesce((SELECT seconds FROM clock_offset WHERE id = 1), 0))
        ORDER BY c.due_at
        """,
    ),
)


def set_up(app: Flask, settings: Settings) -> None:  # noqa: ARG001 -- the shape of every set_up
    """Let `kopeck audit` and /metrics know."""
    register(app, CHECKS)
    health.report(app, metrics=[_cases])


def _cases() -> Iterable[Metric]:
    session = db.session()
    now = clock.now(session)
    waiting, overdue = session.execute(
        sa.select(sa.func.count(), sa.func.count().filter(Claim.due_at < now)).where(
            Claim.status == Status.OPEN
        )
    ).one()
    yield GaugeMetricFamily("kopeck_claims_open", "Claims and appeals to answer.", waiting)
    yield GaugeMetricFamily("kopeck_claims_overdue", "Of them, those past their deadline.", overdue)
