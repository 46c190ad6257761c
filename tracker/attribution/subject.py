"""An order as attribution reads it, and the words for what its commissions wait for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from affiliate.core.exchange import Conversion
from affiliate.core.money import Money

REFERENCE: Final = "order:"
"""How payouts names an order, before its row's id."""


class WaitsFor(StrEnum):
    """What a commission waits for besides its hold period."""

    CONFIRMATION = "confirmation"
    CLICK_CHECK = "click_check"
    REVIEW = "review"
    EXCHANGE_RATE = "exchange_rate"
    DISPUTE = "dispute"


class ReviewOutcome(StrEnum):
    """What a person said of an order that was held for them."""

    RELEASED = "released"
    DECLINED = "declined"


@dataclass(frozen=True, slots=True)
class Subject:
    """The order as attribution reads it."""

    id: int
    """Its row's; 0 while it is not written."""
    program_id: int
    placed_at: datetime
    net: Money
    confirmed: bool
    evidence: Mapping[str, Any]
    """What servers and browsers brought, each under its name."""
    program_closed: bool
    refunded_net: Money | None = None
    review_outcome: str | None = None
    """What a person said of its suspicious clicks (ReviewOutcome)."""
    lines: Sequence[Mapping[str, Any]] = ()
    """Its items as the order's row keeps them."""
    subscription: Mapping[str, Any] | None = None
    """Which payment of a subscription it is: `id` and `sequence`."""
    zone: str = "UTC"
    """The program's time zone: months of tiers and caps are counted in it."""
    converted: Conversion | None = None
    """How `net`, which is in the program's currency, came out of another."""
    unconverted: Money | None = None
    """The net in its own currency as long as its rate is not known; `net` is zero then."""
    disputed: bool = False
    """Whether the buyer's bank asks the money back and nobody has answered yet."""

    @property
    def reference(self) -> str:
        return reference_of(self.id)


def reference_of(order_row_id: int) -> str:
    """How payouts names the order."""
    return f"{REFERENCE}{order_row_id}"


def waits_for(
    *,
    confirmed: bool,
    click_check_due_at: datetime | None,
    to_review: bool,
    unconverted: bool,
    disputed: bool = False,
) -> str | None:
    """The one thing to name; the rate first, as there is no amount before it, then the
    confirmation, as it may never come, then the dispute, which takes weeks."""
    if unconverted:
        return WaitsFor.EXCHANGE_RATE.value
    if not confirmed:
        return WaitsFor.CONFIRMATION.value
    if disputed:
        return WaitsFor.DISPUTE.value
    if click_check_due_at is not None:
        return WaitsFor.CLICK_CHECK.value
    return WaitsFor.REVIEW.value if to_review else None
