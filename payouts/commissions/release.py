"""The end of the hold period: pending → available."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from payouts.commissions import booking
from payouts.commissions.models import Commission
from payouts.commissions.rows import as_row
from payouts.ledger.posting import post_many

RELEASE_ROWS_MAX = 500


def release_due(session: Session, *, now: datetime, rows_max: int = RELEASE_ROWS_MAX) -> int:
    """Release up to `rows_max` commissions whose hold is over and that wait for nothing.

    Rows that another session holds are skipped: it is their refund or their release, and
    the next run sees what became of them. Returns how many rows it looked at, so that a
    caller goes on while the answer is `rows_max`.
    """
    due = session.scalars(
        sa.select(Commission)
        .where(
            Commission.released_at.is_(None),
            Commission.voided_at.is_(None),
            Commission.available_at <= now,
            Commission.waits_for.is_(None),
        )
        .order_by(Commission.available_at, Commission.id)
        .limit(rows_max)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()
    rows = [as_row(commission) for commission in due]
    post_many(session, postings=[booking.released(row) for row in rows if row.left], now=now)
    session.execute(
        sa.update(Commission)
        .where(Commission.id.in_([row.id for row in rows]))
        .values(released_at=now)
        .execution_options(synchronize_session=False)
    )
    return len(rows)
