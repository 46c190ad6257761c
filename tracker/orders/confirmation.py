"""A browser's order is confirmed: by the shop's server, a signed token or a person."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import NotFound
from affiliate.core.money import Money
from tracker.orders import parked
from tracker.orders.effects import apply_confirmation
from tracker.orders.records import find_order, lock_order_id
from tracker.orders.waiting import apply_waiting


def confirm_order(
    session: Session,
    *,
    program_id: int,
    order_id: str,
    total: Money | None,
    by: str,
    now: datetime,
) -> bool | None:
    """Confirm what a browser claimed; `total` is compared with the claim where it is given.

    True: confirmed now; False: it was already; None: parked, the order is not known yet.
    Raises OrderCancelled and TotalDiffers.
    """
    program = lock_order_id(session, program_id=program_id, order_id=order_id)
    order = find_order(session, program_id=program_id, order_id=order_id)
    if order is None:
        parked.park(
            session,
            program_id=program_id,
            order_id=order_id,
            kind=parked.Kind.CONFIRMATION,
            call_id="",
            body={
                "total": total and {"micros": total.micros, "currency": total.currency},
                "by": by,
            },
            now=now,
        )
        return None
    if not apply_confirmation(session, order=order, total=total, by=by, now=now):
        return False
    apply_waiting(session, order=order, program=program, now=now)
    return True


def confirm_by_person(
    session: Session, *, program_id: int, order_id: str, user_id: int, now: datetime
) -> bool:
    """A manager confirms a browser's order. False: it was confirmed already."""
    order = find_order(session, program_id=program_id, order_id=order_id, lock=False)
    if order is None:
        raise NotFound
    by = f"user:{user_id}"
    confirmed = confirm_order(
        session, program_id=program_id, order_id=order_id, total=None, by=by, now=now
    )
    if confirmed:
        audit.record(
            session, actor=by, action="order.confirm", subject=f"order:{order.id}",
            scope=program_id, now=now,
        )  # fmt: skip
    return bool(confirmed)
