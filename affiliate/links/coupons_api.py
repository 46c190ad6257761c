"""API v1: coupons: whose they are, giving one, switching one off (docs/api.md, "Coupons")."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import marshmallow as ma
import sqlalchemy as sa
from flask import Flask, Response

from affiliate.core import api, clock
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import NotFound
from affiliate.core.fields import MomentField, Text, moment_json
from affiliate.core.ids import public_id, row_id
from affiliate.core.paging import CURSOR_CHARS_MAX, PageOut, PageQuery, page, row_after, row_in
from affiliate.links import coupons, rules
from affiliate.links.models import Coupon
from affiliate.people import access, enrollments, ids
from affiliate.people.access import api_scope

PREFIX = "cpn"
CODE_CHARS_MAX = 64

blueprint = api.api_blueprint("coupons", "/api/v1/coupons", "Coupons of the program")
affiliates = api.api_blueprint("affiliate_coupons", "/api/v1/affiliates", "Coupons of an affiliate")


class CouponIn(ma.Schema):
    """A new coupon; `valid_until` is the first instant at which it no longer counts."""

    code = Text(required=True, empty=False, chars_max=CODE_CHARS_MAX)
    valid_until = MomentField(load_default=None, allow_none=True)


class CouponOut(ma.Schema):
    """A coupon; orders with its code are credited to the affiliate."""

    id = ma.fields.String(metadata={"examples": ["cpn_7Qk2"]})
    affiliate = ma.fields.String()
    code = ma.fields.String()
    created_at = MomentField()
    valid_until = MomentField(allow_none=True)
    disabled_at = MomentField(allow_none=True)


class CouponsOut(PageOut):
    """A page, newest first."""

    coupons = ma.fields.List(ma.fields.Nested(CouponOut))


class CouponsQuery(PageQuery):
    """One page; of one affiliate, of one code, or of all."""

    affiliate = Text(load_default=None, chars_max=CURSOR_CHARS_MAX)
    code = Text(load_default=None, chars_max=CODE_CHARS_MAX)


def set_up(app: Flask, _settings: Settings) -> None:
    """Add the resources to the API."""
    api.register(app, blueprint)
    api.register(app, affiliates)


@blueprint.get("")
@api_scope("coupons:read")
@blueprint.arguments(CouponsQuery, location="query")
@blueprint.response(200, CouponsOut)
def listing(query: dict[str, Any]) -> Response:
    """Coupons of the program; the case of letters in `code` does not matter."""
    wanted = sa.select(Coupon)
    affiliate = row_in(ids.PREFIX, "affiliate", query["affiliate"])
    if affiliate is not None:
        wanted = wanted.where(Coupon.enrollment_id == affiliate)
    if query["code"] is not None:
        wanted = wanted.where(Coupon.code == rules.folded_coupon(query["code"]))
    return _page(wanted, query)


@blueprint.get("/<coupon>")
@api_scope("coupons:read")
@blueprint.response(200, CouponOut)
@blueprint.alt_response(404, "NOT_FOUND")
def one(coupon: str) -> Response:
    """A coupon as it stands."""
    return api.answer(_out(_mine(coupon)))


@blueprint.post("/<coupon>/disabling")
@api_scope("coupons:write")
@blueprint.response(200, CouponOut)
@blueprint.alt_response(404, "NOT_FOUND")
def disable(coupon: str) -> Response:
    """Switch it off: it credits nothing from now on. Again: nothing changes."""
    session = db.session()
    found = coupons.disable_coupon(
        session,
        coupon_id=_mine(coupon).id,
        by=None,
        actor=access.api_key().label,
        now=clock.now(session),
    )
    session.commit()
    return api.answer(_out(found))


@affiliates.get("/<affiliate>/coupons")
@api_scope("coupons:read", own="own:read")
@affiliates.arguments(PageQuery, location="query")
@affiliates.response(200, CouponsOut)
@affiliates.alt_response(404, "NOT_FOUND")
def of_affiliate(query: dict[str, Any], affiliate: str) -> Response:
    """The affiliate's coupons."""
    found = enrollments.in_program(
        db.session(),
        program_id=access.api_key().program_id,
        enrollment_id=access.enrollment_named(affiliate),
    )
    return _page(sa.select(Coupon).where(Coupon.enrollment_id == found.id), query)


@affiliates.post("/<affiliate>/coupons")
@api_scope("coupons:write")
@affiliates.arguments(CouponIn)
@affiliates.response(201, CouponOut)
@affiliates.alt_response(404, "NOT_FOUND")
@affiliates.alt_response(409, "CONFLICT")
def give(values: dict[str, Any], affiliate: str) -> Response:
    """Give the affiliate a coupon; 409 `coupon_taken`, `not_enrolled`, 422 for a wrong code."""
    session, key = db.session(), access.api_key()
    found = enrollments.in_program(
        session, program_id=key.program_id, enrollment_id=ids.enrollment_of(affiliate)
    )
    made = coupons.create_coupon(
        session,
        enrollment_id=found.id,
        code=values["code"],
        valid_until=values["valid_until"],
        by=None,
        actor=key.label,
        now=clock.now(session),
    )
    session.commit()
    return api.answer(_out(made), HTTPStatus.CREATED)


def _page(wanted: sa.Select[Coupon], query: dict[str, Any]) -> Response:
    wanted = wanted.where(Coupon.program_id == access.api_key().program_id)
    after, limit = row_after(PREFIX, query), query["limit"]
    if after is not None:
        wanted = wanted.where(Coupon.id < after)
    found = db.session.scalars(wanted.order_by(Coupon.id.desc()).limit(limit + 1)).all()
    return page(
        "coupons",
        found,
        limit=limit,
        cursor=lambda coupon: public_id(PREFIX, coupon.id),
        write=_out,
    )


def _mine(coupon: str) -> Coupon:
    found = db.session.get(Coupon, row_id(PREFIX, coupon))
    if found is None or found.program_id != access.api_key().program_id:
        raise NotFound
    return found


def _out(coupon: Coupon) -> dict[str, Any]:
    return {
        "id": public_id(PREFIX, coupon.id),
        "affiliate": ids.public(coupon.enrollment_id),
        "code": coupon.code,
        "created_at": moment_json(coupon.created_at),
        "valid_until": coupon.valid_until and moment_json(coupon.valid_until),
        "disabled_at": coupon.disabled_at and moment_json(coupon.disabled_at),
    }
