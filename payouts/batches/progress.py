"""How fast a batch is being sent and when it ends. Pure; rule: docs/rules.md, "Payouts"."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

RECENT_S = 120
"""Speed is that of the last two minutes."""
PATIENCE_S = 60
"""So long after its approval a batch may have sent nothing yet and still be about to."""


@dataclass(frozen=True, slots=True)
class Recent:
    """What was sent lately."""

    sent: int
    """Attempts that began within RECENT_S."""
    first_at: datetime | None
    """Real time of the first of them."""


def speed_per_s(recent: Recent, *, real_now: datetime, pace_per_s: float) -> float:
    """Payouts a second: those begun lately over the time since the first of them.

    Never above the rail's pace: a hundred are claimed at once and sent one after another.
    """
    if recent.first_at is None or not recent.sent:
        return 0.0
    since_s = max(1.0, (real_now - recent.first_at).total_seconds())
    return min(pace_per_s, recent.sent / since_s)


def time_left(
    *,
    to_send: int,
    recent: Recent,
    real_now: datetime,
    begun_at: datetime,
    pace_per_s: float,
) -> timedelta | None:
    """Until the last item that can be sent now is sent, in whole seconds, rounded up.

    None while nothing moves.

    `to_send` leaves out what waits for a payee, a top-up, an answer or a person: nobody knows
    when those end. `begun_at` is the real time of the approval: right after it, before anything
    was sent, the rail's pace is what is expected.
    """
    if to_send <= 0:
        return timedelta(0)
    speed = speed_per_s(recent, real_now=real_now, pace_per_s=pace_per_s)
    if not speed:
        if (real_now - begun_at).total_seconds() > PATIENCE_S:
            return None
        speed = pace_per_s
    return timedelta(seconds=ceil(to_send / speed))
