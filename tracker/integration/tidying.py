"""What the integration's tables keep, and how many rows at most."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.programs.models import Program
from tracker.integration.models import CanaryRun, IntegrationFact, RefusedCall, TestOrder

KEEP: Final = timedelta(days=30)
FACTS_KEEP: Final = timedelta(days=400)
REFUSED_ROWS_MAX: Final = 5_000
TEST_ROWS_MAX: Final = 500
RUN_ROWS_MAX: Final = 9_000
"""A month of walks every five minutes."""


def tidy(session: Session, *, now: datetime) -> int:
    """Delete what is older than a month, and of each program what is beyond its rows."""
    gone = 0
    limits: tuple[tuple[Any, Any, int], ...] = (
        (RefusedCall, RefusedCall.last_at, REFUSED_ROWS_MAX),
        (TestOrder, TestOrder.received_at, TEST_ROWS_MAX),
        (CanaryRun, CanaryRun.begun_at, RUN_ROWS_MAX),
    )
    for model, at, rows_max in limits:
        gone += _deleted(session, sa.delete(model).where(at < now - KEEP))
        for program_id in session.scalars(sa.select(Program.id).order_by(Program.id)).all():
            mine = model.program_id == program_id
            beyond = (
                sa.select(model.id).where(mine).order_by(model.id.desc()).offset(rows_max)
            ).scalar_subquery()
            gone += _deleted(session, sa.delete(model).where(mine, model.id.in_(beyond)))
    old = IntegrationFact.last_at < now - FACTS_KEEP
    return gone + _deleted(session, sa.delete(IntegrationFact).where(old))


def _deleted(session: Session, statement: sa.Delete) -> int:
    result: Any = session.execute(statement)
    return int(result.rowcount)
