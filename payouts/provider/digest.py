"""What follows from stored events: the object is asked for, and what it is now is taken in.

T1 takes an event for a minute and commits; the provider is asked with no lock held; T2 takes in
the answer. Each may run twice and in any order: nothing depends on which event came first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
import structlog
from rq.timeouts import BaseTimeoutException
from sqlalchemy.orm import Session, sessionmaker

from affiliate.core import metrics
from payouts.batches.fence import installation_key
from payouts.batches.models import PayoutAttempt
from payouts.provider.bank import see_bank_payout
from payouts.provider.models import ProviderEvent
from payouts.provider.payees import release_for_funds, see_account
from payouts.provider.rules import Subject, subject_of
from payouts.provider.transfers import Outcome, see_transfer
from payouts.rails.protocol import BankPayout, Provider, RailAway, Transfer

EVENTS_MAX: Final = 200
"""Events of one run; the bell is rung again where more wait."""
LEASE_S: Final = 60
PAUSES_S: Final = (15, 60, 300, 900, 1_800)
ERROR_CHARS_MAX: Final = 300
COUNTED: Final = metrics.declare(
    "kopeck_provider_events", "Events of payment providers by what followed from them."
)

log = structlog.get_logger(__name__)


def _no_hook(step: str) -> None:
    """Between any two steps a process may die: tests raise here."""


@dataclass(frozen=True, slots=True)
class Digestion:
    """All that a run needs of the outside."""

    sessions: sessionmaker[Session]
    provider: Provider
    now: Callable[[Session], datetime]
    real_now: Callable[[], datetime]
    at: Callable[[str], None] = _no_hook

    @property
    def rail(self) -> str:
        return self.provider.name


@dataclass(frozen=True, slots=True)
class Taken:
    """An event that this run has for the next minute."""

    id: str
    subject: Subject
    account: str
    object_id: str
    idempotency_key: str
    tries: int


def digest_due(run: Digestion) -> int:
    """Take in up to EVENTS_MAX waiting events, oldest first; how many were looked at.

    One that cannot be taken in now, because the provider is away or something of ours raises,
    is tried again later and stops no other.
    """
    for number in range(EVENTS_MAX):
        taken = _take(run)
        if taken is None:
            return number
        try:
            outcome = _follow(run, taken)
        except BaseTimeoutException:
            raise
        except RailAway as away:
            _postpone(run, taken, str(away))
        except Exception as error:
            log.exception("provider.event_failed", rail=run.rail, provider_event=taken.id)
            _postpone(run, taken, f"{type(error).__name__}: {error}")
        else:
            metrics.count(COUNTED, outcome=outcome.value)
    return EVENTS_MAX


def _take(run: Digestion) -> Taken | None:
    real_now = run.real_now()
    with run.sessions.begin() as session:
        row = session.scalars(
            sa.select(ProviderEvent)
            .where(
                ProviderEvent.rail == run.rail,
                ProviderEvent.processed_at.is_(None),
                ProviderEvent.next_try_at <= real_now,
            )
            .order_by(ProviderEvent.next_try_at, ProviderEvent.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        ).one_or_none()
        if row is None:
            return None
        row.tries += 1
        row.next_try_at = real_now + timedelta(seconds=LEASE_S)
        subject = subject_of(row.type, account=row.account)
        return Taken(row.id, subject, row.account, row.object_id, row.idempotency_key, row.tries)


def _follow(run: Digestion, taken: Taken) -> Outcome:
    asked_at = run.real_now()
    seen = _ask(run.provider, taken)
    run.at("asked")
    with run.sessions.begin() as session:
        outcome = _take_in(run, session, taken, seen, asked_at)
        run.at("taken_in")
        session.execute(
            sa.update(ProviderEvent)
            .where(ProviderEvent.rail == run.rail, ProviderEvent.id == taken.id)
            .values(processed_at=run.real_now(), outcome=outcome.value, error=None)
        )
    run.at("committed")
    return outcome


def _ask(provider: Provider, taken: Taken) -> object:
    """The object as it is now; None when there is none."""
    match taken.subject:
        case Subject.TRANSFER:
            return provider.transfer(taken.object_id)
        case Subject.ACCOUNT:
            return provider.payee(taken.account)
        case Subject.BANK_PAYOUT:
            return provider.bank_payout(taken.object_id, account=taken.account)
    return None


def _take_in(
    run: Digestion, session: Session, taken: Taken, seen: object, asked_at: datetime
) -> Outcome:
    now, real_now = run.now(session), run.real_now()
    match taken.subject:
        case Subject.ACCOUNT:
            assert seen is None or not isinstance(seen, Transfer | BankPayout)
            return see_account(
                session, rail=run.rail, account_id=taken.account, seen=seen,  # type: ignore[arg-type]
                asked_at=asked_at, now=now,
            )  # fmt: skip
        case Subject.FUNDS:
            return release_for_funds(session, rail=run.rail)
        case Subject.NOTHING:
            return Outcome.IGNORED
    if isinstance(seen, Transfer):
        told = _by_key(session, seen, taken.idempotency_key)
        return see_transfer(session, rail=run.rail, seen=told, now=now, real_now=real_now)
    if isinstance(seen, BankPayout):
        return see_bank_payout(session, rail=run.rail, seen=seen, real_now=real_now)
    return Outcome.GONE


def _by_key(session: Session, seen: Transfer, key: str) -> Transfer:
    """The transfer of a request that had one of our keys is ours, whatever became of its metadata.

    Anybody with access to the provider's pages can edit metadata; the key of the request that made
    the transfer is the provider's own record.
    """
    attempt = session.scalars(
        sa.select(PayoutAttempt).where(PayoutAttempt.idempotency_key == key)
    ).one_or_none()
    if not key or attempt is None:
        return seen
    own = installation_key(session)
    return replace(seen, installation=own, item_id=attempt.item_id, attempt=attempt.number)


def _postpone(run: Digestion, taken: Taken, error: str) -> None:
    pause_s = PAUSES_S[min(taken.tries, len(PAUSES_S)) - 1]
    with run.sessions.begin() as session:
        session.execute(
            sa.update(ProviderEvent)
            .where(
                ProviderEvent.rail == run.rail,
                ProviderEvent.id == taken.id,
                ProviderEvent.processed_at.is_(None),
            )
            .values(
                next_try_at=run.real_now() + timedelta(seconds=pause_s),
                error=error[:ERROR_CHARS_MAX],
            )
        )
