"""T4 of the payout protocol: what the rail answered, or what came instead of an answer.

Runs after T3 (payouts.batches.intents) is committed and the call has ended; neither holds a
lock across the call, and each may run twice. Rule: docs/reliability.md, "The payout protocol".
"""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from affiliate.core import metrics
from payouts.batches import booking
from payouts.batches.cancel import close_withdrawal, lock_item
from payouts.batches.intents import MOVING, NOT_SENT, PARK_S, Claimed, park
from payouts.batches.locks import LockReason, lock
from payouts.batches.models import PayeeAccount, PayoutAttempt, PayoutBatch, PayoutItem
from payouts.batches.rules import ItemReason
from payouts.rails.protocol import Answer, NotReady, Postponed, Refused, Succeeded

MISSED_TWICE_H = 1
"""Two look-ups that find nothing, this far apart, hand the item to a person."""
NO_FUNDS_S = 600
HALTED_S = 300
RETRY_PAUSES_S = (60, 120, 300, 600, 1_800)
SPREAD = 10
"""Items retry up to a tenth later than others, by their number, not all at once."""

RAISES_MAX = 5
"""Tries that may raise before the item is set aside for a person."""
SET_ASIDE = ItemReason.SET_ASIDE.value
SET_ASIDE_COUNT = metrics.declare(
    "kopeck_payouts_set_aside", "Payouts whose sending kept failing inside Kopeck."
)

log = structlog.get_logger(__name__)


def record(
    session: Session, *, claimed: Claimed, answer: Answer, now: datetime, real_now: datetime
) -> None:
    """T4: write what the rail answered. An attempt that has its end already keeps it."""
    item = lock_item(session, item_id=claimed.item_id)
    attempt = session.get_one(PayoutAttempt, claimed.attempt_id, populate_existing=True)
    if attempt.status in ("succeeded", "failed"):
        _compare(session, attempt, answer, now)
        return
    if isinstance(answer, Succeeded):
        succeed(session, item=item, attempt=attempt, transfer_id=answer.transfer_id, now=now)
        return
    attempt.error_code, attempt.error_text = answer.code, answer.text
    if isinstance(answer, Refused | NotReady):
        attempt.status, attempt.finished_at = "failed", now
        _after_a_no(session, item, answer, now, real_now)
    elif isinstance(answer, Postponed):
        item.reason = (
            ItemReason.RAIL_REFUSES_US if answer.halts else ItemReason.PROVIDER_BUSY
        ).value
        pause = HALTED_S if answer.halts else _pause_s(item.id, attempt.tries)
        item.next_try_at = real_now + timedelta(seconds=pause)
    else:
        attempt.status, item.status = "unknown", "unknown"
        item.reason = ItemReason.NO_ANSWER.value
        item.next_try_at = real_now + timedelta(seconds=_pause_s(item.id, attempt.tries))
    session.flush()


def record_missed(session: Session, *, claimed: Claimed, looked: bool, real_now: datetime) -> None:
    """T4 of a look-up after the key's life that found nothing (`looked`) or failed.

    Never leads to another try by itself: found nothing twice, an hour apart, goes to a person.
    """
    item = lock_item(session, item_id=claimed.item_id)
    attempt = session.get_one(PayoutAttempt, claimed.attempt_id, populate_existing=True)
    if attempt.status in ("succeeded", "failed"):
        return
    attempt.status, item.status = "unknown", "unknown"
    item.reason = ItemReason.NO_ANSWER.value
    item.next_try_at = real_now + timedelta(hours=MISSED_TWICE_H)
    if not looked:
        item.next_try_at = real_now + timedelta(seconds=_pause_s(item.id, attempt.tries))
    elif attempt.missed_at is None:
        attempt.missed_at = real_now
    elif real_now - attempt.missed_at >= timedelta(hours=MISSED_TWICE_H):
        item.status, item.reason = "needs_review", ItemReason.NOT_FOUND.value
        item.next_try_at = None
        log.error("payout.needs_review", item=item.id, attempt=attempt.id)
    session.flush()


def release(session: Session, *, claimed: Claimed, now: datetime, real_now: datetime) -> None:
    """Give back an item that was claimed here and surely not sent, as sending was stopped.

    Only while the claim is still ours: whoever claimed it since may have sent it. An attempt
    that never was on the wire ends as a definite no, so that the item can be held; one that was
    keeps its question.
    """
    item = lock_item(session, item_id=claimed.item_id)
    attempt = session.get_one(PayoutAttempt, claimed.attempt_id, populate_existing=True)
    if attempt.tries != claimed.tries or attempt.status not in ("sent", "unknown"):
        return
    if attempt.tries == 1 and attempt.status == "sent":
        attempt.status, attempt.finished_at, attempt.error_code = "failed", now, NOT_SENT
        attempt.error_text = "Sending was stopped before it was this payout's turn."
        item.status, item.reason, item.next_try_at = "queued", None, None
    else:
        item.next_try_at = real_now
    session.flush()


def succeed(
    session: Session,
    *,
    item: PayoutItem,
    attempt: PayoutAttempt,
    transfer_id: str,
    now: datetime,
) -> None:
    """The money left: attempt, settlement, item and withdrawal come to their end together."""
    attempt.status, attempt.transfer_id, attempt.finished_at = "succeeded", transfer_id, now
    attempt.error_code = attempt.error_text = None
    booking.settle(session, item=item, now=now)
    item.status, item.paid_at, item.finished_at = "paid", now, now
    item.next_try_at = item.reason = None
    close_withdrawal(session, item_id=item.id, outcome="paid", now=now)
    session.flush()


def record_raise(
    session: Session, *, item_id: int, error: str, now: datetime, real_now: datetime
) -> None:
    """Moving an item raised: a mistake of ours. After RAISES_MAX of them a person looks at it.

    The batch goes on without it. Nothing is said of an attempt that may have been sent: the
    desk shows it with what is known, and only a person can order a new one.
    """
    item = lock_item(session, item_id=item_id)
    if item.status not in MOVING:
        return
    item.raised += 1
    pause = RETRY_PAUSES_S[min(item.raised, len(RETRY_PAUSES_S)) - 1]
    item.next_try_at = real_now + timedelta(seconds=pause)
    if item.raised >= RAISES_MAX:
        item.status, item.reason, item.next_try_at = "needs_review", SET_ASIDE, None
        metrics.count(SET_ASIDE_COUNT)
        log.error("payout.set_aside", item=item.id, batch=item.batch_id, error=error, at=str(now))
    session.flush()


def _after_a_no(
    session: Session, item: PayoutItem, answer: Refused | NotReady, now: datetime,
    real_now: datetime,
) -> None:  # fmt: skip
    """A definite no: wait for what passes by itself, else return the reserve."""
    if isinstance(answer, NotReady):
        session.execute(
            sa.update(PayeeAccount)
            .where(PayeeAccount.destination == item.destination, PayeeAccount.replaced_at.is_(None))
            .values(ready_at=None)
            .execution_options(synchronize_session=False)
        )
        park(item, ItemReason.PAYEE_NOT_READY, real_now + timedelta(seconds=PARK_S))
    elif answer.again:
        park(item, ItemReason.NO_FUNDS, real_now + timedelta(seconds=NO_FUNDS_S))
    else:
        batch = session.get_one(PayoutBatch, item.batch_id)
        booking.give_back(
            session, program_id=batch.program_id, items=[item], reason=ItemReason.REFUSED, now=now
        )
        item.status, item.reason = "failed", ItemReason.REFUSED.value
        item.finished_at, item.next_try_at = now, None
        close_withdrawal(session, item_id=item.id, outcome="returned", now=now)


def _compare(session: Session, attempt: PayoutAttempt, answer: Answer, now: datetime) -> None:
    """A late answer to a finished attempt changes nothing; a contradiction stops payouts."""
    if isinstance(answer, Succeeded) and answer.transfer_id != attempt.transfer_id:
        detail = (
            f"Attempt {attempt.id} is {attempt.status} with transfer {attempt.transfer_id}, "
            f"but the rail answered {answer.transfer_id}."
        )
        lock(session, reason=LockReason.INTEGRITY, detail=detail, now=now)
        log.error("payout.contradiction", attempt=attempt.id)


def _pause_s(item_id: int, tries: int) -> float:
    pause_s = RETRY_PAUSES_S[min(tries, len(RETRY_PAUSES_S)) - 1]
    return pause_s * (1 + (item_id % SPREAD) / SPREAD / SPREAD)
