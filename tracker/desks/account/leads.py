"""What the affiliate earned by leads and clicks: for what, why it is theirs, when they have it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from flask import request, url_for
from sqlalchemy.orm import Session, aliased

from affiliate.core.db import db
from affiliate.core.errors import NotFound
from affiliate.core.ids import public_id, row_id
from affiliate.people.access import affiliates
from affiliate.programs.models import RuleVersion
from payouts.commissions.counted import CLICKS, LEAD, lead_reference
from payouts.commissions.models import Commission
from payouts.commissions.rows import CommissionRow, as_row
from tracker.desks import sources
from tracker.desks.account import sentences
from tracker.desks.account.blueprint import Answer, account, in_program, page
from tracker.desks.account.language import gettext as _
from tracker.desks.account.orders import PAGE_ROWS_MAX, ROWS_PER_FETCH, status_word
from tracker.desks.account.place import Place
from tracker.desks.files import csv_answer
from tracker.desks.sources import Source, SourceKind
from tracker.leads.models import Lead, LeadDecision


class Shown(StrEnum):
    """Which of them a list shows."""

    ALL = "all"
    LEADS = "leads"
    CLICKS = "clicks"


@dataclass(frozen=True, slots=True)
class Line:
    """A commission with what it comes from, as lists show it."""

    source: Source
    at: datetime
    """When the lead was reported to have come; of clicks the last instant of their day."""
    commission: CommissionRow
    status: str
    why: str
    when: str


@account.get("/orders/leads")
@affiliates
@in_program
def leads(place: Place) -> Answer:
    """The list, newest first; `?show=` leads or clicks."""
    shown = _shown()
    before = request.args.get("before")
    lines = list(
        _lines(
            db.session(), place, shown, PAGE_ROWS_MAX + 1, row_id("com", before) if before else None
        )
    )
    more = len(lines) > PAGE_ROWS_MAX
    lines = lines[:PAGE_ROWS_MAX]
    older = None
    if more:
        last = public_id("com", lines[-1].commission.id)
        older = url_for(".leads", show=shown.value, before=last)
    newest = url_for(".leads", show=shown.value) if before else None
    return page("leads", place, lines=lines, shown=shown, older=older, newest=newest)


@account.get("/orders/leads.csv")
@affiliates
@in_program
def leads_csv(place: Place) -> Answer:
    """The same list as a file, of any length."""
    head = ("kind", "what", "at", "status", "commission", "currency", "why")
    lines = _all_lines(place, _shown())
    return csv_answer(
        f"leads-and-clicks-{place.program.slug}.csv",
        head,
        (
            (
                line.source.kind.value,
                line.source.text,
                line.at.isoformat(),
                line.status,
                line.commission.amount,
                place.currency,
                line.why,
            )
            for line in lines
        ),
    )


@account.get("/orders/leads/<lead>")
@affiliates
@in_program
def lead(place: Place, lead: str) -> Answer:
    """One lead: why it is the reader's and what it earned. NotFound for anybody else's."""
    session = db.session()
    found = session.get(Lead, row_id(sources.LEAD, lead))
    told = [] if found is None else _tell(session, place, found)
    if found is None or not told:
        raise NotFound
    return page("lead", place, lead=found, told=told)


def _tell(session: Session, place: Place, lead: Lead) -> list[dict[str, Any]]:
    """The affiliate's commissions of a lead, the live one first."""
    if lead.program_id != place.program.id:
        return []
    rows = session.execute(
        sa.select(Commission, RuleVersion.number, LeadDecision.trace)
        .join(RuleVersion, RuleVersion.id == Commission.rule_version_id)
        .join(
            LeadDecision,
            sa.and_(LeadDecision.lead_id == lead.id, LeadDecision.number == Commission.decision),
        )
        .where(
            Commission.reference == lead_reference(lead.id),
            Commission.enrollment_id == place.enrollment.id,
        )
        .order_by(Commission.decision.desc())
    )
    told = []
    for commission, version, trace in rows:
        row = as_row(commission)
        because = sentences.attribution(trace, place.enrollment.id)
        told.append(
            {
                "row": row,
                "status": status_word(row),
                "version": version,
                "when": sentences.when(row, place.now),
                "because": [asdict(sentence) for sentence in because],
                "amount": [asdict(sentence) for sentence in sentences.commission(row, None)],
            }
        )
    return told


def _lines(
    session: Session, place: Place, shown: Shown, rows_max: int, before_id: int | None
) -> Iterator[Line]:
    """The affiliate's commissions of leads and clicks, newest first.

    A lead's commission that a later decision for the same affiliate replaced is left out. Each
    booking of a day's clicks is a line of its own: together they are what the day earned.
    """
    newer = aliased(Commission)
    replaced = sa.exists().where(
        newer.reference == Commission.reference,
        newer.enrollment_id == Commission.enrollment_id,
        newer.decision > Commission.decision,
    )
    is_lead, is_clicks = (
        Commission.reference.startswith(LEAD),
        Commission.reference.startswith(CLICKS),
    )
    wanted = {
        Shown.ALL: sa.or_(is_lead, is_clicks),
        Shown.LEADS: is_lead,
        Shown.CLICKS: is_clicks,
    }[shown]
    query = (
        sa.select(Commission, LeadDecision.shares)
        .outerjoin(Lead, sa.func.concat(LEAD, Lead.id) == Commission.reference)
        .outerjoin(
            LeadDecision,
            sa.and_(LeadDecision.lead_id == Lead.id, LeadDecision.number == Commission.decision),
        )
        .where(
            Commission.enrollment_id == place.enrollment.id,
            wanted,
            sa.or_(is_clicks, sa.not_(replaced)),
        )
        .order_by(Commission.id.desc())
        .limit(rows_max)
    )
    if before_id is not None:
        query = query.where(Commission.id < before_id)
    found = session.execute(query).all()
    named = sources.sources(session, [commission.reference for commission, _shares in found])
    for commission, shares in found:
        row = as_row(commission)
        source = named[row.reference]
        at = commission.placed_at or commission.earned_at
        yield Line(
            source=source,
            at=at,
            commission=row,
            status=status_word(row),
            why=_why(place, row, source, shares or [], at),
            when=sentences.when(row, place.now),
        )


def _why(place: Place, row: CommissionRow, source: Source, shares: list[Any], at: datetime) -> str:
    """Of a lead why it is the reader's, of clicks the sum."""
    if source.kind is not SourceKind.LEAD:
        return " ".join(sentence.text for sentence in sentences.commission(row, None))
    mine = [share for share in shares if share.get("enrollment_id") == place.enrollment.id]
    clicked_at = mine[0].get("clicked_at") if mine else None
    if clicked_at is None:
        return sentences.credited_because(mine[0] if mine else None, at)
    age = sentences.before(at - datetime.fromisoformat(clicked_at))
    return _("Credited to you: your click, %(age)s before the lead.", age=age)


def _all_lines(place: Place, shown: Shown) -> Iterator[Line]:
    """Page by page, each behind the last commission of the one before."""
    before_id: int | None = None
    while True:
        lines = list(_lines(db.session(), place, shown, ROWS_PER_FETCH, before_id))
        yield from lines
        if len(lines) < ROWS_PER_FETCH:
            return
        before_id = lines[-1].commission.id


def _shown() -> Shown:
    wanted = request.args.get("show", Shown.ALL.value)
    return Shown(wanted) if wanted in list(Shown) else Shown.ALL
