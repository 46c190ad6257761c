"""How much one address may send: reports, and coupon codes that nobody has.

Counted in Valkey, in memory while it is away.

Fails open: a report from a browser is only a claim, and an order lost to a missing counter
would be worse than one claim too many.
"""

from __future__ import annotations

import threading
import time
from typing import Final

from redis import Redis
from redis.exceptions import RedisError

REPORTS_PER_MINUTE_MAX: Final = 120
"""Many buyers may share one address (an office, a phone network)."""
GUESSES_PER_HOUR_MAX: Final = 20
"""Coupon codes that nobody has: more of them are no slips of the hand."""
MINUTE_S: Final = 60
HOUR_S: Final = 3_600
REDIS_PAUSE_S: Final = 5.0


class Pace:
    """A fixed window per address, a minute's by default."""

    def __init__(
        self,
        redis: Redis | None,
        *,
        per_minute: int = REPORTS_PER_MINUTE_MAX,
        what: str = "reports",
        window_s: int = MINUTE_S,
    ) -> None:
        self._redis = redis
        self._most = per_minute
        self._what = what
        self._window_s = window_s
        self._lock = threading.Lock()
        self._window = 0
        self._counts: dict[str, int] = {}
        self._redis_away_until = 0.0

    def allows(self, address: str, *, now_s: float) -> bool:
        """Count one more; False when this window had enough of that address."""
        return self._counted(address, now_s, 1) <= self._most

    def has_room(self, address: str, *, now_s: float) -> bool:
        """Whether one more would be allowed; counts nothing."""
        return self._counted(address, now_s, 0) < self._most

    def _counted(self, address: str, now_s: float, more: int) -> int:
        window = int(now_s) // self._window_s
        with self._lock:
            if window != self._window:
                self._window, self._counts = window, {}
            here = self._counts[address] = self._counts.get(address, 0) + more
        return max(here, self._everywhere(address, window, more))

    def _everywhere(self, address: str, window: int, more: int) -> int:
        """The count of all processes; 0 while Valkey does not answer."""
        if self._redis is None or time.monotonic() < self._redis_away_until:
            return 0
        key = f"kopeck:{self._what}:{address}:{window}"
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.incrby(key, more)
                pipeline.expire(key, 2 * self._window_s)
                return int(pipeline.execute()[0])
        except (RedisError, OSError):
            self._redis_away_until = time.monotonic() + REDIS_PAUSE_S
            return 0
