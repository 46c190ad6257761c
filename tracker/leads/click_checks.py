"""The loader's verdict on credited clicks reaches leads as it reaches orders."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy.orm import Session

from payouts.commissions.rules import VoidReason
from tracker.attribution.click_checks import Checked
from tracker.leads.decide import decide_lead_again, update_lead_wait
from tracker.leads.intake import program_facts
from tracker.leads.models import Lead, LeadDecision


def _decide_again(session: Session, lead: Lead, reason: VoidReason, now: datetime) -> None:
    program = program_facts(session, lead.program_id)
    decide_lead_again(session, lead=lead, program=program, reason=reason, now=now)


def _update_wait(session: Session, lead: Lead, now: datetime) -> None:
    update_lead_wait(session, lead=lead, now=now)


LEADS: Final = Checked(
    thing=Lead,
    decision=LeadDecision,
    column="lead_id",
    name="lead_id",
    decide_again=_decide_again,
    update_wait=_update_wait,
)
