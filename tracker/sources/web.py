"""`/webhooks/shops/<source>`: checked, stored once, acknowledged.

What follows comes later, by a job. A source that is off, or that nobody made, does not exist.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import structlog
from flask import Blueprint, Flask, Response, current_app, jsonify, request
from werkzeug.exceptions import RequestEntityTooLarge

from affiliate.core import clock, metrics
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import Malformed, NotFound
from affiliate.core.http import csrf, takes_bytes
from affiliate.people.access import public
from tracker.integration import noticing
from tracker.sources import connect, jobs, woocommerce
from tracker.sources.connect import secrets_of, source_of
from tracker.sources.models import Source
from tracker.sources.receive import store
from tracker.sources.rules import Kind
from tracker.sources.signatures import Scheme, is_signed

BODY_BYTES_MAX: Final = 2_000_000
"""An order of some hundred lines."""
SOURCE_OFF: Final = "source_off"
"""In the log of refused calls; who called is told that there is nothing."""
TOO_LARGE: Final = "request_entity_too_large"
RECEIVED: Final = metrics.declare(
    "kopeck_source_webhooks", "Calls of shop systems' addresses by what became of them."
)

blueprint = Blueprint("sources", __name__)
csrf.exempt(blueprint)

log = structlog.get_logger(__name__)


class BadSignature(Malformed):
    code = "bad_signature"
    title = "The signature does not fit this body, is too old, or is of another secret."


def set_up(app: Flask, _settings: Settings) -> None:
    """Register the address."""
    app.register_blueprint(blueprint)


@blueprint.post("/webhooks/shops/<source>")
@takes_bytes(BODY_BYTES_MAX)
@public
def receive(source: str) -> Response:
    """200 once the body is on disk, also where it was before; 400 for what is not signed."""
    found = source_of(db.session(), source)
    if not found.is_on:
        _note(found, SOURCE_OFF, NotFound.status)
        raise NotFound
    try:
        raw = request.get_data(cache=False)
    except RequestEntityTooLarge:
        metrics.count(RECEIVED, kind=found.kind, outcome="refused")
        _note(found, TOO_LARGE, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        raise
    if found.kind == Kind.WOOCOMMERCE and woocommerce.is_ping(raw):
        metrics.count(RECEIVED, kind=found.kind, outcome="ping")
        return jsonify(received=True)
    try:
        _check(found, raw)
        new = store(
            db.session(), source=found, raw=raw, headers=request.headers,
            real_now=clock.real_now(),
        )  # fmt: skip
    except Malformed as refusal:
        metrics.count(RECEIVED, kind=found.kind, outcome="refused")
        log.info("source.webhook_refused", code=refusal.code, source=source)
        _note(found, refusal.code, refusal.status)
        raise
    if new:
        jobs.follow.after_commit(db.session())
    kind = found.kind
    db.session.commit()
    metrics.count(RECEIVED, kind=kind, outcome="new" if new else "known")
    return jsonify(received=True)


def _note(found: Source, code: str, status: int) -> None:
    """For the program's log of refused calls: the reason, and nothing of what was sent."""
    noticing.call_refused(
        program_id=found.program_id, caller=connect.public(found.id), code=code, status=status
    )


def _check(found: Source, raw: bytes) -> None:
    settings: Settings = current_app.extensions["kopeck.settings"]
    real_now = clock.real_now()
    if not is_signed(
        Kind(found.kind),
        raw=raw,
        headers=request.headers,
        secrets=secrets_of(found, settings, real_now),
        now=real_now,
        scheme=Scheme(found.scheme or Scheme.HMAC_HEX),
        header=found.header,
    ):
        raise BadSignature
