"""Business time. Verbs and SQL get `now` from here and never ask the server's clock.

In demo and test mode one row holds an offset, so that a hold period can pass while one
watches. Production ignores the row and refuses to move it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from flask import current_app, has_app_context
from sqlalchemy.orm import Mapped, Session, mapped_column

from affiliate.core.config import Settings
from affiliate.core.db import Model
from affiliate.core.errors import Forbidden

OFFSET_S_MAX = 10 * 366 * 86_400


class ClockOffset(Model):
    """The demo clock: a single row."""

    __tablename__ = "clock_offset"
    __table_args__ = (sa.CheckConstraint("id = 1", name="single_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seconds: Mapped[int]
    """How far business time runs ahead of real time, in seconds."""


_OFFSET = sa.select(ClockOffset.seconds).where(ClockOffset.id == 1)


class ClockRefused(Forbidden):
    code = "clock_refused"
    title = "The clock can be moved in demo mode alone, and only forward."


def real_now() -> datetime:
    """The machine's clock in UTC, for logs, leases and time limits, never for business."""
    return datetime.now(UTC)


def now(session: Session, settings: Settings | None = None) -> datetime:
    """Business time in UTC, to the microsecond."""
    if (settings or _settings()).production:
        return real_now()
    return real_now() + offset(session)


def offset(session: Session) -> timedelta:
    """How far the demo clock was moved."""
    seconds = session.connection().scalar(_OFFSET)
    return timedelta(seconds=seconds or 0)


def advance(session: Session, *, by: timedelta, settings: Settings | None = None) -> timedelta:
    """Move business time forward; refused in production. Returns the new offset."""
    seconds = int(by.total_seconds())
    moved = offset(session) + timedelta(seconds=seconds)
    if (settings or _settings()).production or seconds < 0:
        raise ClockRefused
    if moved.total_seconds() > OFFSET_S_MAX:
        raise ClockRefused("The demo clock cannot run more than ten years ahead.")
    insert = sa.dialects.postgresql.insert(ClockOffset).values(id=1, seconds=seconds)
    session.execute(
        insert.on_conflict_do_update(
            index_elements=["id"], set_={"seconds": ClockOffset.seconds + insert.excluded.seconds}
        )
    )
    return moved


def _settings() -> Settings:
    if not has_app_context():
        raise RuntimeError("outside the application, pass the settings to clock.now()")
    settings: Settings = current_app.extensions["kopeck.settings"]
    return settings
