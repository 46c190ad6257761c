"""How many reports one address may send: counted in Valkey, in memory while it is away.

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
WINDOW_S: Final = 60
REDIS_PAUSE_S: Final = 5.0


class Pace:
    """A fixed window of a minute per address."""

    def __init__(self, redis: Redis | None, *, per_minute: int = REPORTS_PER_MINUTE_MAX) -> None:
        self._redis = redis
        self._per_minute = per_minute
        self._lock = threading.Lock()
        self._window = 0
        self._counts: dict[str, int] = {}
        self._redis_away_until = 0.0

    def allows(self, address: str, *, now_s: float) -> bool:
        """Count one report; False when this minute had enough of that address."""
        window = int(now_s) // WINDOW_S
        with self._lock:
            if window != self._window:
                self._window, self._counts = window, {}
            here = self._counts[address] = self._counts.get(address, 0) + 1
        return max(here, self._everywhere(address, window)) <= self._per_minute

    def _everywhere(self, address: str, window: int) -> int:
        """The count of all processes; 0 while Valkey does not answer."""
        if self._redis is None or time.monotonic() < self._redis_away_until:
            return 0
        key = f"kopeck:reports:{address}:{window}"
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.incr(key)
                pipeline.expire(key, 2 * WINDOW_S)
                return int(pipeline.execute()[0])
        except (RedisError, OSError):
            self._redis_away_until = time.monotonic() + REDIS_PAUSE_S
            return 0
