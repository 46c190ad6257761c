"""API v1: who wants to join, and what is decided about it (docs/api.md, "Applications")."""

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
from affiliate.core.fields import Text
from affiliate.core.paging import PageOut, PageQuery, page, row_after
from affiliate.people import access, enrollments, ids, rules
from affiliate.people.access import api_scope
from affiliate.people.api import AffiliateOut, affiliate_answer, affiliate_json, affiliates_query
from affiliate.people.models import Affiliate, Enrollment, User
from affiliate.people.rules import Status

blueprint = api.api_blueprint(
    "applications", "/api/v1/applications", "Who wants to join the program"
)


class ApplicationsQuery(PageQuery):
    """One page; without a status those that wait for a decision."""

    status = ma.fields.Enum(Status, by_value=True, load_default=Status.APPLIED)


class AnswersOut(ma.Schema):
    """What the applicant told; empty for somebody who never applied, or long after a rejection."""

    channels = ma.fields.List(ma.fields.String())
    how = ma.fields.String()
    audience = ma.fields.String()
    site = ma.fields.String()
    rule_version = ma.fields.Integer(allow_none=True)


class ApplicationOut(AffiliateOut):
    """An application; its id is the affiliate's."""

    verified = ma.fields.Boolean(metadata={"description": "Whether the mail address is verified"})
    answers = ma.fields.Nested(AnswersOut)


class ApplicationsOut(PageOut):
    """A page, in the order of enrollment."""

    applications = ma.fields.List(ma.fields.Nested(ApplicationOut))


class ReasonIn(ma.Schema):
    """Why; the person reads it."""

    reason = Text(required=True, empty=False, chars_max=rules.REASON_CHARS_MAX)


def set_up(app: Flask, _settings: Settings) -> None:
    """Add the resource to the API."""
    api.register(app, blueprint)


@blueprint.get("")
@api_scope("applications:read")
@blueprint.arguments(ApplicationsQuery, location="query")
@blueprint.response(200, ApplicationsOut)
def listing(query: dict[str, Any]) -> Response:
    """A page of applications, oldest first."""
    wanted = _query().where(Enrollment.status == query["status"])
    after, limit = row_after(ids.PREFIX, query), query["limit"]
    if after is not None:
        wanted = wanted.where(Enrollment.id > after)
    rows = db.session.execute(wanted.order_by(Enrollment.id).limit(limit + 1)).all()
    return page(
        "applications",
        rows,
        limit=limit,
        cursor=lambda row: ids.public(row[0].id),
        write=lambda row: _out(*row),
    )


@blueprint.get("/<affiliate>")
@api_scope("applications:read")
@blueprint.response(200, ApplicationOut)
@blueprint.alt_response(404, "NOT_FOUND")
def one(affiliate: str) -> Response:
    """What somebody applied with."""
    number = ids.enrollment_of(affiliate)
    row = db.session.execute(_query().where(Enrollment.id == number)).one_or_none()
    if row is None:
        raise NotFound("There is no such application in this program.")
    return api.answer(_out(*row))


@blueprint.post("/<affiliate>/approval")
@api_scope("applications:decide")
@blueprint.response(200, AffiliateOut)
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.alt_response(409, "CONFLICT")
def approve(affiliate: str) -> Response:
    """Let an applicant in and mail them; 409 `address_not_verified`, `step_refused`."""
    session, key = db.session(), access.api_key()
    found = _mine(affiliate)
    enrollments.approve(
        session, enrollment_id=found.id, by=None, actor=key.label, now=clock.now(session)
    )
    session.commit()
    return affiliate_answer(session, key.program_id, found.id, HTTPStatus.OK)


@blueprint.post("/<affiliate>/rejection")
@api_scope("applications:decide")
@blueprint.arguments(ReasonIn)
@blueprint.response(200, AffiliateOut)
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.alt_response(409, "CONFLICT")
def reject(values: dict[str, Any], affiliate: str) -> Response:
    """Turn an application down; the applicant is mailed the reason. 409 `step_refused`."""
    session, key = db.session(), access.api_key()
    found = _mine(affiliate)
    enrollments.reject(
        session,
        enrollment_id=found.id,
        reason=values["reason"],
        by=None,
        actor=key.label,
        now=clock.now(session),
    )
    session.commit()
    return affiliate_answer(session, key.program_id, found.id, HTTPStatus.OK)


def _mine(affiliate: str) -> Enrollment:
    return enrollments.in_program(
        db.session(),
        program_id=access.api_key().program_id,
        enrollment_id=ids.enrollment_of(affiliate),
    )


def _query() -> sa.Select[Any]:
    return (
        affiliates_query()
        .add_columns(User.confirmed_at.is_not(None))
        .join(User, User.id == Affiliate.user_id)
        .where(Enrollment.program_id == access.api_key().program_id)
    )


def _out(enrollment: Enrollment, name: str, group: str | None, verified: bool) -> dict[str, Any]:
    return {
        **affiliate_json(enrollment, name, group),
        "verified": verified,
        "answers": enrollment.answers,
    }
