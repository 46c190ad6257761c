"""The click's receipt over the API: `GET /api/v1/clicks/{click_id}`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import marshmallow as ma
import sqlalchemy as sa
from flask import Flask

from affiliate.core import clock
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
from tracker.clicks.tokens import is_click_id
from tracker.stats.receipts import credited_orders, may_be_on_its_way

blueprint = api_blueprint("clicks", "/api/v1/clicks", "Receipts of clicks")


class NoReceipt(NotFound):
    code = "no_receipt"
    title = "No such click is recorded. One that was made this second appears in the next."


class NotLoadedYet(NoReceipt):
    code = "not_loaded_yet"
    title = "The click was made a moment ago and is not stored yet. Ask again in a second."

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": "1"}


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
    order = ma.fields.String(
        allow_none=True, metadata={"description": "The shop's id of the order credited to it"}
    )


@blueprint.get("/<uuid:click_id>")
@api_scope("statistics:read", own="own:read")
@blueprint.response(200, ReceiptOut)
def show(click_id: UUID) -> dict[str, Any]:
    """The receipt of one click of the key's program."""
    session = db.session()
    found = receipt(session, click_id=click_id)
    if found is None and is_click_id(click_id) and may_be_on_its_way(click_id, clock.now(session)):
        raise NotLoadedYet
    key = api_key()
    if found is None or found.program_id != key.program_id:
        raise NoReceipt
    if key.enrollment_id not in (None, found.enrollment_id):
        raise NoReceipt
    orders = credited_orders(session, enrollment_id=found.enrollment_id, click_ids=[click_id])
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
        "order": orders[click_id].order_id if click_id in orders else None,
    }


def set_up(app: Flask, _settings: Settings) -> None:
    """Register the resource."""
    register(app, blueprint)
