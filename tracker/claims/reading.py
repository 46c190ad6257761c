"""What claims read of orders, clicks and earlier cases."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from affiliate.core.audit import AuditEntry
from affiliate.people.models import Affiliate, Enrollment, Grant, User
from payouts.commissions.models import Commission, CommissionReversal
from tracker.attribution.assignment import assignment_in
from tracker.attribution.models import Decision
from tracker.attribution.rules import Reason
from tracker.attribution.subject import ReviewOutcome, reference_of
from tracker.claims.models import Claim
from tracker.claims.rules import DAYS_APART_MAX, OwnCommission, OwnSide, Status, midnight
from tracker.clicks.models import Click
from tracker.clicks.tokens import clicked_at_of, is_click_id
from tracker.orders.models import Order

DECIDERS: Final = ("manager", "owner")
_USER: Final = "user:"


def own_order(
    session: Session, *, program_id: int, enrollment_id: int, order_id: str, day: date, zone: str
) -> Order | None:
    """The order of this number, where the affiliate has a part in it; else as if there was none.

    Whoever earned something of it knows it; whoever lost it has to name its day. One statement
    asks both, so that nothing here learns that an order of others exists.
    """
    earned = sa.exists().where(
        Commission.reference == sa.func.concat("order:", Order.id),
        Commission.enrollment_id == enrollment_id,
    )
    looked_at = sa.exists().where(Decision.order_id == Order.id, _looked_at(enrollment_id))
    apart = timedelta(days=DAYS_APART_MAX)
    begins, ends = midnight(day - apart, zone), midnight(day + apart + timedelta(days=1), zone)
    named = sa.and_(Order.placed_at >= begins, Order.placed_at < ends)
    return session.scalar(
        sa.select(Order).where(
            Order.program_id == program_id,
            Order.order_id == order_id,
            sa.or_(earned, sa.and_(named, looked_at)),
        )
    )


def own_side(session: Session, *, enrollment_id: int, order: Order) -> OwnSide:
    """The order as far as an affiliate has a part in it."""
    decisions = session.scalars(
        sa.select(Decision).where(Decision.order_id == order.id).order_by(Decision.number)
    ).all()
    live = next((each for each in decisions if each.voided_at is None), None)
    credited = {share["enrollment_id"] for share in live.shares} if live else set()
    return OwnSide(
        commissions=_commissions(session, enrollment_id, order),
        decided_at=decisions[-1].decided_at if decisions else None,
        candidate=any(_is_in(each, enrollment_id) for each in decisions),
        credited=enrollment_id in credited,
        credited_alone=credited == {enrollment_id},
        to_review=bool(live and live.review_reason) and order.review_outcome is None,
        declined=order.review_outcome == ReviewOutcome.DECLINED
        and any(_declined(line, enrollment_id) for each in decisions for line in each.trace),
        cancelled=order.cancelled_at is not None,
    )


def last_decision(session: Session, *, order_row_id: int) -> Decision | None:
    """What was decided last about an order, live or not."""
    return session.scalar(
        sa.select(Decision)
        .where(Decision.order_id == order_row_id)
        .order_by(Decision.number.desc())
        .limit(1)
    )


def decided_first_by(session: Session, order: Order) -> int | None:
    """The person whose decision about the order stands; None: a rule decided it."""
    if order.cancelled_at is not None:
        actor = session.scalar(
            sa.select(AuditEntry.actor)
            .where(AuditEntry.subject == f"order:{order.id}", AuditEntry.action == "order.cancel")
            .order_by(AuditEntry.id.desc())
            .limit(1)
        )
        return user_named(actor)
    word = assignment_in(order.evidence)
    return user_named(word.by if word else order.reviewed_by)


def user_named(actor: str | None) -> int | None:
    """The user behind `user:17`; None for keys, jobs and nobody."""
    number = (actor or "").removeprefix(_USER)
    return int(number) if number != actor and number.isdigit() else None


def own_click(session: Session, *, enrollment_id: int, click_id: UUID) -> Click | None:
    """A click of the affiliate's; the id names its instant and so its partition."""
    if not is_click_id(click_id):
        return None
    return session.scalar(
        sa.select(Click).where(
            Click.click_id == click_id,
            Click.clicked_at == clicked_at_of(click_id),
            Click.enrollment_id == enrollment_id,
        )
    )


def earlier(session: Session, *, enrollment_id: int, **subject: Any) -> Sequence[Claim]:
    """The affiliate's cases about the same thing that a person has closed, latest first."""
    return session.scalars(
        sa.select(Claim)
        .where(
            Claim.enrollment_id == enrollment_id,
            Claim.status.in_((Status.DECLINED, Status.ANSWERED)),
            Claim.decided_by.is_not(None),
            *(getattr(Claim, name) == value for name, value in subject.items()),
        )
        .order_by(Claim.id.desc())
    ).all()


def deciders(session: Session, *, program_id: int) -> list[User]:
    """Who can decide cases of a program: its managers, and the owners."""
    granted = sa.exists().where(
        Grant.user_id == User.id,
        Grant.revoked_at.is_(None),
        Grant.role.in_(DECIDERS),
        sa.or_(Grant.program_id == program_id, Grant.program_id.is_(None)),
    )
    return list(session.scalars(sa.select(User).where(User.active, granted).order_by(User.id)))


def user_of(session: Session, *, enrollment_id: int) -> User:
    """The person behind an enrollment."""
    return session.scalars(
        sa.select(User)
        .join(Affiliate, Affiliate.user_id == User.id)
        .join(Enrollment, Enrollment.affiliate_id == Affiliate.id)
        .where(Enrollment.id == enrollment_id)
    ).one()


def _looked_at(enrollment_id: int) -> sa.ColumnElement[bool]:
    wanted = sa.literal([{"enrollment_id": enrollment_id}], JSONB)
    return Decision.snapshot["candidates"].op("@>")(wanted)


def _commissions(session: Session, enrollment_id: int, order: Order) -> tuple[OwnCommission, ...]:
    taken = (
        sa.select(sa.func.max(CommissionReversal.reversed_at))
        .where(
            CommissionReversal.commission_id == Commission.id, CommissionReversal.amount_micros > 0
        )
        .scalar_subquery()
    )
    rows = session.execute(
        sa.select(Commission.amount_micros, Commission.earned_at, taken, Commission.voided_at)
        .where(
            Commission.reference == reference_of(order.id),
            Commission.enrollment_id == enrollment_id,
        )
        .order_by(Commission.id)
    )
    return tuple(
        OwnCommission(not amount, earned_at, reversed_at, voided_at)
        for amount, earned_at, reversed_at, voided_at in rows
    )


def _is_in(decision: Decision, enrollment_id: int) -> bool:
    candidates = decision.snapshot.get("candidates", ())
    return any(each.get("enrollment_id") == enrollment_id for each in candidates)


def _declined(line: dict[str, Any], enrollment_id: int) -> bool:
    return (
        line.get("enrollment_id") == enrollment_id and line.get("reason") == Reason.REVIEW_DECLINED
    )
