"""What refunds and voids take back of make-ups that were booked already.

Rule: docs/rules.md, "Volume tiers".
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.money import Money
from affiliate.programs.models import Program
from affiliate.programs.terms import Period
from payouts.commissions import booking
from payouts.commissions.make_up import tier_sales_of
from payouts.commissions.models import Commission, CommissionReversal
from payouts.commissions.periods import Stretch, stretch_of
from payouts.commissions.rows import CommissionRow, as_row
from payouts.commissions.standing import lock_standings
from payouts.commissions.tiers import (
    RULE_TIERS,
    TierSale,
    due_and_earned,
    make_up_reference,
    make_up_reversal,
)
from payouts.ledger.posting import Posting, post_many

BOOKED_AHEAD_MAX: Final = timedelta(hours=1)
"""How far the clock of whoever books make-ups may run ahead of ours."""


def take_back_make_ups(
    session: Session, *, taken: Sequence[CommissionRow], cause: str, reason: str, now: datetime
) -> None:
    """Take back what booked make-ups gave for these commissions, of which something came back.

    What came back is written by now, in this transaction; `cause` names it (`refund:5`). The
    same cause a second time finds nothing to take. The affiliates are locked, as a make-up that
    is being booked right now would not see what came back; then the make-ups themselves, so that
    two refunds of one period do not both take what one of them took.
    """
    stretches = _made_up(session, taken, now)
    if not stretches:
        return
    lock_standings(session, {enrollment_id for enrollment_id, _ in stretches.values()})
    made = session.scalars(
        sa.select(Commission)
        .where(
            Commission.reference.in_(stretches),
            Commission.voided_at.is_(None),
            Commission.amount_micros > Commission.reversed_micros,
        )
        .order_by(Commission.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    postings: list[Posting] = []
    for commission in made:
        row = as_row(commission)
        _, stretch = stretches[row.reference]
        sales = tier_sales_of(session, row.enrollment_id, stretch, row.amount.currency)
        amount = make_up_reversal(
            frozen=row.amount, rate_ppm=row.rate_ppm or 0, sales=sales, already=row.reversed
        )
        if amount:
            _record(session, row, sales, amount, cause, now)
            reference = f"take_back:{cause}:commission:{row.id}"
            postings.append(booking.taken_back(row, amount, reference=reference, reason=reason))
    post_many(session, postings=postings, now=now)


def _made_up(
    session: Session, taken: Sequence[CommissionRow], now: datetime
) -> dict[str, tuple[int, Stretch]]:
    """References of make-ups that there may be for these commissions: whose, of which period.

    Only what tiers earned is made up for, and only in a period that is over.
    """
    by_tiers = [
        row
        for row in taken
        if row.level == 1 and any(step.get("rule") == RULE_TIERS for step in row.trace)
    ]
    if not by_tiers:
        return {}
    found = session.execute(
        sa.select(Commission.enrollment_id, Commission.placed_at, Program.time_zone)
        .join(Program, Program.id == Commission.program_id)
        .where(Commission.id.in_([row.id for row in by_tiers]))
    )
    return {
        make_up_reference(enrollment_id, stretch.name): (enrollment_id, stretch)
        for enrollment_id, placed_at, zone in found
        if placed_at is not None
        for stretch in (stretch_of(period, placed_at, zone) for period in Period)
        if stretch.ends < now + BOOKED_AHEAD_MAX
    }


def _record(
    session: Session,
    row: CommissionRow,
    sales: Sequence[TierSale],
    amount: Money,
    cause: str,
    now: datetime,
) -> None:
    session.execute(
        sa.insert(CommissionReversal).values(
            commission_id=row.id,
            reference=cause,
            amount_micros=amount.micros,
            trace=_trace(row, sales),
            reversed_at=now,
        )
    )
    session.execute(
        sa.update(Commission)
        .where(Commission.id == row.id)
        .values(reversed_micros=Commission.reversed_micros + amount.micros)
        .execution_options(synchronize_session=False)
    )


def _trace(row: CommissionRow, sales: Sequence[TierSale]) -> dict[str, Any]:
    due, earned = due_and_earned(sales, row.rate_ppm or 0, row.amount.currency)
    return {
        "step": "tier_make_up",
        "frozen": row.amount.decimal,
        "rate_ppm": row.rate_ppm,
        "orders": len(sales),
        "due": due.decimal,
        "before": earned.decimal,
        "already": row.reversed.decimal,
        "currency": row.amount.currency,
    }
