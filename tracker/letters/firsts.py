"""An affiliate's first click and first sale in a program: one letter each, while it is news.

Clicks are asked of the counters, never of the clicks themselves; sales of the affiliate's own
commissions. Both are found again and again until the letter's row is there, so a sweep that was
off for a while finds what is left. Rule: docs/mails.md.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from affiliate.core.ids import public_id
from affiliate.core.money import Money
from affiliate.letters.choices import wants
from affiliate.letters.rules import Choice, Kind
from affiliate.letters.write import READER, Reader, about_row, unwritten, write
from affiliate.links.models import Link
from affiliate.people.models import Affiliate, Enrollment, User
from affiliate.people.rules import Status
from affiliate.programs.models import Program
from payouts.commissions.models import Commission
from payouts.commissions.rules import ReleaseWait
from tracker.clicks.models import LinkDay
from tracker.letters.rules import FIRST_DAYS_MAX, first_day
from tracker.orders.models import Order

LETTERS_MAX: Final = 200
"""Of one transaction."""
ORDER: Final = "ord"


def tell_first_clicks(session: Session, *, settings: Settings, now: datetime) -> int:
    """Write to whoever has had their first counted click lately; how many letters."""
    written = 0
    for program in session.scalars(sa.select(Program).order_by(Program.id)).all():
        for enrollment_id, *reader in session.execute(first_clicks(program, now)).all():
            clicks, link = _first_day(session, enrollment_id)
            written += write(
                session, kind=Kind.FIRST_CLICK, about=f"enrollment:{enrollment_id}",
                reader=Reader.of(reader), program=program, settings=settings, now=now,
                clicks=clicks, link=link,
                url=f"{settings.public_url}/account/clicks?program={program.slug}",
            )  # fmt: skip
    return written


def first_clicks(program: Program, now: datetime) -> sa.Select[int, int, str, str, str]:
    """Affiliates of a program whose counters begin lately, and who were not written to.

    It begins with the counters of a few days, which lie together by program and day, and looks
    into the earlier ones of these affiliates alone.
    """
    since = first_day(now, program.time_zone)
    counted = (
        sa.select(LinkDay.enrollment_id)
        .where(LinkDay.program_id == program.id, LinkDay.day >= since, LinkDay.clicks > 0)
        .distinct()
        .subquery()
    )
    earlier = sa.select(LinkDay.day).where(
        LinkDay.enrollment_id == counted.c.enrollment_id, LinkDay.day < since, LinkDay.clicks > 0
    )
    return (
        sa.select(Enrollment.id, *READER)
        .join(counted, counted.c.enrollment_id == Enrollment.id)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .join(User, User.id == Affiliate.user_id)
        .where(
            Enrollment.status == Status.ACTIVE.value,
            User.active,
            unwritten(Kind.FIRST_CLICK, about_row("enrollment", Enrollment.id), User.id),
            ~earlier.exists(),
            wants(Choice.FIRST_CLICK, User.id, Enrollment.program_id),
        )
        .order_by(Enrollment.id)
        .limit(LETTERS_MAX)
    )


def tell_first_sales(session: Session, *, settings: Settings, now: datetime) -> int:
    """Write to whoever was credited with their first order lately; how many letters."""
    written = 0
    for program_id, enrollment_id, commission_id, *reader in session.execute(
        first_sales(now)
    ).all():
        commission = session.get_one(Commission, commission_id)
        order = session.get_one(Order, int(commission.reference.removeprefix("order:")))
        program = session.get_one(Program, program_id)
        path = f"/account/orders/{public_id(ORDER, order.id)}?program={program.slug}"
        written += write(
            session, kind=Kind.FIRST_SALE, about=f"enrollment:{enrollment_id}",
            reader=Reader.of(reader), program=program, settings=settings, now=now,
            order_id=order.order_id, placed_at=order.placed_at,
            net=Money(order.net_micros, order.currency),
            amount=Money(commission.amount_micros, commission.currency),
            available_at=commission.available_at, url=settings.public_url + path,
        )  # fmt: skip
    return written


def first_sales(now: datetime) -> sa.Select[int, int, int, int, str, str, str]:
    """Affiliates whose oldest commission of an order is young, and who were not written to.

    It counts once nothing but time is waited for: what the shop has not confirmed yet may never
    be theirs. What was taken away again is not their first sale.
    """
    first = (
        sa.select(Commission.id, Commission.earned_at)
        .where(
            Commission.enrollment_id == Enrollment.id,
            Commission.level == 1,
            Commission.voided_at.is_(None),
            Commission.amount_micros > Commission.reversed_micros,
            Commission.reference.like("order:%"),
            sa.or_(
                Commission.waits_for.is_(None), Commission.waits_for == ReleaseWait.BUDGET.value
            ),
        )
        .order_by(Commission.id)
        .limit(1)
        .lateral("first")
    )
    return (
        sa.select(Enrollment.program_id, Enrollment.id, first.c.id, *READER)
        .select_from(Enrollment)
        .join(first, sa.true())
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .join(User, User.id == Affiliate.user_id)
        .where(
            Enrollment.status == Status.ACTIVE.value,
            User.active,
            unwritten(Kind.FIRST_SALE, about_row("enrollment", Enrollment.id), User.id),
            first.c.earned_at > now - timedelta(days=FIRST_DAYS_MAX),
            wants(Choice.FIRST_SALE, User.id, Enrollment.program_id),
        )
        .order_by(Enrollment.id)
        .limit(LETTERS_MAX)
    )


def _first_day(session: Session, enrollment_id: int) -> tuple[int, Link | None]:
    """How many clicks were counted so far, and the link where it was but one."""
    rows = session.execute(
        sa.select(LinkDay.link_id, sa.func.sum(LinkDay.clicks))
        .where(LinkDay.enrollment_id == enrollment_id, LinkDay.clicks > 0)
        .group_by(LinkDay.link_id)
    ).all()
    only = session.get(Link, rows[0][0]) if len(rows) == 1 else None
    return sum(int(clicks) for _link, clicks in rows), only
