"""The team: whom the affiliate recruited, what each brought, how each amount follows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.db import db
from affiliate.core.ids import public_id
from affiliate.core.money import Money
from affiliate.core.pages import money, percent
from affiliate.people.access import affiliates
from affiliate.people.models import Affiliate, Enrollment
from affiliate.people.rules import Status
from affiliate.programs import rule_versions
from affiliate.programs.terms import LevelTwo
from payouts.commissions.models import Commission
from payouts.commissions.rows import CommissionRow, as_row
from tracker.desks.account import sentences
from tracker.desks.account.blueprint import Answer, account, in_program, page
from tracker.desks.account.language import gettext as _
from tracker.desks.account.links import recruiting_url
from tracker.desks.account.orders import PREFIX as ORDER_PREFIX
from tracker.desks.account.orders import order_number, status_word
from tracker.desks.account.place import Place
from tracker.orders.models import Order

ROWS_MAX = 60


@dataclass(frozen=True, slots=True)
class Recruit:
    """Somebody whom the affiliate recruited, as far as it concerns the affiliate."""

    name: str
    status: str
    joined_at: datetime
    orders: int
    earned: Money
    """What the affiliate has earned at level 2 by this recruit's orders, after refunds."""


@dataclass(frozen=True, slots=True)
class Derived:
    """One level-2 commission: by whom, of what, at which rate."""

    order: str
    order_page: str
    via: str
    placed_at: datetime
    row: CommissionRow
    status: str
    formula: str
    when: str


@account.get("/team")
@affiliates
@in_program
def team(place: Place) -> Answer:
    """My recruits and how level 2 was derived."""
    session = db.session()
    version = rule_versions.in_force(session, program_id=place.program.id, at=place.now)
    recruits = _recruits(session, place)
    return page(
        "team",
        place,
        recruits=recruits,
        derived=_derived(session, place) if recruits else [],
        level_2=version.terms.commission.level_2,
        pays=_pays(version.terms.commission.level_2),
        recruiting=recruiting_url(place) if place.active else None,
        earned=sum((each.earned for each in recruits), Money.zero(place.currency)),
    )


def _pays(level_2: LevelTwo | None) -> str:
    if level_2 is None:
        return _("This program has one level: recruiting earns nothing here.")
    rate = percent(level_2.rate_ppm)
    if level_2.of.value == "sale":
        return _("%(rate)s of what their buyers pay, on top of what they earn.", rate=rate)
    return _("%(rate)s of their commission, on top of what they earn.", rate=rate)


def _recruits(session: Session, place: Place) -> list[Recruit]:
    left = Commission.amount_micros - Commission.reversed_micros
    live = Commission.voided_at.is_(None)
    brought = (
        sa.select(
            Commission.via_enrollment_id.label("via"),
            sa.func.count(Commission.reference.distinct()).filter(live).label("orders"),
            sa.func.sum(left).filter(live).label("earned"),
        )
        .where(Commission.enrollment_id == place.enrollment.id, Commission.level == 2)
        .group_by(Commission.via_enrollment_id)
        .subquery()
    )
    # Whoever was moved to another recruiter stays listed by what they brought before.
    rows = session.execute(
        sa.select(
            Affiliate.name,
            Enrollment.status,
            Enrollment.applied_at,
            sa.func.coalesce(brought.c.orders, 0),
            sa.func.coalesce(brought.c.earned, 0),
        )
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .outerjoin(brought, brought.c.via == Enrollment.id)
        .where(
            Enrollment.program_id == place.program.id,
            sa.or_(
                sa.and_(
                    Enrollment.recruiter_id == place.enrollment.id,
                    Enrollment.status != Status.REJECTED.value,
                ),
                brought.c.via.is_not(None),
            ),
        )
        .order_by(sa.func.coalesce(brought.c.earned, 0).desc(), Enrollment.id)
    )
    return [
        Recruit(name, status, at, int(orders), place.money(earned))
        for name, status, at, orders, earned in rows
    ]


def _derived(session: Session, place: Place) -> list[Derived]:
    rows = session.execute(
        sa.select(Commission, Order, Affiliate.name)
        .join(Order, Order.id == order_number())
        .join(Enrollment, Enrollment.id == Commission.via_enrollment_id)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .where(Commission.enrollment_id == place.enrollment.id, Commission.level == 2)
        .order_by(Commission.id.desc())
        .limit(ROWS_MAX)
    )
    found = []
    for commission, order, via in rows:
        row = as_row(commission)
        found.append(
            Derived(
                order=order.order_id,
                order_page=public_id(ORDER_PREFIX, order.id),
                via=via,
                placed_at=order.placed_at,
                row=row,
                status=status_word(row),
                formula=_formula(row),
                when=sentences.when(row, place.now),
            )
        )
    return found


def _formula(row: CommissionRow) -> str:
    """`3,500.00 RUB × 2% = 70.00 RUB`, of the sale or of the commission."""
    step = next((step for step in row.trace if step.get("step") == "level_2"), None)
    of = _("sale") if step is None or step["of"] == "sale" else _("commission")
    rate = percent(row.rate_ppm or 0)
    return _("%(of)s %(base)s × %(rate)s", of=of, base=money(row.base), rate=rate)
