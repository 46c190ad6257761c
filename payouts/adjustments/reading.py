"""Corrections as the desks show them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from affiliate.core import ids
from affiliate.core.money import Money
from affiliate.people import ids as people_ids
from affiliate.people.models import Affiliate, Enrollment, User
from payouts.adjustments.models import LedgerAdjustment
from payouts.adjustments.rules import AdjustmentKind, Reason

PREFIX = "adj"
ROWS_MAX = 200


@dataclass(frozen=True, slots=True)
class AdjustmentView:
    """One correction with the people behind it."""

    id: int
    program_id: int
    enrollment_id: int
    affiliate: str
    kind: AdjustmentKind
    amount: Money
    reason: Reason
    note: str
    status: str
    proposed_by: int
    proposer: str
    proposed_at: datetime
    decider: str | None
    decided_at: datetime | None
    decline_note: str | None

    @property
    def public(self) -> str:
        return ids.public_id(PREFIX, self.id)

    @property
    def affiliate_public(self) -> str:
        return people_ids.public(self.enrollment_id)


def adjustments_of(
    session: Session,
    *,
    program_ids: Collection[int],
    enrollment_id: int | None = None,
    rows_max: int = ROWS_MAX,
) -> list[AdjustmentView]:
    """Corrections of these programs: those that wait first, then the newest."""
    proposer, decider = aliased(User), aliased(User)
    query = (
        sa.select(LedgerAdjustment, Affiliate.name, _name(proposer), _name(decider))
        .join(Enrollment, Enrollment.id == LedgerAdjustment.enrollment_id)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .join(proposer, proposer.id == LedgerAdjustment.proposed_by)
        .outerjoin(decider, decider.id == LedgerAdjustment.decided_by)
        .where(LedgerAdjustment.program_id.in_(list(program_ids)))
        .order_by(LedgerAdjustment.status != "proposed", LedgerAdjustment.id.desc())
        .limit(rows_max)
        .execution_options(populate_existing=True)
    )
    if enrollment_id is not None:
        query = query.where(LedgerAdjustment.enrollment_id == enrollment_id)
    return [
        AdjustmentView(
            id=row.id,
            program_id=row.program_id,
            enrollment_id=row.enrollment_id,
            affiliate=name,
            kind=AdjustmentKind(row.kind),
            amount=Money(row.amount_micros, row.currency),
            reason=Reason(row.reason),
            note=row.note,
            status=row.status,
            proposed_by=row.proposed_by,
            proposer=proposed,
            proposed_at=row.proposed_at,
            decider=decided,
            decided_at=row.decided_at,
            decline_note=row.decline_note,
        )
        for row, name, proposed, decided in session.execute(query)
    ]


def notes_of(session: Session, *, adjustment_ids: Iterable[int]) -> dict[int, str]:
    """What the proposer wrote of each correction."""
    wanted = set(adjustment_ids)
    if not wanted:
        return {}
    rows = session.execute(
        sa.select(LedgerAdjustment.id, LedgerAdjustment.note).where(LedgerAdjustment.id.in_(wanted))
    )
    return {number: note for number, note in rows}  # noqa: C416 -- rows are no pairs for mypy


def _name(user: type[User]) -> sa.ColumnElement[str]:
    return sa.func.coalesce(sa.func.nullif(user.name, ""), user.email)
