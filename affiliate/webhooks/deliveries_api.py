"""API v1: what was delivered to the program's webhooks, and sending it again (docs/webhooks.md)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import marshmallow as ma
from flask import Flask, Response
from sqlalchemy.orm import Session

from affiliate.core import api, clock
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.fields import MomentField, moment_json
from affiliate.core.ids import public_id, row_id
from affiliate.core.paging import PageOut, PageQuery, page, row_after
from affiliate.people.access import api_key, api_scope
from affiliate.webhooks import again, endpoints, reading
from affiliate.webhooks.endpoints import DELIVERY, ENDPOINT, Owner
from affiliate.webhooks.models import WebhookAttempt
from affiliate.webhooks.reading import Listed, State
from affiliate.webhooks.rules import EventType

blueprint = api.api_blueprint("webhook_deliveries", "/api/v1/webhooks", "What webhooks were told")


class DeliveriesQuery(PageQuery):
    """One page; of those that wait, have arrived or were given up."""

    state = ma.fields.Enum(State, by_value=True, load_default=None)


class DeliveryOut(ma.Schema):
    """One event on its way to the endpoint."""

    id = ma.fields.String(metadata={"examples": ["whd_7Qk2"]})
    type = ma.fields.Enum(EventType, by_value=True)
    at = MomentField(metadata={"description": "When it happened"})
    state = ma.fields.Enum(State, by_value=True)
    attempts = ma.fields.Integer(metadata={"description": "Since it was last sent again"})
    next_try_at = MomentField(allow_none=True)
    ended_at = MomentField(allow_none=True, metadata={"description": "Arrived or given up"})
    status = ma.fields.Integer(allow_none=True, metadata={"description": "HTTP, the last one"})
    trouble = ma.fields.String(allow_none=True, metadata={"description": "Why there is none"})


class DeliveriesOut(PageOut):
    """A page, newest first."""

    deliveries = ma.fields.List(ma.fields.Nested(DeliveryOut))


class AttemptOut(ma.Schema):
    """One request, and what came of it."""

    at = MomentField()
    took_ms = ma.fields.Integer()
    status = ma.fields.Integer(allow_none=True)
    trouble = ma.fields.String(allow_none=True)
    answer = ma.fields.String(metadata={"description": "Its first characters"})


class DeliveryToldOut(DeliveryOut):
    """A delivery with its message and every attempt, the last first."""

    message_id = ma.fields.String(
        allow_none=True, metadata={"description": "`webhook-id`; null before the first attempt"}
    )
    body = ma.fields.String(allow_none=True, metadata={"description": "As it was signed and sent"})
    attempts_made = ma.fields.List(ma.fields.Nested(AttemptOut))


class RepeatsIn(ma.Schema):
    """Everything that was given up since then."""

    since = MomentField(required=True)


class RepeatsOut(ma.Schema):
    """How many are sent again."""

    deliveries = ma.fields.Integer()


def set_up(app: Flask, _settings: Settings) -> None:
    """Add the resource to the API."""
    api.register(app, blueprint)


@blueprint.post("/<webhook>/tests")
@api_scope("webhooks:write")
@blueprint.response(202, DeliveryOut)
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.alt_response(409, "CONFLICT")
def test(webhook: str) -> Response:
    """Send a `webhook.test` to this endpoint alone; 409 `endpoint_disabled`."""
    session, number = db.session(), row_id(ENDPOINT, webhook)
    made = endpoints.send_test(session, owner=_owner(), endpoint_id=number, now=clock.now(session))
    session.commit()
    return api.answer(_delivery(_told(session, number, made).listed), HTTPStatus.ACCEPTED)


@blueprint.get("/<webhook>/deliveries")
@api_scope("webhooks:read")
@blueprint.arguments(DeliveriesQuery, location="query")
@blueprint.response(200, DeliveriesOut)
@blueprint.alt_response(404, "NOT_FOUND")
def deliveries(query: dict[str, Any], webhook: str) -> Response:
    """What the endpoint was told in the last 30 days, and what waits."""
    found = reading.deliveries(
        db.session(),
        owner=_owner(),
        endpoint_id=row_id(ENDPOINT, webhook),
        state=query["state"],
        before=row_after(DELIVERY, query),
        rows_max=query["limit"] + 1,
    )
    return page(
        "deliveries",
        found,
        limit=query["limit"],
        cursor=lambda each: public_id(DELIVERY, each.id),
        write=_delivery,
    )


@blueprint.get("/<webhook>/deliveries/<delivery>")
@api_scope("webhooks:read")
@blueprint.response(200, DeliveryToldOut)
@blueprint.alt_response(404, "NOT_FOUND")
def delivery(webhook: str, delivery: str) -> Response:
    """One delivery: the message as it was sent, and each attempt."""
    shown = _told(db.session(), row_id(ENDPOINT, webhook), row_id(DELIVERY, delivery))
    return api.answer(
        {
            **_delivery(shown.listed),
            "message_id": shown.message_id,
            "body": shown.body,
            "attempts_made": [_attempt(each) for each in shown.attempts],
        }
    )


@blueprint.post("/<webhook>/deliveries/<delivery>/repeats")
@api_scope("webhooks:write")
@blueprint.response(202, DeliveryOut)
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.alt_response(409, "CONFLICT")
def repeat(webhook: str, delivery: str) -> Response:
    """Send it again, under the same `webhook-id`; 409 `endpoint_disabled`."""
    session, number = db.session(), row_id(ENDPOINT, webhook)
    sent = row_id(DELIVERY, delivery)
    again.send_again(session, owner=_owner(), endpoint_id=number, delivery_id=sent)
    session.commit()
    return api.answer(_delivery(_told(session, number, sent).listed), HTTPStatus.ACCEPTED)


@blueprint.post("/<webhook>/repeats")
@api_scope("webhooks:write")
@blueprint.arguments(RepeatsIn)
@blueprint.response(202, RepeatsOut)
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.alt_response(409, "CONFLICT")
def repeat_failed(values: dict[str, Any], webhook: str) -> Response:
    """Send again all that was given up since then, the oldest first; 409 `endpoint_disabled`."""
    session = db.session()
    count = again.send_failed_again(
        session, owner=_owner(), endpoint_id=row_id(ENDPOINT, webhook), since=values["since"]
    )
    session.commit()
    return api.answer({"deliveries": count}, HTTPStatus.ACCEPTED)


def _owner() -> Owner:
    return Owner(api_key().program_id)


def _told(session: Session, endpoint_id: int, delivery_id: int) -> reading.Shown:
    return reading.delivery(
        session, owner=_owner(), endpoint_id=endpoint_id, delivery_id=delivery_id
    )


def _delivery(found: Listed) -> dict[str, Any]:
    waits = found.state is State.WAITING
    return {
        "id": public_id(DELIVERY, found.id),
        "type": found.type,
        "at": moment_json(found.at),
        "state": found.state.value,
        "attempts": found.attempts,
        "next_try_at": moment_json(found.next_try_at) if waits else None,
        "ended_at": found.ended_at and moment_json(found.ended_at),
        "status": found.status,
        "trouble": found.trouble,
    }


def _attempt(row: WebhookAttempt) -> dict[str, Any]:
    return {
        "at": moment_json(row.at),
        "took_ms": row.took_ms,
        "status": row.status,
        "trouble": row.trouble,
        "answer": row.answer,
    }
