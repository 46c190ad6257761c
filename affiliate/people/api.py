"""API v1: a program's affiliates (docs/api.md, "Affiliates")."""

from __future__ import annotations

from typing import Any

import marshmallow as ma
import sqlalchemy as sa
from flask import Flask, Response
from sqlalchemy.orm import Session, aliased

from affiliate.core import api, clock
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import Invalid, NotFound
from affiliate.core.fields import ShopId, Text, moment_json
from affiliate.core.paging import PageOut, PageQuery, page, row_after
from affiliate.people import access, enrollments, ids, joining, recruiters, shop_customers, users
from affiliate.people.access import api_scope
from affiliate.people.applications import Answers, Audience, Channel
from affiliate.people.models import Affiliate, AffiliateGroup, Enrollment
from affiliate.people.rules import Status

blueprint = api.api_blueprint("affiliates", "/api/v1/affiliates", "Affiliates of the key's program")


class AffiliateIn(ma.Schema):
    """Somebody whom the shop proposes; they verify their address and set a password."""

    email = Text(required=True, chars_max=users.EMAIL_CHARS_MAX, metadata={"format": "email"})
    name = Text(required=True, empty=False, chars_max=80)
    website = Text(load_default="", chars_max=300)
    how = Text(load_default="Enrolled by the shop itself.", chars_max=2_000)
    recruiter = Text(load_default=None, chars_max=40)
    customer_id = ShopId(load_default=None)


class ShopCustomerIn(ma.Schema):
    """Under which id of yours the affiliate buys; null: under none that you know."""

    customer_id = ShopId(required=True, allow_none=True)


class ListQuery(PageQuery):
    """One page, in the order of enrollment."""

    status = ma.fields.Enum(Status, by_value=True, load_default=None)


class AffiliateOut(ma.Schema):
    """An affiliate of the program."""

    id = ma.fields.String(metadata={"examples": ["aff_7Qk2"]})
    name = ma.fields.String()
    status = ma.fields.Enum(Status, by_value=True)
    reason = ma.fields.String(allow_none=True)
    group = ma.fields.String(allow_none=True)
    recruiter = ma.fields.String(allow_none=True)
    customer_id = ma.fields.String(allow_none=True)
    applied_at = ma.fields.String(metadata={"format": "date-time"})
    decided_at = ma.fields.String(allow_none=True, metadata={"format": "date-time"})


class AffiliatesOut(PageOut):
    """A page, in the order of enrollment."""

    affiliates = ma.fields.List(ma.fields.Nested(AffiliateOut))


def set_up(app: Flask, _settings: Settings) -> None:
    """Add the resource to the API."""
    api.register(app, blueprint)


@blueprint.get("")
@api_scope("affiliates:read")
@blueprint.arguments(ListQuery, location="query")
@blueprint.response(200, AffiliatesOut)
def listing(query: dict[str, Any]) -> Response:
    """A page of the program's affiliates."""
    session = db.session()
    wanted = affiliates_query().where(Enrollment.program_id == access.api_key().program_id)
    if query["status"] is not None:
        wanted = wanted.where(Enrollment.status == query["status"])
    after, limit = row_after(ids.PREFIX, query), query["limit"]
    if after is not None:
        wanted = wanted.where(Enrollment.id > after)
    rows = session.execute(wanted.order_by(Enrollment.id).limit(limit + 1)).all()
    return page(
        "affiliates",
        rows,
        limit=limit,
        cursor=lambda row: ids.public(row[0].id),
        write=lambda row: affiliate_json(*row),
    )


@blueprint.post("")
@api_scope("affiliates:write")
@blueprint.arguments(AffiliateIn)
@blueprint.response(201, AffiliateOut)
def enroll(values: dict[str, Any]) -> Response:
    """Enroll somebody as an applicant and mail them; approval is the program's own step."""
    session = db.session()
    key = access.api_key()
    now = clock.now(session)
    recruiter_id = None
    if values["recruiter"] is not None:
        recruiter_id = _id_in("recruiter", values["recruiter"])
        recruiters.require_recruiter(session, program_id=key.program_id, recruiter_id=recruiter_id)
    user = users.find(session, email=values["email"])
    if user is None:
        user = users.create_user(
            session, email=values["email"], password=None, name=values["name"], now=now
        )
        users.send_verification(session, user=user, now=now)
    enrollment = joining.apply(
        session,
        user_id=user.id,
        program_id=key.program_id,
        name=values["name"],
        answers=Answers(
            channels=(Channel.OTHER,),
            how=values["how"],
            audience=Audience.UNDER_1000,
            site=values["website"],
        ),
        recruiter_id=recruiter_id,
        by=key.label,
        now=now,
    )
    if values["customer_id"] is not None:
        shop_customers.set_shop_customer(
            session,
            enrollment_id=enrollment.id,
            customer_id=values["customer_id"],
            by=key.label,
            now=now,
        )
    session.commit()
    return affiliate_answer(session, key.program_id, enrollment.id, 201)


@blueprint.get("/<affiliate>")
@api_scope("affiliates:read", own="own:read")
@blueprint.response(200, AffiliateOut)
def one(affiliate: str) -> Response:
    """An affiliate of the key's program; another program's is not found."""
    number = access.enrollment_named(affiliate)
    return affiliate_answer(db.session(), access.api_key().program_id, number, 200)


@blueprint.put("/<affiliate>/customer")
@api_scope("affiliates:write")
@blueprint.arguments(ShopCustomerIn)
@blueprint.response(200, AffiliateOut)
def customer(values: dict[str, Any], affiliate: str) -> Response:
    """Say which customer of the shop an affiliate is: their orders are own purchases."""
    session, key = db.session(), access.api_key()
    enrollment = enrollments.in_program(
        session, program_id=key.program_id, enrollment_id=ids.enrollment_of(affiliate)
    )
    shop_customers.set_shop_customer(
        session,
        enrollment_id=enrollment.id,
        customer_id=values["customer_id"],
        by=key.label,
        now=clock.now(session),
    )
    session.commit()
    return affiliate_answer(session, key.program_id, enrollment.id, 200)


def affiliate_answer(
    session: Session, program_id: int, enrollment_id: int, status: int
) -> Response:
    """An affiliate of the program as the API answers them; NotFound for another program's."""
    wanted = affiliates_query().where(
        Enrollment.program_id == program_id, Enrollment.id == enrollment_id
    )
    row = session.execute(wanted).one_or_none()
    if row is None:
        raise NotFound("There is no such affiliate in this program.")
    return api.answer(affiliate_json(*row), status)


def affiliates_query() -> sa.Select[Enrollment, str, str | None]:
    """The columns that `affiliate_json` reads."""
    group = aliased(AffiliateGroup)
    return (
        sa.select(Enrollment, Affiliate.name, group.name)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .outerjoin(group, group.id == Enrollment.group_id)
        .execution_options(populate_existing=True)
    )


def affiliate_json(enrollment: Enrollment, name: str, group: str | None) -> dict[str, Any]:
    """An affiliate of a program."""
    recruiter = enrollment.recruiter_id
    decided = enrollment.decided_at
    return {
        "id": ids.public(enrollment.id),
        "name": name,
        "status": enrollment.status,
        "reason": enrollment.decision_reason,
        "group": group,
        "recruiter": None if recruiter is None else ids.public(recruiter),
        "customer_id": enrollment.shop_customer_id,
        "applied_at": moment_json(enrollment.applied_at),
        "decided_at": None if decided is None else moment_json(decided),
    }


def _id_in(field: str, text: str) -> int:
    try:
        return ids.enrollment_of(text)
    except NotFound:
        raise Invalid.field(
            field, "unknown_affiliate", "There is no affiliate of this id."
        ) from None
