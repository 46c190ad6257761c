"""API v1: an affiliate's links (docs/api.md, "Links")."""

from __future__ import annotations

from typing import Any

import marshmallow as ma
import sqlalchemy as sa
from flask import Flask, Response, current_app

from affiliate.core import api, clock
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.fields import Text, moment_json
from affiliate.core.ids import public_id
from affiliate.core.paging import PageOut, PageQuery, page, row_after
from affiliate.links import links, rules
from affiliate.links.destinations import DEEP_LINK_CHARS_MAX
from affiliate.links.models import Link
from affiliate.people import access, enrollments, ids
from affiliate.people.access import api_scope

LINK_PREFIX = "lnk"

blueprint = api.api_blueprint("links", "/api/v1/affiliates", "Referral links of an affiliate")


class LinkSubIds(ma.Schema):
    """The affiliate's own marks."""

    s1 = Text(allow_none=True, chars_max=rules.SUB_ID_CHARS_MAX)
    s2 = Text(allow_none=True, chars_max=rules.SUB_ID_CHARS_MAX)
    s3 = Text(allow_none=True, chars_max=rules.SUB_ID_CHARS_MAX)
    s4 = Text(allow_none=True, chars_max=rules.SUB_ID_CHARS_MAX)
    s5 = Text(allow_none=True, chars_max=rules.SUB_ID_CHARS_MAX)


class LinkIn(ma.Schema):
    """A new link; everything is optional."""

    destination = Text(load_default=None, allow_none=True, chars_max=DEEP_LINK_CHARS_MAX)
    code = Text(load_default=None, allow_none=True, chars_max=rules.VANITY_CHARS_MAX)
    name = Text(load_default="", chars_max=rules.NAME_CHARS_MAX)
    sub_ids = ma.fields.Nested(LinkSubIds, load_default=dict)


class LinkOut(ma.Schema):
    """A link as it stands."""

    id = ma.fields.String(metadata={"examples": ["lnk_7Qk2"]})
    affiliate = ma.fields.String()
    code = ma.fields.String()
    url = ma.fields.String()
    destination = ma.fields.String()
    name = ma.fields.String()
    sub_ids = ma.fields.Nested(LinkSubIds)
    created_at = ma.fields.String(metadata={"format": "date-time"})
    disabled_at = ma.fields.String(allow_none=True, metadata={"format": "date-time"})


class LinksQuery(PageQuery):
    """One page, newest first; without a limit all that an affiliate may have."""

    limit = ma.fields.Integer(
        load_default=links.LINKS_PER_ENROLLMENT_MAX,
        validate=ma.validate.Range(1, links.LINKS_PER_ENROLLMENT_MAX),
    )


class LinksOut(PageOut):
    """Links of an affiliate, newest first."""

    links = ma.fields.List(ma.fields.Nested(LinkOut))


def set_up(app: Flask, _settings: Settings) -> None:
    """Add the resource to the API."""
    api.register(app, blueprint)


@blueprint.get("/<affiliate>/links")
@api_scope("affiliates:read", own="own:read")
@blueprint.arguments(LinksQuery, location="query")
@blueprint.response(200, LinksOut)
def listing(query: dict[str, Any], affiliate: str) -> Response:
    """The affiliate's links."""
    return links_page(sa.select(Link).where(Link.enrollment_id == _enrollment_id(affiliate)), query)


@blueprint.post("/<affiliate>/links")
@api_scope("affiliates:write", own="own:links")
@blueprint.arguments(LinkIn)
@blueprint.response(201, LinkOut)
def create(values: dict[str, Any], affiliate: str) -> Response:
    """Make a link; 409 `code_taken`, 422 `destination_refused` and others."""
    session = db.session()
    made = links.create_link(
        session, enrollment_id=_enrollment_id(affiliate), now=clock.now(session), **values
    )
    session.commit()
    return api.answer(link_json(made), 201)


def _enrollment_id(affiliate: str) -> int:
    """The enrollment behind the id, if it is one of the key's program."""
    return enrollments.in_program(
        db.session(),
        program_id=access.api_key().program_id,
        enrollment_id=access.enrollment_named(affiliate),
    ).id


def links_page(wanted: sa.Select[Link], query: dict[str, Any]) -> Response:
    """One page of the links that are wanted, newest first."""
    after, limit = row_after(LINK_PREFIX, query), query["limit"]
    if after is not None:
        wanted = wanted.where(Link.id < after)
    rows = db.session.scalars(wanted.order_by(Link.id.desc()).limit(limit + 1)).all()
    return page(
        "links",
        rows,
        limit=limit,
        cursor=lambda link: public_id(LINK_PREFIX, link.id),
        write=link_json,
    )


def link_json(link: Link) -> dict[str, Any]:
    """A link as the API answers it."""
    settings: Settings = current_app.extensions["kopeck.settings"]
    return {
        "id": public_id(LINK_PREFIX, link.id),
        "affiliate": ids.public(link.enrollment_id),
        "code": link.code,
        "url": f"{settings.public_url}/r/{link.code}",
        "destination": link.destination,
        "name": link.name,
        "sub_ids": {name: getattr(link, name) for name in rules.SUB_IDS},
        "created_at": moment_json(link.created_at),
        "disabled_at": None if link.disabled_at is None else moment_json(link.disabled_at),
    }
