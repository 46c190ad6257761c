"""API v1: the program's webhooks and what was delivered to each (docs/webhooks.md)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import marshmallow as ma
from flask import Flask, Response, current_app
from sqlalchemy.orm import Session

from affiliate.core import api, clock, repeats
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import NotFound
from affiliate.core.fields import MomentField, Text, moment_json
from affiliate.core.ids import public_id, row_id
from affiliate.core.paging import PageOut, PageQuery, page, row_after
from affiliate.people.access import api_key, api_scope
from affiliate.webhooks import endpoints, reading
from affiliate.webhooks.endpoints import ENDPOINT, DisabledFor, Owner, Wanted
from affiliate.webhooks.reading import Faring
from affiliate.webhooks.rules import CHOSEN, DESCRIPTION_CHARS_MAX, URL_CHARS_MAX, EventType

blueprint = api.api_blueprint("webhooks", "/api/v1/webhooks", "Webhooks of the program")


class WebhookIn(ma.Schema):
    """Where it leads and what it is told."""

    url = Text(required=True, empty=False, chars_max=URL_CHARS_MAX)
    types = ma.fields.List(
        ma.fields.String(validate=ma.validate.OneOf([each.value for each in CHOSEN])),
        required=True,
        validate=ma.validate.Length(min=1, max=len(CHOSEN)),
    )
    description = Text(load_default="", chars_max=DESCRIPTION_CHARS_MAX)


class WebhookOut(ma.Schema):
    """An endpoint and how it fares."""

    id = ma.fields.String(metadata={"examples": ["whk_7Qk2"]})
    url = ma.fields.String()
    types = ma.fields.List(ma.fields.Enum(EventType, by_value=True))
    description = ma.fields.String()
    created_at = MomentField()
    disabled_at = MomentField(allow_none=True)
    disabled_for = ma.fields.Enum(DisabledFor, by_value=True, allow_none=True)
    failing_since = MomentField(allow_none=True)
    waiting = ma.fields.Integer(metadata={"description": "Deliveries that are under way"})
    failed = ma.fields.Integer(metadata={"description": "Given up, of those that are kept"})
    delivered_at = MomentField(
        allow_none=True, metadata={"description": "When it last took something"}
    )


class NewWebhookOut(WebhookOut):
    """With its secret, which no call shows again."""

    secret = ma.fields.String(metadata={"examples": ["whsec_…"]})


class WebhooksOut(PageOut):
    """A page, oldest first."""

    webhooks = ma.fields.List(ma.fields.Nested(WebhookOut))


class SecretOut(ma.Schema):
    """The new secret, which no call shows again."""

    secret = ma.fields.String(metadata={"examples": ["whsec_…"]})
    previous_until = MomentField(
        metadata={"description": "Until then the secret before signs as well"}
    )


def set_up(app: Flask, _settings: Settings) -> None:
    """Add the resource to the API."""
    api.register(app, blueprint)


@blueprint.get("")
@api_scope("webhooks:read")
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(200, WebhooksOut)
def listing(query: dict[str, Any]) -> Response:
    """The program's endpoints; postbacks of affiliates are not among them."""
    after = row_after(ENDPOINT, query) or 0
    every = reading.faring(db.session(), owner=_owner())  # There are no more than twenty.
    return page(
        "webhooks",
        [one for one in every if one.row.id > after],
        limit=query["limit"],
        cursor=lambda one: public_id(ENDPOINT, one.row.id),
        write=_out,
    )


@blueprint.post("")
@api_scope("webhooks:write")
@blueprint.arguments(WebhookIn)
@blueprint.response(201, NewWebhookOut)
@blueprint.alt_response(409, "CONFLICT")
def create(values: dict[str, Any]) -> Response:
    """Make an endpoint; its secret is shown this once. 409 `too_many_endpoints`."""
    session = db.session()
    made, secret = endpoints.create_endpoint(
        session,
        owner=_owner(),
        wanted=Wanted(**values),
        settings=_settings(),
        actor=api_key().label,
        by=None,
        now=clock.now(session),
    )
    session.commit()
    repeats.keep_secret()
    return api.answer({**_one(session, made.id), "secret": secret}, HTTPStatus.CREATED)


@blueprint.get("/<webhook>")
@api_scope("webhooks:read")
@blueprint.response(200, WebhookOut)
@blueprint.alt_response(404, "NOT_FOUND")
def one(webhook: str) -> Response:
    """An endpoint as it stands, without its secret."""
    return api.answer(_one(db.session(), row_id(ENDPOINT, webhook)))


@blueprint.put("/<webhook>")
@api_scope("webhooks:write")
@blueprint.arguments(WebhookIn)
@blueprint.response(200, WebhookOut)
@blueprint.alt_response(404, "NOT_FOUND")
def change(values: dict[str, Any], webhook: str) -> Response:
    """Another address, other events; what waits goes to the new address."""
    session = db.session()
    found = endpoints.change_endpoint(
        session,
        wanted=Wanted(**values),
        settings=_settings(),
        **_named(session, webhook),
    )
    session.commit()
    return api.answer(_one(session, found.id))


@blueprint.delete("/<webhook>")
@api_scope("webhooks:write")
@blueprint.response(204)
@blueprint.alt_response(404, "NOT_FOUND")
def delete(webhook: str) -> Response:
    """End it for good; what waits for it is given up."""
    session = db.session()
    endpoints.delete_endpoint(session, **_named(session, webhook))
    session.commit()
    return Response(status=HTTPStatus.NO_CONTENT)


@blueprint.post("/<webhook>/secret")
@api_scope("webhooks:write")
@blueprint.response(200, SecretOut)
@blueprint.alt_response(404, "NOT_FOUND")
def rotate(webhook: str) -> Response:
    """A new secret, shown this once; for a day the one before signs as well."""
    session = db.session()
    secret = endpoints.rotate_secret(session, settings=_settings(), **_named(session, webhook))
    session.commit()
    found = endpoints.find_endpoint(session, owner=_owner(), endpoint_id=row_id(ENDPOINT, webhook))
    repeats.keep_secret()
    until = found.previous_until and moment_json(found.previous_until)
    return api.answer({"secret": secret, "previous_until": until})


@blueprint.post("/<webhook>/disabling")
@api_scope("webhooks:write")
@blueprint.response(200, WebhookOut)
@blueprint.alt_response(404, "NOT_FOUND")
def disable(webhook: str) -> Response:
    """Tell it nothing more until it is enabled; what waits is given up. Again: nothing changes."""
    session = db.session()
    endpoints.disable_endpoint(session, **_named(session, webhook))
    session.commit()
    return api.answer(_one(session, row_id(ENDPOINT, webhook)))


@blueprint.post("/<webhook>/enabling")
@api_scope("webhooks:write")
@blueprint.response(200, WebhookOut)
@blueprint.alt_response(404, "NOT_FOUND")
def enable(webhook: str) -> Response:
    """Tell it again of what happens from now on. Again: nothing changes."""
    session = db.session()
    endpoints.enable_endpoint(session, **_named(session, webhook))
    session.commit()
    return api.answer(_one(session, row_id(ENDPOINT, webhook)))


def _owner() -> Owner:
    return Owner(api_key().program_id)


def _named(session: Session, webhook: str) -> dict[str, Any]:
    """What every verb that changes an endpoint is told: which, by whom, when."""
    return {
        "owner": _owner(),
        "endpoint_id": row_id(ENDPOINT, webhook),
        "actor": api_key().label,
        "now": clock.now(session),
    }


def _one(session: Session, number: int) -> dict[str, Any]:
    for found in reading.faring(session, owner=_owner()):
        if found.row.id == number:
            return _out(found)
    raise NotFound


def _out(found: Faring) -> dict[str, Any]:
    row = found.row
    return {
        "id": public_id(ENDPOINT, row.id),
        "url": row.url,
        "types": list(row.types),
        "description": row.description,
        "created_at": moment_json(row.created_at),
        "disabled_at": row.disabled_at and moment_json(row.disabled_at),
        "disabled_for": row.disabled_for,
        "failing_since": row.failing_since and moment_json(row.failing_since),
        "waiting": found.waiting,
        "failed": found.failed,
        "delivered_at": found.delivered_at and moment_json(found.delivered_at),
    }


def _settings() -> Settings:
    settings: Settings = current_app.extensions["kopeck.settings"]
    return settings
