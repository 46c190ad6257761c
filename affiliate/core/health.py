"""/healthz: the process answers. /readyz: it can do its work. /metrics: what all processes count.

Metrics tell a stranger how the business goes, so they are for the machine itself and for
whoever holds the token that `kopeck metrics-token` prints. A request that came through a
proxy is never taken for the machine's own (docs/operations.md, "Watching").
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable, Iterable, Sequence

import sqlalchemy as sa
from flask import Blueprint, Flask, Response, current_app, jsonify, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from affiliate.core import metrics as counters
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import Unauthenticated
from affiliate.core.outbox import Mail

FORWARDED_HEADERS = ("X-Forwarded-For", "Forwarded", "X-Real-Ip")
METRICS = "kopeck.metrics"
ALARMS = "kopeck.alarms"

blueprint = Blueprint("health", __name__)


def set_up(app: Flask, settings: Settings) -> None:
    """Register the three addresses, and where this node counts."""
    counters.use(settings.data_dir)
    app.register_blueprint(blueprint)
    report(app, metrics=[counters.counted, _mails])


def report(
    app: Flask,
    *,
    metrics: Sequence[Callable[[], Iterable[Metric]]] = (),
    alarms: Callable[[], list[str]] | None = None,
) -> None:
    """Add to what the addresses say: families for /metrics, sentences for /readyz.

    Alarms are for a person and never make a node unready: it would lose its clicks for them.
    """
    app.extensions.setdefault(METRICS, []).extend(metrics)
    app.extensions.setdefault(ALARMS, []).extend([alarms] if alarms else [])


@blueprint.get("/healthz")
def alive() -> Response:
    """200 while the process answers; asks nobody else, so that it is not killed for others."""
    return jsonify(status="ok")


@blueprint.get("/readyz")
def ready() -> tuple[Response, int]:
    """200 when the database answers and has this version's schema, else 503 and which failed.

    Valkey is not asked: everything that it holds can be missing (design, "Principles").
    """
    from affiliate.core.migrate import is_current

    checks = {"database": False, "migrations": False}
    try:
        connection = db.session.connection()
        connection.execute(sa.text("SELECT 1"))
        checks["database"] = True
        checks["migrations"] = is_current(connection)
    except sa.exc.SQLAlchemyError as error:
        current_app.logger.warning("not ready: %s", type(error).__name__)
    good = all(checks.values())
    alarms = [said for each in current_app.extensions[ALARMS] for said in each()]
    status = "ok" if good else "not ready"
    return jsonify(status=status, checks=checks, alarms=alarms), 200 if good else 503


@blueprint.get("/metrics")
def metrics() -> Response:
    """Prometheus' text format: what all processes of this node count, and what the rows say.

    What needs the database is left out while it is away; `kopeck_database_up` is 0 then.
    """
    if not (_from_this_machine() or _has_token()):
        raise Unauthenticated("Metrics are for this machine, or with the metrics token.")
    registry = CollectorRegistry()
    registry.register(_Everything())
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class _Everything:
    """prometheus_client's collector over whatever was reported."""

    def collect(self) -> Iterable[Metric]:
        found: list[Metric] = []
        up = 1
        for each in current_app.extensions[METRICS]:
            try:
                found += list(each())
            except sa.exc.SQLAlchemyError as error:
                up = 0
                db.session.rollback()
                current_app.logger.warning("metrics without tables: %s", type(error).__name__)
        text = "1: what the tables say is here too."
        return [*found, GaugeMetricFamily("kopeck_database_up", text, up)]


def metrics_token(settings: Settings) -> str:
    """The bearer token of /metrics; changes with KOPECK_SECRET."""
    return settings.key("metrics").hex()


def _from_this_machine() -> bool:
    if any(name in request.headers for name in FORWARDED_HEADERS):
        return False
    try:
        return ipaddress.ip_address(request.remote_addr or "").is_loopback
    except ValueError:
        return False


def _has_token() -> bool:
    settings: Settings = current_app.extensions["kopeck.settings"]
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    expected = metrics_token(settings).encode()
    return scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), expected)


def _mails() -> Iterable[Metric]:
    waiting, failed = db.session.execute(
        sa.select(
            sa.func.count().filter(Mail.sent_at.is_(None), Mail.failed_at.is_(None)),
            sa.func.count().filter(Mail.failed_at.is_not(None)),
        )
    ).one()
    yield GaugeMetricFamily("kopeck_mails_waiting", "Mails that were not sent yet.", waiting)
    yield GaugeMetricFamily("kopeck_mails_failed", "Mails that were given up.", failed)
