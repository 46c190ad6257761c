"""Cases of an affiliate as pages show them, and where "I object" is offered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.ids import public_id
from affiliate.core.pages import say
from tracker.claims import reading
from tracker.claims.mails import PREFIX
from tracker.claims.models import Claim
from tracker.claims.object import click_objection
from tracker.claims.refusals import Final
from tracker.claims.rules import Kind, Objection, Status, is_final, objection
from tracker.desks import claim_words
from tracker.desks.account.place import Place
from tracker.orders.models import Order


@dataclass(frozen=True, slots=True)
class Offer:
    """Whether a thing can be objected to now."""

    why: str | None = None
    """What would be objected to; none: nothing, or too late."""
    open_case: str | None = None
    """Public id of the objection that is open already."""
    final: str | None = None
    """What is said where nobody reads it once more."""


@dataclass(frozen=True, slots=True)
class CaseLine:
    """A case in a list."""

    id: str
    row: Claim
    title: str
    status: str
    tone: str


def case_lines(
    session: Session, *, place: Place, rows_max: int, before_id: int | None = None
) -> list[CaseLine]:
    """The affiliate's cases, newest first."""
    query = (
        sa.select(Claim, Order.order_id)
        .outerjoin(Order, sa.and_(Order.id == Claim.order_row_id, Claim.kind == Kind.APPEAL))
        .where(Claim.enrollment_id == place.enrollment.id)
        .order_by(Claim.id.desc())
        .limit(rows_max)
    )
    if before_id is not None:
        query = query.where(Claim.id < before_id)
    return [line(claim, order_id) for claim, order_id in session.execute(query)]


def line(claim: Claim, order_id: str | None) -> CaseLine:
    """One of them."""
    return CaseLine(
        id=public_id(PREFIX, claim.id),
        row=claim,
        title=claim_words.about(claim, order_id),
        status=claim_words.status(claim.status),
        tone=claim_words.tone(claim.status),
    )


def open_cases(session: Session, *, place: Place) -> int:
    """How many of the affiliate's cases wait for an answer."""
    count = session.scalar(
        sa.select(sa.func.count()).where(
            Claim.enrollment_id == place.enrollment.id, Claim.status == Status.OPEN
        )
    )
    return count or 0


def offer_for_order(session: Session, *, place: Place, order: Order) -> Offer:
    """Whether the affiliate may object to what became of an order."""
    open_case = _open_case(session, place, order_row_id=order.id)
    if open_case is not None:
        return Offer(open_case=open_case)
    side = reading.own_side(session, enrollment_id=place.enrollment.id, order=order)
    first_decided_by = reading.decided_first_by(session, order)
    return _offer(session, place, objection(side), first_decided_by, order_row_id=order.id)


def offer_for_click(session: Session, *, place: Place, click_id: UUID) -> Offer:
    """Whether the affiliate may object to a click's being left out."""
    open_case = _open_case(session, place, click_id=click_id)
    if open_case is not None:
        return Offer(open_case=open_case)
    click = reading.own_click(session, enrollment_id=place.enrollment.id, click_id=click_id)
    found = None if click is None else click_objection(click)
    return _offer(session, place, found, None, click_id=click_id)


def _offer(
    session: Session,
    place: Place,
    found: Objection | None,
    first_decided_by: int | None,
    **subject: Any,
) -> Offer:
    if found is None or not found.in_time(place.now):
        return Offer()
    closed = reading.earlier(
        session, enrollment_id=place.enrollment.id, kind=Kind.APPEAL.value, **subject
    )
    if is_final(closed_before=len(closed), decided_first=first_decided_by is not None):
        return Offer(final=say(Final.title))
    return Offer(why=claim_words.ground(found.ground))


def _open_case(session: Session, place: Place, **subject: Any) -> str | None:
    found = session.scalar(
        sa.select(Claim.id).where(
            Claim.enrollment_id == place.enrollment.id,
            Claim.kind == Kind.APPEAL,
            Claim.status == Status.OPEN,
            *(getattr(Claim, name) == value for name, value in subject.items()),
        )
    )
    return None if found is None else public_id(PREFIX, found)
