"""API v1: links of everybody in the program, and switching one off (docs/api.md, "Links")."""

from __future__ import annotations

from typing import Any

import marshmallow as ma
import sqlalchemy as sa
from flask import Flask, Response

from affiliate.core import api, clock
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import NotFound
from affiliate.core.fields import Text
from affiliate.core.ids import row_id
from affiliate.core.paging import CURSOR_CHARS_MAX, PageOut, PageQuery, row_in
from affiliate.links import links, rules
from affiliate.links.api import LINK_PREFIX, LinkOut, link_json, links_page
from affiliate.links.models import Link
from affiliate.people import access, ids
from affiliate.people.access import api_scope

blueprint = api.api_blueprint("all_links", "/api/v1/links", "Referral links of the program")


class LinksQuery(PageQuery):
    """One page; of one affiliate, of one code, or of all."""

    affiliate = Text(load_default=None, chars_max=CURSOR_CHARS_MAX)
    code = Text(load_default=None, chars_max=rules.VANITY_CHARS_MAX)


class LinksPageOut(PageOut):
    """A page, newest first."""

    links = ma.fields.List(ma.fields.Nested(LinkOut))


def set_up(app: Flask, _settings: Settings) -> None:
    """Add the resource to the API."""
    api.register(app, blueprint)


@blueprint.get("")
@api_scope("affiliates:read")
@blueprint.arguments(LinksQuery, location="query")
@blueprint.response(200, LinksPageOut)
def listing(query: dict[str, Any]) -> Response:
    """Links of the program."""
    wanted = sa.select(Link).where(Link.program_id == access.api_key().program_id)
    affiliate = row_in(ids.PREFIX, "affiliate", query["affiliate"])
    if affiliate is not None:
        wanted = wanted.where(Link.enrollment_id == affiliate)
    if query["code"] is not None:
        wanted = wanted.where(Link.code == query["code"])
    return links_page(wanted, query)


@blueprint.get("/<link>")
@api_scope("affiliates:read", own="own:read")
@blueprint.response(200, LinkOut)
@blueprint.alt_response(404, "NOT_FOUND")
def one(link: str) -> Response:
    """A link as it stands."""
    return api.answer(link_json(_mine(link)))


@blueprint.post("/<link>/disabling")
@api_scope("affiliates:write")
@blueprint.response(200, LinkOut)
@blueprint.alt_response(404, "NOT_FOUND")
def disable(link: str) -> Response:
    """Switch a link off for good: clicks from now on are not credited. Again: nothing changes."""
    session = db.session()
    found = links.disable_link(
        session,
        link_id=_mine(link).id,
        actor=access.api_key().label,
        now=clock.now(session),
    )
    session.commit()
    return api.answer(link_json(found))


def _mine(link: str) -> Link:
    """A link of the key's program, of an own key its owner's; NotFound for another's."""
    key = access.api_key()
    found = db.session.get(Link, row_id(LINK_PREFIX, link))
    if found is None or found.program_id != key.program_id:
        raise NotFound
    if key.enrollment_id not in (None, found.enrollment_id):
        raise NotFound
    return found
