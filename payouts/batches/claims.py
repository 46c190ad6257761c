"""The two transactions around a call to a rail: intent before it, answer after it.

T3 `claim` writes the attempt with its key and parameters; the caller commits it before the
wire is touched. T4 `record` writes what the rail answered. Neither holds a lock across the
call. Each may run twice. Rule: docs/reliability.md, "The payout protocol".
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from affiliate.core.money import Money
from affiliate.people.models import Enrollment
from payouts.batches import booking
from payouts.batches.cancel import close_withdrawal, lock_item
from payouts.batches.fence import installation_key
from payouts.batches.locks import LockReason, lock, open_locks
from payouts.batches.models import PayeeAccount, PayoutAttempt, PayoutBatch, PayoutItem
from payouts.batches.payees import payee_of
from payouts.batches.rules import PAYABLE_STATUSES, ItemReason
from payouts.rails.protocol import (
    Answer,
    NotReady,
    Order,
    Postponed,
    Refused,
    Succeeded,
)

LEASE_S = 60
"""A claimed item is left alone for this long; longer than the rail's own time-outs (23 s)."""
KEY_LIFE_H = 23
"""Within it the same key is sent again. Stripe forgets keys after 24 h at the earliest."""
MISSED_TWICE_H = 1
"""Two look-ups that find nothing, this far apart, hand the item to a person."""
PARK_S = 300
NO_FUNDS_S = 600
HALTED_S = 300
RETRY_PAUSES_S = (60, 120, 300, 600, 1_800)
SPREAD = 10
"""Items retry up to a tenth later than others, by their number, not all at once."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Claimed:
    """An intent on disk: what will be sent, and under which key."""

    item_id: int
    batch_id: int
    attempt_id: int
    order: Order
    key: str
    tries: int
    """1 at the first try of this attempt."""
    first_sent_at: datetime
    key_alive: bool
    """False: the key may be forgotten, nothing may be sent, only looked up."""

    def key_lives_at(self, real_now: datetime) -> bool:
        """Whether the provider surely remembers the key by then."""
        return real_now - self.first_sent_at < timedelta(hours=KEY_LIFE_H)


def claim(session: Session, *, item_id: int, real_now: datetime) -> Claimed | None:
    """T3: take an item that should move and write its attempt.

    None when it is not to move now: another worker has it, payouts are locked, it is not
    due or done, or its payee changed since approval (then it is parked with the reason).
    """
    item = _lock_free(session, item_id, real_now)
    if item is None or open_locks(session):
        return None
    batch = session.get_one(PayoutBatch, item.batch_id)
    if batch.status not in ("approved", "paying"):
        return None
    attempt = _live_attempt(session, item.id)
    if attempt is None:
        why = _not_payable(session, item, batch)
        if why is not None:
            _park(item, why, real_now + timedelta(seconds=PARK_S))
            session.flush()
            return None
        attempt = _new_attempt(session, item, real_now)
    else:
        attempt.tries += 1
        attempt.last_tried_at = real_now
    if item.status == "queued":
        item.status = "sending"
    item.next_try_at = real_now + timedelta(seconds=LEASE_S)
    session.flush()
    return Claimed(
        item_id=item.id,
        batch_id=item.batch_id,
        attempt_id=attempt.id,
        order=_order(attempt.params),
        key=attempt.idempotency_key,
        tries=attempt.tries,
        first_sent_at=attempt.first_sent_at,
        key_alive=real_now - attempt.first_sent_at < timedelta(hours=KEY_LIFE_H),
    )


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


def _lock_free(session: Session, item_id: int, real_now: datetime) -> PayoutItem | None:
    return session.scalars(
        sa.select(PayoutItem)
        .where(
            PayoutItem.id == item_id,
            PayoutItem.status.in_(("queued", "sending", "unknown")),
            sa.or_(PayoutItem.next_try_at.is_(None), PayoutItem.next_try_at <= real_now),
        )
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).one_or_none()


def _live_attempt(session: Session, item_id: int) -> PayoutAttempt | None:
    return session.scalars(
        sa.select(PayoutAttempt)
        .where(PayoutAttempt.item_id == item_id, PayoutAttempt.status != "failed")
        .execution_options(populate_existing=True)
    ).one_or_none()


def _not_payable(session: Session, item: PayoutItem, batch: PayoutBatch) -> ItemReason | None:
    """What changed since the approval. The item is parked, never sent to another account."""
    enrollment = session.get_one(Enrollment, item.enrollment_id, populate_existing=True)
    if enrollment.status not in PAYABLE_STATUSES:
        return ItemReason.NOT_ACTIVE
    payee = payee_of(session, affiliate_id=enrollment.affiliate_id, rail=batch.rail)
    if payee is None or payee.destination != item.destination:
        return ItemReason.PAYEE_CHANGED
    return None if payee.ready else ItemReason.PAYEE_NOT_READY


def _new_attempt(session: Session, item: PayoutItem, real_now: datetime) -> PayoutAttempt:
    installation = installation_key(session)
    told = {
        "group": f"kopeck_{installation}_batch_{item.batch_id}",
        "installation": installation,
    }
    return add_attempt(session, item=item, key=f"po:{installation}", told=told, real_now=real_now)


def add_attempt(
    session: Session, *, item: PayoutItem, key: str, told: dict[str, Any], real_now: datetime
) -> PayoutAttempt:
    """Write the item's next attempt with its stored parameters; `told` is added to them.

    Its idempotency key is `<key>:<item>:<number of the attempt>`.
    """
    last = session.scalar(
        sa.select(sa.func.max(PayoutAttempt.number)).where(PayoutAttempt.item_id == item.id)
    )
    number = (last or 0) + 1
    params = {
        "amount_micros": item.amount_micros,
        "currency": item.currency,
        "destination": item.destination,
        "item_id": item.id,
        "attempt": number,
        **told,
    }
    attempt = PayoutAttempt(
        item_id=item.id,
        number=number,
        idempotency_key=f"{key}:{item.id}:{number}",
        params=params,
        request_hash=hash_of_params(params),
        amount_micros=item.amount_micros,
        currency=item.currency,
        destination=item.destination,
        status="sent",
        tries=1,
        first_sent_at=real_now,
        last_tried_at=real_now,
    )
    session.add(attempt)
    session.flush()
    return attempt


def hash_of_params(params: dict[str, Any]) -> str:
    """SHA-256 of the stored parameters: the audit sees if they ever changed."""
    text = json.dumps(params, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _order(params: dict[str, Any]) -> Order:
    """From what is stored, never from the item: a retry is the same to the byte."""
    return Order(
        amount=Money(params["amount_micros"], params["currency"]),
        destination=params["destination"],
        group=params["group"],
        item_id=params["item_id"],
        attempt=params["attempt"],
        installation=params["installation"],
    )


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
        _park(item, ItemReason.PAYEE_NOT_READY, real_now + timedelta(seconds=PARK_S))
    elif answer.again:
        _park(item, ItemReason.NO_FUNDS, real_now + timedelta(seconds=NO_FUNDS_S))
    else:
        batch = session.get_one(PayoutBatch, item.batch_id)
        booking.give_back(
            session, program_id=batch.program_id, items=[item], reason=ItemReason.REFUSED, now=now
        )
        item.status, item.reason = "failed", ItemReason.REFUSED.value
        item.finished_at, item.next_try_at = now, None
        close_withdrawal(session, item_id=item.id, outcome="returned", now=now)


def _park(item: PayoutItem, why: ItemReason, until: datetime) -> None:
    item.status, item.reason, item.next_try_at = "queued", why.value, until


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
