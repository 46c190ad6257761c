"""What the manager's desk asks about claims: the list, a case with all that belongs to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import ids
from affiliate.links.models import Coupon, Link
from affiliate.people import ids as people_ids
from affiliate.people.models import Affiliate, Enrollment
from affiliate.programs.models import Program
from tracker.attribution.asking import fold_coupon, visitor_of
from tracker.attribution.models import Decision
from tracker.claims.mails import PREFIX
from tracker.claims.models import Claim, ClaimNote
from tracker.claims.rules import Kind, Status
from tracker.clicks.models import Click
from tracker.clicks.rules import DropReason
from tracker.clicks.tokens import clicked_at_of
from tracker.desks import claim_words
from tracker.desks.account.sentences import FILTERED
from tracker.desks.manage import people
from tracker.desks.words import _
from tracker.orders.models import Order

ROWS_MAX: Final = 50
CLICKS_SHOWN_MAX: Final = 40
AROUND: Final = timedelta(days=2)
"""How far around the order's day an affiliate's clicks are shown."""
VISITOR_BACK: Final = timedelta(days=90)
"""How far back clicks of the order's own visitor are shown."""


@dataclass(frozen=True, slots=True)
class Line:
    """A case in a list."""

    public: str
    row: Claim
    title: str
    affiliate: str
    affiliate_public: str
    overdue: bool


def lines(
    session: Session,
    *,
    program: Program,
    closed: bool,
    now: datetime,
    after: Claim | None = None,
    rows_max: int = ROWS_MAX,
) -> list[Line]:
    """Open cases, the one due first on top; or closed ones, the latest on top."""
    query = (
        sa.select(Claim, Affiliate.name, Order.order_id)
        .join(Enrollment, Enrollment.id == Claim.enrollment_id)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .outerjoin(Order, sa.and_(Order.id == Claim.order_row_id, Claim.kind == Kind.APPEAL))
        .where(Claim.program_id == program.id)
        .limit(rows_max)
    )
    if closed:
        query = query.where(Claim.status != Status.OPEN)
        query = query.order_by(Claim.decided_at.desc(), Claim.id.desc())
        if after is not None:
            place = sa.tuple_(Claim.decided_at, Claim.id)
            query = query.where(place < sa.tuple_(after.decided_at, after.id))
    else:
        query = query.where(Claim.status == Status.OPEN).order_by(Claim.due_at, Claim.id)
        if after is not None:
            place = sa.tuple_(Claim.due_at, Claim.id)
            query = query.where(place > sa.tuple_(after.due_at, after.id))
    return [
        Line(
            public=ids.public_id(PREFIX, claim.id),
            row=claim,
            title=claim_words.about(claim, order_id),
            affiliate=name,
            affiliate_public=people_ids.public(claim.enrollment_id),
            overdue=claim.status == Status.OPEN and claim.due_at < now,
        )
        for claim, name, order_id in session.execute(query)
    ]


def counts(session: Session, *, program_ids: Iterable[int], now: datetime) -> tuple[int, int]:
    """How many cases are open in these programs, and how many of them are overdue."""
    row = session.execute(
        sa.select(sa.func.count(), sa.func.count().filter(Claim.due_at < now)).where(
            Claim.program_id.in_(list(program_ids)), Claim.status == Status.OPEN
        )
    ).one()
    return int(row[0]), int(row[1])


def clicks_around(
    session: Session, *, claim: Claim, order: Order | None, decision: Decision | None, zone: str
) -> list[dict[str, Any]]:
    """The affiliate's clicks of those days, and of the order's visitor at any time before."""
    begins, ends = _days(claim, order, zone)
    visitors = _visitors(session, order, decision)
    near: sa.ColumnElement[bool] = Click.clicked_at.between(begins, ends)
    if visitors:
        same = sa.and_(
            Click.visitor_id.in_(visitors), Click.clicked_at.between(ends - VISITOR_BACK, ends)
        )
        near = sa.or_(near, same)
    rows = session.execute(
        sa.select(Click, Link.name, Link.code)
        .join(Link, Link.id == Click.link_id)
        .where(
            Click.enrollment_id == claim.enrollment_id,
            Click.clicked_at.between(ends - VISITOR_BACK, ends),
            near,
        )
        .order_by(Click.clicked_at.desc())
        .limit(CLICKS_SHOWN_MAX)
    )
    return [
        {
            "id": str(click.click_id),
            "at": click.clicked_at,
            "link": name or code,
            "referrer": click.referrer,
            "why": FILTERED[DropReason(click.reason)]() if click.reason else _("Counted."),
            "filtered": click.reason not in (None, DropReason.DUPLICATE.value),
            "same_visitor": click.visitor_id in visitors,
            "named": click.click_id == claim.click_id,
        }
        for click, name, code in rows
    ]


def own_coupon(session: Session, *, claim: Claim, order: Order | None) -> str | None:
    """The coupon of the order, if it is the affiliate's."""
    code = fold_coupon(order.coupon) if order else None
    if not code:
        return None
    return session.scalar(
        sa.select(Coupon.code).where(
            Coupon.enrollment_id == claim.enrollment_id, Coupon.code == code
        )
    )


def talk(session: Session, *, claim: Claim, name: str) -> list[dict[str, Any]]:
    """All that was said, colleagues' notes included."""
    rows = session.scalars(
        sa.select(ClaimNote).where(ClaimNote.claim_id == claim.id).order_by(ClaimNote.id)
    ).all()
    staff = people.user_names(session, {f"user:{row.by}" for row in rows if row.from_staff})
    return [
        {
            "at": row.at,
            "who": staff.get(f"user:{row.by}", "—") if row.from_staff else name,
            "mine": row.from_staff,
            "inside": not row.for_affiliate,
            "text": row.text,
        }
        for row in rows
    ]


def _days(claim: Claim, order: Order | None, zone: str) -> tuple[datetime, datetime]:
    if claim.click_id is not None:
        middle = clicked_at_of(claim.click_id)
    elif order is not None:
        middle = order.placed_at
    else:
        assert claim.day is not None, "a missing order has its day"
        noon = datetime.combine(claim.day, time(12), tzinfo=ZoneInfo(zone))
        middle = noon.astimezone(UTC)
    return middle - AROUND, middle + AROUND


def _visitors(session: Session, order: Order | None, decision: Decision | None) -> set[UUID]:
    """Visitors that the order's evidence names, itself or through its clicks."""
    if order is None or decision is None:
        return set()
    named = visitor_of(order.evidence)
    clicks = [
        UUID(each["click_id"])
        for each in decision.snapshot["candidates"]
        if each["click_id"] and each["genuine"]
    ]
    keys = [(click_id, clicked_at_of(click_id)) for click_id in clicks]
    found = session.scalars(
        sa.select(Click.visitor_id).where(
            sa.tuple_(Click.click_id, Click.clicked_at).in_(keys), Click.visitor_id.is_not(None)
        )
    ).all()
    return {each for each in (named, *found) if each is not None}
