"""Ask the rail about a batch before it is signed: does it answer, is there money, who can receive.

Read, commit, ask with no transaction open, write. Nothing is sent, no balance and no account is
changed, and an approval needs none of it: what is certain to be refused is refused there
(payouts.batches.approve). Rule: docs/reliability.md, "Dry run".
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session, sessionmaker

from affiliate.core.db import committed
from affiliate.core.errors import Conflict, NotFound
from affiliate.core.money import Money
from payouts.batches.approve import NotApprovable, RailNotConfigured
from payouts.batches.cancel import OPEN_ITEM_STATUSES
from payouts.batches.models import PayoutBatch, PayoutItem
from payouts.batches.outcomes import outcome_of
from payouts.batches.pace import take_slot
from payouts.provider.models import BatchRehearsal, ProviderAccount
from payouts.rails.protocol import Rail, provider
from payouts.rails.registry import Rails, rail_named
from payouts.rails.rehearsal import Planned, Rehearsed

QUESTIONS_MAX: Final = 41
"""To a provider at one press: the balance and forty accounts, two seconds at the rail's pace."""
LOOK_S: Final = 8
"""After it no other question begins: a person waits for the page."""
PAYOUTS_MAX: Final = 1_000
"""Looked at at one press where nobody has to be asked."""
AGAIN_S: Final = 10
GOES_ON_S: Final = 900
"""A look that old is begun anew, not gone on with: its first answers are stale."""
KEPT_MAX: Final = 200


class AskedJustNow(Conflict):
    code = "asked_just_now"
    title = "The rail was asked a moment ago; what it said is on the page."


@dataclass(frozen=True, slots=True)
class Rehearsing:
    """All that a look needs of the outside."""

    sessions: sessionmaker[Session]
    rails: Rails
    real_now: Callable[[], datetime]
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class _Read:
    """What the batch is, as it was read before the rail is asked."""

    batch_hash: str
    rail: Rail
    currency: str
    count: int
    promised: int
    planned: list[Planned]
    before: BatchRehearsal | None
    """The look that this one goes on with."""
    own_account: str | None


def rehearse(run: Rehearsing, *, batch_id: int, by_user_id: int, goes_on: bool) -> None:
    """Ask about the largest payouts of a frozen batch, or the next ones, and keep the answer.

    Raises NotFound, NotApprovable, RailNotConfigured, AskedJustNow.
    """
    began = run.real_now()
    found = committed(run.sessions, lambda session: _read(session, run, batch_id, goes_on, began))
    asked = provider(found.rail)
    if asked is not None and found.own_account is not None:
        asked.pin(found.own_account)
    said = found.rail.rehearse(
        found.currency, found.planned, may_ask=_Turns(run, found.rail.name).take
    )
    committed(run.sessions, lambda session: _write(session, run, batch_id, by_user_id, found, said))


def last_rehearsal(session: Session, *, batch: PayoutBatch) -> BatchRehearsal | None:
    """The newest look at the batch as it is now; none, too, where it has changed since."""
    found = session.scalars(
        sa.select(BatchRehearsal)
        .where(BatchRehearsal.batch_id == batch.id)
        .order_by(BatchRehearsal.id.desc())
        .limit(1)
    ).one_or_none()
    return found if found is not None and found.hash == batch.hash else None


def _read(
    session: Session, run: Rehearsing, batch_id: int, goes_on: bool, began: datetime
) -> _Read:
    batch = session.get(PayoutBatch, batch_id, populate_existing=True)
    if batch is None:
        raise NotFound
    if batch.status != "frozen":
        raise NotApprovable(outcome_of(session, batch))
    rail = rail_named(run.rails, batch.rail)
    if not rail.configured():
        raise RailNotConfigured
    last = last_rehearsal(session, batch=batch)
    before = last if goes_on and _goes_on(last, began) else None
    if last is not None and before is None and began - last.asked_at < timedelta(seconds=AGAIN_S):
        raise AskedJustNow
    items = sa.and_(PayoutItem.batch_id == batch.id, PayoutItem.status == "queued")
    rows = session.execute(
        sa.select(PayoutItem.id, PayoutItem.amount_micros, PayoutItem.destination)
        .where(items)
        .order_by(PayoutItem.amount_micros.desc(), PayoutItem.id)
        .offset(before.asked if before else 0)
        .limit(PAYOUTS_MAX)
    )
    return _Read(
        batch_hash=batch.hash or "",
        rail=rail,
        currency=batch.currency,
        count=session.scalar(sa.select(sa.func.count()).where(items)) or 0,
        promised=_promised(session, batch),
        planned=[Planned(id_, Money(micros, batch.currency), to) for id_, micros, to in rows],
        before=before,
        own_account=session.scalar(
            sa.select(ProviderAccount.account).where(ProviderAccount.rail == rail.name)
        ),
    )


def _goes_on(last: BatchRehearsal | None, began: datetime) -> bool:
    return (
        last is not None
        and last.asked < last.payouts
        and began - last.began_at < timedelta(seconds=GOES_ON_S)
    )


def _promised(session: Session, batch: PayoutBatch) -> int:
    """What is approved and not sent takes from the same balance, whichever program it is of."""
    micros = session.scalar(
        sa.select(sa.func.sum(PayoutItem.amount_micros))
        .join(PayoutBatch, PayoutBatch.id == PayoutItem.batch_id)
        .where(
            PayoutBatch.rail == batch.rail,
            PayoutBatch.currency == batch.currency,
            PayoutBatch.status.in_(("approved", "paying")),
            PayoutItem.status.in_(OPEN_ITEM_STATUSES),
        )
    )
    return int(micros or 0)


def _write(
    session: Session, run: Rehearsing, batch_id: int, by_user_id: int, found: _Read,
    said: Rehearsed,
) -> None:  # fmt: skip
    before, now = found.before, run.real_now()
    new = [[each.item_id, each.why.value, each.code] for each in said.objections]
    session.add(
        BatchRehearsal(
            batch_id=batch_id,
            hash=found.batch_hash,
            asked_by=by_user_id,
            began_at=before.began_at if before else now,
            asked_at=now,
            away=said.away,
            funds_micros=None if said.funds is None else said.funds.micros,
            promised_micros=found.promised,
            payouts=found.count,
            asked=said.asked + (before.asked if before else 0),
            objections=[*(before.objections if before else ()), *new][:KEPT_MAX],
            objections_in_all=len(new) + (before.objections_in_all if before else 0),
        )
    )


@dataclass
class _Turns:
    """Turns at the rail's pace, so many and so long as a person waits for."""

    run: Rehearsing
    rail: str
    left: int = field(default_factory=lambda: QUESTIONS_MAX)
    ends: float = field(default_factory=lambda: time.monotonic() + LOOK_S)

    def take(self) -> bool:
        """Wait for the next turn; False when there is none any more."""
        if not self.left:
            return False
        self.left -= 1
        wait_s = committed(self.run.sessions, lambda session: take_slot(session, rail=self.rail))
        if time.monotonic() + wait_s > self.ends:
            return False
        self.run.sleep(wait_s)
        return True
