"""A lead arrives: once, decided, earned and booked in the caller's one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Invalid, NotFound
from affiliate.programs.models import Program
from payouts.commissions.rules import VoidReason
from tracker.attribution.subject import ReviewOutcome
from tracker.leads.decide import (
    decide_lead,
    decide_lead_again,
    update_lead_wait,
    void_lead_decision,
)
from tracker.leads.models import Lead, LeadDecision
from tracker.leads.refusals import LeadCancelled, LeadConflict, NoLeadToReview
from tracker.leads.rules import LeadReportIn, Outcome, Status, report_document
from tracker.orders.records import ProgramFacts, evidence_of
from tracker.orders.rules import content_hash, placed_at_fits

TIMES: Final = {
    "in_the_future": "The time lies more than 5 minutes ahead of ours.",
    "too_old": (
        "More than 30 days back; a key with the scope leads:import may send it, from 2000 on."
    ),
}

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Reported:
    """What a report did."""

    lead_row_id: int
    outcome: Outcome


def report_lead(
    session: Session,
    *,
    program_id: int,
    report: LeadReportIn,
    reported_by: str,
    now: datetime,
    may_import: bool = False,
) -> Reported:
    """Take a server's report of a lead.

    The same id and content again changes nothing. `may_import` allows a placed_at more than
    30 days back. Raises NotFound (no such program), Invalid (in_the_future, too_old) and
    LeadConflict. Rule: docs/api.md, "Leads".
    """
    program = program_facts(session, program_id)
    hashed = content_hash(report_document(report))
    wrong_time = placed_at_fits(report.placed_at, now, may_import=may_import)
    # Of a lead that is known only the content is compared, however old it has become.
    if wrong_time is not None and find_lead(session, program_id, report.lead_id) is None:
        raise Invalid.field("placed_at", wrong_time, TIMES[wrong_time])
    made = session.scalar(
        # Who reports the same id meanwhile waits here for the commit, and then finds the lead.
        insert(Lead)
        .values(
            program_id=program_id,
            lead_id=report.lead_id,
            kind=report.kind,
            status=Status.CONFIRMED.value,
            placed_at=report.placed_at,
            received_at=now,
            reported_by=reported_by,
            details=dict(report.metadata),
            content_hash=hashed,
            evidence={"server": evidence_of(report)},
        )
        .on_conflict_do_nothing(index_elements=["program_id", "lead_id"])
        .returning(Lead.id)
    )
    if made is None:
        return _known(session, program, report, hashed)
    lead = session.get_one(Lead, made)
    decide_lead(session, lead=lead, program=program, number=1, now=now)
    return Reported(made, Outcome.CREATED)


def cancel_lead(
    session: Session,
    *,
    program_id: int,
    lead_id: str,
    reason: str | None,
    by: str,
    now: datetime,
) -> bool:
    """Void everything that the lead earned; who did it and why stands in the audit log.

    False: it was cancelled already. Raises NotFound.
    """
    lead = _locked(session, program_id, lead_id)
    if lead.cancelled_at is not None:
        return False
    audit.record(
        session, actor=by, action="lead.cancel", subject=f"lead:{lead.id}", scope=program_id,
        old={"status": lead.status}, reason=reason, now=now,
    )  # fmt: skip
    lead.status, lead.cancelled_at = Status.CANCELLED.value, now
    lead.cancelled_by, lead.cancel_reason = by, reason
    session.flush()
    void_lead_decision(session, lead=lead, reason=VoidReason.LEAD_CANCELLED, now=now)
    return True


def review_lead(
    session: Session,
    *,
    program_id: int,
    lead_id: str,
    outcome: ReviewOutcome,
    reason: str,
    by: str,
    now: datetime,
) -> None:
    """Let the suspicious click stand, or decide the lead anew without such clicks.

    Raises NotFound, LeadCancelled and NoLeadToReview: also for a second word, the first stands.
    """
    lead = _locked(session, program_id, lead_id)
    if lead.cancelled_at is not None:
        raise LeadCancelled
    suspicion = session.scalar(
        sa.select(LeadDecision.review_reason).where(
            LeadDecision.lead_id == lead.id, LeadDecision.voided_at.is_(None)
        )
    )
    if suspicion is None or lead.review_outcome is not None:
        raise NoLeadToReview
    lead.review_outcome, lead.reviewed_at, lead.reviewed_by = outcome.value, now, by
    session.flush()
    audit.record(
        session, actor=by, action=f"lead.review_{outcome.value}", subject=f"lead:{lead.id}",
        scope=program_id, old={"suspicion": suspicion}, reason=reason, now=now,
    )  # fmt: skip
    if outcome is ReviewOutcome.RELEASED:
        update_lead_wait(session, lead=lead, now=now)
        return
    decide_lead_again(
        session, lead=lead, program=program_facts(session, program_id),
        reason=VoidReason.REVIEW_REJECTED, now=now,
    )  # fmt: skip


def find_lead(
    session: Session, program_id: int, lead_id: str, *, lock: bool = False
) -> Lead | None:
    """The lead by the shop's id, as it is now."""
    query = (
        sa.select(Lead)
        .where(Lead.program_id == program_id, Lead.lead_id == lead_id)
        .execution_options(populate_existing=True)
    )
    return session.scalar(query.with_for_update() if lock else query)


def program_facts(session: Session, program_id: int) -> ProgramFacts:
    """What leads read of their program. Raises NotFound."""
    program = session.get(Program, program_id, populate_existing=True)
    if program is None:
        raise NotFound("There is no such program.")
    return ProgramFacts(
        program.id, program.slug, program.currency, program.status, program.closes_at,
        program.time_zone,
    )  # fmt: skip


def _locked(session: Session, program_id: int, lead_id: str) -> Lead:
    """The lead's row, so that its decisions come one by one."""
    lead = find_lead(session, program_id, lead_id, lock=True)
    if lead is None:
        raise NotFound("No lead with this id was reported in this program.")
    return lead


def _known(
    session: Session, program: ProgramFacts, report: LeadReportIn, hashed: bytes
) -> Reported:
    lead = find_lead(session, program.id, report.lead_id)
    if lead is None:
        raise RuntimeError("a lead that was just in the way is gone: leads are never deleted")
    if lead.content_hash != hashed:
        log.warning("lead.conflict", program=program.slug, lead_id=report.lead_id)
        raise LeadConflict
    return Reported(lead.id, Outcome.REPLAY)
