"""The audit log: who changed what, from which value to which, and why. Append-only.

The database refuses every change but one: what an entry says of somebody who was erased is
emptied (docs/personal-data.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from affiliate.core.db import Model
from affiliate.core.log import request_id


class AuditEntry(Model):
    """One change by a person, a key or the system."""

    __tablename__ = "audit_log"
    __table_args__ = (sa.Index("ix_audit_log_subject", "subject", "id"),)

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    at: Mapped[datetime]
    actor: Mapped[str]
    """Who: `user:17`, `key:kpk_ab12`, `system:scheduler`, `cli`."""
    action: Mapped[str]
    """What was done, as a verb: `application.approve`."""
    subject: Mapped[str]
    """To what: `enrollment:4`."""
    scope: Mapped[int | None]
    """Number of the program it belongs to; none for the whole installation."""
    old: Mapped[dict[str, Any] | None]
    new: Mapped[dict[str, Any] | None]
    reason: Mapped[str | None]
    request_id: Mapped[str | None]


def record(
    session: Session,
    *,
    actor: str,
    action: str,
    subject: str,
    now: datetime,
    scope: int | None = None,
    old: dict[str, Any] | None = None,
    new: dict[str, Any] | None = None,
    reason: str | None = None,
) -> None:
    """Write one line into the log, in the caller's transaction."""
    session.execute(
        sa.insert(AuditEntry).values(
            at=now,
            actor=actor,
            action=action,
            subject=subject,
            scope=scope,
            old=old,
            new=new,
            reason=reason,
            request_id=request_id(),
        )
    )


def empty(
    session: Session,
    *,
    subjects: Sequence[str],
    keeping: Sequence[str] = (),
    only: Sequence[str] | None = None,
) -> None:
    """Take the values and reasons out of what is written about these.

    Of actions in `keeping` the reasons alone; `only`: of these actions and no others. Who did
    what and when stays: the database lets nothing else be changed.
    """
    about: sa.ColumnElement[bool] = AuditEntry.subject.in_(subjects)
    if only is not None:
        about = sa.and_(about, AuditEntry.action.in_(only))
    values = AuditEntry.action.not_in(keeping)
    session.execute(
        sa.update(AuditEntry)
        .where(about)
        .values(
            old=sa.case((values, sa.null()), else_=AuditEntry.old),
            new=sa.case((values, sa.null()), else_=AuditEntry.new),
            reason=None,
        )
        .execution_options(synchronize_session=False)
    )


def empty_reasons(session: Session, *, subjects: Sequence[str] | sa.Select[str]) -> None:
    """Take out why something was done to these: people's own words. What was done stays."""
    session.execute(
        sa.update(AuditEntry)
        .where(AuditEntry.subject.in_(subjects), AuditEntry.reason.is_not(None))
        .values(reason=None)
        .execution_options(synchronize_session=False)
    )


def by_user(user_id: int | None) -> str:
    """`user:17`; `system` for what the command line or the demo does."""
    return "system" if user_id is None else f"user:{user_id}"
