"""Which browser is heard of an order that the shop confirmed (pure).

Anybody can report an order id. The buyer's own page knows the order's total, comes after the
order was placed and is there first. Rule: docs/api.md, "Which browser is heard".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from affiliate.core.money import Money
from tracker.orders.rules import PLACED_AHEAD_MAX


@dataclass(frozen=True, slots=True)
class Word:
    """What one report of a browser said, and when it came."""

    total: Money
    received_at: datetime
    visitor: str | None
    clicks: tuple[str, ...]
    coupon: str | None = None
    customer: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What the shop says of the order, as far as a browser's word has to fit it."""

    total: Money
    placed_at: datetime | None
    """None: the shop did not say; a claim was confirmed as it stood."""
    visitor: str | None
    """Kopeck's own visitor id in the shop's cookies, where the shop's server sent it."""


def fits(word: Word, order: Confirmed) -> bool:
    """Whether it can be the buyer's page: the right total, not before the order was placed (a
    shop's clock may be ahead by as much as the API allows), the visitor whom the shop saw."""
    if word.total != order.total:
        return False
    if order.placed_at is not None and word.received_at < order.placed_at - PLACED_AHEAD_MAX:
        return False
    return order.visitor is None or word.visitor == order.visitor


def heard(words: Sequence[Word], order: Confirmed) -> tuple[Word, ...]:
    """Of words in the order in which they came: the first that fits, and what the same visitor's
    browser said later. A word without a visitor is nobody else's."""
    fitting = [word for word in words if fits(word, order)]
    if not fitting:
        return ()
    first = fitting[0]
    later = (word for word in fitting[1:] if word.visitor and word.visitor == first.visitor)
    return (first, *later)


def own_visitor(named: str | None) -> str | None:
    """The visitor as the pixel would name it; None where the shop sent an id of its own."""
    try:
        return UUID(named).hex if named else None
    except ValueError:
        return None
