"""One claimed item on its way: the rail's slot, the last look, the call and T4.

Used by several threads at once, each with items of its own; what they share is here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import sqlalchemy as sa
import structlog
from rq.timeouts import BaseTimeoutException
from sqlalchemy.orm import Session, sessionmaker

from affiliate.core.db import committed, passes
from payouts.batches.claims import record, record_missed, record_raise, release
from payouts.batches.intents import CALL_S, Claimed
from payouts.batches.models import PayoutAttempt, PayoutBatch, PayoutLock
from payouts.batches.pace import take_slot
from payouts.batches.readiness import ask_about_parked
from payouts.rails.protocol import (
    Answer,
    Found,
    LookUpFailed,
    NotFound,
    Postponed,
    Rail,
    Succeeded,
)
from payouts.rails.registry import Rails

SENDERS = 8
"""Threads that send: at 300 ms an answer they keep a pace of 20 a second."""

log = structlog.get_logger(__name__)


def _no_hook(step: str) -> None:
    """Between any two steps a process may die: tests raise or kill here."""


@dataclass(frozen=True, slots=True)
class Sending:
    """All that a run needs of the outside."""

    sessions: sessionmaker[Session]
    rails: Rails
    data_dir: Path
    now: Callable[[Session], datetime]
    """Business time: what postings are dated with."""
    real_now: Callable[[], datetime]
    """The machine's clock: a provider's key ages by it, whatever the demo clock says."""
    at: Callable[[str], None] = _no_hook
    agrees: Callable[[Rail, int], bool] = lambda _rail, _batch_id: True
    """Asked before the first call of a run on a batch: whether the provider's books are ours.
    False: nothing is sent now (payouts.provider.gate)."""
    stopping: Callable[[], bool] = lambda: False
    """Whether the worker was told to stop: what is under way ends, nothing new begins."""
    senders: int = SENDERS
    """1: everything happens in the calling thread, one item after the other."""


@dataclass(frozen=True, slots=True)
class _Missed:
    """The list was read to its end, the key is too old to be sent again."""


@dataclass(frozen=True, slots=True)
class _Unsent:
    """It was not called: sending was stopped, or too little of the lease was left."""


@dataclass
class Sender:
    """What sends a batch's items, and whether it should go on."""

    sending: Sending
    batch_id: int
    rail: Rail
    halted: bool = False
    """The rail refuses us, payouts were locked or the batch was stopped: nothing more is sent."""
    died: bool = False
    """A thread ended as a process would; tests do that."""
    unsent: list[Claimed] = field(default_factory=list)
    moved: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def goes_on(self) -> bool:
        """Whether another item may begin."""
        return not (self.halted or self.died or self.over.is_set() or self.sending.stopping())

    def act(self, task: Claimed | int) -> None:
        """Send an item, or ask about its payee; what raises is noted with the item."""
        item_id = task if isinstance(task, int) else task.item_id
        try:
            if isinstance(task, Claimed):
                self.send(task)
            elif self.wait_for_slot():
                ask_about_parked(
                    self.sending.sessions, item_id=task, rail=self.rail, now=self.sending.now
                )
        except BaseTimeoutException:
            raise
        except Exception as error:  # noqa: BLE001 -- noted with its item and logged
            self.note_raise(item_id, error)
        except BaseException:
            self.died = True
            raise

    def send(self, claimed: Claimed) -> None:
        """The call and T4 of a claimed item; given back when it may not be sent any more."""
        answer = self.call(claimed)
        if isinstance(answer, _Unsent):
            self.unsent.append(claimed)
            return
        self.sending.at("answered")

        def write(session: Session) -> None:
            now, real_now = self.sending.now(session), self.sending.real_now()
            if answer is None or isinstance(answer, _Missed):
                looked = answer is not None
                record_missed(session, claimed=claimed, looked=looked, real_now=real_now)
            else:
                record(session, claimed=claimed, answer=answer, now=now, real_now=real_now)
            self.sending.at("answer_written")

        committed(self.sending.sessions, write)
        self.sending.at("answer_committed")
        self.moved += 1
        if isinstance(answer, Postponed) and answer.halts:
            self.halted = True

    def call(self, claimed: Claimed) -> Answer | _Missed | _Unsent | None:
        """Ask the provider. A retry looks first: what is found needs no second call.

        While the key lives it is sent again, with the stored parameters. Afterwards nothing is
        ever sent: only the list can tell, None when even that did not answer or was not asked.
        An attempt after another that was on the wire has a key of its own, which protects it from
        none before it: it is not sent while the list cannot be read.
        """
        if claimed.tries > 1 or claimed.anew or not claimed.key_alive:
            if not self.may_call(claimed):
                return _Unsent()
            seen = self.rail.find(claimed.order)
            if isinstance(seen, Found):
                return Succeeded(seen.transfer_id)
            if not claimed.key_alive:
                return _Missed() if isinstance(seen, NotFound) else None
            if claimed.anew and isinstance(seen, LookUpFailed):
                return Postponed(seen.code, "Whether it was paid before could not be looked up.")
        if not self.may_call(claimed):
            return _Unsent()
        self.sending.at("sending")
        # The claim may be old by now: a process that slept (a suspended machine, SIGSTOP) wakes up
        # at any line, and by then others may have been paid under this key and it be forgotten.
        if not claimed.key_lives_at(self.sending.real_now()):
            return None
        return self.rail.send(claimed.order, key=claimed.key)

    def may_call(self, claimed: Claimed) -> bool:
        """Wait for the rail's slot; whether the item is still ours and may still be sent then."""
        if not self.wait_for_slot():
            return False
        left = claimed.lease_until - self.sending.real_now()
        if left < timedelta(seconds=CALL_S):
            return False
        is_open, is_ours = committed(
            self.sending.sessions,
            lambda session: (self.is_open(session), self.is_ours(session, claimed)),
        )
        if not is_open:
            self.halted = True
        return is_ours and not self.halted

    def is_open(self, session: Session) -> bool:
        """Neither stopped nor locked, looked at right before the wire."""
        locked = sa.select(PayoutLock.id).where(PayoutLock.lifted_at.is_(None)).exists()
        found = session.scalar(
            sa.select(PayoutBatch.id).where(
                PayoutBatch.id == self.batch_id, PayoutBatch.paused_at.is_(None), ~locked
            )
        )
        return found is not None

    @staticmethod
    def is_ours(session: Session, claimed: Claimed) -> bool:
        """The attempt still waits for the answer to this very try.

        While it waited for its turn an event or a comparison may have found the item paid.
        """
        found = session.scalar(
            sa.select(PayoutAttempt.id).where(
                PayoutAttempt.id == claimed.attempt_id,
                PayoutAttempt.status.in_(("sent", "unknown")),
                PayoutAttempt.tries == claimed.tries,
            )
        )
        return found is not None

    def wait_for_slot(self) -> bool:
        """Take the rail's next slot and wait for it; False when nothing may begin any more."""
        if not self.goes_on():
            return False
        wait_s = committed(
            self.sending.sessions, lambda session: take_slot(session, rail=self.rail.name)
        )
        self.over.wait(wait_s)
        return self.goes_on()

    def note_raise(self, item_id: int, error: Exception) -> None:
        """Count a mistake with its item; a moment of the database is nobody's mistake."""
        log.error("payout.item_failed", item=item_id, exc_info=error)
        if passes(error):
            return
        try:
            committed(
                self.sending.sessions,
                lambda session: record_raise(
                    session,
                    item_id=item_id,
                    error=repr(error),
                    now=self.sending.now(session),
                    real_now=self.sending.real_now(),
                ),
            )
        except Exception:
            log.exception("payout.raise_not_noted", item=item_id)

    def give_back(self, claimed: list[Claimed]) -> bool:
        """Items that were claimed and will not be sent by this run wait for no lease.

        True when there were some.
        """
        left = [*self.unsent, *claimed]
        for each in left:
            committed(self.sending.sessions, partial(self._free, claimed=each))
        self.unsent.clear()
        return bool(left)

    def _free(self, session: Session, claimed: Claimed) -> None:
        now, real_now = self.sending.now(session), self.sending.real_now()
        release(session, claimed=claimed, now=now, real_now=real_now)
