"""How many calls a key of the API makes in a minute, and what the answers say of it.

Counted in this process and told to Valkey about once a second for each key, so that a call costs
no round trip. What all processes count together is known to that second: a key may exceed its
limit by what the others let through in it. While Valkey is away each process holds the limit by
itself. Headers: draft-ietf-httpapi-ratelimit-headers-10; docs/api.md, "Limits".
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Final, cast

import structlog
from flask import Flask, current_app
from redis import Redis
from redis.exceptions import RedisError

from affiliate.core.config import Settings
from affiliate.core.errors import Phrase, TooMany

WINDOW_S: Final = 60
TELL_S: Final = 1.0
"""How often a key's calls are told to Valkey and asked back."""
REST_S: Final = 10.0
"""For how long Valkey is not asked after it did not answer."""
TIMEOUT_S: Final = 0.2
KEYS_MAX: Final = 10_000
"""Keys that are counted at once; beyond, all are forgotten and asked of Valkey again."""
EXTENSION: Final = "kopeck.pace"
POLICY: Final = "calls"
_PREFIX: Final = "kopeck:calls"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a key stands in the minute that runs."""

    most: int
    left: int
    reset_s: int

    @property
    def headers(self) -> list[tuple[str, str]]:
        return [
            ("RateLimit-Policy", f'"{POLICY}";q={self.most};w={WINDOW_S}'),
            ("RateLimit", f'"{POLICY}";r={self.left};t={self.reset_s}'),
        ]


@dataclass(slots=True)
class _Count:
    """A key's calls in one window."""

    window: int
    known: int = 0
    """Of all processes, as Valkey last said; this one's own are among them."""
    untold: int = 0
    told_at_s: float = 0.0


@dataclass
class Pace:
    """The counts of this process; safe from any thread."""

    most: int
    """Calls a minute; 0: any number, and nothing is counted."""
    redis: Redis
    _counts: dict[int, _Count] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _rests_until_s: float = 0.0

    def count(self, key_id: int, *, now_s: float | None = None) -> Standing | None:
        """Count one call; raises TooMany for one above the limit, which is not counted."""
        return self._look(key_id, time.time() if now_s is None else now_s, adding=1)

    def may(self, key_id: int) -> bool:
        """Whether the key could call now; counts nothing, and tells what was counted."""
        try:
            self._look(key_id, time.time(), adding=0)
        except TooMany:
            return False
        return True

    def noted(self, key_id: int) -> list[tuple[str, str]]:
        """Count a call that is answered now, without asking anybody; the headers of its answer.

        What it counts is told by the next `may` or `count`.
        """
        try:
            standing = self._look(key_id, time.time(), adding=1, may_tell=False)
        except TooMany:  # Another took the last one meanwhile.
            return []
        return [] if standing is None else standing.headers

    def _look(
        self, key_id: int, now_s: float, *, adding: int, may_tell: bool = True
    ) -> Standing | None:
        if not self.most:
            return None
        window = int(now_s // WINDOW_S)
        reset_s = WINDOW_S - int(now_s % WINDOW_S)
        with self._lock:
            count = self._counts.get(key_id)
            if count is None or count.window != window:
                if len(self._counts) >= KEYS_MAX:
                    self._counts.clear()
                count = self._counts[key_id] = _Count(window)
            used = count.known + count.untold
            if used >= self.most:
                detail = Phrase(
                    "This API key may call %(most)s times a minute. Wait %(seconds)s seconds.",
                    most=self.most, seconds=reset_s,
                )  # fmt: skip
                raise TooMany(detail, retry_after_s=reset_s)
            count.untold += adding
            telling = 0
            is_due = now_s - count.told_at_s >= TELL_S and now_s >= self._rests_until_s
            if may_tell and count.untold and is_due:
                telling, count.told_at_s = count.untold, now_s
                count.known, count.untold = count.known + telling, 0
        if telling:
            self._tell(key_id, count, telling, now_s)
        return Standing(self.most, max(0, self.most - used - adding), reset_s)

    def _tell(self, key_id: int, count: _Count, telling: int, now_s: float) -> None:
        name = f"{_PREFIX}:{key_id}:{count.window}"
        try:
            with self.redis.pipeline(transaction=False) as pipe:
                pipe.incrby(name, telling)
                pipe.expire(name, 2 * WINDOW_S)
                known = cast("int", pipe.execute()[0])
        except (RedisError, OSError) as error:
            # What was not told stays counted here: the process goes on by itself.
            self._rests_until_s = now_s + REST_S
            log.warning("pace.alone", error=type(error).__name__)
            return
        with self._lock:
            count.known = max(count.known, known)


def of_app() -> Pace:
    """The counts of the application that is running."""
    found: Pace = current_app.extensions[EXTENSION]
    return found


def set_up(app: Flask, settings: Settings) -> None:
    """Count for this application."""
    redis = Redis.from_url(
        settings.redis_url, socket_connect_timeout=TIMEOUT_S, socket_timeout=TIMEOUT_S
    )
    app.extensions[EXTENSION] = Pace(settings.api_calls_per_minute, redis)
