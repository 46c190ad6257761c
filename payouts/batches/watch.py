"""What the audit and /metrics say about payouts: that nothing waits too long."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from flask import Flask
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from affiliate.core import clock, health
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.programs.models import Program
from payouts.audit.run import Check, Severity, register
from payouts.batches.on_time import punctuality, waiting

APPROVAL_H = 24
"""A batch that waits longer for finance is late: so are all payouts in it."""
NOW = """CAST(:real_now AS timestamptz) + make_interval(
            secs => coalesce((SELECT seconds FROM clock_offset WHERE id = 1), 0))"""

CHECKS = (
    Check(
        "H1",
        Severity.LIVENESS,
        "no withdrawal waits beyond its deadline, pauses added",
        f"""
        SELECT id AS withdrawal_id, enrollment_id, deadline_at FROM withdrawals
        WHERE closed_at IS NULL AND paused_at IS NULL AND deadline_at < {NOW}
        ORDER BY deadline_at
        """,  # noqa: S608 -- a constant of ours
    ),
    Check(
        "H2",
        Severity.LIVENESS,
        "no batch waits for finance for more than a day",
        f"""
        SELECT id AS batch_id, program_id, frozen_at FROM payout_batches
        WHERE status = 'frozen' AND frozen_at < {NOW} - interval '{APPROVAL_H} hours'
        ORDER BY frozen_at
        """,  # noqa: S608 -- a constant of ours
    ),
    Check(
        "H3",
        Severity.LIVENESS,
        "no payout waits for a person's look for more than a day",
        """
        SELECT i.id AS item_id, i.batch_id, a.last_tried_at FROM payout_items i
        JOIN payout_attempts a ON a.item_id = i.id AND a.status <> 'failed'
        WHERE i.status = 'needs_review'
          AND a.last_tried_at < CAST(:real_now AS timestamptz) - interval '1 day'
        ORDER BY a.last_tried_at
        """,
    ),
)


def set_up(app: Flask, settings: Settings) -> None:  # noqa: ARG001 -- the shape of every set_up
    """Let `kopeck audit` and /metrics know."""
    register(app, CHECKS)
    health.report(app, metrics=[_waiting, _punctuality])


def _waiting() -> Iterable[Metric]:
    session = db.session()
    found = waiting(session, now=clock.now(session))
    for name, text, value in (
        ("withdrawals_running", "Open withdrawals whose clock runs.", found.withdrawals),
        ("withdrawals_paused", "Open withdrawals whose clock stands still.", found.paused),
        ("withdrawals_overdue", "Open withdrawals beyond their deadline.", found.overdue),
        (
            "withdrawal_overdue_seconds",
            "How far the most overdue one is beyond its deadline.",
            found.longest.total_seconds(),
        ),
        ("batches_waiting", "Frozen batches that finance has not approved.", found.batches),
        (
            "batch_waiting_seconds",
            "How long the oldest of them has waited.",
            found.oldest_batch.total_seconds(),
        ),
        ("payouts_needing_review", "Payouts whose outcome is to be found out.", found.review),
    ):
        yield GaugeMetricFamily(f"kopeck_{name}", text, value)


def _punctuality() -> Iterable[Metric]:
    """The hourly figures of the last 30 days; nothing for what was not paid in them."""
    session = db.session()
    labels = ["program", "kind"]
    share = GaugeMetricFamily(
        "kopeck_payouts_on_time_ratio", "Share paid on time, of 30 days.", labels=labels
    )
    median = GaugeMetricFamily(
        "kopeck_payouts_median_seconds", "Median until the money left, of 30 days.", labels=labels
    )
    worst = GaugeMetricFamily(
        "kopeck_payouts_worst_seconds", "Longest until the money left, of 30 days.", labels=labels
    )
    slugs = dict(session.execute(sa.select(Program.id, Program.slug)).all())
    for program_id, kinds in punctuality(session, program_ids=slugs).items():
        for kind, found in kinds.items():
            named = [slugs[program_id], kind.value]
            if found.share_ppm is not None:
                share.add_metric(named, found.share_ppm / 1_000_000)
            if found.median is not None and found.worst is not None:
                median.add_metric(named, found.median.total_seconds())
                worst.add_metric(named, found.worst.total_seconds())
    yield from (share, median, worst)
