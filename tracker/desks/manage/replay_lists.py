"""Trials of drafts as lists show them; a result is large, so that its sums alone are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from babel.dates import format_date
from flask_babel import get_locale
from sqlalchemy.orm import Session, aliased

from affiliate.core.money import Money
from affiliate.programs.models import Program
from tracker.desks.manage import people
from tracker.replay.models import RuleReplay
from tracker.replay.runs import OPEN, Status

SHOWN_MAX: Final = 50


@dataclass(frozen=True, slots=True)
class Entry:
    """A trial in a list."""

    id: int
    name: str
    """Of the draft, as it was called then."""
    first: date
    last: date
    status: Status
    shadow: bool
    asked_at: datetime
    by: str | None
    """None: whoever it was is gone, or the schedule asked."""
    orders: int | None
    difference: Money | None
    """What the draft would have cost more; None before the trial is done."""

    @property
    def days(self) -> str:
        return span_in_words(self.first, self.last)


def of_draft(session: Session, program: Program, draft_id: int) -> list[Entry]:
    """Those of a draft, the newest first; of a shadow the latest day alone."""
    return _entries(session, program, _latest().where(RuleReplay.draft_id == draft_id))


def of_program(session: Session, program: Program, before_id: int | None) -> list[Entry]:
    """Those of all drafts, closed ones among them; one more than is shown."""
    query = _latest(SHOWN_MAX + 1).where(RuleReplay.program_id == program.id)
    if before_id is not None:
        query = query.where(RuleReplay.id < before_id)
    return _entries(session, program, query)


def of_shadow(session: Session, program: Program, shadow_id: int) -> list[Entry]:
    """Every day of a shadow that is kept, the latest first."""
    query = _columns().where(RuleReplay.shadow_id == shadow_id).limit(SHOWN_MAX)
    return _entries(session, program, query)


def any_of(session: Session, program: Program) -> bool:
    """Whether the program has a trial at all."""
    query = sa.select(sa.literal(1)).where(RuleReplay.program_id == program.id).limit(1)
    return session.scalar(query) is not None


def under_way(trial: RuleReplay | Entry) -> bool:
    """Whether it waits or runs."""
    return trial.status in OPEN


def days_of(begins: datetime, ends: datetime, zone: str) -> tuple[date, date]:
    """First and last day of [begins, ends), as the program counts days."""
    local = ZoneInfo(zone)
    last = (ends - timedelta(microseconds=1)).astimezone(local).date()
    return begins.astimezone(local).date(), last


def span_in_words(first: date, last: date) -> str:
    """`3 Nov – 30 Nov 2026`."""
    locale = get_locale()
    ends = str(format_date(last, "d MMM yyyy", locale=locale))
    if first == last:
        return ends
    shape = "d MMM" if first.year == last.year else "d MMM yyyy"
    return f"{format_date(first, shape, locale=locale)} – {ends}"


def _columns() -> sa.Select[Any]:
    found = RuleReplay
    return sa.select(
        found.id, found.name, found.begins, found.ends, found.status, found.shadow_id,
        found.asked_at, found.asked_by, found.result["orders"].label("orders"),
        found.result["cost"].label("cost"),
    ).order_by(found.id.desc())  # fmt: skip


def _latest(rows_max: int = SHOWN_MAX) -> sa.Select[Any]:
    """Of each shadow its newest trial."""
    newer = aliased(RuleReplay)
    later = sa.exists().where(newer.shadow_id == RuleReplay.shadow_id, newer.id > RuleReplay.id)
    return _columns().where(~later).limit(rows_max)


def _entries(session: Session, program: Program, query: sa.Select[Any]) -> list[Entry]:
    found = session.execute(query).all()
    names = _names(session, found)
    return [
        Entry(
            row.id,
            row.name,
            *days_of(row.begins, row.ends, program.time_zone),
            Status(row.status),
            row.shadow_id is not None,
            row.asked_at,
            names.get(f"user:{row.asked_by}"),
            row.orders,
            None
            if row.cost is None
            else Money(row.cost["would"] - row.cost["booked"], program.currency),
        )
        for row in found
    ]


def _names(session: Session, found: Sequence[Any]) -> dict[str, str]:
    return people.user_names(session, {f"user:{row.asked_by}" for row in found})
