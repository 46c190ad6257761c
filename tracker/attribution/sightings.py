"""In which browsers and networks an affiliate's account is open, kept for some weeks.

Rule: docs/rules.md, "Own purchases". What is kept and for how long: docs/security.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from tracker.attribution.facts import BuyerBy
from tracker.attribution.models import AffiliateSighting
from tracker.attribution.persons import SEEN_WINDOW
from tracker.orders.rules import PLACED_BACK_MAX

KEPT: Final = {
    BuyerBy.DEVICE: SEEN_WINDOW + PLACED_BACK_MAX,
    # A network is known by its UTC day, so that later orders cannot ask for it.
    BuyerBy.ADDRESS: PLACED_BACK_MAX + timedelta(days=1),
}
"""How long after it was seen last an order may still ask for it."""
FORGET_ROWS_MAX: Final = 5_000


def note_sighting(
    session: Session, *, affiliate_id: int, marks: Mapping[UUID, BuyerBy], now: datetime
) -> None:
    """The affiliate's account is open here and now: in this browser, in this network."""
    rows = [
        {
            "affiliate_id": affiliate_id,
            "mark": mark,
            "kind": marks[mark].value,
            "first_seen_at": now,
            "last_seen_at": now,
        }
        for mark in sorted(marks)  # Two pages of one browser at once wait in one order.
    ]
    if not rows:
        return
    statement = insert(AffiliateSighting).values(rows)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["mark", "affiliate_id"],
            set_={
                "first_seen_at": sa.func.least(
                    AffiliateSighting.first_seen_at, statement.excluded.first_seen_at
                ),
                "last_seen_at": sa.func.greatest(
                    AffiliateSighting.last_seen_at, statement.excluded.last_seen_at
                ),
            },
        )
    )


def forget_sightings(session: Session, *, now: datetime) -> int:
    """Delete what no order can ask for any more; returns how many rows, a batch at most."""
    too_old = sa.or_(
        *(
            sa.and_(
                AffiliateSighting.kind == kind.value,
                AffiliateSighting.last_seen_at < now - kept,
            )
            for kind, kept in KEPT.items()
        )
    )
    old = (
        sa.select(AffiliateSighting.affiliate_id, AffiliateSighting.mark)
        .where(too_old)
        .limit(FORGET_ROWS_MAX)
        .with_for_update(skip_locked=True)
        .cte("old")
    )
    gone = session.execute(
        sa.delete(AffiliateSighting)
        .where(
            AffiliateSighting.affiliate_id == old.c.affiliate_id,
            AffiliateSighting.mark == old.c.mark,
        )
        .returning(AffiliateSighting.mark)
    )
    return len(gone.all())
