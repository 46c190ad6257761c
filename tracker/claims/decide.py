"""A person answers a case: accepts it with something that changes, explains, or declines.

Two who answer at once wait for each other at the case's row: the first one's word stands, the
second is told. The order is locked after the case, never before it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Invalid, NotFound, Phrase
from affiliate.people.models import Enrollment
from affiliate.people.rules import Status as Membership
from tracker.attribution.subject import ReviewOutcome
from tracker.claims import reading
from tracker.claims.mails import tell_claimant
from tracker.claims.models import Claim
from tracker.claims.object import click_objection
from tracker.claims.refusals import ClaimClosed, OwnClaim, RemedyNotThere, SecondReaderNeeded
from tracker.claims.rules import (
    REASON_CHARS_MAX,
    Remedy,
    Status,
    clean_text,
    order_remedies,
    second_reader_needed,
)
from tracker.clicks.clearing import clear_click
from tracker.clicks.tokens import clicked_at_of
from tracker.orders.assign import assign_order
from tracker.orders.models import Order
from tracker.orders.review import decide_anew, overturn_review, review_order

CLEARED_ORDERS_MAX: Final = 20
"""Orders that are decided anew for one click; more would be one visitor's, and no buyer's."""
CLEARED_BACK: Final = timedelta(days=90)
"""How long after a click an order may lie that is decided anew with it."""

# Orders that this click was refused for, or that wait for a person because of it.
_HANGING: Final = sa.text(
    """
    SELECT o.order_id FROM orders o
    JOIN decisions d ON d.order_id = o.id AND d.voided_at IS NULL
    WHERE o.program_id = :program_id AND o.cancelled_at IS NULL
      AND o.placed_at BETWEEN :clicked_at - interval '5 minutes' AND :until
      AND (d.trace @> jsonb_build_array(jsonb_build_object(
               'click_id', CAST(:click_id AS text), 'check', 'click', 'outcome', 'removed'))
           OR d.review_reason IS NOT NULL AND d.shares @> jsonb_build_array(
               jsonb_build_object('click_id', CAST(:click_id AS text))))
    ORDER BY o.id LIMIT :rows_max
    """
)


def remedies(session: Session, claim: Claim) -> tuple[Remedy, ...]:
    """What accepting the case could change, as things are now."""
    if claim.status != Status.OPEN:
        return ()
    if claim.click_id is not None:
        click = reading.own_click(
            session, enrollment_id=claim.enrollment_id, click_id=claim.click_id
        )
        filtered = click is not None and click_objection(click) is not None
        return (Remedy.CLEAR_CLICK,) if filtered else ()
    order = order_of(session, claim)
    if order is None:
        return ()
    side = reading.own_side(session, enrollment_id=claim.enrollment_id, order=order)
    status = session.scalar(
        sa.select(Enrollment.status).where(Enrollment.id == claim.enrollment_id)
    )
    return order_remedies(side, active=status == Membership.ACTIVE)


def order_of(session: Session, claim: Claim) -> Order | None:
    """The order that the case is about, whoever's it is; for staff alone."""
    if claim.order_row_id is not None:
        return session.get(Order, claim.order_row_id)
    return session.scalar(
        sa.select(Order).where(
            Order.program_id == claim.program_id, Order.order_id == claim.order_id
        )
    )


def accept(
    session: Session, *, claim_id: int, remedy: Remedy, reason: str, by: int, now: datetime
) -> None:
    """Agree, and change what the affiliate asked for by the verb that does it anywhere.

    Raises NotFound, Invalid (reason), ClaimClosed, OwnClaim, SecondReaderNeeded, RemedyNotThere
    and what the verb raises.
    """
    claim, reason = _locked(session, claim_id, by), _reason(reason)
    if remedy not in remedies(session, claim):
        raise RemedyNotThere
    order = None if claim.click_id is not None else order_of(session, claim)
    _close(session, claim, Status.ACCEPTED, reason, by, now, remedy=remedy, order=order)
    _change(session, claim, remedy, order, reason, f"user:{by}", now)


def explain(session: Session, *, claim_id: int, reason: str, by: int, now: datetime) -> None:
    """Answer without changing anything: the affiliate reads why there is nothing to change.

    Raises NotFound, Invalid (reason), ClaimClosed, OwnClaim and SecondReaderNeeded.
    """
    _close(session, _locked(session, claim_id, by), Status.ANSWERED, _reason(reason), by, now)


def decline(session: Session, *, claim_id: int, reason: str, by: int, now: datetime) -> None:
    """Turn the case down with a reason that the affiliate reads. Raises as `explain` does."""
    _close(session, _locked(session, claim_id, by), Status.DECLINED, _reason(reason), by, now)


def withdraw(session: Session, *, claim_id: int, enrollment_id: int, now: datetime) -> None:
    """The affiliate does not ask any more. Raises NotFound and ClaimClosed."""
    claim = lock_open(session, claim_id, enrollment_id=enrollment_id)
    claim.status, claim.decided_at = Status.WITHDRAWN.value, now
    session.flush()


def lock_open(session: Session, claim_id: int, *, enrollment_id: int | None = None) -> Claim:
    """The case, which nobody else decides meanwhile; ClaimClosed when somebody has.

    NotFound where it is not of the enrollment that is named.
    """
    claim = session.get(Claim, claim_id, with_for_update=True, populate_existing=True)
    if claim is None or enrollment_id not in (None, claim.enrollment_id):
        raise NotFound
    if claim.status != Status.OPEN:
        raise ClaimClosed
    return claim


def _locked(session: Session, claim_id: int, by: int) -> Claim:
    claim = lock_open(session, claim_id)
    if claim.opened_by == by:
        raise OwnClaim
    others = [user.id for user in reading.deciders(session, program_id=claim.program_id)
              if user.id != claim.opened_by]  # fmt: skip
    if second_reader_needed(first_decided_by=claim.first_decided_by, by=by, others=others):
        raise SecondReaderNeeded
    return claim


def _reason(text: str) -> str:
    text = clean_text(text)
    if not 1 <= len(text) <= REASON_CHARS_MAX:
        raise Invalid.field(
            "reason",
            "length",
            Phrase("Say why, in at most %(most)s characters; it is read.", most=REASON_CHARS_MAX),
        )
    return text


def _close(
    session: Session,
    claim: Claim,
    status: Status,
    reason: str,
    by: int,
    now: datetime,
    *,
    remedy: Remedy | None = None,
    order: Order | None = None,
) -> None:
    claim.status, claim.decided_at, claim.decided_by = status.value, now, by
    claim.reason, claim.remedy = reason, remedy and remedy.value
    if order is not None:
        claim.order_row_id = order.id
    session.flush()
    audit.record(
        session, actor=f"user:{by}", action=f"claim.{status.value}", subject=f"claim:{claim.id}",
        scope=claim.program_id, new={"remedy": claim.remedy}, reason=reason, now=now,
    )  # fmt: skip
    tell_claimant(session, claim, "decided", now=now)


def _change(
    session: Session,
    claim: Claim,
    remedy: Remedy,
    order: Order | None,
    reason: str,
    by: str,
    now: datetime,
) -> None:
    program_id = claim.program_id
    if remedy is Remedy.CLEAR_CLICK:
        _clear(session, claim, reason, by, now)
        return
    assert order is not None, "the other remedies are about an order"
    if remedy is Remedy.RELEASE:
        review_order(
            session, program_id=program_id, order_id=order.order_id,
            outcome=ReviewOutcome.RELEASED, reason=reason, by=by, now=now,
        )  # fmt: skip
    elif remedy is Remedy.OVERTURN:
        overturn_review(
            session, program_id=program_id, order_id=order.order_id, reason=reason, by=by, now=now
        )
    else:
        assign_order(
            session, program_id=program_id, order_id=order.order_id,
            enrollment_id=claim.enrollment_id, reason=reason, by=by, now=now,
        )  # fmt: skip


def _clear(session: Session, claim: Claim, reason: str, by: str, now: datetime) -> None:
    assert claim.click_id is not None, "an appeal about a click names it"
    clear_click(
        session, click_id=claim.click_id, program_id=claim.program_id, reason=reason, by=by, now=now
    )
    clicked_at = clicked_at_of(claim.click_id)
    hanging = session.scalars(
        _HANGING,
        {
            "program_id": claim.program_id,
            "click_id": str(claim.click_id),
            "clicked_at": clicked_at,
            "until": clicked_at + CLEARED_BACK,
            "rows_max": CLEARED_ORDERS_MAX,
        },
    ).all()
    for order_id in hanging:
        decide_anew(
            session, program_id=claim.program_id, order_id=order_id, reason=reason, by=by, now=now
        )
