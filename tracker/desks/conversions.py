"""How an order in another currency was converted, for the pages that show it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from sqlalchemy.orm import Session

from affiliate.core.money import Money
from tracker.orders.converting import kept_exchange, refunded_net_of, sale_net_of
from tracker.orders.models import Order


@dataclass(frozen=True, slots=True)
class Converted:
    """What a page says of it."""

    target: str
    """The program's currency."""
    net: Money | None
    """In it; None as long as the rate is not known."""
    refunded_net: Money
    rate: str | None
    """So much of the program's currency for one: `98.1234`."""
    rate_from: date | None


def converted_of(session: Session, order: Order) -> Converted | None:
    """None for an order in the program's own currency."""
    if order.converted_to is None:
        return None
    exchange = kept_exchange(session, order)
    refunded = refunded_net_of(order)
    if exchange is None or exchange.known is None:
        return Converted(order.converted_to, None, refunded, None, None)
    known = exchange.known
    net = sale_net_of(order).net
    return Converted(order.converted_to, net, refunded, known.rate.decimal, known.valid_from)
