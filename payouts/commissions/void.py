"""Take commissions back: as a whole by a void, in proportion by a refund."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.money import Money
from payouts.commissions import booking
from payouts.commissions.earn import lock_live
from payouts.commissions.make_up_refunds import take_back_make_ups
from payouts.commissions.models import Commission, CommissionReversal
from payouts.commissions.rows import CommissionRow
from payouts.commissions.rules import VoidReason, reversal
from payouts.ledger.posting import Posting, post_many


def void(
    session: Session, *, reference: str, decision: int, reason: VoidReason, now: datetime
) -> int:
    """Void every live commission of one decision of a sale; returns how many.

    What refunds have left of it goes back: pending → expense, or available → expense when
    it was released, so that a balance may become negative. A second void finds nothing.
    """
    rows = lock_live(session, reference=reference, decision=decision)
    postings = [
        booking.taken_back(
            row, row.left, reference=f"void:commission:{row.id}", reason=reason.value
        )
        for row in rows
        if row.left
    ]
    post_many(session, postings=postings, now=now)
    session.execute(
        sa.update(Commission)
        .where(Commission.id.in_([row.id for row in rows]))
        .values(voided_at=now, void_reason=reason.value)
        .execution_options(synchronize_session=False)
    )
    take_back_make_ups(
        session,
        taken=rows,
        cause=f"void:{reference}:decision:{decision}",
        reason=reason.value,
        now=now,
    )
    return len(rows)


def take_back(
    session: Session,
    *,
    reference: str,
    refund: str,
    refunded_net: Money,
    net: Money,
    now: datetime,
) -> None:
    """Take back what a refund costs each live commission of a sale, both levels alike.

    `refund` names the refund (`refund:5`), `refunded_net` is the refunded part of the net by
    all refunds so far, this one included. The same refund a second time changes nothing.
    """
    rows = lock_live(session, reference=reference)
    _take_back_bases(session, rows, refunded_net, net)
    done = set(
        session.scalars(
            sa.select(CommissionReversal.commission_id).where(
                CommissionReversal.commission_id.in_([row.id for row in rows]),
                CommissionReversal.reference == refund,
            )
        )
    )
    postings: list[Posting] = []
    for row in rows:
        if row.id in done or not row.amount:
            continue
        amount = reversal(
            frozen=row.amount, refunded_net=refunded_net, net=net, already=row.reversed
        )
        _record(session, row, refund, amount, _trace(row, refunded_net, net), now)
        if amount:
            reference_ = f"take_back:{refund}:commission:{row.id}"
            postings.append(booking.taken_back(row, amount, reference=reference_, reason="refund"))
    post_many(session, postings=postings, now=now)
    take_back_make_ups(session, taken=rows, cause=refund, reason="refund", now=now)


def _take_back_bases(
    session: Session, rows: list[CommissionRow], refunded_net: Money, net: Money
) -> None:
    """What of the bases has come back, also where nothing was earned: volumes count it."""
    if net.micros <= 0:
        return
    part = min(refunded_net, net).micros
    for row in rows:
        session.execute(
            sa.update(Commission)
            .where(Commission.id == row.id)
            .values(refunded_base_micros=row.base.fraction(part, net.micros).micros)
            .execution_options(synchronize_session=False)
        )


def _record(
    session: Session,
    row: CommissionRow,
    refund: str,
    amount: Money,
    trace: dict[str, Any],
    now: datetime,
) -> None:
    session.execute(
        sa.insert(CommissionReversal).values(
            commission_id=row.id,
            reference=refund,
            amount_micros=amount.micros,
            trace=trace,
            reversed_at=now,
        )
    )
    session.execute(
        sa.update(Commission)
        .where(Commission.id == row.id)
        .values(reversed_micros=Commission.reversed_micros + amount.micros)
        .execution_options(synchronize_session=False)
    )


def _trace(row: CommissionRow, refunded_net: Money, net: Money) -> dict[str, Any]:
    return {
        "frozen": row.amount.decimal,
        "refunded_net": refunded_net.decimal,
        "net": net.decimal,
        "already": row.reversed.decimal,
        "currency": net.currency,
    }
