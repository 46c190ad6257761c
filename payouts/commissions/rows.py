"""Commissions as values, for pages, the API and callers; and the questions about them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.money import Money
from payouts.commissions.models import Commission, CommissionReversal
from payouts.commissions.rules import Reason, ReleaseWait, VoidReason


class Status(StrEnum):
    """Where a commission stands, as people see it."""

    NOT_EARNED = "not_earned"
    PENDING = "pending"
    AVAILABLE = "available"
    """Released: part of the balance, or paid out since."""
    REVERSED = "reversed"
    """Taken back to the last micro by refunds."""
    VOIDED = "voided"


@dataclass(frozen=True, slots=True)
class CommissionRow:
    """One commission."""

    id: int
    program_id: int
    reference: str
    decision: int
    level: int
    enrollment_id: int
    via_enrollment_id: int | None
    rule_version_id: int
    base: Money
    rate_ppm: int | None
    amount: Money
    """As earned, before refunds."""
    reversed: Money
    rule: str
    trace: tuple[dict[str, Any], ...]
    earned_at: datetime
    available_at: datetime
    waits_for: str | None
    released_at: datetime | None
    voided_at: datetime | None
    void_reason: VoidReason | None

    @property
    def left(self) -> Money:
        """What refunds and a void have left of it."""
        return Money.zero(self.amount.currency) if self.voided_at else self.amount - self.reversed

    @property
    def reason(self) -> Reason | None:
        """Why it earned nothing."""
        last = self.trace[-1] if self.trace else {}
        return Reason(last["reason"]) if last.get("step") == "not_earned" else None

    @property
    def status(self) -> Status:
        if self.voided_at:
            return Status.VOIDED
        if not self.amount:
            return Status.NOT_EARNED
        if self.reversed == self.amount:
            return Status.REVERSED
        return Status.AVAILABLE if self.released_at else Status.PENDING


@dataclass(frozen=True, slots=True)
class WhenAvailable:
    """When the money can be withdrawn, and what that waits for."""

    at: datetime
    """The end of the hold period, or the release itself."""
    waits_for: str | None
    """A caller's code, `hold_period`, or nothing: it is there, or comes with the next run."""


def when_available(commission: CommissionRow, now: datetime) -> WhenAvailable:
    """The answer to "When do I get this?"."""
    if commission.released_at:
        return WhenAvailable(commission.released_at, None)
    if commission.waits_for:
        return WhenAvailable(commission.available_at, commission.waits_for)
    waits = ReleaseWait.HOLD_PERIOD.value if now < commission.available_at else None
    return WhenAvailable(commission.available_at, waits)


def commissions_for(session: Session, *, reference: str) -> list[CommissionRow]:
    """Every commission of a sale, of every decision, oldest decision first, level 1 first."""
    return _rows(session, Commission.reference == reference)


def commissions_for_many(
    session: Session, *, references: Iterable[str]
) -> dict[str, list[CommissionRow]]:
    """The same for many sales at once."""
    wanted = list(references)
    found: dict[str, list[CommissionRow]] = {reference: [] for reference in wanted}
    for row in _rows(session, Commission.reference.in_(wanted)):
        found[row.reference].append(row)
    return found


def next_release(session: Session, *, enrollment_id: int, currency: str) -> datetime | None:
    """The earliest instant at which something of the pending balance may become available."""
    return session.scalar(
        sa.select(sa.func.min(Commission.available_at)).where(
            Commission.enrollment_id == enrollment_id,
            Commission.currency == currency,
            Commission.released_at.is_(None),
            Commission.voided_at.is_(None),
            Commission.waits_for.is_(None),
            Commission.amount_micros > Commission.reversed_micros,
        )
    )


@dataclass(frozen=True, slots=True)
class ReversalRow:
    """What one refund took back of one commission."""

    commission_id: int
    reference: str
    amount: Money
    reversed_at: datetime


def reversals_of(session: Session, *, reference: str) -> list[ReversalRow]:
    """What refunds took back of a sale's commissions, in order."""
    rows = session.execute(
        sa.select(CommissionReversal, Commission.currency)
        .join(Commission, Commission.id == CommissionReversal.commission_id)
        .where(Commission.reference == reference)
        .order_by(CommissionReversal.id)
    )
    return [
        ReversalRow(r.commission_id, r.reference, Money(r.amount_micros, currency), r.reversed_at)
        for r, currency in rows
    ]


def _rows(session: Session, condition: sa.ColumnElement[bool]) -> list[CommissionRow]:
    query = (
        sa.select(Commission)
        .where(condition)
        .order_by(Commission.decision, Commission.level, Commission.id)
        .execution_options(populate_existing=True)
    )
    return [as_row(commission) for commission in session.scalars(query)]


def as_row(c: Commission) -> CommissionRow:
    """The row as a value."""
    return CommissionRow(
        id=c.id,
        program_id=c.program_id,
        reference=c.reference,
        decision=c.decision,
        level=c.level,
        enrollment_id=c.enrollment_id,
        via_enrollment_id=c.via_enrollment_id,
        rule_version_id=c.rule_version_id,
        base=Money(c.base_micros, c.currency),
        rate_ppm=c.rate_ppm,
        amount=Money(c.amount_micros, c.currency),
        reversed=Money(c.reversed_micros, c.currency),
        rule=c.rule,
        trace=tuple(c.trace),
        earned_at=c.earned_at,
        available_at=c.available_at,
        waits_for=c.waits_for,
        released_at=c.released_at,
        voided_at=c.voided_at,
        void_reason=VoidReason(c.void_reason) if c.void_reason else None,
    )
