"""/api/v1/leads, to read as a list."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import marshmallow as ma
import sqlalchemy as sa
from flask import Flask, Response

from affiliate.core.api import api_blueprint, register
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.fields import MomentField, Text, moment_json
from affiliate.core.ids import public_id
from affiliate.core.paging import PageOut, PageQuery, page, row_after
from affiliate.people.access import api_key, api_scope
from tracker.leads.models import Lead, LeadDecision
from tracker.orders.present import shares_json
from tracker.orders.schemas import ShareOut

LEAD: Final = "led"
"""What public ids of leads begin with."""
STATUSES: Final = ("confirmed", "cancelled")
KIND_CHARS_MAX: Final = 64

blueprint = api_blueprint("lead_lists", "/api/v1/leads", "Leads, to read")


class LeadsQuery(PageQuery):
    """One page; placed `from` (in) `to` (not in)."""

    status = ma.fields.String(load_default=None, validate=ma.validate.OneOf(STATUSES))
    kind = Text(load_default=None, chars_max=KIND_CHARS_MAX)
    placed_from = MomentField(load_default=None, data_key="from")
    placed_to = MomentField(load_default=None, data_key="to")


class ListedLeadOut(ma.Schema):
    """A lead in a list; by itself it has its trace and commissions as well."""

    lead_id = ma.fields.String()
    kind = ma.fields.String(allow_none=True)
    status = ma.fields.String(validate=ma.validate.OneOf(STATUSES))
    placed_at = MomentField()
    received_at = MomentField()
    cancelled_at = MomentField(allow_none=True)
    outcome = ma.fields.String(allow_none=True)
    reason = ma.fields.String(allow_none=True, metadata={"description": "Why to nobody"})
    shares = ma.fields.List(ma.fields.Nested(ShareOut))


class LeadsOut(PageOut):
    """A page, the last reported first."""

    leads = ma.fields.List(ma.fields.Nested(ListedLeadOut))


@blueprint.get("")
@api_scope("leads:read")
@blueprint.arguments(LeadsQuery, location="query")
@blueprint.response(200, LeadsOut)
def listing(query: dict[str, Any]) -> Response:
    """Leads of the program."""
    live = sa.and_(LeadDecision.lead_id == Lead.id, LeadDecision.voided_at.is_(None))
    wanted = (
        sa.select(Lead, LeadDecision)
        .outerjoin(LeadDecision, live)
        .where(Lead.program_id == api_key().program_id, *_conditions(query))
        .order_by(Lead.id.desc())
        .execution_options(populate_existing=True)
    )
    limit = query["limit"]
    rows = db.session.execute(wanted.limit(limit + 1)).all()
    return page(
        "leads",
        rows,
        limit=limit,
        cursor=lambda row: public_id(LEAD, row[0].id),
        write=lambda row: _out(*row),
    )


def set_up(app: Flask, _settings: Settings) -> None:
    """Add the resource."""
    register(app, blueprint)


def _conditions(query: dict[str, Any]) -> Iterator[sa.ColumnElement[bool]]:
    after = row_after(LEAD, query)
    if after is not None:
        yield Lead.id < after
    if query["status"] is not None:
        yield Lead.status == query["status"]
    if query["kind"] is not None:
        yield Lead.kind == query["kind"]
    if query["placed_from"] is not None:
        yield Lead.placed_at >= query["placed_from"]
    if query["placed_to"] is not None:
        yield Lead.placed_at < query["placed_to"]


def _out(lead: Lead, decision: LeadDecision | None) -> dict[str, Any]:
    return {
        "lead_id": lead.lead_id,
        "kind": lead.kind,
        "status": lead.status,
        "placed_at": moment_json(lead.placed_at),
        "received_at": moment_json(lead.received_at),
        "cancelled_at": lead.cancelled_at and moment_json(lead.cancelled_at),
        "outcome": decision and decision.outcome,
        "reason": decision and decision.reason,
        "shares": shares_json(decision.shares) if decision else [],
    }
