"""The make-up of volume tiers that count for the whole period, once it is over.

During the period each order earns the rate of the band that was reached before it. When the
period is over, and the hold period of its last order too, all of its orders are due the rate of
the band that was reached at the end. What comes back after that: `make_up_refunds`.
Rule: docs/rules.md, "Volume tiers".
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.db import rows
from affiliate.core.money import Money
from affiliate.programs.models import Program
from affiliate.programs.rule_versions import RuleVersionInForce, in_force
from affiliate.programs.terms import HOLD_DAYS_MAX, Apply, CommissionTerms, Period, Tiers
from payouts.commissions.earn import Earning, earn_decided
from payouts.commissions.periods import Stretch, stretch_of
from payouts.commissions.sale import Sale
from payouts.commissions.standing import NOWHERE, SALES, Standing, standing_before
from payouts.commissions.tiers import TierSale, make_up_reference, tier_make_up, tier_sales_in

LOOK_BACK: Final = timedelta(days=HOLD_DAYS_MAX + 366)
"""The longest hold, and as long again as the longest period."""
MAKE_UPS_MAX: Final = 200
"""So many affiliates in one transaction; whoever calls goes on while the answer is as many."""
_INSTANT: Final = timedelta(microseconds=1)

# Whoever sold anything in the period and has no make-up of it yet.
_WHO: Final = f"""
    SELECT c.enrollment_id FROM commissions c
    WHERE c.program_id = CAST(%(program_id)s AS bigint) AND c.level = 1 AND c.voided_at IS NULL
      AND c.placed_at >= %(begins)s AND c.placed_at < %(ends)s AND {SALES}
      AND NOT EXISTS (SELECT FROM commissions m
                      WHERE m.reference = 'tier:' || c.enrollment_id || ':' || %(name)s)
    GROUP BY c.enrollment_id ORDER BY c.enrollment_id LIMIT {MAKE_UPS_MAX}
"""  # noqa: S608 -- the parts are constants, every value is bound
_SOLD: Final = f"""
    SELECT c.trace, c.base_micros, c.refunded_base_micros, c.amount_micros, c.reversed_micros
    FROM commissions c
    WHERE c.enrollment_id = CAST(%(enrollment_id)s AS bigint) AND c.level = 1
      AND c.voided_at IS NULL AND c.placed_at >= %(begins)s AND c.placed_at < %(ends)s AND {SALES}
    ORDER BY c.id
"""  # noqa: S608 -- as above


def make_up_due(session: Session, *, now: datetime) -> int:
    """Book the make-ups that are due, of a batch of affiliates; returns of how many.

    Safe to run twice: the make-up of an affiliate and period has one reference.
    """
    done = 0
    for program in session.scalars(sa.select(Program).order_by(Program.id)).all():
        for version, tiers, stretch in _periods_over(session, program, now):
            period = {"begins": stretch.begins, "ends": stretch.ends}
            who = rows(session, _WHO, {"program_id": program.id, "name": stretch.name, **period})
            for (enrollment_id,) in who:
                _make_up(session, program, version, tiers, stretch, enrollment_id, now)
            done += len(who)
            if done >= MAKE_UPS_MAX:
                return done
    return done


def _periods_over(
    session: Session, program: Program, now: datetime
) -> Iterator[tuple[RuleVersionInForce, Tiers, Stretch]]:
    """Periods of whole-period tiers that are over, with the hold of their last order.

    The rules in force at a period's last instant say whether it has a make-up. It is looked
    back as far as a hold period can reach, so that a job that was down misses nothing.
    """
    for period in Period:
        stretch = stretch_of(period, now, program.time_zone)
        while now - stretch.ends < LOOK_BACK:
            stretch = stretch_of(period, stretch.begins - _INSTANT, program.time_zone)
            if stretch.ends <= program.created_at:
                break
            version = in_force(session, program_id=program.id, at=stretch.ends - _INSTANT)
            tiers = version.terms.commission.tiers
            if tiers is None or tiers.apply is not Apply.WHOLE_PERIOD or tiers.period is not period:
                continue
            if now >= stretch.ends + version.terms.payout.hold:
                yield version, tiers, stretch


def _make_up(
    session: Session,
    program: Program,
    version: RuleVersionInForce,
    tiers: Tiers,
    stretch: Stretch,
    enrollment_id: int,
    now: datetime,
) -> None:
    """Decide and book one make-up; also one of nothing, which says why."""
    commission = version.terms.commission
    standing = standing_before(
        session,
        terms={enrollment_id: commission},
        reference="",
        placed_at=stretch.begins,
        zone=program.time_zone,
        currency=program.currency,
    ).get(enrollment_id, NOWHERE)
    found = tier_make_up(
        tiers,
        enrollment_id=enrollment_id,
        rule_version_id=version.id,
        currency=program.currency,
        volume=standing.volume,
        sales=tier_sales_of(session, enrollment_id, stretch, program.currency),
        cap_room=cap_room(commission, standing),
    )
    sale = Sale(
        program_id=program.id,
        reference=make_up_reference(enrollment_id, stretch.name),
        decision=1,
        net=found.base,
        credits=(),
        placed_at=stretch.ends - _INSTANT,
        hold=timedelta(0),
    )
    earn_decided(session, earning=Earning(sale, (found,), None, now))


def tier_sales_of(
    session: Session, enrollment_id: int, stretch: Stretch, currency: str
) -> list[TierSale]:
    """What the affiliate's orders of a period earned by the tiers, less what came back."""
    values = {"enrollment_id": enrollment_id, "begins": stretch.begins, "ends": stretch.ends}
    return [
        sale
        for row in rows(session, _SOLD, values)
        for sale in tier_sales_in(*row, currency=currency)
    ]


def cap_room(terms: CommissionTerms, standing: Standing) -> Money | None:
    """What the cap per period has left, where it counts the same period as the tiers."""
    cap = terms.caps.per_period
    if cap is None or standing.earned_in_period is None:
        return None
    return max(cap.amount - standing.earned_in_period, Money.zero(cap.amount.currency))
