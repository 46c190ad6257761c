"""The clock of a withdrawal: 24 hours, which stand still while only others can move it.

Whoever looks sees it pause, and for what. The payout protocol parks items for its own reasons;
here the parked ones that the merchant can do nothing about are told from the rest. Rule:
docs/rules.md, "Payouts".
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.people.models import Enrollment
from payouts.batches.models import (
    PayeeAccount,
    PayoutBatch,
    PayoutItem,
    Withdrawal,
    WithdrawalPause,
)
from payouts.batches.rules import ItemReason

PAUSING = (
    ItemReason.PAYEE_NOT_READY,
    ItemReason.PAYEE_CHANGED,
    ItemReason.NOT_ACTIVE,
    ItemReason.ON_HOLD,
    ItemReason.PAYEE_STOPPED,
)
"""The affiliate's own account, and the safety waits. Funds that the merchant lacks, a busy provider
or a lock of ours do not stop the clock."""


def note_pauses(session: Session, *, now: datetime) -> int:
    """Stop and start the clocks of open withdrawals by what their items wait for.

    Swept every minute. Returns how many changed. A clock that goes on has its deadline moved by
    the length of the pause, which is kept with its reason.
    """
    changed = _go_on(session, now)
    why = _why(now)
    paused = session.scalars(
        sa.update(Withdrawal)
        .where(
            Withdrawal.closed_at.is_(None),
            Withdrawal.paused_at.is_(None),
            Withdrawal.item_id == PayoutItem.id,
            PayoutItem.batch_id == PayoutBatch.id,
            why.is_not(None),
        )
        .values(paused_at=now, paused_for=why)
        .returning(Withdrawal.id)
        .execution_options(synchronize_session=False)
    ).all()
    return changed + len(paused)


def _why(now: datetime) -> sa.ColumnElement[str | None]:
    """SQL: for what the clock stands still; NULL where it runs."""
    return sa.case(
        (_parked(), PayoutItem.reason), (_cools(now), ItemReason.COOLING_OFF.value), else_=None
    )


def _cools(now: datetime) -> sa.ColumnElement[bool]:
    """A safety wait of the item's own account that began after it was asked for.

    That is another bank behind the account. A wait that ran already is in the deadline.
    """
    wait = (
        sa.select(PayeeAccount.id)
        .join(Enrollment, Enrollment.affiliate_id == PayeeAccount.affiliate_id)
        .where(
            Enrollment.id == PayoutItem.enrollment_id,
            PayeeAccount.rail == PayoutBatch.rail,
            PayeeAccount.destination == PayoutItem.destination,
            PayeeAccount.replaced_at.is_(None),
            PayeeAccount.created_at > Withdrawal.requested_at,
            PayeeAccount.pays_from > now,
        )
        .correlate(PayoutItem, PayoutBatch, Withdrawal)
    )
    return sa.and_(
        PayoutItem.status == "queued",
        PayoutBatch.status.in_(("frozen", "approved", "paying")),
        wait.exists(),
    )


def _parked() -> sa.ColumnElement[bool]:
    begun = sa.or_(
        PayoutBatch.status.in_(("approved", "paying")),
        # A stop keeps the batch from being approved.
        sa.and_(
            PayoutBatch.status == "frozen", PayoutItem.reason == ItemReason.PAYEE_STOPPED.value
        ),
    )
    return sa.and_(
        begun,
        PayoutItem.status == "queued",
        PayoutItem.reason.in_([each.value for each in PAUSING]),
    )


def _go_on(session: Session, now: datetime) -> int:
    """End pauses whose item moved on, waits for something else, or came to its end."""
    rows = session.execute(
        sa.select(Withdrawal)
        .join(PayoutItem, PayoutItem.id == Withdrawal.item_id)
        .join(PayoutBatch, PayoutBatch.id == PayoutItem.batch_id)
        .where(
            Withdrawal.paused_at.is_not(None),
            sa.or_(
                Withdrawal.closed_at.is_not(None),
                Withdrawal.paused_for.is_distinct_from(_why(now)),
            ),
        )
        .order_by(Withdrawal.id)
        .with_for_update(of=Withdrawal, skip_locked=True)
        .execution_options(populate_existing=True)
    ).scalars()
    ended = 0
    for row in rows:
        began_at, reason = row.paused_at, row.paused_for
        assert began_at is not None and reason is not None
        ended_at = max(began_at, row.closed_at or now)
        session.add(
            WithdrawalPause(
                withdrawal_id=row.id, reason=reason, began_at=began_at, ended_at=ended_at
            )
        )
        row.deadline_at += ended_at - began_at
        row.paused_at = row.paused_for = None
        ended += 1
    session.flush()
    return ended
