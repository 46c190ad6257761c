"""API v1: what an affiliate earned, and by what (docs/api.md, "Commissions")."""

from __future__ import annotations

from typing import Any

import marshmallow as ma
import sqlalchemy as sa
from flask import Response

from affiliate.core import api
from affiliate.core.db import db
from affiliate.core.fields import MoneyField, Text, moment_json, money_json
from affiliate.core.ids import public_id, row_id
from affiliate.people import access, enrollments
from affiliate.people.access import api_scope
from payouts.commissions.models import Commission
from payouts.commissions.rows import CommissionRow, Status, as_row
from tracker.desks.sources import Source, SourceKind, sources

PREFIX = "com"
ROWS = 50
ROWS_MAX = 200

blueprint = api.api_blueprint("commissions", "/api/v1/affiliates", "What an affiliate earned")


class CommissionsQuery(ma.Schema):
    """One page; `after` is the `next` of the page before."""

    limit = ma.fields.Integer(load_default=ROWS, validate=ma.validate.Range(1, ROWS_MAX))
    after = Text(load_default=None, chars_max=40)


class EarnedCommissionOut(ma.Schema):
    """One commission."""

    id = ma.fields.String(metadata={"examples": ["com_7Qk2"]})
    level = ma.fields.Integer()
    kind = ma.fields.Enum(SourceKind, by_value=True)
    source = ma.fields.String(metadata={"description": "The shop's id of the order, or in words"})
    status = ma.fields.Enum(Status, by_value=True)
    amount = MoneyField(metadata={"description": "As earned"})
    taken_back = MoneyField(metadata={"description": "By refunds"})
    earned_at = ma.fields.String(metadata={"format": "date-time"})
    available_at = ma.fields.String(metadata={"format": "date-time"})
    waits_for = ma.fields.String(allow_none=True)


class EarnedCommissionsOut(ma.Schema):
    """A page, newest first; `next` goes into `after`."""

    commissions = ma.fields.List(ma.fields.Nested(EarnedCommissionOut))
    next = ma.fields.String(allow_none=True)


@blueprint.get("/<affiliate>/commissions")
@api_scope("affiliates:read", own="own:read")
@blueprint.arguments(CommissionsQuery, location="query")
@blueprint.response(200, EarnedCommissionsOut)
def commissions(query: dict[str, Any], affiliate: str) -> Response:
    """The affiliate's commissions of both levels."""
    session = db.session()
    enrollment = enrollments.in_program(
        session,
        program_id=access.api_key().program_id,
        enrollment_id=access.enrollment_named(affiliate),
    )
    wanted = sa.select(Commission).where(Commission.enrollment_id == enrollment.id)
    if query["after"] is not None:
        wanted = wanted.where(Commission.id < row_id(PREFIX, query["after"]))
    limit = query["limit"]
    found = session.scalars(wanted.order_by(Commission.id.desc()).limit(limit + 1)).all()
    named = sources(session, [row.reference for row in found[:limit]])
    return api.answer(
        {
            "commissions": [_out(as_row(row), named[row.reference]) for row in found[:limit]],
            "next": public_id(PREFIX, found[limit - 1].id) if len(found) > limit else None,
        }
    )


def _out(row: CommissionRow, source: Source) -> dict[str, Any]:
    return {
        "id": public_id(PREFIX, row.id),
        "level": row.level,
        "kind": source.kind.value,
        "source": source.text,
        "status": row.status.value,
        "amount": money_json(row.amount),
        "taken_back": money_json(row.reversed),
        "earned_at": moment_json(row.earned_at),
        "available_at": moment_json(row.available_at),
        "waits_for": row.waits_for,
    }
