"""Read how fast a batch is being sent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from payouts.batches.models import PayoutBatch
from payouts.batches.pace import PACE_PER_S
from payouts.batches.progress import RECENT_S, Recent, speed_per_s, time_left

ATTEMPTS_READ_MAX: Final = 2 * RECENT_S * PACE_PER_S
"""The latest of all batches: twice what one rail's pace makes of the time looked at."""

_RECENT: Final = sa.text(
    """
    WITH latest AS MATERIALIZED (
        SELECT item_id, first_sent_at FROM payout_attempts ORDER BY id DESC LIMIT :read_max
    ), sent AS (
        SELECT latest.first_sent_at FROM latest JOIN payout_items i ON i.id = latest.item_id
        WHERE i.batch_id = :batch_id AND latest.first_sent_at > :since
    )
    SELECT (SELECT count(*) FROM sent) AS sent, (SELECT min(first_sent_at) FROM sent) AS first_at,
           (SELECT count(*) FROM payout_items
            WHERE batch_id = :batch_id AND status IN ('queued', 'sending', 'unknown')
              AND (status = 'sending' OR status = 'queued'
                   AND (next_try_at IS NULL OR next_try_at <= :real_now))) AS to_send
    """
)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a finance user is told of a batch that is being paid."""

    per_s: float
    left: timedelta | None
    """None: nothing moves, so that nobody can tell."""


def forecast(
    session: Session, *, batch: PayoutBatch, now: datetime, real_now: datetime
) -> Forecast | None:
    """The speed of the last two minutes and what is left by it; None while it is not being paid."""
    if batch.status not in ("approved", "paying") or batch.approved_at is None:
        return None
    if batch.paused_at is not None:
        return None
    row = session.execute(
        _RECENT,
        {
            "batch_id": batch.id,
            "read_max": ATTEMPTS_READ_MAX,
            "since": real_now - timedelta(seconds=RECENT_S),
            "real_now": real_now,
        },
    ).one()
    recent = Recent(row.sent, row.first_at)
    left = time_left(
        to_send=row.to_send,
        recent=recent,
        real_now=real_now,
        begun_at=real_now - (now - batch.approved_at),
        pace_per_s=PACE_PER_S,
    )
    return Forecast(speed_per_s(recent, real_now=real_now, pace_per_s=PACE_PER_S), left)
