"""Decide whose an order is, write down why, and let it earn; decide again when that changes.

The caller holds the order's row. At most one decision of an order is live (unique index).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from fractions import Fraction
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.money import Money
from affiliate.programs.rule_versions import RuleVersionInForce, in_force
from payouts.commissions.earn import Earning, earn_decided, earning_of, wait_for
from payouts.commissions.rows import CommissionRow, commissions_for
from payouts.commissions.rules import Credit, Sale, VoidReason
from payouts.commissions.void import take_back, void
from tracker.attribution.asking import Answer, answer, ask, visitor_of
from tracker.attribution.assignment import as_assigned
from tracker.attribution.evidence import Gathered, gather
from tracker.attribution.models import Decision
from tracker.attribution.rules import Attribution, Unattributed, attribute
from tracker.attribution.snapshot import share_document, snapshot_of, trace_document
from tracker.clicks.rules import DropReason
from tracker.orders.keys import order_keys
from tracker.orders.models import Order

CLICK_CHECK_HOURS: Final = 24
"""How long the loader's verdict on a credited click is awaited; then the token stands."""
VISITOR_CHECK_HOURS: Final = 1
"""How long an order of nobody that names its visitor is looked at again: their clicks may
still lie in a journal. Shorter, because a shop may name a visitor with every order."""


REFERENCE: Final = "order:"
"""How payouts names an order, before its row's id."""


class WaitsFor(StrEnum):
    """What a commission waits for besides its hold period."""

    CONFIRMATION = "confirmation"
    CLICK_CHECK = "click_check"
    REVIEW = "review"


class ReviewOutcome(StrEnum):
    """What a person said of an order whose click came in a flood."""

    RELEASED = "released"
    DECLINED = "declined"


@dataclass(frozen=True, slots=True)
class Subject:
    """The order as attribution reads it."""

    id: int
    """Its row's; 0 while it is not written."""
    program_id: int
    placed_at: datetime
    net: Money
    confirmed: bool
    evidence: Mapping[str, Any]
    """What servers and browsers brought, each under its name."""
    program_closed: bool
    refunded_net: Money | None = None
    review_outcome: str | None = None
    """What a person said of its suspicious clicks (ReviewOutcome)."""

    @property
    def reference(self) -> str:
        return reference_of(self.id)


def reference_of(order_row_id: int) -> str:
    """How payouts names the order."""
    return f"{REFERENCE}{order_row_id}"


@dataclass(frozen=True, slots=True)
class Judged:
    """A decision that is not written yet."""

    version: RuleVersionInForce
    gathered: Gathered
    verdict: Attribution | Unattributed
    click_check_due_at: datetime | None
    review_reason: DropReason | None


def judge(
    session: Session,
    *,
    program_id: int,
    placed_at: datetime,
    evidence: Mapping[str, Any],
    program_closed: bool,
    version: RuleVersionInForce,
    now: datetime,
    review_declined: bool = False,
    known: Answer | None = None,
) -> Judged:
    """Read the evidence and decide by the terms of `version`; writes nothing.

    `known` is what was read of it already; it counts if it was asked for the right window.
    """
    keys, window = order_keys(), version.terms.attribution.window
    if known is None or known.question.window != window:
        question = ask(
            program_id=program_id, placed_at=placed_at, evidence=evidence, window=window, keys=keys
        )
        known = answer(session, question)
    gathered = gather(
        known, program_closed=program_closed, keys=keys, review_declined=review_declined
    )
    gathered = as_assigned(gathered, evidence)
    verdict = attribute(gathered.facts, gathered.candidates, version.terms.attribution)
    due_at = _click_check_due_at(verdict, evidence, now)
    return Judged(version, gathered, verdict, due_at, _review_reason(verdict))


def decide(
    session: Session, *, order: Subject, number: int, now: datetime
) -> tuple[CommissionRow, ...]:
    """Make decision `number` of the order and let it earn; answers what it earned.

    The attribution terms are the program's version in force at placed_at.
    """
    judged = judge(
        session,
        program_id=order.program_id,
        placed_at=order.placed_at,
        evidence=order.evidence,
        program_closed=order.program_closed,
        version=in_force(session, program_id=order.program_id, at=order.placed_at),
        now=now,
        review_declined=order.review_outcome == ReviewOutcome.DECLINED,
    )
    if number > 1:
        judged = _as_recruited(judged, commissions_for(session, reference=order.reference))
    row = {"order_id": order.id, **decision_values(judged, number=number, now=now)}
    session.connection().execute(_INSERT, row)
    return let_earn(session, order=order, number=number, judged=judged, now=now)


def let_earn(
    session: Session, *, order: Subject, number: int, judged: Judged, now: datetime
) -> tuple[CommissionRow, ...]:
    """Earn what a written decision credits, less what was refunded already."""
    earning = earning_by(order=order, number=number, judged=judged, now=now)
    if earning is None:
        return ()
    rows = earn_decided(session, earning=earning)
    if order.refunded_net:
        take_back(
            session,
            reference=order.reference,
            refund=f"refunds_before:{order.reference}:decision:{number}",
            refunded_net=order.refunded_net,
            net=order.net,
            now=now,
        )
        return tuple(commissions_for(session, reference=order.reference))
    return rows


def earning_by(*, order: Subject, number: int, judged: Judged, now: datetime) -> Earning | None:
    """What a decision credits, not written yet; None when it credits nobody."""
    if isinstance(judged.verdict, Unattributed):
        return None
    return earning_of(
        _sale(order, number, judged, judged.verdict),
        waits_for=waits_for(
            confirmed=order.confirmed,
            click_check_due_at=judged.click_check_due_at,
            to_review=judged.review_reason is not None and order.review_outcome is None,
        ),
        now=now,
    )


def _as_recruited(judged: Judged, earlier: Sequence[CommissionRow]) -> Judged:
    """Whom the order credited before keeps the recruiter that its commissions froze."""
    frozen: dict[int, int | None] = {row.enrollment_id: None for row in earlier if row.level == 1}
    for row in earlier:
        if row.via_enrollment_id is not None:
            frozen[row.via_enrollment_id] = row.enrollment_id
    recruiters = {**judged.gathered.recruiters, **frozen}
    return replace(judged, gathered=replace(judged.gathered, recruiters=recruiters))


def decision_values(judged: Judged, *, number: int, now: datetime) -> dict[str, Any]:
    """The decision's row, all but whose it is."""
    verdict = judged.verdict
    shares = verdict.shares if isinstance(verdict, Attribution) else ()
    return {
        "number": number,
        "rule_version_id": judged.version.id,
        "outcome": "attributed" if isinstance(verdict, Attribution) else "unattributed",
        "reason": None if isinstance(verdict, Attribution) else verdict.reason.value,
        "shares": [share_document(share) for share in shares],
        "trace": [trace_document(line) for line in verdict.trace],
        "snapshot": snapshot_of(judged.gathered.facts, judged.gathered.candidates),
        "decided_at": now,
        "click_check_due_at": judged.click_check_due_at,
        "review_reason": judged.review_reason and judged.review_reason.value,
    }


def decide_again(session: Session, *, order: Subject, reason: VoidReason, now: datetime) -> None:
    """Void the live decision and what it earned, and make the next; both are kept."""
    number = void_decision(session, order_row_id=order.id, reason=reason, now=now)
    decide(session, order=order, number=number + 1, now=now)


def void_decision(session: Session, *, order_row_id: int, reason: VoidReason, now: datetime) -> int:
    """Void the live decision and its commissions. Returns the highest number so far."""
    rows = session.execute(
        sa.select(Decision.id, Decision.number, Decision.voided_at)
        .where(Decision.order_id == order_row_id)
        .order_by(Decision.number)
    ).all()
    for row in rows:
        if row.voided_at is None:
            void(
                session,
                reference=reference_of(order_row_id),
                decision=row.number,
                reason=reason,
                now=now,
            )
            session.execute(
                sa.update(Decision)
                .where(Decision.id == row.id)
                .values(voided_at=now, void_reason=reason.value, click_check_due_at=None)
            )
    return max((row.number for row in rows), default=0)


def update_wait(session: Session, *, order_row_id: int, confirmed: bool, now: datetime) -> None:
    """Recompute from the order's facts what its commissions wait for."""
    live = session.execute(
        sa.select(Decision.click_check_due_at, Decision.review_reason, Order.review_outcome)
        .join(Order, Order.id == Decision.order_id)
        .where(Decision.order_id == order_row_id, Decision.voided_at.is_(None))
    ).one_or_none()
    due_at, review_reason, outcome = live or (None, None, None)
    wait_for(
        session,
        reference=reference_of(order_row_id),
        waits_for=waits_for(
            confirmed=confirmed,
            click_check_due_at=due_at,
            to_review=review_reason is not None and outcome is None,
        ),
        now=now,
    )


def waits_for(
    *, confirmed: bool, click_check_due_at: datetime | None, to_review: bool
) -> str | None:
    """The one thing to name; the confirmation first, as it may never come."""
    if not confirmed:
        return WaitsFor.CONFIRMATION.value
    if click_check_due_at is not None:
        return WaitsFor.CLICK_CHECK.value
    return WaitsFor.REVIEW.value if to_review else None


def _click_check_due_at(
    verdict: Attribution | Unattributed, evidence: Mapping[str, Any], now: datetime
) -> datetime | None:
    """Until when to look again: for the verdict on a click, or for the click of a visitor.

    An order that names only its visitor may come before the visitor's clicks are loaded.
    """
    if isinstance(verdict, Attribution):
        waits = any(share.awaits_click_check for share in verdict.shares)
        return now + timedelta(hours=CLICK_CHECK_HOURS) if waits else None
    waits = visitor_of(evidence) is not None
    return now + timedelta(hours=VISITOR_CHECK_HOURS) if waits else None


def _review_reason(verdict: Attribution | Unattributed) -> DropReason | None:
    if isinstance(verdict, Unattributed):
        return None
    return next((share.review_reason for share in verdict.shares if share.review_reason), None)


_INSERT = sa.insert(Decision)


def _sale(order: Subject, number: int, judged: Judged, verdict: Attribution) -> Sale:
    terms = judged.version.terms
    return Sale(
        program_id=order.program_id,
        reference=order.reference,
        decision=number,
        net=order.net,
        credits=tuple(
            Credit(
                enrollment_id=share.enrollment_id,
                weight=Fraction(share.weight),
                terms=terms.commission,
                rule_version_id=judged.version.id,
                recruiter_id=judged.gathered.recruiters.get(share.enrollment_id),
            )
            for share in verdict.shares
        ),
        placed_at=order.placed_at,
        hold=terms.payout.hold,
    )
