"""`/webhooks/stripe` and `/webhooks/stripe-connect`: checked, stored once, acknowledged.

What follows comes later, by a job. An endpoint without a secret does not exist: an empty secret
verifies against an empty key, which anybody can forge.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import structlog
from flask import Blueprint, Flask, Response, current_app, jsonify, request

from affiliate.core import clock, metrics, strict_json
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import Malformed, NotFound
from affiliate.core.http import csrf
from affiliate.people.access import public
from payouts.provider import jobs
from payouts.provider.receive import WEBHOOK, refuse_foreign, store
from payouts.rails.protocol import Event
from payouts.rails.stripe import StripeRail
from payouts.rails.stripe.reading import event_of
from payouts.rails.stripe.signatures import NotSigned, check_signature

RECEIVED: Final = metrics.declare(
    "kopeck_provider_webhooks", "Calls of the webhook addresses by what became of them."
)
_ID: Final = re.compile(r"evt_[A-Za-z0-9_]{1,250}")
_WORD: Final = re.compile(r"[A-Za-z0-9_.\[\]-]{1,200}")
_ACCOUNT: Final = re.compile(r"(?:acct_[A-Za-z0-9_]{1,250})?")
_OBJECT: Final = re.compile(r"[A-Za-z0-9_-]{0,255}")
_KEY: Final = re.compile(r"[ -~]{0,255}")

blueprint = Blueprint("provider", __name__)
csrf.exempt(blueprint)

log = structlog.get_logger(__name__)


class BadSignature(Malformed):
    code = "bad_signature"
    title = "The signature does not fit this body, is too old, or is of another secret."


def set_up(app: Flask, _settings: Settings) -> None:
    """Register both addresses."""
    app.register_blueprint(blueprint)


@blueprint.post("/webhooks/stripe")
@public
def of_the_platform() -> Response:
    """Events of the merchant's own account: transfers, the balance."""
    return _receive(_settings().stripe_webhook_secrets, connect=False)


@blueprint.post("/webhooks/stripe-connect")
@public
def of_payees() -> Response:
    """Events of payees' accounts: readiness, payouts to their banks."""
    return _receive(_settings().stripe_connect_webhook_secrets, connect=True)


def _receive(secrets: Sequence[str], *, connect: bool) -> Response:
    """200 once the event is on disk, also where it was before; 400 for what is not ours."""
    if not secrets:
        raise NotFound
    try:
        event = _event(secrets)
        session = db.session()
        refuse_foreign(
            session, rail=StripeRail.name, event=event, connect=connect,
            live=_settings().stripe_live,
        )  # fmt: skip
    except Malformed as refusal:
        metrics.count(RECEIVED, outcome="refused")
        log.info("provider.webhook_refused", code=refusal.code, connect=connect)
        raise
    new = store(
        session, rail=StripeRail.name, events=[event], came_by=WEBHOOK, real_now=clock.real_now()
    )
    if new:
        jobs.digest.after_commit(session)
    session.commit()
    metrics.count(RECEIVED, outcome="new" if new else "known")
    return jsonify(received=True)


def _event(secrets: Sequence[str]) -> Event:
    body = request.get_data(cache=False)
    try:
        check_signature(body, request.headers.get("Stripe-Signature"), secrets=secrets)
    except NotSigned:
        raise BadSignature from None
    found: Any = strict_json.loads(body)
    try:
        event = event_of(found)
    except (ValueError, AttributeError, OverflowError, OSError):
        raise Malformed("The body is signed, but it is no event.") from None
    shapes = ((_ID, event.id), (_WORD, event.type), (_ACCOUNT, event.account),
              (_OBJECT, event.object_id), (_KEY, event.idempotency_key))  # fmt: skip
    if not all(shape.fullmatch(text) for shape, text in shapes):
        raise Malformed("The body is signed, but a name in it is none of the provider's.")
    return event


def _settings() -> Settings:
    settings: Settings = current_app.extensions["kopeck.settings"]
    return settings
