"""A person's word about an order whose click came in a flood."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import NotFound
from payouts.commissions.rules import VoidReason
from tracker.attribution.decide import decide_again, update_wait
from tracker.attribution.models import Decision
from tracker.attribution.subject import ReviewOutcome
from tracker.orders.records import find_order, lock_order_id, subject_of
from tracker.orders.refusals import NotDeclined, NothingToReview, OrderCancelled


def review_order(
    session: Session,
    *,
    program_id: int,
    order_id: str,
    outcome: ReviewOutcome,
    reason: str,
    by: str,
    now: datetime,
) -> None:
    """Let the click stand, or decide the order anew without the clicks of the flood.

    What it earned is released after its hold period, or voided by the same ledger path as
    any decision; who said so and why stands in the audit log. Raises NotFound, OrderCancelled
    and NothingToReview: also for a second word, the first one stands.
    """
    program = lock_order_id(session, program_id=program_id, order_id=order_id)
    order = find_order(session, program_id=program_id, order_id=order_id)
    if order is None:
        raise NotFound
    if order.cancelled_at is not None:
        raise OrderCancelled
    suspicion = session.scalar(
        sa.select(Decision.review_reason).where(
            Decision.order_id == order.id, Decision.voided_at.is_(None)
        )
    )
    if suspicion is None or order.review_outcome is not None:
        raise NothingToReview
    order.review_outcome, order.reviewed_at, order.reviewed_by = outcome.value, now, by
    session.flush()
    audit.record(
        session, actor=by, action=f"order.review_{outcome.value}", subject=f"order:{order.id}",
        scope=program_id, old={"suspicion": suspicion}, reason=reason, now=now,
    )  # fmt: skip
    if outcome is ReviewOutcome.DECLINED:
        decide_again(
            session, order=subject_of(order, program), reason=VoidReason.REVIEW_REJECTED, now=now
        )
        return
    confirmed = order.status != "unconfirmed"
    update_wait(session, order_row_id=order.id, confirmed=confirmed, now=now)


def decide_anew(
    session: Session, *, program_id: int, order_id: str, reason: str, by: str, now: datetime
) -> None:
    """Decide an order by the rules once more, with what is known today, on a person's word.

    Raises NotFound and OrderCancelled.
    """
    program = lock_order_id(session, program_id=program_id, order_id=order_id)
    order = find_order(session, program_id=program_id, order_id=order_id)
    if order is None:
        raise NotFound
    if order.cancelled_at is not None:
        raise OrderCancelled("The order is cancelled; it earns nobody anything.")
    audit.record(
        session, actor=by, action="order.decide_anew", subject=f"order:{order.id}",
        scope=program_id, reason=reason, now=now,
    )  # fmt: skip
    decide_again(
        session, order=subject_of(order, program), reason=VoidReason.DECIDED_BY_PERSON, now=now
    )


def overturn_review(
    session: Session, *, program_id: int, order_id: str, reason: str, by: str, now: datetime
) -> None:
    """Let a declined click stand after all: the order is decided anew with it.

    Another click may still go before it by the rules. Raises NotFound, OrderCancelled and
    NotDeclined.
    """
    program = lock_order_id(session, program_id=program_id, order_id=order_id)
    order = find_order(session, program_id=program_id, order_id=order_id)
    if order is None:
        raise NotFound
    if order.cancelled_at is not None:
        raise OrderCancelled("The order is cancelled; it earns nobody anything.")
    if order.review_outcome != ReviewOutcome.DECLINED:
        raise NotDeclined
    before = {"by": order.reviewed_by}
    order.review_outcome, order.reviewed_at = ReviewOutcome.RELEASED.value, now
    order.reviewed_by = by
    session.flush()
    audit.record(
        session, actor=by, action="order.review_overturned", subject=f"order:{order.id}",
        scope=program_id, old=before, reason=reason, now=now,
    )  # fmt: skip
    decide_again(
        session, order=subject_of(order, program), reason=VoidReason.DECIDED_BY_PERSON, now=now
    )
