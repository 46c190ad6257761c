"""Fault switches: how a test makes the wire as bad as it really is.

Rules live in memory alone and a restart clears them. A rule draws from its own seed, so that a run
with the same requests in the same order misbehaves in the same places.
"""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field, replace
from enum import StrEnum

from .wire import Answer, ApiError, Request

HANG_S = 95.0
"""Longer than the 80 s after which stripe-python gives up by default."""
DRIP_S = 10.0


class Kind(StrEnum):
    """What goes wrong. The ``accept-`` kinds do the work first and lose or spoil the answer."""

    ACCEPT_DROP = "accept-then-drop"
    ACCEPT_HANG = "accept-then-hang"
    ACCEPT_500 = "accept-then-500"
    ACCEPT_HTML = "accept-then-html-502"
    HALF_BODY = "half-body"
    SLOW_BODY = "slow-body"
    REFUSE_500 = "refuse-500"
    REFUSE_DROP = "refuse-drop"
    RATE_LIMIT = "429"
    LOCK_TIMEOUT = "409"
    HTML_502 = "html-502"
    DELAY = "delay"
    LIST_LAG = "list-lag"


@dataclass
class Rule:
    """One switch: which requests it meets, how often it fires, and what it then does."""

    kind: Kind
    times: int | None = 1
    """How often it fires; None is without end."""
    probability: float = 1.0
    seed: int = 0
    method: str = "POST"
    path: str = "/v1/transfers"
    """The beginning of the path."""
    match: str = ""
    """Text that the body or the idempotency key must hold; empty meets every request."""
    delay_s: float = 0.0
    """Wait this long before the work, with the idempotency key in flight."""
    hang_s: float = HANG_S
    """accept-then-hang: silence before the connection is closed; slow-body: the whole drip."""
    lag_s: float = 0.0
    """list-lag: objects younger than this are not listed yet."""
    sticky: bool | None = None
    """Whether the idempotency layer saves the 500. Default: after accepting yes, else no."""
    code: str = ""
    """429: the error code, ``rate_limit`` unless told (``lock_timeout`` is the other real one)."""
    should_retry: bool | None = None
    """Send ``Stripe-Should-Retry`` with this word."""
    fired: int = 0
    _draws: random.Random = field(default_factory=random.Random, repr=False)

    def __post_init__(self) -> None:
        self._draws = random.Random(self.seed)  # noqa: S311 - repeatable on purpose, no secret

    def meets(self, request: Request) -> bool:
        if request.method != self.method or not request.path.startswith(self.path):
            return False
        text = request.body.decode("utf-8", "replace") + "\n" + (request.idempotency_key or "")
        return self.match in text

    @property
    def saves_500(self) -> bool:
        return self.kind is Kind.ACCEPT_500 if self.sticky is None else self.sticky


class Faults:
    """The rules in force, drawn by many threads at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Rule] = []
        self._released = threading.Event()

    def add(self, rule: Rule) -> None:
        with self._lock:
            self._rules.append(rule)

    def clear(self) -> None:
        """Remove all rules and wake every request that a fault holds."""
        with self._lock:
            self._rules.clear()
            self._released.set()
            self._released = threading.Event()

    def rules(self) -> list[Rule]:
        with self._lock:
            return [replace(rule) for rule in self._rules]

    def draw(self, request: Request) -> Rule | None:
        """The first rule that meets the request and fires; a copy, and its count goes down."""
        with self._lock:
            for rule in self._rules:
                if rule.times == rule.fired or not rule.meets(request):
                    continue
                if rule._draws.random() < rule.probability:
                    rule.fired += 1
                    return replace(rule)
        return None

    def wait(self, seconds: float) -> None:
        """Sleep until the time is over or the rules are cleared."""
        if seconds > 0:
            self._released.wait(seconds)


def refuse_at_the_door(rule: Rule) -> Answer | None:
    """What a rule answers before the idempotency layer, where nothing is saved.

    Returns an answer for the kinds that have one, None for those that act later.
    Raises ApiError for refusals that have Stripe's own envelope.
    """
    headers: tuple[tuple[str, str], ...] = ()
    if rule.should_retry is not None:
        headers = (("Stripe-Should-Retry", str(rule.should_retry).lower()),)
    if rule.kind is Kind.RATE_LIMIT:
        code = rule.code or "rate_limit"
        raise ApiError(
            429,
            "Request rate limit exceeded. Learn more at https://stripe.com/docs/rate-limits.",
            code=code,
            headers=headers,
        )
    if rule.kind is Kind.LOCK_TIMEOUT:
        raise ApiError(
            409,
            "This object cannot be accessed right now because another API request or Stripe "
            "process is currently accessing it. If you see this error intermittently, retry the "
            "request.",
            code="lock_timeout",
            headers=headers,
        )
    if rule.kind is Kind.REFUSE_500 and not rule.saves_500:
        raise internal_error(headers)
    if rule.kind is Kind.HTML_502:
        return html_502()
    return None


def internal_error(headers: tuple[tuple[str, str], ...] = ()) -> ApiError:
    return ApiError(
        500,
        "An unknown error occurred",
        kind="api_error",
        remembered=True,
        headers=headers,
    )


def html_502() -> Answer:
    """What a proxy in front of Stripe says when it lost the way."""
    return Answer(
        502,
        b"<html><head><title>502 Bad Gateway</title></head>"
        b"<body><center><h1>502 Bad Gateway</h1></center></body></html>\n",
        content_type="text/html",
    )
