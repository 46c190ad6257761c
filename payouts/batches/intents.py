"""T3 of the payout protocol: take items that should move and write what will be sent.

Up to a hundred items in one transaction, which the caller commits before the wire is touched.
Whoever claims holds the items for a lease; two runs that claim one item share its key. Rule:
docs/reliability.md, "The payout protocol".
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.money import Money
from affiliate.people.models import Enrollment
from payouts.batches.fence import installation_key
from payouts.batches.locks import open_locks
from payouts.batches.models import (
    PayeeAccount,
    PayoutAttempt,
    PayoutBatch,
    PayoutHold,
    PayoutItem,
)
from payouts.batches.payee_guard import stopped
from payouts.batches.payee_rules import item_waits
from payouts.batches.rules import PAYABLE_STATUSES, ItemReason
from payouts.rails.protocol import Order

LEASE_S = 60
"""A claimed item is left alone for this long; longer than the rail's own time-outs (23 s)."""
CALL_S = 25
"""A call to a rail ends within it; nothing is sent when less of the lease is left."""
KEY_LIFE_H = 23
"""Within it the same key is sent again. Stripe forgets keys after 24 h at the earliest."""
PARK_S = 300
MOVING = ("queued", "sending", "unknown")
"""An item that may still be sent or asked about without a person."""
NOT_SENT = "not_sent"
"""Code of an attempt that was claimed and, as sending was stopped, never reached the wire."""


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
    lease_until: datetime
    """Real time; from then on another worker may claim the item."""
    anew: bool = False
    """An attempt before it was on the wire and has ended, by a definite no or by a person."""

    def key_lives_at(self, real_now: datetime) -> bool:
        """Whether the provider surely remembers the key by then."""
        return real_now - self.first_sent_at < timedelta(hours=KEY_LIFE_H)


@dataclass(frozen=True, slots=True)
class Group:
    """What one claim came to."""

    claimed: tuple[Claimed, ...] = ()
    not_ready: tuple[int, ...] = ()
    """Items parked because their payee's account cannot receive: the rail can be asked."""
    looked_at: int = 0
    """Items that were locked; fewer than asked for: none is left that could move now."""


def movable(real_now: datetime, batch_id: int) -> sa.Select[int]:
    """Items of a batch that should move now, oldest first."""
    return (
        sa.select(PayoutItem.id)
        .where(
            PayoutItem.batch_id == batch_id,
            PayoutItem.status.in_(MOVING),
            sa.or_(PayoutItem.next_try_at.is_(None), PayoutItem.next_try_at <= real_now),
        )
        .order_by(PayoutItem.id)
    )


def leased(real_now: datetime, batch_id: int) -> sa.Select[int]:
    """Items of a batch that some run is sending: their lease has not run out."""
    return sa.select(PayoutItem.id).where(
        PayoutItem.batch_id == batch_id,
        PayoutItem.status == "sending",
        PayoutItem.reason.is_(None),
        PayoutItem.next_try_at > real_now,
        PayoutItem.next_try_at <= real_now + timedelta(seconds=LEASE_S),
    )


def claim_group(
    session: Session,
    *,
    batch_id: int,
    now: datetime,
    real_now: datetime,
    items_max: int,
    item_ids: Collection[int] | None = None,
) -> Group:
    """Take up to `items_max` items that should move, or of those named, and write their attempts.

    Items that another worker has are skipped. Nothing is taken while payouts are locked or the
    batch is stopped: its row is held FOR SHARE, so that whoever stops it waits for claims that
    have begun and none begins afterwards. An item whose payee changed since the approval is
    parked with the reason. Safety waits end in business time, `now`; leases age by `real_now`.
    """
    batch = session.scalars(
        sa.select(PayoutBatch)
        .where(PayoutBatch.id == batch_id)
        .with_for_update(read=True)
        .execution_options(populate_existing=True)
    ).one_or_none()
    if batch is None or batch.status not in ("approved", "paying") or batch.paused_at is not None:
        return Group()
    if open_locks(session):
        return Group()
    query = movable(real_now, batch_id).with_only_columns(PayoutItem).limit(items_max)
    if item_ids is not None:
        query = query.where(PayoutItem.id.in_(item_ids))
    items = session.scalars(
        query.with_for_update(skip_locked=True).execution_options(populate_existing=True)
    ).all()
    return _write(session, batch, items, now, real_now)


def claim(session: Session, *, item_id: int, now: datetime, real_now: datetime) -> Claimed | None:
    """Claim one item; None when it is not to move now, or was parked."""
    batch_id = session.scalar(sa.select(PayoutItem.batch_id).where(PayoutItem.id == item_id))
    if batch_id is None:
        return None
    group = claim_group(
        session, batch_id=batch_id, now=now, real_now=real_now, items_max=1, item_ids=[item_id]
    )
    return group.claimed[0] if group.claimed else None


def _write(
    session: Session,
    batch: PayoutBatch,
    items: Sequence[PayoutItem],
    now: datetime,
    real_now: datetime,
) -> Group:
    tried = _attempts(session, [item.id for item in items])
    fresh = [item for item in items if tried[item.id].live is None]
    payees = _payees(session, [item.enrollment_id for item in fresh], batch.rail)
    told = _told(session, batch.id)
    until = real_now + timedelta(seconds=LEASE_S)
    chosen: list[tuple[PayoutItem, PayoutAttempt]] = []
    not_ready = []
    for item in items:
        attempt = tried[item.id].live
        if attempt is None:
            why = not_payable(
                payees.get(item.enrollment_id),
                destination=item.destination,
                released=item.released_at is not None,
                now=now,
            )
            if why is not None:
                park(item, why, real_now + timedelta(seconds=PARK_S))
                if why is ItemReason.PAYEE_NOT_READY:
                    not_ready.append(item.id)
                continue
            key = f"po:{told['installation']}"
            attempt = _attempt(item, tried[item.id].last + 1, key, told, real_now)
            session.add(attempt)
        else:
            attempt.tries += 1
            attempt.last_tried_at = real_now
        if item.status == "queued":
            item.status = "sending"
        item.next_try_at = until
        chosen.append((item, attempt))
    session.flush()
    claimed = tuple(
        _claimed(item, attempt, real_now, until, tried[item.id].ended) for item, attempt in chosen
    )
    return Group(claimed, tuple(not_ready), len(items))


@dataclass(slots=True)
class _Tried:
    live: PayoutAttempt | None = None
    last: int = 0
    ended: bool = False
    """One that was on the wire has ended."""


def _attempts(session: Session, item_ids: list[int]) -> defaultdict[int, _Tried]:
    found: defaultdict[int, _Tried] = defaultdict(_Tried)
    if item_ids:
        rows = session.scalars(
            sa.select(PayoutAttempt)
            .where(PayoutAttempt.item_id.in_(item_ids))
            .order_by(PayoutAttempt.item_id, PayoutAttempt.number)
            .execution_options(populate_existing=True)
        )
        for row in rows:
            known = found[row.item_id]
            known.last = row.number
            known.live = row if row.status != "failed" else known.live
            known.ended |= row.status == "failed" and row.error_code != NOT_SENT
    return found


@dataclass(frozen=True, slots=True)
class Receiver:
    """Who would be paid now, and where."""

    status: str
    """Of the enrollment."""
    destination: str | None = None
    ready: bool = False
    held: bool = False
    """Finance holds this affiliate's payouts back."""
    pays_from: datetime | None = None
    """When the account's cooling-off ends."""
    stopped: bool = False
    """Somebody said that they had not named the account."""


def _payees(session: Session, enrollment_ids: list[int], rail: str) -> dict[int, Receiver]:
    if not enrollment_ids:
        return {}
    rows = session.execute(
        sa.select(
            Enrollment.id,
            Enrollment.status,
            PayeeAccount.destination,
            PayeeAccount.ready_at,
            PayoutHold.id,
            PayeeAccount.pays_from,
            stopped(Enrollment.affiliate_id),
        )
        .outerjoin(
            PayeeAccount,
            sa.and_(
                PayeeAccount.affiliate_id == Enrollment.affiliate_id,
                PayeeAccount.rail == rail,
                PayeeAccount.replaced_at.is_(None),
            ),
        )
        .outerjoin(
            PayoutHold,
            sa.and_(PayoutHold.enrollment_id == Enrollment.id, PayoutHold.lifted_at.is_(None)),
        )
        .where(Enrollment.id.in_(enrollment_ids))
    )
    return {
        enrollment_id: Receiver(
            status, destination, ready_at is not None, hold is not None, pays_from, is_stopped
        )
        for enrollment_id, status, destination, ready_at, hold, pays_from, is_stopped in rows
    }


def not_payable(
    receiver: Receiver | None, *, destination: str, released: bool, now: datetime
) -> ItemReason | None:
    """What changed since the approval. The item is parked, never sent to another account.

    `released`: a person let it go to the approved one although another was named since.
    """
    if receiver is None or receiver.status not in PAYABLE_STATUSES:
        return ItemReason.NOT_ACTIVE
    if receiver.held:
        return ItemReason.ON_HOLD
    return item_waits(
        destination=destination,
        live=receiver.destination,
        ready=receiver.ready,
        pays_from=receiver.pays_from,
        stopped=receiver.stopped,
        released=released,
        now=now,
    )


def park(item: PayoutItem, why: ItemReason, until: datetime) -> None:
    """Let an item wait, with the reason."""
    item.status, item.reason, item.next_try_at = "queued", why.value, until


def _told(session: Session, batch_id: int) -> dict[str, str]:
    installation = installation_key(session)
    return {"group": f"kopeck_{installation}_batch_{batch_id}", "installation": installation}


def add_attempt(
    session: Session,
    *,
    item: PayoutItem,
    key: str,
    told: dict[str, Any],
    real_now: datetime,
    number: int | None = None,
) -> PayoutAttempt:
    """Write the item's next attempt with its stored parameters; `told` is added to them.

    Its idempotency key is `<key>:<item>:<number of the attempt>`. A number is given where the
    provider has the attempt already and this database, restored from a backup, does not.
    """
    if number is None:
        last = session.scalar(
            sa.select(sa.func.max(PayoutAttempt.number)).where(PayoutAttempt.item_id == item.id)
        )
        number = (last or 0) + 1
    attempt = _attempt(item, number, key, told, real_now)
    session.add(attempt)
    session.flush()
    return attempt


def _attempt(
    item: PayoutItem, number: int, key: str, told: dict[str, Any], real_now: datetime
) -> PayoutAttempt:
    params = {
        "amount_micros": item.amount_micros,
        "currency": item.currency,
        "destination": item.destination,
        "item_id": item.id,
        "attempt": number,
        **told,
    }
    return PayoutAttempt(
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


def hash_of_params(params: dict[str, Any]) -> str:
    """SHA-256 of the stored parameters: the audit sees if they ever changed."""
    text = json.dumps(params, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _claimed(
    item: PayoutItem, attempt: PayoutAttempt, real_now: datetime, until: datetime, anew: bool
) -> Claimed:
    return Claimed(
        item_id=item.id,
        batch_id=item.batch_id,
        attempt_id=attempt.id,
        order=_order(attempt.params),
        key=attempt.idempotency_key,
        tries=attempt.tries,
        first_sent_at=attempt.first_sent_at,
        key_alive=real_now - attempt.first_sent_at < timedelta(hours=KEY_LIFE_H),
        lease_until=until,
        anew=anew,
    )


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
