"""A person says that a click counts after all, against what filtered it.

The row loses its reason, and the counters of its day move by the loader's own arithmetic, in
the caller's transaction. It is never made unique: that a visitor came is known, not whether
they came first. Rule: docs/rules.md, "Claims and appeals".
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Conflict, NotFound
from affiliate.programs.models import Program
from tracker.clicks import arrays, rollups
from tracker.clicks.judging import QUARTER_MS, LinkFacts, slot_of
from tracker.clicks.marks import lock_programs
from tracker.clicks.models import Click
from tracker.clicks.rollups import PROGRAM_KINDS, Batch
from tracker.clicks.rules import CountedBy, DropReason, credits
from tracker.clicks.tokens import clicked_at_of


class ClickCounts(Conflict):
    code = "click_counts"
    title = "The click counts already, or credits as its original does."


def clear_click(
    session: Session, *, click_id: UUID, program_id: int, reason: str, by: str, now: datetime
) -> None:
    """Let a filtered click of the program count. Raises NotFound and ClickCounts."""
    connection: psycopg.Connection[Any] = session.connection().connection.driver_connection  # type: ignore[assignment]
    arrays.teach(connection)
    # The loader counts under the same lock, so that neither overtakes the other's numbers.
    lock_programs(connection, [program_id])
    click = session.scalar(
        sa.select(Click)
        .where(
            Click.click_id == click_id,
            Click.clicked_at == clicked_at_of(click_id),
            Click.program_id == program_id,
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if click is None:
        raise NotFound
    before = None if click.reason is None else DropReason(click.reason)
    if before is None or credits(before):
        raise ClickCounts
    click.reason = None
    session.flush()
    zone = session.get_one(Program, program_id).time_zone
    rollups.write(connection, _moved(click, before, zone), _nothing)
    audit.record(
        session, actor=by, action="click.clear", subject=f"click:{click_id}", scope=program_id,
        old={"reason": before.value}, new={"reason": None}, reason=reason, now=now,
    )  # fmt: skip


def _nothing() -> None:
    """What is done while PostgreSQL works: one click leaves nothing to do."""


def _moved(click: Click, before: DropReason, zone: str) -> Batch:
    """One click less among those left out, one more among those that count."""
    batch = Batch()
    facts = LinkFacts(click.program_id, click.enrollment_id, zone)
    slot = slot_of(zone, int(click.clicked_at.timestamp() * 1_000) // QUARTER_MS)
    rollups.add_sort(batch, click.link_id, facts, slot, before.value, click.device, -1)
    rollups.add_sort(batch, click.link_id, facts, slot, False, click.device, 1)
    rollups.sum_programs(batch)
    for kind in CountedBy:
        value = getattr(click, kind.value)
        if value is None:
            continue
        key = (click.enrollment_id, slot.day, click.link_id, kind.value, value)
        rollups.add(batch.link_values, key, 1, 0)
        if kind in PROGRAM_KINDS:
            rollups.add(batch.program_values, (click.program_id, slot.day, kind.value, value), 1, 0)
    return batch
