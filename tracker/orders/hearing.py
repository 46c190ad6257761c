"""Which browser is heard of an order that the shop confirmed (pure).

Anybody can report an order id. The buyer's own page knows the order's total, comes when the
order is placed or told of, and is there first. Rule: docs/api.md, "Which browser is heard".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from affiliate.core.money import Money

PAGE_AHEAD_MAX: Final = timedelta(minutes=1)
"""By how much a shop's clock may be ahead of ours, or its page's report of its server's word."""
PAGE_AROUND_MAX: Final = timedelta(hours=1)
"""How long after the order was placed, or around the server's word, its page may still report: a
payment elsewhere takes minutes, and one that a page retries no longer than its visit."""


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
    told_at: datetime
    """When the shop's server first reported it."""
    visitor: str | None
    """Kopeck's own visitor id in the shop's cookies, where the shop's server sent it."""


@dataclass(frozen=True, slots=True)
class Hearing:
    """Whose words count."""

    words: tuple[Word, ...] = ()
    """Of one browser, in the order in which they came; none where no word fits."""
    contested_by: tuple[Word, ...] = ()
    """Words of others that fit as well and name other clicks: one of them is not the buyer."""


def fits(word: Word, order: Confirmed) -> bool:
    """Whether it can be the buyer's page: the right total, the right time, the visitor whom the
    shop saw."""
    if word.total != order.total or not _in_time(word.received_at, order):
        return False
    return order.visitor is None or word.visitor == order.visitor


def _in_time(at: datetime, order: Confirmed) -> bool:
    """Not before the order was placed, and soon after that or around the server's word of it.

    What a server has told was placed by then, however far its clock is ahead.
    """
    if order.placed_at is None:
        return True
    if at < min(order.placed_at, order.told_at) - PAGE_AHEAD_MAX:
        return False
    return at <= order.placed_at + PAGE_AROUND_MAX or abs(at - order.told_at) <= PAGE_AROUND_MAX


def hear(words: Sequence[Word], order: Confirmed) -> Hearing:
    """Of words in the order in which they came: the first that fits, and what the same visitor's
    browser said later. A word without a visitor is nobody else's."""
    fitting = [word for word in words if fits(word, order)]
    if not fitting:
        return Hearing()
    first, *rest = fitting
    later = [word for word in rest if word.visitor and word.visitor == first.visitor]
    known = {token for word in (first, *later) for token in word.clicks}
    others = [word for word in rest if word not in later and not known.issuperset(word.clicks)]
    return Hearing((first, *later), tuple(others) if known else ())


def own_visitor(named: str | None) -> str | None:
    """The visitor as the pixel would name it; None where the shop sent an id of its own."""
    try:
        return UUID(named).hex if named else None
    except ValueError:
        return None
