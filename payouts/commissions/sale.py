"""A sale, and what comes of it, as values. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from fractions import Fraction
from typing import Any

from affiliate.core.exchange import Conversion
from affiliate.core.money import Money, total
from affiliate.programs.terms import CommissionTerms, Customer


class Reason(StrEnum):
    """Why something credited earned nothing at a level."""

    NOTHING_PAID = "nothing_paid"
    """The buyer paid nothing for goods: the net is zero."""
    NO_RATE = "no_rate"
    """The rules set a rate or amount of zero, or none."""
    BELOW_A_MICRO = "below_a_micro"
    """The share is under a millionth of the currency's unit."""
    CUT_TO_NET = "cut_to_net"
    """All commissions together may not pass the net, and nothing was left for this one."""
    RECURRING_OVER = "recurring_over"
    """A later payment of a subscription, after the months for which they earn."""
    CAP_REACHED = "cap_reached"
    """What the rules let one affiliate earn at the most was earned already."""
    AWAITS_EXCHANGE_RATE = "awaits_exchange_rate"
    """The order is in another currency, and no rate of its day is known yet."""
    NOTHING_TO_MAKE_UP = "nothing_to_make_up"
    """The orders of the period earned no less than the band reached at its end gives."""
    SELF_PURCHASE = "self_purchase"
    """The recruiter is the buyer, and the rules refuse own purchases."""


@dataclass(frozen=True, slots=True)
class Item:
    """One line of the order."""

    sku: str
    net: Money
    """Its share of the order's net, by largest remainder; what was refunded is still in it."""
    category: str | None = None
    quantity: int = 1


@dataclass(frozen=True, slots=True)
class Subscription:
    """Which payment of a subscription the order is."""

    sequence: int
    """1 for the first payment."""
    first_placed_at: datetime
    """placed_at of the first payment."""

    @property
    def renewal(self) -> bool:
        return self.sequence > 1


@dataclass(frozen=True, slots=True)
class Credit:
    """Whose sale it is, for how much of it, on which terms, and what was read of them."""

    enrollment_id: int
    weight: Fraction
    terms: CommissionTerms
    rule_version_id: int
    recruiter_id: int | None
    recruiter_buys_by: str | None = None
    """By what the recruiter is known to be the buyer, where that earns them nothing."""
    group: str | None = None
    customer: Customer | None = None
    """Whether the buyer had bought before the credited click; None: not known, and then no
    rule fits that asks for it."""
    first_order: bool = False
    """Whether it is the affiliate's first."""
    volume: int = 0
    """What the affiliate sold in the period before this order: micros or orders, as the tiers
    measure."""
    earned_in_period: Money | None = None
    """What level 1 earned them in the period of the cap before this order; None: nothing."""
    hold: timedelta | None = None
    """By the terms of this affiliate; None: the sale's."""


@dataclass(frozen=True, slots=True)
class Sale:
    """An attributed order as the commission rules see it."""

    program_id: int
    reference: str
    decision: int
    net: Money
    credits: tuple[Credit, ...]
    placed_at: datetime
    hold: timedelta
    items: tuple[Item, ...] = ()
    """Their shares sum to the net; none: the order named no items."""
    subscription: Subscription | None = None
    first_of_customer: bool = False
    converted: Conversion | None = None
    """How the net came out of another currency."""
    unconverted: Money | None = None
    """The net in its own currency as long as no rate for it is known; `net` is zero then."""

    def __post_init__(self) -> None:
        if sum((c.weight for c in self.credits), Fraction(0)) not in (0, 1):
            raise ValueError("the weights of a sale's credits must sum to one")
        if len({c.enrollment_id for c in self.credits}) < len(self.credits):
            raise ValueError("an enrollment is credited once")
        if self.items:
            self._check_items()
        if self.converted is not None and self.converted.amount != self.net:
            raise ValueError("the net must be what the conversion gives")
        if self.unconverted is not None and (self.net or self.converted is not None):
            raise ValueError("what is not converted yet has no net in the program's currency")

    def available_at(self, found: Earned | NotEarned) -> datetime:
        """When the hold of a commission ends: that of the affiliate whose order it is."""
        seller = found.via_enrollment_id or found.enrollment_id
        hold = next((c.hold for c in self.credits if c.enrollment_id == seller), None)
        return self.placed_at + (self.hold if hold is None else hold)

    def _check_items(self) -> None:
        zero = Money.zero(self.net.currency)
        if any(item.net < zero or item.quantity < 0 for item in self.items):
            raise ValueError("an item has neither a negative net nor a negative quantity")
        if total((item.net for item in self.items), self.net.currency) != max(self.net, zero):
            raise ValueError("the shares of the items must sum to the net")


@dataclass(frozen=True, slots=True)
class Earned:
    """What one level of one credit earns."""

    level: int
    enrollment_id: int
    via_enrollment_id: int | None
    rule_version_id: int
    base: Money
    rate_ppm: int | None
    """Set where the amount is this share of the base, before caps and cuts."""
    amount: Money
    rule: str
    """The rule that won; where items earn by several: their names, joined by ` + `."""
    trace: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class NotEarned:
    """Why one level of one credit earns nothing."""

    level: int
    enrollment_id: int
    via_enrollment_id: int | None
    rule_version_id: int
    base: Money
    rate_ppm: int | None
    reason: Reason
    rule: str
    trace: tuple[dict[str, Any], ...]


def not_earned(found: Earned, reason: Reason) -> NotEarned:
    """The same with the reason for which it comes to nothing."""
    return NotEarned(
        level=found.level,
        enrollment_id=found.enrollment_id,
        via_enrollment_id=found.via_enrollment_id,
        rule_version_id=found.rule_version_id,
        base=found.base,
        rate_ppm=found.rate_ppm,
        reason=reason,
        rule=found.rule,
        trace=(*found.trace, {"step": "not_earned", "reason": reason.value}),
    )
