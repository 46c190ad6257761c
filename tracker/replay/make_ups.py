"""The make-ups of whole-period tiers that a draft would have paid. Pure.

Of each affiliate and period the sums for every band are kept, and no order: which band counts is
known when the period is over. Rule: docs/rules.md, "Volume tiers".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from affiliate.core.money import Money
from affiliate.programs.terms import Apply, Terms
from payouts.commissions.make_up import cap_room
from payouts.commissions.periods import Stretch, stretch_of
from payouts.commissions.tiers import band_at, due_and_earned, tier_sales_in
from tracker.replay.volumes import Volumes

_INSTANT = timedelta(microseconds=1)


class MadeUp(NamedTuple):
    """A make-up, and the last instant of its period."""

    enrollment_id: int
    at: datetime
    amount: Money


@dataclass(slots=True)
class _Sums:
    earned: Money
    due: dict[int, Money] = field(default_factory=dict)
    """By where a band begins: what all orders are due at its rate."""


class MakeUps:
    """Collects what level 1 earned; `terms` are the draft's."""

    def __init__(self, terms: Terms, zone: str) -> None:
        tiers = terms.commission.tiers
        self._tiers = tiers if tiers is not None and tiers.apply is Apply.WHOLE_PERIOD else None
        self._terms, self._zone = terms, zone
        self._sums: dict[tuple[int, Stretch], _Sums] = {}
        self._last: Stretch | None = None

    def add(
        self,
        enrollment_id: int,
        placed_at: datetime,
        trace: tuple[Mapping[str, Any], ...],
        *,
        base: Money,
        amount: Money,
        base_back: Money,
        back: Money,
    ) -> None:
        """One sale's level 1: its base and amount, and what of both has come back by now."""
        if self._tiers is None or base_back == base:
            return
        stretch = self._stretch(placed_at)
        zero = Money.zero(base.currency)
        sums = self._sums.setdefault((enrollment_id, stretch), _Sums(zero))
        found = list(
            tier_sales_in(
                trace, base.micros, base_back.micros, amount.micros, back.micros,
                currency=base.currency,
            )
        )  # fmt: skip
        for band in self._tiers.bands:
            due, earned = due_and_earned(found, band.rate_ppm, base.currency)
            sums.due[band.begins] = sums.due.get(band.begins, zero) + due
            if band is self._tiers.bands[0]:
                sums.earned += earned

    def over(self, volumes: Volumes, *, now: datetime) -> Iterator[MadeUp]:
        """The make-ups of every period that is over by `now`, with its hold; `volumes` have
        passed until then."""
        if self._tiers is None:
            return
        for (who, stretch), sums in self._sums.items():
            if now < stretch.ends + self._terms.payout.hold:
                continue
            currency = sums.earned.currency
            standing = volumes.before(who, stretch.begins, currency)
            amount = sums.due[band_at(self._tiers, standing.volume).begins] - sums.earned
            if self._terms.commission.caps.per_period is not None:
                room = cap_room(self._terms.commission, standing)
                amount = amount if room is None else min(amount, room)
            if amount.micros > 0:
                yield MadeUp(who, stretch.ends - _INSTANT, amount)

    def _stretch(self, at: datetime) -> Stretch:
        assert self._tiers is not None
        if self._last is None or not self._last.begins <= at < self._last.ends:
            self._last = stretch_of(self._tiers.period, at, self._zone)
        return self._last
