"""An order in another currency than its program's: its rate, and its net in the program's.

An order keeps the rate that held when it was placed; its refunds and later decisions use the
same. One whose rate is not known yet is kept, decided, and earns when the rate is entered.
Rule: docs/rules.md, "Other currencies".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.exchange import Conversion, ExchangeRate, conversion, convert
from affiliate.core.money import MAJOR_UNITS_MAX, MICROS, Money
from affiliate.rates.lookup import KnownRate, rate_at, rate_by_id, takes_currency
from tracker.orders.models import Order

NOT_CONVERTED: Final = {
    "converted_to": None,
    "exchange_rate_id": None,
    "rate_scaled": None,
    "converted_net_micros": None,
}


@dataclass(frozen=True, slots=True)
class Exchange:
    """Into which currency an order goes, and by which rate."""

    target: str
    """The program's."""
    known: KnownRate | None
    """None: no rate for the order's day is known yet."""

    def fits(self, net: Money) -> bool:
        """Whether the net is no more than any order may be, in the program's currency too."""
        most = Money(MAJOR_UNITS_MAX * MICROS, self.target)
        return self.known is None or convert(net, self.known.rate) <= most

    def columns(self, net: Money) -> dict[str, Any]:
        """What the order's row keeps of it."""
        if self.known is None:
            return {**NOT_CONVERTED, "converted_to": self.target}
        return {
            "converted_to": self.target,
            "exchange_rate_id": self.known.id,
            "rate_scaled": self.known.rate.scaled,
            "converted_net_micros": convert(net, self.known.rate).micros,
        }


class KeepsRate(Protocol):
    """Of an order's row what says how it is converted."""

    @property
    def currency(self) -> str: ...
    @property
    def net_micros(self) -> int: ...
    @property
    def refunded_net_micros(self) -> int: ...
    @property
    def converted_to(self) -> str | None: ...
    @property
    def rate_scaled(self) -> int | None: ...


class SaleNet(NamedTuple):
    """The net of an order as commissions are reckoned of it, in the program's currency."""

    net: Money
    """Zero as long as it is not converted."""
    converted: Conversion | None = None
    unconverted: Money | None = None
    """The net that waits for its rate."""


def exchange_for(
    session: Session,
    *,
    program_id: int,
    target: str,
    zone: str,
    currency: str,
    placed_at: datetime,
) -> Exchange | None:
    """How an order of this currency is converted.

    None: it is in the program's `target` itself, or in a currency that the program does not
    take. Asks the database only of other currencies.
    """
    if currency == target or not takes_currency(session, program_id=program_id, currency=currency):
        return None
    known = rate_at(
        session,
        program_id=program_id,
        source=currency,
        target=target,
        placed_at=placed_at,
        zone=zone,
    )
    return Exchange(target, known)


def kept_exchange(session: Session, order: Order) -> Exchange | None:
    """The rate that an order has for life; None: it has none (yet)."""
    if order.converted_to is None or order.exchange_rate_id is None:
        return None
    return Exchange(order.converted_to, rate_by_id(session, order.exchange_rate_id))


def sale_net(net: Money, exchange: Exchange | None) -> SaleNet:
    """Of an order that is not written yet."""
    if exchange is None:
        return SaleNet(net)
    rate = None if exchange.known is None else exchange.known.rate
    return _sale_net(net, exchange.target, rate)


def sale_net_of(order: KeepsRate) -> SaleNet:
    """Of an order's row."""
    net = Money(order.net_micros, order.currency)
    if order.converted_to is None:
        return SaleNet(net)
    return _sale_net(net, order.converted_to, _rate_of(order))


def refunded_net_of(order: KeepsRate) -> Money:
    """What of the net has come back so far, in the program's currency.

    The sum is converted, not each refund: parts that sum to the net convert to all of it.
    """
    return in_program(order, order.refunded_net_micros)


def in_program(order: KeepsRate, net_micros: int) -> Money:
    """So much of an order's net, in the program's currency; nothing as long as it has no rate."""
    part = Money(net_micros, order.currency)
    if order.converted_to is None:
        return part
    rate = _rate_of(order)
    return Money.zero(order.converted_to) if rate is None else convert(part, rate)


NET_IN_PROGRAM: Final = sa.case(
    (Order.converted_to.is_(None), Order.net_micros),
    else_=sa.func.coalesce(Order.converted_net_micros, 0),
)
"""The same of rows in a question; nothing of what is not converted yet."""


def _sale_net(net: Money, target: str, rate: ExchangeRate | None) -> SaleNet:
    if rate is None:
        return SaleNet(Money.zero(target), unconverted=net)
    converted = conversion(net, rate)
    return SaleNet(converted.amount, converted=converted)


def _rate_of(order: KeepsRate) -> ExchangeRate | None:
    if order.converted_to is None or order.rate_scaled is None:
        return None
    return ExchangeRate(order.currency, order.converted_to, order.rate_scaled)
