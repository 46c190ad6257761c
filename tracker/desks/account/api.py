"""API v1: what an affiliate earned, and by what (docs/api.md, "Commissions")."""

from __future__ import annotations

from typing import Any

import marshmallow as ma
import sqlalchemy as sa
from flask import Response

from affiliate.core import api
from affiliate.core.db import db
from affiliate.core.fields import MoneyField, moment_json, money_json
from affiliate.core.ids import public_id
from affiliate.core.paging import PageOut, PageQuery, page, row_after
from affiliate.people import access, enrollments
from affiliate.people.access import api_scope
from payouts.commissions.models import Commission
from payouts.commissions.rows import CommissionRow, Status, as_row
from tracker.desks.sources import Source, SourceKind, sources

PREFIX = "com"

blueprint = api.api_blueprint("commissions", "/api/v1/affiliates", "What an affiliate earned")


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


class EarnedCommissionsOut(PageOut):
    """A page, newest first."""

    commissions = ma.fields.List(ma.fields.Nested(EarnedCommissionOut))


@blueprint.get("/<affiliate>/commissions")
@api_scope("affiliates:read", own="own:read")
@blueprint.arguments(PageQuery, location="query")
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
    after, limit = row_after(PREFIX, query), query["limit"]
    if after is not None:
        wanted = wanted.where(Commission.id < after)
    found = session.scalars(wanted.order_by(Commission.id.desc()).limit(limit + 1)).all()
    named = sources(session, [row.reference for row in found[:limit]])
    return page(
        "commissions",
        found,
        limit=limit,
        cursor=lambda row: public_id(PREFIX, row.id),
        write=lambda row: earned_json(as_row(row), named[row.reference]),
    )


def earned_json(row: CommissionRow, source: Source) -> dict[str, Any]:
    """A commission and what it comes from."""
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
