"""/healthz: the process answers. /readyz: it can do its work. /metrics: what it counts.

Metrics tell a stranger how the business goes, so they are for the machine itself and for
whoever holds the token that `kopeck metrics-token` prints. A request that came through a
proxy is never taken for the machine's own (docs/operations.md, "Watching").
"""

from __future__ import annotations

import hmac
import ipaddress
import os

import sqlalchemy as sa
from flask import Blueprint, Flask, Response, current_app, jsonify, request
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import Unauthenticated
from affiliate.core.outbox import Mail

FORWARDED_HEADERS = ("X-Forwarded-For", "Forwarded", "X-Real-Ip")

blueprint = Blueprint("health", __name__)


def set_up(app: Flask, _settings: Settings) -> None:
    """Register the three addresses."""
    app.register_blueprint(blueprint)


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
    return jsonify(status="ok" if good else "not ready", checks=checks), 200 if good else 503


@blueprint.get("/metrics")
def metrics() -> Response:
    """Prometheus' text format: the process's own counters, and mails that wait or failed."""
    if not (_from_this_machine() or _has_token()):
        raise Unauthenticated("Metrics are for this machine, or with the metrics token.")
    multiprocess = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    registry = REGISTRY
    if multiprocess:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return Response(generate_latest(registry) + _mails().encode(), content_type=CONTENT_TYPE_LATEST)


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


def _mails() -> str:
    waiting, failed = db.session.execute(
        sa.select(
            sa.func.count().filter(Mail.sent_at.is_(None), Mail.failed_at.is_(None)),
            sa.func.count().filter(Mail.failed_at.is_not(None)),
        )
    ).one()
    return (
        "# HELP kopeck_mails_waiting Mails that were not sent yet.\n"
        "# TYPE kopeck_mails_waiting gauge\n"
        f"kopeck_mails_waiting {waiting}\n"
        "# HELP kopeck_mails_failed Mails that were given up.\n"
        "# TYPE kopeck_mails_failed gauge\n"
        f"kopeck_mails_failed {failed}\n"
    )
