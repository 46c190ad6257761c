"""API v1: promo materials, to read (docs/api.md, "Creatives")."""

from __future__ import annotations

from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

import marshmallow as ma
import sqlalchemy as sa
from flask import Flask, Response, current_app

from affiliate.core import api, clock
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import NotFound
from affiliate.core.fields import MomentField, moment_json
from affiliate.core.paging import PageOut, PageQuery, page_together, row_after
from affiliate.people import access, enrollments, ids
from affiliate.people.access import api_scope
from affiliate.programs.models import Program
from affiliate.promo.creatives import PREFIX, creative_row
from affiliate.promo.lookup import Material, own_banners, page_of
from affiliate.promo.lookup import material as find_material
from affiliate.promo.models import Creative
from affiliate.promo.rules import Kind, Season

blueprint = api.api_blueprint("creatives", "/api/v1/creatives", "Promo materials")
affiliates = api.api_blueprint(
    "affiliate_creatives", "/api/v1/affiliates", "Promo materials an affiliate may take"
)
OFFERED, RETIRED = "offered", "retired"


class CreativesQuery(PageQuery):
    """One page; of one kind, of those that are offered, of those that are not any more."""

    kind = ma.fields.Enum(Kind, by_value=True, load_default=None)
    state = ma.fields.String(load_default=None, validate=ma.validate.OneOf([OFFERED, RETIRED]))


class CreativeOut(ma.Schema):
    """A promo material; `{link}` in its body is where an affiliate's link goes."""

    id = ma.fields.String(metadata={"examples": ["crt_7Qk2"]})
    kind = ma.fields.Enum(Kind, by_value=True)
    affiliate = ma.fields.String(
        allow_none=True, metadata={"description": "Who made it for themselves; null: for all"}
    )
    name = ma.fields.String()
    language = ma.fields.String()
    subject = ma.fields.String()
    body = ma.fields.String()
    alt = ma.fields.String()
    button = ma.fields.String()
    destination = ma.fields.String()
    video_url = ma.fields.String()
    picture_url = ma.fields.String(allow_none=True)
    width = ma.fields.Integer(allow_none=True)
    height = ma.fields.Integer(allow_none=True)
    starts_on = ma.fields.Date(allow_none=True)
    ends_on = ma.fields.Date(allow_none=True)
    season = ma.fields.Enum(Season, by_value=True)
    created_at = MomentField()
    retired_at = MomentField(allow_none=True)


class CreativesOut(PageOut):
    """A page, newest first."""

    creatives = ma.fields.List(ma.fields.Nested(CreativeOut))


def set_up(app: Flask, _settings: Settings) -> None:
    """Add the resources to the API."""
    api.register(app, blueprint)
    api.register(app, affiliates)


@blueprint.get("")
@api_scope("creatives:read")
@blueprint.arguments(CreativesQuery, location="query")
@blueprint.response(200, CreativesOut)
def listing(query: dict[str, Any]) -> Response:
    """What the program offers to everybody, or offered."""
    kind, state = query["kind"], query["state"]
    conditions = [] if kind is None else [Creative.kind == kind.value]
    if state is not None:
        gone = Creative.retired_at.is_not(None)
        conditions.append(gone if state == RETIRED else ~gone)
    return _page(query, *conditions)


@blueprint.get("/<creative>")
@api_scope("creatives:read")
@blueprint.response(200, CreativeOut)
@blueprint.alt_response(404, "NOT_FOUND")
def one(creative: str) -> Response:
    """One material of the program."""
    found = find_material(db.session(), creative_id=creative_row(creative), today=_today())
    if found.row.program_id != access.api_key().program_id:
        raise NotFound
    return api.answer(_out(found))


@affiliates.get("/<affiliate>/creatives")
@api_scope("creatives:read", own="own:read")
@affiliates.arguments(PageQuery, location="query")
@affiliates.response(200, CreativesOut)
@affiliates.alt_response(404, "NOT_FOUND")
def of_affiliate(query: dict[str, Any], affiliate: str) -> Response:
    """What the affiliate may take today: the program's offer, on the first page also the banners
    that they made for themselves."""
    session = db.session()
    found = enrollments.in_program(
        session,
        program_id=access.api_key().program_id,
        enrollment_id=access.enrollment_named(affiliate),
    )
    today = _today()
    over = sa.func.coalesce(Creative.ends_on < today, sa.false())
    own = [] if query["after"] else own_banners(session, enrollment_id=found.id, today=today)
    return _page(query, Creative.retired_at.is_(None), ~over, before=own)


def _page(
    query: dict[str, Any], *conditions: sa.ColumnElement[bool], before: list[Material] | None = None
) -> Response:
    limit = query["limit"]
    found = page_of(
        db.session(),
        program_id=access.api_key().program_id,
        today=_today(),
        conditions=conditions,
        before_id=row_after(PREFIX, query),
        rows_max=limit + 1,
    )
    return page_together(
        "creatives",
        found,
        limit=limit,
        cursor=lambda each: each.code,
        write=lambda shown: [_out(each) for each in (*(before or ()), *shown)],
    )


def _today() -> date:
    """The day by the program's calendar."""
    session = db.session()
    zone = session.scalar(
        sa.select(Program.time_zone).where(Program.id == access.api_key().program_id)
    )
    return clock.now(session).astimezone(ZoneInfo(zone or "UTC")).date()


def _out(found: Material) -> dict[str, Any]:
    settings: Settings = current_app.extensions["kopeck.settings"]
    row, picture = found.row, found.picture
    texts = ("name", "language", "subject", "body", "alt", "button", "destination", "video_url")
    return {
        "id": found.code,
        "kind": found.kind.value,
        "affiliate": None if row.enrollment_id is None else ids.public(row.enrollment_id),
        **{name: getattr(row, name) for name in texts},
        "picture_url": found.picture_path and settings.public_url + found.picture_path,
        "width": picture and picture.width,
        "height": picture and picture.height,
        "starts_on": row.starts_on and row.starts_on.isoformat(),
        "ends_on": row.ends_on and row.ends_on.isoformat(),
        "season": found.season.value,
        "created_at": moment_json(row.created_at),
        "retired_at": row.retired_at and moment_json(row.retired_at),
    }
