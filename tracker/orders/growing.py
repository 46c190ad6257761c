"""A refund to which a shop's system adds under the same id: what is news of it is a part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.money import Money, total
from tracker.orders.models import Order, ParkedCall, Refund
from tracker.orders.parked import Kind
from tracker.orders.rules import RefundIn, refund_from

PART: Final = "+"
"""Between a refund's id and what it came to, in micros, in the id of a further part."""


def known_parts(
    session: Session, *, program_id: int, order_id: str, order: Order | None, refund_id: str
) -> list[RefundIn]:
    """The refund of this id and its further parts, applied or waiting for their order."""
    waiting = sa.select(ParkedCall.body).where(
        ParkedCall.program_id == program_id,
        ParkedCall.order_id == order_id,
        ParkedCall.kind == Kind.REFUND.value,
        _is_of(ParkedCall.call_id, refund_id),
        ParkedCall.applied_at.is_(None),
        ParkedCall.refused_reason.is_(None),
        ParkedCall.expired_at.is_(None),
    )
    found = list(session.scalars(waiting.order_by(ParkedCall.id)))
    if order is not None:
        applied = sa.select(Refund.body).where(
            Refund.order_id == order.id, _is_of(Refund.refund_id, refund_id)
        )
        found = [*session.scalars(applied.order_by(Refund.id)), *found]
    return [refund_from(body) for body in found]


def further_part(refund: RefundIn, known: Sequence[RefundIn]) -> RefundIn | None:
    """What the refund has in addition to its parts; the refund itself where there are none, None
    where there is nothing.

    Tax and shipping are those of the whole refund: what earlier parts named of them is not named
    again, and where the rest is larger than the part, neither is.
    """
    amounts = [part.amount for part in known if part.amount is not None]
    if not known or refund.amount is None or len(amounts) < len(known):
        return refund
    currency = refund.amount.currency
    if any(amount.currency != currency for amount in amounts):
        return refund
    left = refund.amount - total(amounts, currency)
    if left.micros <= 0:
        return None
    tax = _rest(refund.tax, [part.tax for part in known], currency)
    shipping = _rest(refund.shipping, [part.shipping for part in known], currency)
    if tax is None or shipping is None or tax + shipping > left:
        tax = shipping = None
    return RefundIn(
        f"{refund.refund_id}{PART}{refund.amount.micros}",
        amount=left,
        tax=tax,
        shipping=shipping,
        reason=refund.reason,
    )


def _rest(whole: Money | None, named: Sequence[Money | None], currency: str) -> Money | None:
    if whole is None:
        return None
    rest = whole - total((each for each in named if each is not None), currency)
    return max(rest, Money.zero(currency))


def _is_of(column: sa.orm.InstrumentedAttribute[str], refund_id: str) -> sa.ColumnElement[bool]:
    return sa.or_(column == refund_id, column.startswith(refund_id + PART, autoescape=True))
