"""The click's receipt over the API: `GET /api/v1/clicks/{click_id}`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import marshmallow as ma
import sqlalchemy as sa
from flask import Flask

from affiliate.core.api import api_blueprint, register
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import NotFound
from affiliate.core.fields import MomentField
from affiliate.links.models import Link
from affiliate.people import ids
from affiliate.people.access import api_key, api_scope
from tracker.clicks.destinations import SUB_IDS
from tracker.clicks.receipts import receipt
from tracker.clicks.rules import DropReason

blueprint = api_blueprint("clicks", "/api/v1/clicks", "Receipts of clicks")


class NoReceipt(NotFound):
    code = "no_receipt"
    title = "No such click is recorded. One that was made this second appears in the next."


class SubIds(ma.Schema):
    """What the link or its address carried; null where nothing was."""

    s1 = ma.fields.String(allow_none=True)
    s2 = ma.fields.String(allow_none=True)
    s3 = ma.fields.String(allow_none=True)
    s4 = ma.fields.String(allow_none=True)
    s5 = ma.fields.String(allow_none=True)


class ReceiptOut(ma.Schema):
    """A recorded click and what was decided about it."""

    click_id = ma.fields.UUID()
    affiliate = ma.fields.String()
    link = ma.fields.String(metadata={"description": "The link's code"})
    clicked_at = MomentField()
    counted = ma.fields.Boolean()
    unique = ma.fields.Boolean(metadata={"description": "The visitor's first on link and day"})
    credits = ma.fields.Boolean(metadata={"description": "Whether an order may be credited to it"})
    reason = ma.fields.String(
        allow_none=True,
        validate=ma.validate.OneOf([reason.value for reason in DropReason]),
        metadata={"description": "Why it is not counted"},
    )
    referrer = ma.fields.String()
    deep_link = ma.fields.String(allow_none=True)
    deep_link_refused = ma.fields.Boolean()
    sub_ids = ma.fields.Nested(SubIds)


@blueprint.get("/<uuid:click_id>")
@api_scope("statistics:read")
@blueprint.response(200, ReceiptOut)
def show(click_id: UUID) -> dict[str, Any]:
    """The receipt of one click of the key's program."""
    found = receipt(db.session(), click_id=click_id)
    if found is None or found.program_id != api_key().program_id:
        raise NoReceipt
    code = db.session.scalar(sa.select(Link.code).where(Link.id == found.link_id))
    return {
        "click_id": found.click_id,
        "affiliate": ids.public(found.enrollment_id),
        "link": code,
        "clicked_at": found.clicked_at,
        "counted": found.verdict.reason is None,
        "unique": found.is_unique,
        "credits": found.verdict.credits,
        "reason": found.verdict.reason,
        "referrer": found.referrer,
        "deep_link": found.deep_link,
        "deep_link_refused": found.deep_link_refused,
        "sub_ids": dict(zip(SUB_IDS, found.sub_ids, strict=True)),
    }


def set_up(app: Flask, _settings: Settings) -> None:
    """Register the resource."""
    register(app, blueprint)
