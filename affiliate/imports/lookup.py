"""What the program before said of an affiliate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.money import Money
from affiliate.imports.models import FormerMonth

MONTHS_SHOWN_MAX = 60


@dataclass(frozen=True, slots=True)
class Former:
    """One month of an affiliate, as the merchant's file has it."""

    month: date
    clicks: int
    orders: int
    sales: Money
    earned: Money
    paid: Money


def former_months(session: Session, *, enrollment_id: int, currency: str) -> list[Former]:
    """The latest first, at most MONTHS_SHOWN_MAX; amounts in the program's `currency`."""
    rows = session.scalars(
        sa.select(FormerMonth)
        .where(FormerMonth.enrollment_id == enrollment_id)
        .order_by(FormerMonth.month.desc())
        .limit(MONTHS_SHOWN_MAX)
    )
    return list(_read(rows, currency))


def _read(rows: sa.ScalarResult[FormerMonth], currency: str) -> Iterator[Former]:
    for row in rows:
        amounts = (row.sales_micros, row.earned_micros, row.paid_micros)
        sales, earned, paid = (Money(micros, currency) for micros in amounts)
        yield Former(row.month, row.clicks, row.orders, sales, earned, paid)
