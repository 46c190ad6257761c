"""Send what is approved: intent, wire, answer, each on disk before the next begins."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
import structlog
from rq.timeouts import BaseTimeoutException
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, sessionmaker

from affiliate.people.models import Enrollment
from payouts.batches.cancel import finish_batch
from payouts.batches.claims import Claimed, claim, record, record_missed
from payouts.batches.fence import check_fence, raise_fence
from payouts.batches.locks import open_locks
from payouts.batches.models import Pace, PayoutBatch, PayoutItem
from payouts.batches.payees import payee_of, set_ready
from payouts.batches.rules import ItemReason
from payouts.rails.protocol import (
    Answer,
    Found,
    NotFound,
    Postponed,
    Rail,
    RailAway,
    Succeeded,
)
from payouts.rails.registry import Rails, rail_named

ITEMS_MAX = 100
"""Items that one run looks at; a batch with more rings for the next run."""
PACE_MS = 50
"""20 calls a second a rail, all workers together: Stripe allows 25 an endpoint."""

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


def run_batch(sending: Sending, *, batch_id: int) -> bool:
    """Move up to ITEMS_MAX items of an approved batch; True when more could move now.

    Any number of runs may work on one batch: each item is claimed by one of them. An item
    whose move raises is left to the next sweep, and the others go on.
    """
    batch = _begin(sending, batch_id)
    if batch is None:
        return False
    rail = rail_named(sending.rails, batch)
    if rail.by_hand:
        return False
    found = _movable(sending, batch_id)
    halted, moved = False, 0
    for item_id in found:
        try:
            halted = not move_item(sending, item_id=item_id, rail=rail)
            moved += 1
        except BaseTimeoutException:
            # RQ's time-out strikes at any line, also after the provider has accepted: the
            # attempt stays as it is, and the next run asks with the same key.
            raise
        except Exception:
            log.exception("payout.item_failed", item=item_id)
        if halted:
            break
    with sending.sessions.begin() as session:
        finish_batch(session, batch_id=batch_id, now=sending.now(session))
    return not halted and moved > 0 and len(found) == ITEMS_MAX


def move_item(sending: Sending, *, item_id: int, rail: Rail) -> bool:
    """One item's T3, call and T4. False when the rail will serve no other item now either."""
    with sending.sessions.begin() as session:
        claimed = claim(session, item_id=item_id, real_now=sending.real_now())
        sending.at("intent_written")
    if claimed is None:
        _ask_about_parked(sending, item_id, rail)
        return True
    sending.at("intent_committed")
    raise_fence(
        sending.data_dir,
        installation=claimed.order.installation,
        batch_id=claimed.batch_id,
        attempt_id=claimed.attempt_id,
    )
    sending.at("fence_raised")
    _keep_pace(sending, rail)
    answer = _call(sending, claimed, rail)
    sending.at("answered")
    with sending.sessions.begin() as session:
        now, real_now = sending.now(session), sending.real_now()
        if answer is None or isinstance(answer, _Missed):
            record_missed(session, claimed=claimed, looked=answer is not None, real_now=real_now)
        else:
            record(session, claimed=claimed, answer=answer, now=now, real_now=real_now)
        sending.at("answer_written")
    sending.at("answer_committed")
    return not (isinstance(answer, Postponed) and answer.halts)


@dataclass(frozen=True, slots=True)
class _Missed:
    """The list was read to its end, the key is too old to be sent again."""


def _call(sending: Sending, claimed: Claimed, rail: Rail) -> Answer | _Missed | None:
    """Ask the provider. A retry looks first: what is found needs no second call.

    While the key lives it is sent again, with the stored parameters. Afterwards nothing is
    ever sent: only the list can tell, None when even that did not answer or was not asked.
    """
    if claimed.tries > 1 or not claimed.key_alive:
        seen = rail.find(claimed.order)
        if isinstance(seen, Found):
            return Succeeded(seen.transfer_id)
        if not claimed.key_alive:
            return _Missed() if isinstance(seen, NotFound) else None
    sending.at("sending")
    # The claim may be old by now: a process that slept (a suspended machine, SIGSTOP) wakes up
    # at any line, and by then others may have been paid under this key and it be forgotten.
    if not claimed.key_lives_at(sending.real_now()):
        return None
    return rail.send(claimed.order, key=claimed.key)


def _begin(sending: Sending, batch_id: int) -> str | None:
    """The batch's rail, once it may be sent from: approved, no lock, no older database."""
    with sending.sessions.begin() as session:
        now = sending.now(session)
        if not check_fence(session, sending.data_dir, now=now) or open_locks(session):
            log.error("payout.locked", batch=batch_id)
            return None
        return session.scalar(
            sa.update(PayoutBatch)
            .where(PayoutBatch.id == batch_id, PayoutBatch.status.in_(("approved", "paying")))
            .values(status="paying")
            .returning(PayoutBatch.rail)
        )


def _movable(sending: Sending, batch_id: int) -> list[int]:
    with sending.sessions() as session:
        return list(session.scalars(movable(sending.real_now(), batch_id)))


def movable(real_now: datetime, batch_id: int) -> sa.Select[int]:
    """Items of a batch that should move now, oldest first."""
    return (
        sa.select(PayoutItem.id)
        .where(
            PayoutItem.batch_id == batch_id,
            PayoutItem.status.in_(("queued", "sending", "unknown")),
            sa.or_(PayoutItem.next_try_at.is_(None), PayoutItem.next_try_at <= real_now),
        )
        .order_by(PayoutItem.id)
        .limit(ITEMS_MAX)
    )


def _keep_pace(sending: Sending, rail: Rail) -> None:
    """Take the rail's next slot, shared by all workers through PostgreSQL, and wait for it."""
    real_now = sending.real_now()
    step = timedelta(milliseconds=PACE_MS)
    with sending.sessions.begin() as session:
        row = insert(Pace).values(rail=rail.name, next_at=real_now + step)
        next_at = session.scalars(
            row.on_conflict_do_update(
                index_elements=["rail"],
                set_={"next_at": sa.func.greatest(Pace.next_at, real_now) + step},
            ).returning(Pace.next_at)
        ).one()
    wait_s = (next_at - step - real_now).total_seconds()
    if wait_s > 0:
        time.sleep(min(wait_s, 5.0))


def _ask_about_parked(sending: Sending, item_id: int, rail: Rail) -> None:
    """An item parked for its payee moves again as soon as the rail says they are ready."""
    with sending.sessions() as session:
        item = session.get(PayoutItem, item_id)
        if item is None or item.reason != ItemReason.PAYEE_NOT_READY or item.status != "queued":
            return
        enrollment = session.get_one(Enrollment, item.enrollment_id)
        payee = payee_of(session, affiliate_id=enrollment.affiliate_id, rail=rail.name)
    if payee is None or payee.ready:
        return
    try:
        ready = rail.payee_ready(payee.destination)
    except RailAway as away:
        log.warning("payout.rail_away", rail=rail.name, error=str(away))
        return
    if ready:
        with sending.sessions.begin() as session:
            set_ready(session, payee_id=payee.id, ready=True, now=sending.now(session))
            session.execute(
                sa.update(PayoutItem)
                .where(PayoutItem.id == item_id, PayoutItem.status == "queued")
                .values(next_try_at=None, reason=None)
            )
