"""Search for anything that finance is asked about: order, transfer, affiliate, batch."""

from __future__ import annotations

from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import ids
from affiliate.core.money import Money
from affiliate.people.models import Affiliate, Enrollment, User
from affiliate.programs.models import Program
from payouts.batches.models import PayoutAttempt, PayoutBatch, PayoutItem
from payouts.commissions.models import Commission
from tracker.desks.finance.blueprint import BATCH, ITEM
from tracker.orders.models import Order

QUERY_CHARS_MAX = 200
FOUND_MAX = 25
NUMBER_DIGITS_MAX = 9


@dataclass(frozen=True)
class FoundPayout:
    item: PayoutItem
    affiliate: str
    batch_number: int
    transfer_id: str | None

    @property
    def public(self) -> str:
        return ids.public_id(ITEM, self.item.id)

    @property
    def amount(self) -> Money:
        return Money(self.item.amount_micros, self.item.currency)


@dataclass(frozen=True)
class FoundOrder:
    order: Order
    affiliate: str | None
    earned: Money
    level: int | None
    status: str


@dataclass(frozen=True)
class Found:
    """What fits, by kind."""

    batches: list[tuple[str, PayoutBatch, Program]] = field(default_factory=list)
    payouts: list[FoundPayout] = field(default_factory=list)
    affiliates: list[tuple[Enrollment, Affiliate, User]] = field(default_factory=list)
    orders: list[FoundOrder] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.batches or self.payouts or self.affiliates or self.orders)


def search(session: Session, *, programs: dict[int, Program], text: str) -> Found:
    """Everything of these programs that the text names; nothing for an empty one."""
    text = " ".join(text.split())[:QUERY_CHARS_MAX].replace("\0", "")
    if not text or not programs:
        return Found()
    people = _affiliates(session, programs, text)
    return Found(
        batches=_batches(session, programs, text),
        payouts=_payouts(session, programs, text, [enrollment.id for enrollment, _a, _u in people]),
        affiliates=people,
        orders=_orders(session, programs, text),
    )


def like(text: str) -> str:
    """A pattern that finds the text anywhere; `%` and `_` in it mean themselves."""
    escaped = text.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
    return f"%{escaped}%"


def _batches(
    session: Session, programs: dict[int, Program], text: str
) -> list[tuple[str, PayoutBatch, Program]]:
    number = text.removeprefix("#").strip()
    if not (number.isascii() and number.isdigit() and len(number) <= NUMBER_DIGITS_MAX):
        return []
    rows = session.scalars(
        sa.select(PayoutBatch)
        .where(PayoutBatch.program_id.in_(programs), PayoutBatch.number == int(number))
        .order_by(PayoutBatch.id.desc())
        .limit(FOUND_MAX)
    )
    return [(ids.public_id(BATCH, row.id), row, programs[row.program_id]) for row in rows]


def _affiliates(
    session: Session, programs: dict[int, Program], text: str
) -> list[tuple[Enrollment, Affiliate, User]]:
    pattern = like(text)
    rows = session.execute(
        sa.select(Enrollment, Affiliate, User)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .join(User, User.id == Affiliate.user_id)
        .where(
            Enrollment.program_id.in_(programs),
            sa.or_(Affiliate.name.ilike(pattern), User.email.ilike(pattern)),
        )
        .order_by(Affiliate.name, Enrollment.id)
        .limit(FOUND_MAX)
    )
    return [(row[0], row[1], row[2]) for row in rows]


def _payouts(
    session: Session, programs: dict[int, Program], text: str, enrollments: list[int]
) -> list[FoundPayout]:
    """By the provider's transfer id or the reference that a person typed, else by affiliate."""
    rows = session.execute(
        sa.select(PayoutItem, Affiliate.name, PayoutBatch.number, PayoutAttempt.transfer_id)
        .join(PayoutBatch, PayoutBatch.id == PayoutItem.batch_id)
        .join(Enrollment, Enrollment.id == PayoutItem.enrollment_id)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .outerjoin(
            PayoutAttempt,
            sa.and_(PayoutAttempt.item_id == PayoutItem.id, PayoutAttempt.status != "failed"),
        )
        .where(
            PayoutBatch.program_id.in_(programs),
            sa.or_(
                PayoutAttempt.transfer_id == text,
                PayoutAttempt.transfer_id == sa.func.concat("manual:", PayoutItem.id, ":", text),
                PayoutAttempt.transfer_id == sa.func.concat("bank:", PayoutItem.id, ":", text),
                PayoutItem.enrollment_id.in_(enrollments),
            ),
        )
        .order_by(PayoutItem.id.desc())
        .limit(FOUND_MAX)
    )
    return [FoundPayout(*row) for row in rows]


def _orders(session: Session, programs: dict[int, Program], text: str) -> list[FoundOrder]:
    rows = session.execute(
        sa.select(Order, Commission, Affiliate.name)
        .outerjoin(Commission, Commission.reference == sa.func.concat("order:", Order.id))
        .outerjoin(Enrollment, Enrollment.id == Commission.enrollment_id)
        .outerjoin(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .where(Order.program_id.in_(programs), Order.order_id == text)
        .order_by(Order.id, Commission.decision, Commission.level)
        .limit(FOUND_MAX)
    )
    return [
        FoundOrder(
            order,
            name,
            Money(
                0 if c is None or c.voided_at else c.amount_micros - c.reversed_micros,
                order.converted_to or order.currency,
            ),
            None if c is None else c.level,
            _commission_status(c, order),
        )
        for order, c, name in rows
    ]


def _commission_status(commission: Commission | None, order: Order) -> str:
    if commission is None:
        return order.status
    if commission.voided_at:
        return "voided"
    return "available" if commission.released_at else "pending"
