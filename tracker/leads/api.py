"""/api/v1/leads: reports and cancellations of a program's leads."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.api import answer, api_blueprint, register
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.fields import shop_id
from affiliate.people.access import api_key, api_scope
from tracker.leads.intake import cancel_lead, report_lead
from tracker.leads.present import find_lead_json, lead_json
from tracker.leads.rules import LeadReportIn, Outcome
from tracker.leads.schemas import LeadIn, LeadOut
from tracker.orders.api import REPLAYED
from tracker.orders.schemas import CancellationIn
from tracker.orders.units import in_one_unit

blueprint = api_blueprint("leads", "/api/v1/leads", "Leads, whose they are and what they earned")


@blueprint.post("")
@api_scope("leads:write")
@blueprint.arguments(LeadIn)
@blueprint.response(201, LeadOut)
@blueprint.alt_response(200, schema=LeadOut, description="The same report again")
@blueprint.alt_response(409, "CONFLICT")
def report(lead: LeadReportIn) -> Response:
    """Report a lead.

    201: created. 200: the same id and content again. 409 `lead_conflict`: the id with other
    content.
    """
    key = api_key()

    def work(session: Session) -> tuple[Outcome, dict[str, Any]]:
        now = clock.now(session)
        reported = report_lead(
            session,
            program_id=key.program_id,
            report=lead,
            reported_by=key.label,
            now=now,
            may_import="leads:import" in key.scopes,
        )
        return reported.outcome, lead_json(session, lead_row_id=reported.lead_row_id, now=now)

    outcome, body = in_one_unit(work)
    if outcome is Outcome.REPLAY:
        return answer(body, 200, REPLAYED)
    return answer(body, 201)


@blueprint.get("/<lead_id>")
@api_scope("leads:read")
@blueprint.response(200, LeadOut)
@blueprint.alt_response(404, "NOT_FOUND")
def show(lead_id: str) -> Response:
    """The lead as sent, its attribution with every check, its commissions."""
    session = db.session()
    return answer(
        find_lead_json(
            session,
            program_id=api_key().program_id,
            lead_id=shop_id(lead_id, "lead_id"),
            now=clock.now(session),
        )
    )


@blueprint.post("/<lead_id>/cancellation")
@api_scope("leads:write")
@blueprint.arguments(CancellationIn, required=False)
@blueprint.response(200, LeadOut)
@blueprint.alt_response(404, "NOT_FOUND")
def cancel(body: dict[str, Any], lead_id: str) -> Response:
    """Void everything that the lead earned; again: it stays cancelled, the first reason stands."""
    key, known_id = api_key(), shop_id(lead_id, "lead_id")

    def work(session: Session) -> Response:
        now = clock.now(session)
        cancelled = cancel_lead(
            session,
            program_id=key.program_id,
            lead_id=known_id,
            reason=body["reason"],
            by=key.label,
            now=now,
        )
        shown = find_lead_json(session, program_id=key.program_id, lead_id=known_id, now=now)
        return answer(shown, 200, None if cancelled else REPLAYED)

    return in_one_unit(work)


def set_up(app: Flask, settings: Settings) -> None:  # noqa: ARG001 -- the shape of every set_up
    """Add the resource."""
    register(app, blueprint)
