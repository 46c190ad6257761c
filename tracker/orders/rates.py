"""Orders that waited for their exchange rate: once it is known they are converted and earn."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
import structlog
from rq.timeouts import BaseTimeoutException
from sqlalchemy.orm import Session

from affiliate.core.money import Money
from payouts.commissions.rules import VoidReason
from tracker.attribution.decide import decide_again
from tracker.orders.converting import exchange_for
from tracker.orders.models import Order
from tracker.orders.records import program_facts, subject_of

CONVERT_ROWS_MAX: Final = 200

_AWAITS: Final = "o.converted_to IS NOT NULL AND o.rate_scaled IS NULL"
# Only what can be converted: those that go on waiting never stand before those that need not.
_DUE: Final = sa.text(
    f"""
    SELECT o.id FROM orders o JOIN programs p ON p.id = o.program_id
    WHERE {_AWAITS} AND o.status <> 'cancelled' AND o.id > :after AND EXISTS (
        SELECT FROM exchange_rates r
        WHERE r.program_id = o.program_id AND r.source = o.currency
          AND CAST(o.placed_at AT TIME ZONE p.time_zone AS date) - r.valid_from
              BETWEEN 0 AND p.rate_days_max)
    ORDER BY o.id LIMIT :rows_max
    """  # noqa: S608 -- the part is a constant, every value is bound
)
_WAITING: Final = sa.text(
    f"""
    SELECT o.currency, CAST(o.placed_at AT TIME ZONE p.time_zone AS date) AS day,
           count(*) AS orders
    FROM orders o JOIN programs p ON p.id = o.program_id
    WHERE {_AWAITS} AND o.status <> 'cancelled' AND o.program_id = :program_id
    GROUP BY 1, 2 ORDER BY 2, 1
    """  # noqa: S608 -- as above
)

log = structlog.get_logger(__name__)


def convert_waiting(session: Session, *, now: datetime, rows_max: int = CONVERT_ROWS_MAX) -> int:
    """Convert orders whose rate has been entered since they came. Returns how many.

    Each is decided again, so that it earns by what is known now. Orders that somebody holds right
    now, and those that cannot be converted, are left for the next run; the others go on.
    """
    done, after = 0, 0
    while done < rows_max:
        due = session.scalars(_DUE, {"after": after, "rows_max": rows_max}).all()
        done += sum(_convert_alone(session, order_row_id, now) for order_row_id in due)
        if len(due) < rows_max:
            break
        after = due[-1]
    return done


def waiting_for_rates(session: Session, *, program_id: int) -> Sequence[Any]:
    """Which rates are missing: `currency`, `day` in the program's zone, how many `orders`."""
    return session.execute(_WAITING, {"program_id": program_id}).all()


def _convert_alone(session: Session, order_row_id: int, now: datetime) -> bool:
    order = session.scalar(
        sa.select(Order)
        .where(Order.id == order_row_id)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    if order is None:
        return False
    try:
        with session.begin_nested():
            return _convert(session, order, now)
    except BaseTimeoutException:
        raise
    except Exception:
        log.exception("order.not_converted", order_id=order.order_id)
        return False


def _convert(session: Session, order: Order, now: datetime) -> bool:
    """Convert a locked order, if it still waits and its rate is known."""
    if order.converted_to is None or order.rate_scaled is not None or order.cancelled_at:
        return False
    program = program_facts(session, order.program_id)
    net = Money(order.net_micros, order.currency)
    exchange = exchange_for(
        session,
        program_id=program.id,
        target=program.currency,
        zone=program.time_zone,
        currency=order.currency,
        placed_at=order.placed_at,
    )
    if exchange is None or exchange.known is None:
        return False
    if not exchange.fits(net):
        raise ValueError(f"{net} is more in {program.currency} than an order may be")
    for name, value in exchange.columns(net).items():
        setattr(order, name, value)
    session.flush()
    decide_again(session, order=subject_of(order, program), reason=VoidReason.RATE_ENTERED, now=now)
    log.info("order.converted", order_id=order.order_id, rate=exchange.known.rate.decimal)
    return True
