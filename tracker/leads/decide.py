"""Decide whose a lead is, write down why, and let it earn; decide again when that changes.

The same evidence and rules as an order's (`tracker.attribution`); what is earned is the amount
that each credited affiliate's terms set for a lead. The caller holds the lead's row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from fractions import Fraction
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.money import Money
from affiliate.programs.rule_versions import RuleVersionInForce, by_ids, in_force
from payouts.commissions.counted import lead_commissions, lead_reference
from payouts.commissions.earn import Earning, earn_decided, wait_for
from payouts.commissions.rows import CommissionRow, commissions_for
from payouts.commissions.rules import Credit, Sale, VoidReason
from payouts.commissions.standing import standing_before
from payouts.commissions.void import void
from tracker.attribution.judging import Judged, decision_values, judge
from tracker.attribution.rules import Attribution
from tracker.attribution.sales import Read, standing_values
from tracker.attribution.subject import ReviewOutcome, waits_for
from tracker.leads.models import Lead, LeadDecision
from tracker.orders.records import ProgramFacts


def decide_lead(
    session: Session, *, lead: Lead, program: ProgramFacts, number: int, now: datetime
) -> tuple[CommissionRow, ...]:
    """Make decision `number` of the lead and let it earn; answers what it earned.

    The attribution terms are the program's version in force at placed_at. A later decision
    keeps that version, and whoever the lead credited before keeps their own.
    """
    version = in_force(session, program_id=program.id, at=lead.placed_at)
    if number > 1:
        version = _version_before(session, lead) or version
    judged = judge(
        session,
        program_id=program.id,
        placed_at=lead.placed_at,
        evidence=lead.evidence,
        program_closed=program.closed_at(lead.placed_at),
        version=version,
        now=now,
        review_declined=lead.review_outcome == ReviewOutcome.DECLINED,
    )
    if number > 1:
        judged = _as_reckoned(session, judged, lead)
    judged = _with_caps(session, judged, lead, program)
    row = {"lead_id": lead.id, **decision_values(judged, number=number, now=now)}
    session.execute(sa.insert(LeadDecision).values(row))
    earning = _earning(judged, lead, program, number, now)
    return () if earning is None else earn_decided(session, earning=earning)


def decide_lead_again(
    session: Session, *, lead: Lead, program: ProgramFacts, reason: VoidReason, now: datetime
) -> None:
    """Void the live decision and what it earned, and make the next; both are kept."""
    number = void_lead_decision(session, lead=lead, reason=reason, now=now)
    decide_lead(session, lead=lead, program=program, number=number + 1, now=now)


def void_lead_decision(session: Session, *, lead: Lead, reason: VoidReason, now: datetime) -> int:
    """Void the live decision and its commissions. Returns the highest number so far."""
    found = session.execute(
        sa.select(LeadDecision.id, LeadDecision.number, LeadDecision.voided_at)
        .where(LeadDecision.lead_id == lead.id)
        .order_by(LeadDecision.number)
    ).all()
    for decision in found:
        if decision.voided_at is not None:
            continue
        reference = lead_reference(lead.id)
        void(session, reference=reference, decision=decision.number, reason=reason, now=now)
        session.execute(
            sa.update(LeadDecision)
            .where(LeadDecision.id == decision.id)
            .values(voided_at=now, void_reason=reason.value, click_check_due_at=None)
        )
    return max((decision.number for decision in found), default=0)


def update_lead_wait(session: Session, *, lead: Lead, now: datetime) -> None:
    """Recompute from the lead's facts what its commissions wait for."""
    live = session.execute(
        sa.select(LeadDecision.click_check_due_at, LeadDecision.review_reason).where(
            LeadDecision.lead_id == lead.id, LeadDecision.voided_at.is_(None)
        )
    ).one_or_none()
    due_at, review_reason = live or (None, None)
    code = _waits(due_at, review_reason, lead)
    wait_for(session, reference=lead_reference(lead.id), waits_for=code, now=now)


def _waits(due_at: datetime | None, review_reason: str | None, lead: Lead) -> str | None:
    return waits_for(
        confirmed=True,
        click_check_due_at=due_at,
        to_review=review_reason is not None and lead.review_outcome is None,
        unconverted=False,
    )


def _version_before(session: Session, lead: Lead) -> RuleVersionInForce | None:
    """The version of the lead's last decision."""
    found = session.scalar(
        sa.select(LeadDecision.rule_version_id)
        .where(LeadDecision.lead_id == lead.id)
        .order_by(LeadDecision.number.desc())
        .limit(1)
    )
    return None if found is None else by_ids(session, [found])[found]


def _as_reckoned(session: Session, judged: Judged, lead: Lead) -> Judged:
    """Whom the lead credited before earns by the version that its commissions froze."""
    earlier = commissions_for(session, reference=lead_reference(lead.id))
    frozen = {row.enrollment_id: row.rule_version_id for row in earlier}
    known = by_ids(session, set(frozen.values()))
    kept = {who: known[version_id] for who, version_id in frozen.items()}
    return replace(judged, versions={**judged.versions, **kept})


def _with_caps(session: Session, judged: Judged, lead: Lead, program: ProgramFacts) -> Judged:
    """Lock and read what was earned before, of whom a cap of a period asks for it.

    Tiers and bonuses look at sales alone, so that nothing of them is read for a lead.
    """
    if not isinstance(judged.verdict, Attribution):
        return judged
    terms = {
        share.enrollment_id: replace(
            _version_of(judged, share.enrollment_id).terms.commission, tiers=None, bonus=None
        )
        for share in judged.verdict.shares
    }
    standings = standing_before(
        session,
        terms=terms,
        reference=lead_reference(lead.id),
        placed_at=lead.placed_at,
        zone=program.time_zone,
        currency=program.currency,
    )
    return replace(judged, read=Read(standings)) if standings else judged


def _version_of(judged: Judged, enrollment_id: int) -> RuleVersionInForce:
    return judged.versions.get(enrollment_id, judged.version)


def _earning(
    judged: Judged, lead: Lead, program: ProgramFacts, number: int, now: datetime
) -> Earning | None:
    """What the lead earns whom it credits; None when it credits nobody."""
    if not isinstance(judged.verdict, Attribution):
        return None
    credits = _credits(judged, judged.verdict)
    sale = Sale(
        program_id=program.id,
        reference=lead_reference(lead.id),
        decision=number,
        net=Money.zero(program.currency),
        credits=credits,
        placed_at=lead.placed_at,
        hold=judged.version.terms.payout.hold,
    )
    review_reason = None if judged.review_reason is None else judged.review_reason.value
    return Earning(
        sale,
        lead_commissions(credits, currency=program.currency),
        _waits(judged.click_check_due_at, review_reason, lead),
        now,
    )


def _credits(judged: Judged, verdict: Attribution) -> tuple[Credit, ...]:
    """Each share with its affiliate's own terms; a lead has no level 2."""
    standings: Mapping[int, Any] = judged.read.standings
    found = []
    for share in verdict.shares:
        version = _version_of(judged, share.enrollment_id)
        found.append(
            Credit(
                enrollment_id=share.enrollment_id,
                weight=Fraction(share.weight),
                terms=version.terms.commission,
                rule_version_id=version.id,
                recruiter_id=None,
                hold=version.terms.payout.hold,
                **standing_values(standings.get(share.enrollment_id)),
            )
        )
    return tuple(found)


def decisions_of(session: Session, *, lead: Lead) -> Sequence[LeadDecision]:
    """Every decision of the lead, the newest first."""
    return session.scalars(
        sa.select(LeadDecision)
        .where(LeadDecision.lead_id == lead.id)
        .order_by(LeadDecision.number.desc())
        .execution_options(populate_existing=True)
    ).all()
