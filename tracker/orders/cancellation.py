"""An order is cancelled: everything that it earned is voided, nothing is forgotten."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from tracker.orders import parked
from tracker.orders.effects import apply_cancellation
from tracker.orders.records import find_order, lock_order_id


def cancel_order(
    session: Session,
    *,
    program_id: int,
    order_id: str,
    reason: str | None,
    now: datetime,
    by: str = "system",
) -> bool | None:
    """Void everything of the order; who did it and why stands in the audit log.

    True: cancelled now; False: it was already; None: parked, the order is not known yet.
    """
    order = find_order(session, program_id=program_id, order_id=order_id)
    if order is None:
        lock_order_id(session, program_id=program_id, order_id=order_id)
        order = find_order(session, program_id=program_id, order_id=order_id)
    if order is None:
        parked.park(
            session,
            program_id=program_id,
            order_id=order_id,
            kind=parked.Kind.CANCELLATION,
            call_id="",
            body={"reason": reason, "by": by},
            now=now,
        )
        return None
    return apply_cancellation(session, order=order, reason=reason, by=by, now=now)
