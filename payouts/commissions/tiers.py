"""Rates that rise with what an affiliate sold in a period. Pure.

Rule: docs/rules.md, "Volume tiers".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from affiliate.core.money import MICROS, Money, total
from affiliate.programs.terms import Apply, Band, Measure, Tiers
from payouts.commissions.sale import Earned, NotEarned, Reason, not_earned

RULE_TIERS: Final = "tiers"


@dataclass(frozen=True, slots=True)
class Slice:
    """What of an order lies in one band."""

    band: Band
    ends: int | None
    """Where the next band begins; None: the last."""
    base: Money


def slices(tiers: Tiers, *, volume: int, base: Money) -> tuple[Slice, ...]:
    """How the bands share an order of `base`, after `volume` was sold in the period.

    A band holds its beginning and not its end. Where orders are measured, or the band counts
    for the whole period, the order lies in one band as a whole: that of the volume before it.
    """
    at = band_at(tiers, volume)
    if not base or tiers.measure is Measure.ORDERS or tiers.apply is Apply.WHOLE_PERIOD:
        return (Slice(at, _end(tiers, at), base),)
    found, low, high = [], volume, volume + base.micros
    for band in tiers.bands[tiers.bands.index(at) :]:
        end = _end(tiers, band)
        here = high if end is None else min(high, end)
        if here > low:
            found.append(Slice(band, end, Money(here - low, base.currency)))
            low = here
    return tuple(found)


def band_at(tiers: Tiers, volume: int) -> Band:
    """The band in which a volume lies; refunds may leave less than nothing: the first."""
    return next((b for b in reversed(tiers.bands) if b.begins <= volume), tiers.bands[0])


def _end(tiers: Tiers, band: Band) -> int | None:
    return next((each.begins for each in tiers.bands if each.begins > band.begins), None)


def told(tiers: Tiers, part: Slice, volume: int, currency: str) -> dict[str, Any]:
    """What the trace says of a band."""
    return {
        "kind": "tier",
        "measure": tiers.measure.value,
        "period": tiers.period.value,
        "volume": _measured(tiers, volume, currency),
        "band_begins": _measured(tiers, part.band.begins, currency),
        "band_ends": None if part.ends is None else _measured(tiers, part.ends, currency),
    }


def _measured(tiers: Tiers, volume: int, currency: str) -> str:
    if tiers.measure is Measure.ORDERS:
        return str(volume)
    return Money(volume, currency).decimal


@dataclass(frozen=True, slots=True)
class TierSale:
    """An order of the period as the make-up sees it: what refunds have left of it."""

    base: Money
    """The base of its tier rate."""
    earned: Money
    """What its tier rate earned, without boosts and bonus."""
    room: Money | None = None
    """How much more level 1 may earn of it: zero where a cap or the net cut it already, None
    where neither is near."""


def make_up_reference(enrollment_id: int, period: str) -> str:
    """How the make-up of an affiliate and period is named: `tier:5:2026-11`."""
    return f"tier:{enrollment_id}:{period}"


def tier_make_up(
    tiers: Tiers,
    *,
    enrollment_id: int,
    rule_version_id: int,
    currency: str,
    volume: int,
    sales: Sequence[TierSale],
    cap_room: Money | None = None,
) -> Earned | NotEarned:
    """What the orders of a period earn at its final band's rate, less what they earned.

    `volume` is that of the whole period, less refunds. Never below zero: where refunds have
    lowered the volume into a lower band, what was earned at the higher rate stays. `cap_room`
    is what the cap per period leaves. What comes back later: `make_up_reversal`.
    """
    band = band_at(tiers, volume)
    zero = Money.zero(currency)
    base = total((sale.base for sale in sales), currency)
    due, earned = due_and_earned(sales, band.rate_ppm, currency)
    amount = max(due - earned, zero)
    step = {
        "step": "tier_make_up",
        **told(tiers, Slice(band, _end(tiers, band), base), volume, currency),
        "rate_ppm": band.rate_ppm,
        "orders": len(sales),
        "base": base.decimal,
        "due": due.decimal,
        "before": earned.decimal,
        "amount": amount.decimal,
    }
    trace: tuple[dict[str, Any], ...] = (step,)
    if cap_room is not None and amount > cap_room:
        before, amount = amount, max(cap_room, zero)
        cut = {
            "step": "cap",
            "per": "period",
            "room": amount.decimal,
            "before": before.decimal,
            "cut": (before - amount).decimal,
            "amount": amount.decimal,
        }
        trace = (step, cut)
    found = Earned(
        level=1,
        enrollment_id=enrollment_id,
        via_enrollment_id=None,
        rule_version_id=rule_version_id,
        base=base,
        rate_ppm=band.rate_ppm,
        amount=amount,
        rule=RULE_TIERS,
        trace=trace,
    )
    if amount:
        return found
    reason = Reason.CAP_REACHED if len(trace) > 1 else Reason.NOTHING_TO_MAKE_UP
    return not_earned(found, reason)


def make_up_reversal(
    *, frozen: Money, rate_ppm: int, sales: Sequence[TierSale], already: Money
) -> Money:
    """What a refund or void takes back of a make-up that was booked, on top of what others took.

    `frozen` is the make-up as it was booked, `rate_ppm` its final band's, which stays although
    the volume is less by now; `sales` are the orders of the period with what is left of them.
    The make-up of what is left is made anew: so each order takes its own part along, and all of
    them take the whole. Never below zero, and never more than is left of it.
    """
    zero = Money.zero(frozen.currency)
    due, earned = due_and_earned(sales, rate_ppm, frozen.currency)
    stays = min(max(due - earned, zero), frozen)
    return max(frozen - stays - already, zero)


def due_and_earned(sales: Sequence[TierSale], rate_ppm: int, currency: str) -> tuple[Money, Money]:
    """What orders are due at one rate, each rounded by itself, and what the tiers gave them."""
    due = total((_due(sale, rate_ppm) for sale in sales), currency)
    return due, total((sale.earned for sale in sales), currency)


def _due(sale: TierSale, rate_ppm: int) -> Money:
    """What the order earns at the final rate, as far as there is room for it."""
    due = sale.base.share(rate_ppm)
    return due if sale.room is None else min(due, sale.earned + sale.room)


def tier_sales_in(
    trace: Sequence[Mapping[str, Any]],
    base_micros: int,
    refunded_base_micros: int,
    amount_micros: int,
    reversed_micros: int,
    *,
    currency: str,
) -> Iterator[TierSale]:
    """What of a commission the tiers earned, out of its trace, less what came back.

    Where a cap or the net has cut it, it has no room for more.
    """
    cut = any(step["step"] in ("cap", "cut_to_net") for step in trace)
    for step in trace:
        if step["step"] != "level_1" or step.get("rule") != RULE_TIERS:
            continue
        base, earned = _exactly(step["base"], currency), _exactly(step["amount"], currency)
        if base_micros:
            base -= base.fraction(refunded_base_micros, base_micros)
        if amount_micros:
            earned -= earned.fraction(reversed_micros, amount_micros)
        yield TierSale(base, earned, Money.zero(currency) if cut else None)


def _exactly(text: str, currency: str) -> Money:
    """An amount of a trace: decimal, with up to six digits."""
    return Money(int(Decimal(text) * MICROS), currency)
