"""Decide whose an order is, write down why, and let it earn; decide again when that changes.

The caller holds the order's row. At most one decision of an order is live (unique index).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.programs.rule_versions import RuleVersionInForce, by_ids, in_force
from payouts.commissions.earn import earn_decided, wait_for
from payouts.commissions.rows import CommissionRow, commissions_for
from payouts.commissions.rules import RECRUITER_BUYS, VoidReason
from payouts.commissions.void import take_back, void
from tracker.attribution.bindings import bind_customer, let_go_of_customer
from tracker.attribution.evidence import NOBODY
from tracker.attribution.judging import Judged, decision_values, judge
from tracker.attribution.models import Decision
from tracker.attribution.own import LASTING
from tracker.attribution.rules import (
    BuyerBy,
)
from tracker.attribution.selling import earning_by, with_standings
from tracker.attribution.snapshot import (
    buyers_in,
    facts_from,
)
from tracker.attribution.subject import ReviewOutcome, Subject, reference_of, waits_for
from tracker.orders.models import Order


def decide(
    session: Session, *, order: Subject, number: int, now: datetime
) -> tuple[CommissionRow, ...]:
    """Make decision `number` of the order and let it earn; answers what it earned.

    The attribution terms are the program's version in force at placed_at. A later decision
    keeps the versions of the one before it, whatever was announced, answered or assigned since.
    """
    version = _version_before(session, order, number)
    judged = judge(
        session,
        program_id=order.program_id,
        placed_at=order.placed_at,
        evidence=order.evidence,
        program_closed=order.program_closed,
        version=version or in_force(session, program_id=order.program_id, at=order.placed_at),
        now=now,
        review_declined=order.review_outcome == ReviewOutcome.DECLINED,
        known_before=_buyers_before(session, order) if number > 1 else NOBODY,
    )
    if number > 1:
        earlier = commissions_for(session, reference=order.reference)
        judged = _as_recruited(judged, earlier)
        if version is not None:
            judged = _as_reckoned(session, judged, earlier)
    judged = with_standings(session, judged, order=order)
    if number > 1:
        judged = replace(
            judged, read=replace(judged.read, first_of_customer=_said_first(session, order))
        )
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


def _as_recruited(judged: Judged, earlier: Sequence[CommissionRow]) -> Judged:
    """Whom the order credited before keeps the recruiter that its commissions froze, and what
    was known of the recruiter."""
    frozen: dict[int, int | None] = {row.enrollment_id: None for row in earlier if row.level == 1}
    read, buying = judged.gathered.recruiters, dict(judged.gathered.buying_recruiters)
    for row in earlier:
        if row.via_enrollment_id is None:
            continue
        frozen[row.via_enrollment_id] = row.enrollment_id
        by = next((step["by"] for step in row.trace if step["step"] == RECRUITER_BUYS), None)
        # Whose word was read anew may have been corrected since; the rest may be forgotten.
        was_read = read.get(row.via_enrollment_id) == row.enrollment_id
        if by is not None and not (was_read and by in LASTING):
            buying.setdefault(row.enrollment_id, BuyerBy(by))
    recruiters = {**read, **frozen}
    gathered = replace(judged.gathered, recruiters=recruiters, buying_recruiters=buying)
    return replace(judged, gathered=gathered)


def _version_before(session: Session, order: Subject, number: int) -> RuleVersionInForce | None:
    """The version of the order's last decision; None for a first one, or where the shop's own
    report moved the instant at which the order was placed: then that of its true instant."""
    if number == 1:
        return None
    found = session.execute(
        sa.select(Decision.rule_version_id, Decision.snapshot)
        .where(Decision.order_id == order.id)
        .order_by(Decision.number.desc())
        .limit(1)
    ).one_or_none()
    if found is None or facts_from(found.snapshot).placed_at != order.placed_at:
        return None
    return by_ids(session, [found.rule_version_id])[found.rule_version_id]


def _as_reckoned(session: Session, judged: Judged, earlier: Sequence[CommissionRow]) -> Judged:
    """Whom the order credited before earns by the version that its commissions froze."""
    frozen = {row.enrollment_id: row.rule_version_id for row in earlier if row.level == 1}
    known = by_ids(session, set(frozen.values()))
    return replace(
        judged, versions={**judged.versions, **{id_: known[v] for id_, v in frozen.items()}}
    )


def decide_again(session: Session, *, order: Subject, reason: VoidReason, now: datetime) -> None:
    """Void the live decision and what it earned, and make the next; both are kept."""
    number = void_decision(session, order_row_id=order.id, reason=reason, now=now)
    decide(session, order=order, number=number + 1, now=now)
    bind_customer(session, order_row_id=order.id, now=now)


def void_decision(session: Session, *, order_row_id: int, reason: VoidReason, now: datetime) -> int:
    """Void the live decision and its commissions. Returns the highest number so far."""
    let_go_of_customer(session, order_row_id=order_row_id, now=now)
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
        sa.select(
            Decision.click_check_due_at,
            Decision.review_reason,
            Order.review_outcome,
            sa.and_(Order.converted_to.is_not(None), Order.rate_scaled.is_(None)),
            Order.open_disputes != [],
        )
        .join(Order, Order.id == Decision.order_id)
        .where(Decision.order_id == order_row_id, Decision.voided_at.is_(None))
    ).one_or_none()
    due_at, review_reason, outcome, unconverted, disputed = live or (None, None, None, False, False)
    wait_for(
        session,
        reference=reference_of(order_row_id),
        waits_for=waits_for(
            confirmed=confirmed,
            click_check_due_at=due_at,
            to_review=review_reason is not None and outcome is None,
            unconverted=unconverted,
            disputed=disputed,
        ),
        now=now,
    )


_INSERT = sa.insert(Decision)


def _buyers_before(session: Session, order: Subject) -> Mapping[int, BuyerBy]:
    """Who was known to be the buyer by what is forgotten after some weeks."""
    found = session.scalar(
        sa.select(Decision.snapshot)
        .where(Decision.order_id == order.id)
        .order_by(Decision.number.desc())
        .limit(1)
    )
    return {} if found is None else buyers_in(found)


def _said_first(session: Session, order: Subject) -> bool | None:
    """What the order's last decision said of it; None: it did not say."""
    found = session.scalar(
        sa.select(Decision.snapshot)
        .where(Decision.order_id == order.id)
        .order_by(Decision.number.desc())
        .limit(1)
    )
    said: bool | None = (found or {}).get("sale", {}).get("first_of_customer")
    return said
