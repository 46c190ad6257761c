"""What became of a click, for its affiliate and for the decisions that wait for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tracker.clicks.models import Click
from tracker.clicks.rules import DropReason, Verdict
from tracker.clicks.tokens import clicked_at_of, is_click_id


@dataclass(frozen=True, slots=True)
class ClickReceipt:
    """A recorded click as its affiliate may see it. No address, no agent: they name people."""

    click_id: UUID
    link_id: int
    program_id: int
    enrollment_id: int
    clicked_at: datetime
    verdict: Verdict
    is_unique: bool
    referrer: str
    deep_link: str | None
    deep_link_refused: bool
    sub_ids: tuple[str | None, ...]
    """`s1` to `s5`."""


def receipt(session: Session, *, click_id: UUID) -> ClickReceipt | None:
    """The click's receipt; None when it was never made, or is not loaded yet.

    The id names the instant, so one partition is read.
    """
    if not is_click_id(click_id):
        return None
    row = session.scalar(
        sa.select(Click).where(
            Click.click_id == click_id, Click.clicked_at == clicked_at_of(click_id)
        )
    )
    return None if row is None else _receipt(row)


def click_verdicts(session: Session, click_ids: Iterable[UUID]) -> dict[UUID, Verdict]:
    """The verdicts of those clicks that are loaded; one that is absent is not loaded yet.

    A decision that waits for `click_check` asks here: `Verdict.credits` False voids it.
    """
    wanted = [click_id for click_id in click_ids if is_click_id(click_id)]
    if not wanted:
        return {}
    times = [clicked_at_of(click_id) for click_id in wanted]
    rows = session.execute(
        sa.select(Click.click_id, Click.link_id, Click.clicked_at, Click.reason).where(
            Click.click_id.in_(wanted),
            Click.clicked_at >= min(times),
            Click.clicked_at < max(times) + timedelta(milliseconds=1),
        )
    )
    return {
        row.click_id: _verdict(row.click_id, row.link_id, row.clicked_at, row.reason)
        for row in rows
    }


def visitor_clicks(
    session: Session, *, visitor_id: UUID, program_id: int, since: datetime, until: datetime
) -> list[ClickReceipt]:
    """The loaded clicks of a visitor in a program, `since` ≤ instant ≤ `until`, oldest first."""
    rows = session.scalars(
        sa.select(Click)
        .where(
            Click.visitor_id == visitor_id,
            Click.program_id == program_id,
            Click.clicked_at.between(since, until),
        )
        .order_by(Click.clicked_at, Click.click_id)
    )
    return [_receipt(row) for row in rows]


def _receipt(row: Click) -> ClickReceipt:
    return ClickReceipt(
        click_id=row.click_id,
        link_id=row.link_id,
        program_id=row.program_id,
        enrollment_id=row.enrollment_id,
        clicked_at=row.clicked_at,
        verdict=_verdict(row.click_id, row.link_id, row.clicked_at, row.reason),
        is_unique=row.is_unique,
        referrer=row.referrer,
        deep_link=row.deep_link,
        deep_link_refused=row.deep_link_refused,
        sub_ids=(row.s1, row.s2, row.s3, row.s4, row.s5),
    )


def _verdict(click_id: UUID, link_id: int, clicked_at: datetime, reason: str | None) -> Verdict:
    return Verdict(click_id, link_id, clicked_at, None if reason is None else DropReason(reason))
