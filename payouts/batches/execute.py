"""Send what is approved: intent, wire, answer, each on disk before the next begins.

A run claims items by the hundred and sends them in a few threads, which share the rail's pace
with every other run. All state is in rows: a run may end at any line, and any number may work
on one batch.
"""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

import sqlalchemy as sa
import structlog
from rq.timeouts import BaseTimeoutException
from sqlalchemy.orm import Session

from affiliate.core.db import committed, passes
from payouts.batches.cancel import finish_batch
from payouts.batches.fence import check_fence, raise_fence
from payouts.batches.intents import Claimed, Group, claim, claim_group, movable
from payouts.batches.locks import open_locks
from payouts.batches.models import PayoutBatch
from payouts.batches.readiness import ask_about_parked
from payouts.batches.sending import Sender, Sending
from payouts.rails.protocol import Rail
from payouts.rails.registry import rail_named

ITEMS_MAX = 100
"""Items that one claim takes."""
REFILL_AT = 40
"""When no more than this many claimed items are left, two seconds' worth, more are claimed."""
RUN_S = 120
"""A run claims nothing after it, and ends when what it has is sent: far below RQ's time-out."""
END_S = 45
"""Within it calls that are under way come to their end, and are waited for."""
LOOK_S = 0.5

log = structlog.get_logger(__name__)


def run_batch(sending: Sending, *, batch_id: int) -> bool:
    """Move the items of an approved batch for a while; True when more could move now.

    Any number of runs may work on one batch: each item is claimed by one of them. An item
    whose move raises is left to a later run, and set aside when it raises again and again.
    """
    name = _begin(sending, batch_id)
    if name is None:
        return False
    rail = rail_named(sending.rails, name)
    if rail.by_hand or not sending.agrees(rail, batch_id):
        return False
    more = _Run(Sender(sending, batch_id, rail)).go()
    committed(
        sending.sessions,
        lambda session: finish_batch(session, batch_id=batch_id, now=sending.now(session)),
    )
    return more


def move_item(sending: Sending, *, item_id: int, rail: Rail) -> bool:
    """One item's T3, call and T4. False when the rail will serve no other item now either."""

    def intend(session: Session) -> Claimed | None:
        found = claim(
            session, item_id=item_id, now=sending.now(session), real_now=sending.real_now()
        )
        sending.at("intent_written")
        return found

    claimed = committed(sending.sessions, intend)
    if claimed is None:
        ask_about_parked(sending.sessions, item_id=item_id, rail=rail, now=sending.now)
        return True
    sending.at("intent_committed")
    _raise_fence(sending, (claimed,))
    sender = Sender(sending, claimed.batch_id, rail)
    sender.send(claimed)
    sender.give_back([])
    return not sender.halted


def _begin(sending: Sending, batch_id: int) -> str | None:
    """The batch's rail, once it may be sent from: approved, no lock, no older database."""

    def begin(session: Session) -> str | None:
        now = sending.now(session)
        if not check_fence(session, sending.data_dir, now=now) or open_locks(session):
            log.error("payout.locked", batch=batch_id)
            return None
        session.execute(
            sa.update(PayoutBatch)
            .where(PayoutBatch.id == batch_id, PayoutBatch.status == "approved")
            .values(status="paying")
        )
        return session.scalar(
            sa.select(PayoutBatch.rail).where(
                PayoutBatch.id == batch_id,
                PayoutBatch.status == "paying",
                PayoutBatch.paused_at.is_(None),
            )
        )

    return committed(sending.sessions, begin)


def _raise_fence(sending: Sending, claimed: tuple[Claimed, ...]) -> None:
    """Once for a whole group, before any of it reaches the wire."""
    raise_fence(
        sending.data_dir,
        installation=claimed[0].order.installation,
        batch_id=claimed[0].batch_id,
        attempt_id=max(each.attempt_id for each in claimed),
    )
    sending.at("fence_raised")


class _Run:
    """One run over a batch: what it has claimed and who sends it."""

    def __init__(self, sender: Sender) -> None:
        self.sender, self.sending, self.batch_id = sender, sender.sending, sender.batch_id
        self.waiting: deque[Claimed | int] = deque()
        """Claimed items, and ids of parked ones whose payee the rail is asked about."""
        self.exhausted = False
        """The last claim found fewer items than it asked for."""
        self.ends = time.monotonic() + RUN_S

    def go(self) -> bool:
        """Claim and send until nothing is left, the time is over or nothing may be sent."""
        try:
            if self.sending.senders == 1:
                while self.refill():
                    self.sender.act(self.waiting.popleft())
            else:
                self.go_in_threads()
        except BaseException:
            # RQ's time-out strikes at any line of this thread: what is under way in others is
            # waited for, and what was claimed stays as it is. The next run asks with its keys.
            self.sender.died = True
            raise
        left = self.sender.give_back([each for each in self.waiting if isinstance(each, Claimed)])
        return not self.sender.halted and self.sender.moved > 0 and (left or not self.exhausted)

    def go_in_threads(self) -> None:
        """Senders take what is claimed one by one; the calling thread claims meanwhile."""
        busy: dict[Future[None], Claimed | int] = {}
        pool = ThreadPoolExecutor(self.sending.senders, thread_name_prefix="sender")
        try:
            while self.refill(len(busy)) or busy:
                for task in self.waiting:
                    busy[pool.submit(self.sender.act, task)] = task
                self.waiting.clear()
                done, _ = wait(busy, timeout=LOOK_S, return_when=FIRST_COMPLETED)
                for each in done:
                    del busy[each]
                    each.result()
                if not self.sender.goes_on():
                    self.waiting.extend(task for each, task in busy.items() if each.cancel())
                    busy = {each: task for each, task in busy.items() if not each.cancelled()}
        finally:
            self.sender.over.set()
            pool.shutdown(wait=False, cancel_futures=True)
            wait(busy, timeout=END_S)

    def refill(self, under_way: int = 0) -> bool:
        """Claim more while few are left; whether there is something to send."""
        if not self.sender.goes_on():
            return False
        due = time.monotonic() < self.ends and not self.exhausted
        if due and under_way + len(self.waiting) <= REFILL_AT:
            group = self.claim()
            self.exhausted = group.looked_at < ITEMS_MAX
            if group.claimed:
                self.sending.at("intent_committed")
                _raise_fence(self.sending, group.claimed)
            self.waiting.extend(group.claimed)
            self.waiting.extend(group.not_ready)
        return bool(self.waiting)

    def claim(self) -> Group:
        """A group; where one item makes the claim raise, the others one by one without it."""
        try:
            return committed(self.sending.sessions, self.intend)
        except BaseTimeoutException:
            raise
        except Exception as error:
            if passes(error):
                raise
            log.exception("payout.claim_failed", batch=self.batch_id)
        with self.sending.sessions() as session:
            found = movable(self.sending.real_now(), self.batch_id).limit(ITEMS_MAX)
            item_ids = list(session.scalars(found))
        groups = [self.claim_alone(item_id) for item_id in item_ids]
        return Group(
            tuple(each for group in groups for each in group.claimed),
            tuple(each for group in groups for each in group.not_ready),
            len(item_ids),
        )

    def claim_alone(self, item_id: int) -> Group:
        try:
            return committed(self.sending.sessions, lambda session: self.intend(session, [item_id]))
        except BaseTimeoutException:
            raise
        except Exception as error:  # noqa: BLE001 -- noted with its item and logged
            self.sender.note_raise(item_id, error)
            return Group()

    def intend(self, session: Session, item_ids: list[int] | None = None) -> Group:
        group = claim_group(
            session,
            batch_id=self.batch_id,
            now=self.sending.now(session),
            real_now=self.sending.real_now(),
            items_max=ITEMS_MAX,
            item_ids=item_ids,
        )
        self.sending.at("intent_written")
        return group
