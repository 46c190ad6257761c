"""Calls that came before their order: kept, applied when it comes, or expired with an alert."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from tracker.orders.models import ParkedCall
from tracker.orders.refusals import RefundConflict
from tracker.orders.rules import content_hash

PARKED_DAYS: Final = 7
"""How long a call waits for its order."""
EXPIRE_ROWS_MAX: Final = 500

log = structlog.get_logger(__name__)


class Kind(StrEnum):
    """What waits."""

    REFUND = "refund"
    CONFIRMATION = "confirmation"
    CANCELLATION = "cancellation"


def park(
    session: Session,
    *,
    program_id: int,
    order_id: str,
    kind: Kind,
    call_id: str,
    body: Mapping[str, Any],
    now: datetime,
) -> bool:
    """Keep a call until its order comes. True when the same call was waiting already.

    Raises RefundConflict for a refund's id that waits with other content. A call that had
    expired, or had been refused, waits anew.
    """
    hashed = content_hash(body)
    made = insert(ParkedCall).values(
        program_id=program_id,
        order_id=order_id,
        kind=kind.value,
        call_id=call_id,
        body=dict(body),
        content_hash=hashed,
        received_at=now,
    )
    over = ParkedCall.expired_at.is_not(None) | ParkedCall.refused_reason.is_not(None)
    row = session.execute(
        made.on_conflict_do_update(
            index_elements=["program_id", "order_id", "kind", "call_id"],
            set_={
                "body": made.excluded.body,
                "content_hash": made.excluded.content_hash,
                "received_at": made.excluded.received_at,
                "expired_at": None,
                "refused_reason": None,
                "applied_at": None,
            },
            where=over,
        ).returning(ParkedCall.id)
    ).one_or_none()
    if row is not None:
        return False
    waiting = session.scalar(
        sa.select(ParkedCall.content_hash).where(
            ParkedCall.program_id == program_id,
            ParkedCall.order_id == order_id,
            ParkedCall.kind == kind.value,
            ParkedCall.call_id == call_id,
        )
    )
    if kind is Kind.REFUND and waiting != hashed:
        raise RefundConflict
    return True


def expire_parked(session: Session, *, now: datetime, rows_max: int = EXPIRE_ROWS_MAX) -> int:
    """Give up calls whose order never came, loudly: somebody should look. Returns how many."""
    due = (
        sa.select(ParkedCall.id)
        .where(
            ParkedCall.applied_at.is_(None),
            ParkedCall.refused_reason.is_(None),
            ParkedCall.expired_at.is_(None),
            ParkedCall.received_at <= now - timedelta(days=PARKED_DAYS),
        )
        .order_by(ParkedCall.id)
        .limit(rows_max)
        .with_for_update(skip_locked=True)
    )
    rows = session.execute(
        sa.update(ParkedCall)
        .where(ParkedCall.id.in_(due))
        .values(expired_at=now)
        .returning(ParkedCall.program_id, ParkedCall.order_id, ParkedCall.kind)
        .execution_options(synchronize_session=False)
    ).all()
    for row in rows:
        log.error(
            "parked_call.expired", program=row.program_id, order_id=row.order_id, kind=row.kind
        )
    return len(rows)
