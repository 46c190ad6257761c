"""The pace of a rail: when the next call to its provider may start, for all workers together.

PostgreSQL gives the slots out and tells the time: machines whose clocks differ share one pace.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

PACE_PER_S: Final = 20
"""Calls a second and rail, all workers together: Stripe allows 25 an endpoint."""
AHEAD_S_MAX: Final = 30
"""A slot further ahead than any queue of ours is the trace of a clock that was set back."""

_SLOT: Final = sa.text(
    """
    INSERT INTO payout_paces AS p (rail, next_at) VALUES (:rail, clock_timestamp() + :step)
    ON CONFLICT (rail) DO UPDATE SET next_at = :step + CASE
        WHEN p.next_at > clock_timestamp() + :ahead THEN clock_timestamp()
        ELSE greatest(p.next_at, clock_timestamp()) END
    RETURNING extract(epoch FROM next_at - :step - clock_timestamp())
    """
).bindparams(
    step=timedelta(seconds=1) / PACE_PER_S, ahead=timedelta(seconds=AHEAD_S_MAX)
)  # fmt: skip


def take_slot(session: Session, *, rail: str) -> float:
    """Take the rail's next slot; how many seconds to wait for it. The caller commits at once."""
    return max(0.0, float(session.scalars(_SLOT, {"rail": rail}).one()))
