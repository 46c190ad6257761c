"""What the manager's desk asks about sources and what they sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import ids
from affiliate.core.errors import NotFound
from tracker.sources.models import Source, SourceDelivery

PREFIX: Final = "dlv"
SHOWN_MAX: Final = 50
RECORDED_MAX: Final = 20
"""Bodies that a mapping may be tried against."""


@dataclass(frozen=True, slots=True)
class Connected:
    """A source in the list."""

    source: Source
    last_at: datetime | None
    """When its last webhook came."""
    to_look_at: int
    """Deliveries that are held or refused."""
    waiting: int


def public(delivery_id: int) -> str:
    """The public id of a delivery."""
    return ids.public_id(PREFIX, delivery_id)


def sources_of(session: Session, *, program_id: int) -> list[Connected]:
    """The sources of a program with the state of what they sent."""

    def count(*states: str) -> sa.ColumnElement[int]:
        return sa.func.count().filter(SourceDelivery.state.in_(states))

    found = session.execute(
        sa.select(
            Source,
            sa.func.max(SourceDelivery.received_at),
            count("held", "refused"),
            count("waiting"),
        )
        .outerjoin(SourceDelivery, SourceDelivery.source_id == Source.id)
        .where(Source.program_id == program_id)
        .group_by(Source.id)
        .order_by(Source.id)
    )
    return [Connected(*row) for row in found]


def deliveries_of(
    session: Session, *, source_id: int, state: str = "", before: int | None = None
) -> tuple[Sequence[SourceDelivery], int | None]:
    """The last deliveries, newest first, and where the next page begins."""
    query = (
        sa.select(SourceDelivery)
        .where(SourceDelivery.source_id == source_id)
        .order_by(SourceDelivery.id.desc())
        .limit(SHOWN_MAX + 1)
        .options(sa.orm.defer(SourceDelivery.body))
    )
    if state:
        query = query.where(SourceDelivery.state == state)
    if before is not None:
        query = query.where(SourceDelivery.id < before)
    rows = session.scalars(query).all()
    more = len(rows) > SHOWN_MAX
    return rows[:SHOWN_MAX], rows[SHOWN_MAX - 1].id if more else None


def delivery_of(session: Session, *, source_id: int, text: str) -> SourceDelivery:
    """A delivery by its public id. Raises NotFound, also for one of another source."""
    found = session.get(SourceDelivery, ids.row_id(PREFIX, text))
    if found is None or found.source_id != source_id:
        raise NotFound
    return found


def recorded(session: Session, *, source_id: int) -> Sequence[SourceDelivery]:
    """The last deliveries whose bodies are still here."""
    return session.scalars(
        sa.select(SourceDelivery)
        .where(SourceDelivery.source_id == source_id, SourceDelivery.body.is_not(None))
        .order_by(SourceDelivery.id.desc())
        .limit(RECORDED_MAX)
    ).all()
