"""Leads: search, the full trace of each in sentences, review and cancel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from flask import url_for
from sqlalchemy.orm import Session

from affiliate.core import ids
from affiliate.core.db import db
from affiliate.core.errors import NotFound
from affiliate.core.money import Money
from affiliate.people import access
from payouts.commissions.counted import lead_reference
from payouts.commissions.rows import commissions_for, commissions_for_many
from tracker.attribution.subject import ReviewOutcome
from tracker.desks.acting import Answer, act, reason_said
from tracker.desks.manage import people, sentences
from tracker.desks.manage.blueprint import (
    LEAD,
    actors,
    manage,
    page,
    place,
    place_of,
    readers,
    require_acting,
)
from tracker.desks.manage.decided import (
    ROWS_MAX,
    TO_REVIEW,
    Search,
    commission_told,
    credited,
    decision_told,
    everybody,
    person,
    search_asked,
    waits_for_review,
)
from tracker.desks.words import _
from tracker.leads.decide import decisions_of
from tracker.leads.intake import cancel_lead, review_lead
from tracker.leads.models import Lead, LeadDecision
from tracker.leads.rules import Status

STATUSES = tuple(status.value for status in Status)


def lead_row(text: str) -> int:
    """The number behind `led_…`; NotFound when it is none."""
    return ids.row_id(LEAD, text)


@manage.get("/leads")
@readers
def leads() -> str:
    """The program's leads, newest first, by id, status or credit."""
    here = place()
    program = here.required
    search = search_asked(STATUSES, lead_row)
    found = _rows(db.session(), program.id, search)
    shown = found[:ROWS_MAX]
    more = len(found) > ROWS_MAX
    return page(
        "leads",
        here,
        rows=_described(db.session(), shown, program.currency),
        words=sentences,
        **search.told("manage.leads", ids.public_id(LEAD, shown[-1][0].id) if more else None),
    )


@manage.get("/leads/<lead>")
@readers
def lead(lead: str) -> str:
    """A lead with everything that was ever decided about it."""
    return lead_page(lead_row(lead))


@manage.post("/leads/<lead>/release")
@actors
def release_lead(lead: str) -> Answer:
    """Let the suspicious click behind a lead stand."""
    return _review(lead, ReviewOutcome.RELEASED, _("The lead is released."))


@manage.post("/leads/<lead>/refusal")
@actors
def decline_lead(lead: str) -> Answer:
    """Do not let it stand: the lead is decided anew without it."""
    return _review(
        lead, ReviewOutcome.DECLINED, _("The click is declined; the lead is decided anew.")
    )


@manage.post("/leads/<lead>/cancellation")
@actors
def cancel_a_lead(lead: str) -> Answer:
    """Cancel a lead: what it earned is taken back."""
    found = _mine(lead)
    return act(
        lambda session, now: cancel_lead(
            session,
            program_id=found.program_id,
            lead_id=found.lead_id,
            reason=reason_said(),
            by=access.actor().label,
            now=now,
        ),
        done=_("Lead %(lead)s is cancelled; what it earned is taken back.", lead=found.lead_id),
        back=url_for("manage.lead", lead=lead),
        page=lambda: lead_page(lead_row(lead)),
    )


def lead_page(row_id: int) -> str:
    """The page of a lead of one of the reader's programs; NotFound otherwise."""
    session = db.session()
    found = session.get(Lead, row_id, populate_existing=True)
    if found is None:
        raise NotFound
    here = place_of(found.program_id)
    decisions = decisions_of(session, lead=found)
    earned = commissions_for(session, reference=lead_reference(found.id))
    names = people.names_of(session, everybody(decisions, earned))
    return page(
        "lead",
        here,
        public=ids.public_id(LEAD, found.id),
        lead=found,
        decisions=[decision_told(decision, names) for decision in decisions],
        commissions=[
            commission_told(session, row, names)
            for row in sorted(earned, key=lambda row: (-row.decision, row.id))
        ],
        reviewed_by=person(session, found.reviewed_by),
        cancelled_by=person(session, found.cancelled_by),
        to_review=waits_for_review(found.review_outcome, decisions),
        words=sentences,
    )


def _review(lead: str, outcome: ReviewOutcome, done: str) -> Answer:
    found = _mine(lead)
    return act(
        lambda session, now: review_lead(
            session,
            program_id=found.program_id,
            lead_id=found.lead_id,
            outcome=outcome,
            reason=reason_said(),
            by=access.actor().label,
            now=now,
        ),
        done=done,
        back=url_for("manage.lead", lead=lead),
        page=lambda: lead_page(lead_row(lead)),
    )


def _rows(
    session: Session, program_id: int, search: Search
) -> list[tuple[Lead, LeadDecision | None]]:
    live = sa.and_(LeadDecision.lead_id == Lead.id, LeadDecision.voided_at.is_(None))
    query = (
        sa.select(Lead, LeadDecision)
        .outerjoin(LeadDecision, live)
        .where(Lead.program_id == program_id)
        .order_by(Lead.id.desc())
        .limit(ROWS_MAX + 1)
    )
    if search.text:
        query = query.where(Lead.lead_id == search.text)
    if search.status:
        query = query.where(Lead.status == search.status)
    if search.credit == TO_REVIEW:
        query = query.where(LeadDecision.review_reason.is_not(None), Lead.review_outcome.is_(None))
    elif search.credit:
        query = query.where(LeadDecision.outcome == search.credit)
    if search.before_id is not None:
        query = query.where(Lead.id < search.before_id)
    return [(lead, decision) for lead, decision in session.execute(query)]


def _described(
    session: Session, rows: Sequence[tuple[Lead, LeadDecision | None]], currency: str
) -> list[dict[str, Any]]:
    earned = commissions_for_many(
        session, references=[lead_reference(lead.id) for lead, _decision in rows]
    )
    wanted = {share["enrollment_id"] for _lead, d in rows if d for share in d.shares}
    names = people.names_of(session, wanted)
    return [
        {
            "public": ids.public_id(LEAD, lead.id),
            "lead": lead,
            "decision": decision,
            "credited": credited(decision, names),
            "commission": Money(
                sum(row.left.micros for row in earned[lead_reference(lead.id)]), currency
            ),
        }
        for lead, decision in rows
    ]


def _mine(lead: str) -> Lead:
    """The lead that a form is about, in a program in which the reader may act."""
    found = db.session.get(Lead, lead_row(lead))
    if found is None:
        raise NotFound
    require_acting(found.program_id)
    return found
