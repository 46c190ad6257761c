"""What follows from stored webhooks: each is read, judged against what is known, and acted on once.

T1 takes a delivery for a minute and commits; T2 acts and says what came of it in one transaction.
Each may run twice and in any order: of two states of one thing the newer stands, whichever came
first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
import structlog
from rq.timeouts import BaseTimeoutException
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, sessionmaker

from affiliate.core import metrics
from affiliate.core.errors import Refusal
from tracker.orders.refusals import TotalMismatch
from tracker.sources import bodies, generic, shopify, stripe_events, woocommerce
from tracker.sources.models import Source, SourceDelivery, SourceSubject
from tracker.sources.rules import (
    EARLIEST,
    Because,
    Ignored,
    Kind,
    Options,
    Reading,
    State,
    is_older,
)
from tracker.sources.steps import ForAPerson, Stepped, Stepping, UnknownReference, take

DELIVERIES_MAX: Final = 200
"""Of one run; the bell is rung again where more wait."""
LEASE_S: Final = 60
PAUSES_S: Final = (15, 60, 300, 900, 1_800)
WAIT_DAYS: Final = 7
"""How long a refund or dispute waits for the order of its payment, as parked calls do."""
ERROR_CHARS_MAX: Final = 300
COUNTED: Final = metrics.declare(
    "kopeck_source_deliveries", "Webhooks of shop systems by what became of them."
)

log = structlog.get_logger(__name__)


def _no_hook(step: str) -> None:
    """Between any two steps a process may die: tests raise here."""


@dataclass(frozen=True, slots=True)
class Following:
    """All that a run needs of the outside."""

    sessions: sessionmaker[Session]
    now: Callable[[Session], datetime]
    real_now: Callable[[], datetime]
    at: Callable[[str], None] = _no_hook


def follow_due(run: Following) -> int:
    """Act on up to DELIVERIES_MAX waiting deliveries, oldest first; how many were looked at.

    One that cannot be acted on now, because something of ours raises, is tried again later and
    stops no other.
    """
    for number in range(DELIVERIES_MAX):
        taken = _take(run)
        if taken is None:
            return number
        delivery_id, tries = taken
        try:
            state = _follow(run, delivery_id)
        except BaseTimeoutException:
            raise
        except Exception as error:
            log.exception("source.delivery_failed", delivery=delivery_id)
            _postpone(run, delivery_id, tries, f"{type(error).__name__}: {error}")
        else:
            metrics.count(COUNTED, state=state)
    return DELIVERIES_MAX


def reading_of(source: Source, body: bodies.Body) -> Reading:
    """What a body of this source asks for. Raises Invalid."""
    kind, options = Kind(source.kind), options_of(source)
    match kind:
        case Kind.SHOPIFY:
            return shopify.read(body, options)
        case Kind.WOOCOMMERCE:
            return woocommerce.read(body, options)
        case Kind.STRIPE:
            return stripe_events.read(body, options)
        case Kind.GENERIC:
            return generic.read(body, generic.mapping_of(source.mapping))


def named_order(source: Source, body: bodies.Body) -> str | None:
    """Which order a body is about, as far as it says so itself; readable or not."""
    match Kind(source.kind):
        case Kind.SHOPIFY | Kind.WOOCOMMERCE:
            found = bodies.text(body, "order_id") or bodies.text(body, "id")
        case Kind.STRIPE:
            found = bodies.text(body, "data.object.metadata.order_id")
        case Kind.GENERIC:
            found = generic.order_id(body, source.mapping)
    return found[:255] or None


def options_of(source: Source) -> Options:
    """What a manager chose for it."""
    said = source.options
    return Options(bool(said.get("takes_tests")), dict(said.get("coupons", {})))


def _take(run: Following) -> tuple[int, int] | None:
    """T1: the next that is due, for the time of the lease: its number and its tries."""
    real_now = run.real_now()
    with run.sessions.begin() as session:
        row = session.scalars(
            sa.select(SourceDelivery)
            .where(SourceDelivery.processed_at.is_(None), SourceDelivery.next_try_at <= real_now)
            .order_by(SourceDelivery.next_try_at, SourceDelivery.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        ).one_or_none()
        if row is None:
            return None
        row.tries += 1
        row.next_try_at = real_now + timedelta(seconds=LEASE_S)
        taken = (row.id, row.tries)
    run.at("taken")
    return taken


def _follow(run: Following, delivery_id: int) -> str:
    """T2: act, and say what came of it."""
    with run.sessions.begin() as session:
        row = session.get(SourceDelivery, delivery_id, with_for_update=True, populate_existing=True)
        if row is None or row.processed_at is not None:
            return "known"
        source = session.get_one(Source, row.source_id)
        row.order_id = row.order_id or named_order(source, row.body or {})
        session.flush()
        try:
            # What a refusal leaves half done is undone; that it was refused stays.
            with session.begin_nested():
                _act(run, session, source, row)
        except UnknownReference as unknown:
            _wait(run, row, unknown.reference)
        except ForAPerson as found:
            row.order_id = found.order_id
            _end(run, row, State.HELD, because=found.why.value)
            log.warning("source.delivery_held", delivery=row.id, because=found.why.value)
        except Refusal as refusal:
            _refuse(run, row, refusal)
        run.at("acted")
        state = row.state
    run.at("committed")
    return state


def _act(run: Following, session: Session, source: Source, row: SourceDelivery) -> None:
    if row.body is None:
        return _end(run, row, State.REFUSED, because="body_forgotten")
    reading = reading_of(source, row.body)
    if not _is_newest(session, source.id, reading):
        return _end(run, row, State.IGNORED, because=Because.OLDER_STATE)
    if isinstance(reading, Ignored):
        return _end(run, row, State.IGNORED, because=reading.because)
    now = run.now(session)
    at = Stepping(session, source, now, run.real_now(), accepted=row.accepted_by is not None)
    done = [take(at, step) for step in reading.steps]
    row.order_id = done[0].order_id or row.order_id
    _end(run, row, *_said(done))
    return None


def _said(done: list[Stepped]) -> tuple[State, list[str], Because | None]:
    """The steps in words; where none of them did anything, why."""
    nothing = [each.did for each in done if isinstance(each.did, Because)]
    did = [each.did.value for each in done if not isinstance(each.did, Because)]
    if not did:
        return State.IGNORED, [], nothing[0]
    return State.DONE, did, None


def _is_newest(session: Session, source_id: int, reading: Reading) -> bool:
    """Whether no newer state of the same thing was taken in; it is the newest from now on.

    The row is locked, so that two states of one thing come one by one.
    """
    if not reading.subject:
        return True
    subject = reading.subject[:300]
    session.execute(
        insert(SourceSubject)
        .values(source_id=source_id, subject=subject, as_of=EARLIEST)
        .on_conflict_do_nothing()
    )
    known = session.get_one(
        SourceSubject, (source_id, subject), with_for_update=True, populate_existing=True
    )
    if is_older(reading.as_of, known.as_of):
        return False
    known.as_of = max(known.as_of, reading.as_of)
    session.flush()
    return True


def _end(
    run: Following,
    row: SourceDelivery,
    state: State,
    results: list[str] | None = None,
    because: Because | str | None = None,
) -> None:
    row.state, row.processed_at = state.value, run.real_now()
    row.results, row.because = results or [], because and str(because)
    row.errors, row.error, row.waits_for = [], None, None


def _refuse(run: Following, row: SourceDelivery, refusal: Refusal) -> None:
    """What a person has to look at is held; what nobody could take is refused, and both are told.

    Rule: docs/api.md, "Orders": a larger difference is held for a person where it comes by a shop
    system's webhook.
    """
    codes = {error.code for error in refusal.errors}
    held = isinstance(refusal, TotalMismatch) or codes == {"too_old"}
    _end(run, row, State.HELD if held else State.REFUSED, because=refusal.code)
    row.errors = [_told(error.field, error.code, error.message) for error in refusal.errors]
    log.warning("source.delivery_refused", delivery=row.id, code=refusal.code, held=held)


def _told(field: str, code: str, message: str) -> dict[str, Any]:
    return {"field": field, "code": code, "message": str(message)}


def _wait(run: Following, row: SourceDelivery, reference: str) -> None:
    real_now = run.real_now()
    if real_now - row.received_at > timedelta(days=WAIT_DAYS):
        _end(run, row, State.IGNORED, because=Because.UNKNOWN_REFERENCE)
        log.warning("source.reference_unknown", delivery=row.id)
        return
    row.waits_for, row.error = reference, None
    row.next_try_at = real_now + timedelta(seconds=_pause_s(row.tries))


def _postpone(run: Following, delivery_id: int, tries: int, error: str) -> None:
    with run.sessions.begin() as session:
        session.execute(
            sa.update(SourceDelivery)
            .where(SourceDelivery.id == delivery_id, SourceDelivery.processed_at.is_(None))
            .values(
                next_try_at=run.real_now() + timedelta(seconds=_pause_s(tries)),
                error=error[:ERROR_CHARS_MAX],
            )
        )


def _pause_s(tries: int) -> int:
    return PAUSES_S[min(tries, len(PAUSES_S)) - 1]
