"""Where affiliates would have stood under other rules: what tiers, caps and first orders read.

Sales are let in by the time of their decision, refunds and cancellations by their own, as life
does it. Kept are sums of affiliates and periods, and what is still to come back; no order. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from heapq import heappop, heappush

from affiliate.core.money import Money
from affiliate.programs.terms import BonusFor, CommissionTerms, Measure, Period
from payouts.commissions.periods import Stretch, stretch_of
from payouts.commissions.standing import Standing

Key = tuple[int, datetime]
"""An enrollment, and when the period begins."""


@dataclass(slots=True)
class _Sums:
    """Of one affiliate and period."""

    sold_micros: int = 0
    orders: int = 0
    earned_micros: int = 0


@dataclass(frozen=True, slots=True)
class Sale:
    """What level 1 of a sale made of one affiliate."""

    enrollment_id: int
    base: Money
    amount: Money


@dataclass(frozen=True, slots=True)
class ComesBack:
    """A refund or a cancellation of the whole sale."""

    at: datetime
    net_micros: int
    """Of the sale's net, by this one alone."""
    cancelled: bool = False


@dataclass(order=True, slots=True)
class _Due:
    at: datetime
    number: int
    tier: Key | None = field(compare=False)
    cap: Key | None = field(compare=False)
    enrollment_id: int = field(compare=False)
    sold_micros: int = field(compare=False)
    orders: int = field(compare=False)
    earned_micros: int = field(compare=False)
    cancelled: bool = field(compare=False)


class Volumes:
    """The standings of a past under `terms`; `sold_before` had sold before it begins."""

    def __init__(self, terms: CommissionTerms, zone: str, sold_before: Iterable[int] = ()) -> None:
        self._zone = zone
        self._tiers = terms.tiers
        self._cap = terms.caps.per_period
        self._first = terms.bonus is not None and terms.bonus.first_of is BonusFor.AFFILIATE
        self._by_orders = terms.tiers is not None and terms.tiers.measure is Measure.ORDERS
        self._sums: dict[Key, _Sums] = {}
        self._earned: Counter[Key] = Counter()
        self._sold: Counter[int] = Counter(set(sold_before))
        self._due: list[_Due] = []
        self._number = 0
        self._stretches: dict[Period, Stretch] = {}

    @property
    def asked(self) -> bool:
        """Whether the terms read any of it."""
        return self._tiers is not None or self._cap is not None or self._first

    def pass_until(self, at: datetime) -> None:
        """Let come back whatever was given back by `at`."""
        while self._due and self._due[0].at <= at:
            self._take_back(heappop(self._due))

    def before(self, enrollment_id: int, placed_at: datetime, currency: str) -> Standing:
        """Where an affiliate stands for a sale that was placed then."""
        volume, earned = 0, 0
        if self._tiers is not None:
            sums = self._sums.get((enrollment_id, self._begins(self._tiers.period, placed_at)))
            if sums is not None:
                volume = sums.orders if self._by_orders else sums.sold_micros
        if self._cap is not None:
            earned = self._earned[(enrollment_id, self._begins(self._cap.period, placed_at))]
        return Standing(
            volume=volume,
            earned_in_period=Money(earned, currency),
            first_order=self._first and not self._sold[enrollment_id],
        )

    def let_in(
        self, sale: Sale, *, placed_at: datetime, net: Money, back: Iterable[ComesBack]
    ) -> None:
        """Count a sale, and note what of it comes back and when."""
        who, base, amount = sale.enrollment_id, sale.base, sale.amount
        tier: Key | None = None
        cap: Key | None = None
        if self._tiers is not None:
            tier = (who, self._begins(self._tiers.period, placed_at))
            sums = self._sums.setdefault(tier, _Sums())
            sums.sold_micros += base.micros
            sums.orders += base.micros > 0
        if self._cap is not None:
            cap = (who, self._begins(self._cap.period, placed_at))
            self._earned[cap] += amount.micros
        self._sold[who] += base.micros > 0
        given = base_back = amount_back = 0
        for each in back:
            given = net.micros if each.cancelled else min(given + each.net_micros, net.micros)
            if net.micros <= 0:
                continue
            base_now = base.fraction(given, net.micros).micros
            amount_now = amount.fraction(given, net.micros).micros
            self._number += 1
            due = _Due(
                each.at,
                self._number,
                tier,
                cap,
                who,
                base_now - base_back,
                int(base_back < base.micros <= base_now),
                amount_now - amount_back,
                each.cancelled and base.micros > 0,
            )
            base_back, amount_back = base_now, amount_now
            heappush(self._due, due)

    def _take_back(self, due: _Due) -> None:
        if due.tier is not None:
            sums = self._sums[due.tier]
            sums.sold_micros -= due.sold_micros
            sums.orders -= due.orders
        if due.cap is not None:
            self._earned[due.cap] -= due.earned_micros
        if due.cancelled:
            self._sold[due.enrollment_id] -= 1

    def _begins(self, period: Period, at: datetime) -> datetime:
        """Of the period in which an instant lies; neighbours ask for the same one."""
        found = self._stretches.get(period)
        if found is None or not found.begins <= at < found.ends:
            found = self._stretches[period] = stretch_of(period, at, self._zone)
        return found.begins


def begins_of(terms: CommissionTerms, at: datetime, zone: str) -> datetime:
    """From when on sales have to be let in for the standings of `at` to be right."""
    periods = [each.period for each in (terms.tiers, terms.caps.per_period) if each is not None]
    return min((stretch_of(period, at, zone).begins for period in periods), default=at)
