"""A person's word about a delivery: act on it once more, or take it as it is."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Conflict, NotFound
from tracker.sources.bodies import HASHED
from tracker.sources.models import Source, SourceDelivery
from tracker.sources.rules import State

BODIES_DAYS: Final = 30
"""How long bodies are kept: as long as their shop systems send them again, and some."""
ROWS_DAYS: Final = 90
FORGET_ROWS_MAX: Final = 5_000


class BodyForgotten(Conflict):
    code = "body_forgotten"
    title = "The body was forgotten after 30 days. Let the shop system send it again."


class NothingHeld(Conflict):
    code = "nothing_held"
    title = "Nobody has to look at this delivery, or somebody has already."


def follow_again(
    session: Session, *, delivery_id: int, by: str, now: datetime, real_now: datetime
) -> None:
    """Act on a delivery once more, after a mapping was mended, say. Raises BodyForgotten."""
    _wake(session, delivery_id, "source.follow_again", by, now, real_now)


def take_as_it_is(
    session: Session, *, delivery_id: int, by: str, now: datetime, real_now: datetime
) -> None:
    """Take an order whose total is not its parts, or that is old.

    Raises NothingHeld and BodyForgotten.
    """
    row = _wake(session, delivery_id, "source.take_as_it_is", by, now, real_now, only=State.HELD)
    row.accepted_by = by
    session.flush()


def forget_bodies(session: Session, *, real_now: datetime) -> int:
    """Empty old bodies and delete old rows, some thousands at once; how many."""
    old = (
        sa.select(SourceDelivery.id)
        .where(
            SourceDelivery.body.is_not(None),
            SourceDelivery.received_at < real_now - timedelta(days=BODIES_DAYS),
        )
        .limit(FORGET_ROWS_MAX)
    )
    emptied = session.execute(
        sa.update(SourceDelivery)
        .where(SourceDelivery.id.in_(old))
        .values(body=sa.null())
        .returning(SourceDelivery.id)
        .execution_options(synchronize_session=False)
    ).all()
    older = (
        sa.select(SourceDelivery.id)
        .where(SourceDelivery.received_at < real_now - timedelta(days=ROWS_DAYS))
        .limit(FORGET_ROWS_MAX)
    )
    gone = session.execute(
        sa.delete(SourceDelivery)
        .where(SourceDelivery.id.in_(older))
        .returning(SourceDelivery.id)
        .execution_options(synchronize_session=False)
    ).all()
    return max(len(emptied), len(gone))


def forget_bodies_of(
    session: Session, *, program_id: int, order_ids: Sequence[str], email: str | None
) -> None:
    """Empty what shop systems sent of a buyer's orders, or with the hash of their address.

    One that is being acted on at this moment is passed over: its lock is older than ours.
    """
    of_buyer: list[sa.ColumnElement[bool]] = [SourceDelivery.order_id.in_(order_ids)]
    if email:
        hashed = HASHED + hashlib.sha256(email.strip().lower().encode()).hexdigest()
        of_buyer.append(sa.cast(SourceDelivery.body, sa.Text).contains(hashed))
    found = (
        sa.select(SourceDelivery.id)
        .join(Source, Source.id == SourceDelivery.source_id)
        .where(Source.program_id == program_id, SourceDelivery.body.is_not(None), sa.or_(*of_buyer))
        .with_for_update(of=SourceDelivery, skip_locked=True)
    )
    session.execute(
        sa.update(SourceDelivery)
        .where(SourceDelivery.id.in_(found))
        .values(body=sa.null())
        .execution_options(synchronize_session=False)
    )


def _wake(
    session: Session,
    delivery_id: int,
    action: str,
    by: str,
    now: datetime,
    real_now: datetime,
    only: State | None = None,
) -> SourceDelivery:
    row = session.get(SourceDelivery, delivery_id, with_for_update=True, populate_existing=True)
    if row is None:
        raise NotFound
    if only is not None and row.state != only:
        raise NothingHeld
    if row.body is None:
        raise BodyForgotten
    source = session.get_one(Source, row.source_id)
    audit.record(
        session, actor=by, action=action, subject=f"source_delivery:{row.id}",
        scope=source.program_id, old={"state": row.state, "because": row.because}, now=now,
    )  # fmt: skip
    row.state, row.processed_at, row.next_try_at = State.WAITING.value, None, real_now
    row.tries = 0
    session.flush()
    return row
