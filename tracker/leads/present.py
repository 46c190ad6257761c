"""A lead as the API answers it: as sent, whose it is and why, what it earned."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.errors import NotFound
from affiliate.core.fields import moment_json
from affiliate.programs.models import Program, RuleVersion
from payouts.commissions.counted import lead_reference
from payouts.commissions.rows import commissions_for
from tracker.leads.models import Lead, LeadDecision
from tracker.orders.present import attribution_json, commission_json, version_numbers

_LAST_DECISION = (
    sa.select(LeadDecision.id)
    .where(LeadDecision.lead_id == Lead.id)
    .order_by(LeadDecision.number.desc())
    .limit(1)
    .correlate(Lead)
    .scalar_subquery()
)
_LEAD = (
    sa.select(
        Lead,
        Program.slug,
        LeadDecision,
        RuleVersion.number.label("rule_version"),
        RuleVersion.terms["attribution"]["model"].astext.label("model"),
    )
    .join(Program, Program.id == Lead.program_id)
    .join(LeadDecision, LeadDecision.id == _LAST_DECISION)
    .join(RuleVersion, RuleVersion.id == LeadDecision.rule_version_id)
    .execution_options(populate_existing=True)
)


def lead_json(session: Session, *, lead_row_id: int, now: datetime) -> dict[str, Any]:
    """The lead as it stands now; the trace in codes alone."""
    return _document(session, Lead.id == lead_row_id, now, in_words=False)


def find_lead_json(
    session: Session, *, program_id: int, lead_id: str, now: datetime
) -> dict[str, Any]:
    """The lead by the shop's id, the trace in words too; NotFound where there is none."""
    mine = (Lead.program_id == program_id) & (Lead.lead_id == lead_id)
    return _document(session, mine, now, in_words=True)


def _document(
    session: Session, condition: sa.ColumnElement[bool], now: datetime, *, in_words: bool
) -> dict[str, Any]:
    row = session.execute(_LEAD.where(condition)).one_or_none()
    if row is None:
        raise NotFound("No lead with this id was reported in this program.")
    lead: Lead = row.Lead
    decision: LeadDecision = row.LeadDecision
    earned = commissions_for(session, reference=lead_reference(lead.id))
    numbers = version_numbers(session, earned, decision.rule_version_id)
    document = {
        "lead_id": lead.lead_id,
        "kind": lead.kind,
        "status": lead.status,
        "program": row.slug,
        "placed_at": moment_json(lead.placed_at),
        "metadata": lead.details,
        "attribution": attribution_json(
            {name: getattr(decision, name) for name in ("outcome", "reason", "shares", "trace")},
            model=row.model,
            rule_version=row.rule_version,
            in_words=in_words,
        ),
        "commissions": [
            commission_json(found, numbers.get(found.rule_version_id, row.rule_version), now)
            for found in earned
            if found.decision == decision.number
        ],
    }
    if lead.cancel_reason is not None:
        document["cancel_reason"] = lead.cancel_reason
    return document
