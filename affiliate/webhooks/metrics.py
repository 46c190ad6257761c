"""What /metrics says of webhooks: how many wait, for how long, and endpoints that were given up."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from flask import Flask
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from affiliate.core import clock, health
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.webhooks.endpoints import DisabledFor
from affiliate.webhooks.models import WebhookDelivery, WebhookEndpoint


def set_up(app: Flask, _settings: Settings) -> None:
    """Add webhooks to what the health addresses report."""
    health.report(app, metrics=[_tables])


def _tables() -> Iterable[Metric]:
    session, now = db.session(), clock.real_now()
    # Of one that was ended or is off, what a transaction told in that very moment waits for nobody.
    waiting, due = session.execute(
        sa.select(
            sa.func.count(),
            sa.func.min(WebhookDelivery.next_try_at).filter(
                WebhookEndpoint.failures == 0, WebhookDelivery.leased_until.is_(None)
            ),
        )
        .select_from(WebhookDelivery)
        .join(WebhookEndpoint, WebhookEndpoint.id == WebhookDelivery.endpoint_id)
        .where(
            WebhookDelivery.delivered_at.is_(None),
            WebhookDelivery.given_up_at.is_(None),
            WebhookEndpoint.deleted_at.is_(None),
            WebhookEndpoint.disabled_at.is_(None),
        )
    ).one()
    disabled = session.scalar(
        sa.select(sa.func.count()).where(
            WebhookEndpoint.disabled_for.in_((DisabledFor.FAILING, DisabledFor.GONE)),
            WebhookEndpoint.deleted_at.is_(None),
        )
    )
    yield GaugeMetricFamily(
        "kopeck_webhooks_waiting", "Deliveries that have not arrived and were not given up.",
        waiting,
    )  # fmt: skip
    yield GaugeMetricFamily(
        "kopeck_webhooks_overdue_seconds",
        "Since when the oldest delivery to an endpoint that answers is due; grows where no "
        "process delivers.",
        max(0.0, (now - due).total_seconds()) if due else 0.0,
    )
    yield GaugeMetricFamily(
        "kopeck_webhooks_disabled", "Endpoints that were given up after failures.", disabled or 0
    )
