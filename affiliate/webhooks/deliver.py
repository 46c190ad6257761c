"""Send deliveries and note what came of them, until told to stop.

Requests are made in threads that know no database; claims and answers are transactions of their
own. Whatever dies, a lease runs out and the delivery is sent again: at least once, never lost.
"""

from __future__ import annotations

import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime
from threading import Event
from typing import Final

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from affiliate.core import clock, metrics
from affiliate.core.config import Settings
from affiliate.core.db import unit_of_work
from affiliate.core.fetch import FetchFailed, call
from affiliate.webhooks import rules
from affiliate.webhooks.claim import Ready, claim
from affiliate.webhooks.endpoints import DisabledFor, give_up
from affiliate.webhooks.mails import tell_of_end
from affiliate.webhooks.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint
from affiliate.webhooks.rules import DeliveryTrouble, Outcome

THREADS: Final = 16
FAILING_MAX: Final = 8
"""Threads that endpoints which failed last time may hold at once: the others are for the rest."""
ATTEMPT_S: Final = 15.0
"""For connecting, sending and the answer together."""
ANSWER_BYTES_MAX: Final = 500
IDLE_S: Final = 0.5
BROKEN_S: Final = 2.0
"""Pause while the database does not answer."""
ATTEMPTS = metrics.declare(
    "kopeck_webhook_attempts", "Requests to webhooks and postbacks, by what came of them."
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request came to."""

    status: int | None
    trouble: str | None
    retry_after: str | None
    start: str
    took_ms: int


class Deliverer:
    """One process that delivers; any number of them may run."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._flying: dict[Future[Answer], Ready] = {}

    def run(self, stop: Event) -> None:
        """Deliver until `stop` is set, then end what is under way."""
        with ThreadPoolExecutor(THREADS, thread_name_prefix="webhook") as pool:
            while not stop.is_set():
                pause_s = IDLE_S
                try:
                    self.round(pool)
                except sa.exc.SQLAlchemyError as error:
                    log.warning("webhooks.database", error=type(error).__name__)
                    pause_s = BROKEN_S
                if not self._flying or pause_s > IDLE_S:
                    stop.wait(pause_s)
            self._land(timeout_s=ATTEMPT_S * 2)

    def round(self, pool: ThreadPoolExecutor) -> None:
        """Fill the free threads with what is due, then note what has come back."""
        while len(self._flying) < THREADS:
            with unit_of_work() as session:
                ready = claim(
                    session,
                    settings=self._settings,
                    real_now=clock.real_now(),
                    failing_too=self._failing() < FAILING_MAX,
                )
            if ready is None:
                break
            self._flying[pool.submit(request, ready, self._settings)] = ready
        self._land(timeout_s=IDLE_S)

    def _failing(self) -> int:
        return sum(ready.failing for ready in self._flying.values())

    def _land(self, *, timeout_s: float) -> None:
        if not self._flying:
            return
        everything = timeout_s > IDLE_S
        done, _ = wait(
            self._flying, timeout_s, **({} if everything else {"return_when": FIRST_COMPLETED})
        )
        for future in done:
            with unit_of_work() as session:
                note(
                    session,
                    ready=self._flying[future],
                    answer=future.result(),
                    settings=self._settings,
                    real_now=clock.real_now(),
                )
            del self._flying[future]


def deliver_due(settings: Settings) -> int:
    """Send everything that is due now, one after the other; how many attempts.

    For tests and for whoever has no process running.
    """
    attempts = 0
    while True:
        with unit_of_work() as session:
            ready = claim(session, settings=settings, real_now=clock.real_now())
        if ready is None:
            return attempts
        answer = request(ready, settings)
        with unit_of_work() as session:
            note(session, ready=ready, answer=answer, settings=settings, real_now=clock.real_now())
        attempts += 1


def request(ready: Ready, settings: Settings) -> Answer:
    """Make the request. Never raises: a thread has nobody to tell."""
    began = time.monotonic()
    status, trouble, retry_after, start = None, None, None, ""
    if ready.trouble is not None:
        return Answer(None, ready.trouble.value, None, "", 0)
    try:
        said = call(
            ready.url,
            method=ready.method,
            headers=ready.headers,
            body=ready.body,
            plain_loopback=not settings.production,
            start_bytes_max=ANSWER_BYTES_MAX,
            total_s=ATTEMPT_S,
        )
        status, retry_after = said.status, said.retry_after
        start = said.start.decode("utf-8", "replace").replace("\0", "\ufffd")
    except FetchFailed as failed:
        trouble = failed.trouble.value
    except Exception as error:  # noqa: BLE001 -- one strange answer must not stop the others
        log.error("webhooks.broken", delivery=ready.delivery_id, error=type(error).__name__)
        trouble = DeliveryTrouble.BROKEN.value
    return Answer(status, trouble, retry_after, start, int((time.monotonic() - began) * 1_000))


def note(
    session: Session, *, ready: Ready, answer: Answer, settings: Settings, real_now: datetime
) -> None:
    """Write down an attempt, and decide from it when the next one is, if any."""
    outcome = rules.outcome_of(answer.status)
    metrics.count(ATTEMPTS, outcome=outcome.value)
    # The endpoint first, as whoever disables it does.
    endpoint = session.get(
        WebhookEndpoint, ready.endpoint_id, with_for_update={"key_share": True},
        populate_existing=True,
    )  # fmt: skip
    delivery = session.get(
        WebhookDelivery, ready.delivery_id, with_for_update={"key_share": True},
        populate_existing=True,
    )  # fmt: skip
    if endpoint is None or delivery is None:
        return  # Whose postback it was is erased.
    session.add(
        WebhookAttempt(
            delivery_id=delivery.id, at=real_now, took_ms=answer.took_ms, status=answer.status,
            trouble=answer.trouble, answer=answer.start,
        )
    )  # fmt: skip
    delivery.attempts += 1
    delivery.leased_until = None
    if outcome is Outcome.DELIVERED:
        delivery.delivered_at, delivery.given_up_at = real_now, None
        endpoint.failures, endpoint.failing_since, endpoint.rests_until = 0, None, None
        session.flush()
        _let_next_go(session, delivery, real_now)
        return
    if delivery.given_up_at is None and delivery.delivered_at is None:
        again = rules.next_try_at(delivery.attempts, now=real_now, retry_after=answer.retry_after)
        delivery.next_try_at = again or delivery.next_try_at
        delivery.given_up_at = real_now if again is None else None
    session.flush()
    if delivery.given_up_at is None:
        _hold_next(session, delivery)
    else:
        _let_next_go(session, delivery, real_now)
    _failed(session, endpoint, outcome, settings, real_now)


def _hold_next(session: Session, delivery: WebhookDelivery) -> None:
    """What waits behind it is not due before it: claims would read past it again and again."""
    session.execute(
        _behind(delivery)
        .where(WebhookDelivery.next_try_at < delivery.next_try_at)
        .values(next_try_at=delivery.next_try_at)
    )


def _let_next_go(session: Session, delivery: WebhookDelivery, real_now: datetime) -> None:
    session.execute(
        _behind(delivery).where(WebhookDelivery.next_try_at > real_now).values(next_try_at=real_now)
    )


def _behind(delivery: WebhookDelivery) -> sa.Update:
    """Later deliveries of the same subject to the same endpoint that nobody has tried yet."""
    return (
        sa.update(WebhookDelivery)
        .where(
            WebhookDelivery.endpoint_id == delivery.endpoint_id,
            WebhookDelivery.subject == delivery.subject,
            WebhookDelivery.id > delivery.id,
            WebhookDelivery.delivered_at.is_(None),
            WebhookDelivery.given_up_at.is_(None),
            WebhookDelivery.attempts == 0,
        )
        .execution_options(synchronize_session=False)
    )


def _failed(
    session: Session,
    endpoint: WebhookEndpoint,
    outcome: Outcome,
    settings: Settings,
    real_now: datetime,
) -> None:
    """An endpoint that fails rests longer and longer; one that only fails is asked no more."""
    endpoint.failures += 1
    endpoint.failing_since = endpoint.failing_since or real_now
    endpoint.rests_until = rules.rest_until(endpoint.failures, now=real_now)
    session.flush()
    if endpoint.disabled_at is not None or endpoint.deleted_at is not None:
        return
    if outcome is Outcome.GONE:
        why = DisabledFor.GONE
    elif rules.is_dead(endpoint.failing_since, now=real_now):
        why = DisabledFor.FAILING
    else:
        return
    give_up(session, endpoint=endpoint, why=why)
    log.warning("webhooks.disabled", endpoint=endpoint.id, why=why.value)
    tell_of_end(session, endpoint=endpoint, settings=settings, now=clock.now(session))
