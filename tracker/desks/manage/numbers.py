"""The health of a program in numbers, and what its lists count."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.money import Money
from affiliate.people.models import Affiliate, Enrollment
from affiliate.programs.models import Program
from payouts.commissions.models import Commission
from tracker.attribution.models import Decision
from tracker.clicks.models import LinkDay
from tracker.leads.models import Lead, LeadDecision
from tracker.orders.converting import NET_IN_PROGRAM
from tracker.orders.models import Order, OrderReport, ParkedCall
from tracker.paid_clicks.models import PaidClickDay

ACTIVE_DAYS = 30
"""An affiliate is active who had a click or an order in this many days."""
UNCONFIRMED_SHOWN_MAX = 20
TOP_SHOWN_MAX = 5


@dataclass(frozen=True)
class Health:
    """How a program is doing this month."""

    month_starts: datetime
    enrolled: int
    active: int
    """Of them, with a click or an order in the last days."""
    applied: int
    orders: int
    net: Money
    commission: Money
    refunded_ppm: int | None
    """Share of the month's net that came back, to a tenth of a percent; none without orders."""
    uncredited: list[tuple[str, int]]
    """Reasons why orders of the month are nobody's, most frequent first."""
    conflicts: int
    """Reports of the month that contradicted the first one."""
    parked_refused: int
    """Early refunds, confirmations, cancellations that could not be applied."""
    top: list[tuple[int, str, Money, int]]
    """Who earned most this month: enrollment, name, amount, share in parts per million."""

    @property
    def dormant(self) -> int:
        return self.enrolled - self.active

    @property
    def active_percent(self) -> int:
        return 100 * self.active // self.enrolled if self.enrolled else 0


def health(session: Session, *, program: Program, now: datetime) -> Health:
    """Read the program's health at this instant; months are counted in its zone."""
    starts = month_start(program, now)
    enrolled, active, applied = affiliates(session, program, now)
    orders, net, back, commission = _orders(session, program, starts)
    conflicts, refused = _refused(session, program, starts)
    return Health(
        month_starts=starts,
        enrolled=enrolled,
        active=active,
        applied=applied,
        orders=orders,
        net=Money(net, program.currency),
        commission=Money(commission, program.currency),
        refunded_ppm=back * 1_000 // net * 1_000 if net else None,
        uncredited=_uncredited(session, program, starts),
        conflicts=conflicts,
        parked_refused=refused,
        top=_top(session, program, starts, commission),
    )


def month_start(program: Program, now: datetime) -> datetime:
    """Midnight of the month's first day in the program's zone."""
    zone = ZoneInfo(program.time_zone)
    first = now.astimezone(zone).date().replace(day=1)
    return datetime.combine(first, time(), tzinfo=zone).astimezone(UTC)


def today(program: Program, now: datetime) -> date:
    """The date in the program's zone."""
    return now.astimezone(ZoneInfo(program.time_zone)).date()


def unconfirmed(session: Session, *, program: Program) -> list[Order]:
    """Orders that only a browser reported, oldest first: they wait for a person's word."""
    return list(
        session.scalars(
            sa.select(Order)
            .where(Order.program_id == program.id, Order.status == "unconfirmed")
            .order_by(Order.placed_at, Order.id)
            .limit(UNCONFIRMED_SHOWN_MAX)
        )
    )


def leads_to_review(session: Session, *, program: Program) -> int:
    """How many leads wait for a person's word about a suspicious click."""
    waiting = (
        sa.select(sa.func.count())
        .select_from(LeadDecision)
        .join(Lead, Lead.id == LeadDecision.lead_id)
        .where(
            Lead.program_id == program.id,
            Lead.review_outcome.is_(None),
            LeadDecision.review_reason.is_not(None),
            LeadDecision.voided_at.is_(None),
        )
    )
    return session.scalar(waiting) or 0


def clicks_to_review(session: Session, *, program: Program) -> int:
    """Of how many links and days the clicks that are paid for wait for a person's word."""
    waiting = sa.select(sa.func.count(PaidClickDay.id)).where(
        PaidClickDay.program_id == program.id,
        PaidClickDay.flooded,
        PaidClickDay.review_outcome.is_(None),
        PaidClickDay.bookings > 0,
    )
    return session.scalar(waiting) or 0


def to_review(session: Session, *, program: Program) -> int:
    """How many orders wait for a person's word about a suspicious click."""
    waiting = (
        sa.select(sa.func.count())
        .select_from(Decision)
        .join(Order, Order.id == Decision.order_id)
        .where(
            Order.program_id == program.id,
            Order.review_outcome.is_(None),
            Decision.review_reason.is_not(None),
            Decision.voided_at.is_(None),
        )
    )
    return session.scalar(waiting) or 0


def affiliates(session: Session, program: Program, now: datetime) -> tuple[int, int, int]:
    """How many are in, how many of them are active, and how many applications wait."""
    since = now - timedelta(days=ACTIVE_DAYS)
    # One look into the affiliate's own part of the counters each: the days of a whole program
    # would be read all.
    clicked = sa.exists().where(
        LinkDay.enrollment_id == Enrollment.id, LinkDay.day >= since.date(), LinkDay.clicks > 0
    )
    credited = sa.exists().where(
        Commission.enrollment_id == Enrollment.id,
        Commission.level == 1,
        Commission.earned_at >= since,
    )
    enrolled = Enrollment.status == "active"
    row = session.execute(
        sa.select(
            sa.func.count().filter(enrolled),
            sa.func.count().filter(enrolled, sa.or_(clicked, credited)),
            sa.func.count().filter(Enrollment.status == "applied"),
        ).where(Enrollment.program_id == program.id)
    ).one()
    return int(row[0]), int(row[1]), int(row[2])


_REFUNDED_IN_PROGRAM = sa.case(
    (Order.converted_to.is_(None), Order.refunded_net_micros),
    else_=sa.func.coalesce(
        sa.func.round(
            sa.cast(Order.refunded_net_micros, sa.Numeric)
            * Order.converted_net_micros
            / sa.func.nullif(Order.net_micros, 0)
        ),
        0,
    ),
)
"""For a percentage alone: an order's part may be a micro beside what was taken back."""


def _orders(session: Session, program: Program, starts: datetime) -> tuple[int, int, int, int]:
    of_month = (Order.program_id == program.id, Order.placed_at >= starts)
    live = Order.status != "cancelled"
    count, net, back = session.execute(
        sa.select(
            sa.func.count().filter(live),
            sa.func.coalesce(sa.func.sum(NET_IN_PROGRAM).filter(live), 0),
            sa.func.coalesce(sa.func.sum(_REFUNDED_IN_PROGRAM).filter(live), 0),
        ).where(*of_month)
    ).one()
    commission = session.scalar(
        sa.select(
            sa.func.coalesce(sa.func.sum(Commission.amount_micros - Commission.reversed_micros), 0)
        ).where(
            Commission.program_id == program.id,
            Commission.earned_at >= starts,
            Commission.voided_at.is_(None),
        )
    )
    return int(count), int(net), int(back), int(commission or 0)


def _uncredited(session: Session, program: Program, starts: datetime) -> list[tuple[str, int]]:
    rows = session.execute(
        sa.select(Decision.reason, sa.func.count())
        .join(Order, Order.id == Decision.order_id)
        .where(
            Order.program_id == program.id,
            Order.placed_at >= starts,
            Decision.voided_at.is_(None),
            Decision.outcome == "unattributed",
        )
        .group_by(Decision.reason)
        .order_by(sa.func.count().desc(), Decision.reason)
    )
    return [(reason or "", int(count)) for reason, count in rows]


def _refused(session: Session, program: Program, starts: datetime) -> tuple[int, int]:
    conflicts = (
        sa.select(sa.func.count())
        .select_from(OrderReport)
        .join(Order, Order.id == OrderReport.order_id)
        .where(
            Order.program_id == program.id,
            OrderReport.outcome == "conflict",
            OrderReport.received_at >= starts,
        )
        .scalar_subquery()
    )
    parked = (
        sa.select(sa.func.count())
        .select_from(ParkedCall)
        .where(
            ParkedCall.program_id == program.id,
            ParkedCall.refused_reason.is_not(None),
            ParkedCall.received_at >= starts,
        )
        .scalar_subquery()
    )
    row = session.execute(sa.select(conflicts, parked)).one()
    return int(row[0]), int(row[1])


def _top(
    session: Session, program: Program, starts: datetime, whole: int
) -> list[tuple[int, str, Money, int]]:
    earned = sa.func.sum(Commission.amount_micros - Commission.reversed_micros)
    rows = session.execute(
        sa.select(Enrollment.id, Affiliate.name, earned)
        .join(Enrollment, Enrollment.id == Commission.enrollment_id)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .where(
            Commission.program_id == program.id,
            Commission.earned_at >= starts,
            Commission.voided_at.is_(None),
        )
        .group_by(Enrollment.id, Affiliate.name)
        .having(earned > 0)
        .order_by(earned.desc(), Enrollment.id)
        .limit(TOP_SHOWN_MAX)
    )
    return [
        (row_id, name, Money(int(micros), program.currency), int(micros) * 1_000_000 // whole)
        for row_id, name, micros in rows
    ]
