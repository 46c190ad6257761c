"""What level 1 earns: rates, then the boost, then the bonus, then the caps. Pure.

Rule: docs/rules.md, "Levels".
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from affiliate.core.exchange import RATE_SCALE
from affiliate.core.money import PPM, Money, divide_half_even, total
from affiliate.programs.terms import Boost, Fixed, Percent, PeriodCap
from payouts.commissions.planning import RULE_RECURRING, RULE_SEPARATOR, Part, Plan, plan_of
from payouts.commissions.sale import Credit, Earned, Sale

ONE = Fraction(1)


class Share(NamedTuple):
    """What one rate, boost or bonus earns: all the credits of a plan, and one of them."""

    whole: Money
    amount: Money
    rounded: bool
    alone: bool
    """The credit has the plan for itself, so that nothing was split."""

    def told(self) -> dict[str, Any]:
        """Where the trace says how it was rounded and split, and where there was no need to."""
        found: dict[str, Any] = {}
        if self.rounded:
            found["rounding"] = "half_even"
        if not self.alone:
            found["split"] = "largest_remainder"
        return found


def level_1(sale: Sale, net: Money, bases: tuple[Money, ...]) -> list[Earned]:
    """What each credit earns at level 1, with its trace; amounts of zero included.

    Credits of one plan are computed as one and split by their shares, so that the parts sum
    to exactly what one affiliate alone would have earned.
    """
    plans = [plan_of(sale, place, net, bases) for place in range(len(sale.credits))]
    if len(plans) == 1:
        return [
            _earned(sale, 0, plans[0], bases[0], _shares(plans[0], [sale.credits[0].weight])[0])
        ]
    groups: dict[tuple[Any, ...], list[int]] = {}
    for place, plan in enumerate(plans):
        groups.setdefault(plan.key(sale.credits[place].enrollment_id), []).append(place)
    shares: dict[int, list[Share]] = {}
    for places in groups.values():
        weights = [sale.credits[place].weight for place in places]
        shares.update(zip(places, _shares(plans[places[0]], weights), strict=True))
    return [
        _earned(sale, place, plan, bases[place], shares[place]) for place, plan in enumerate(plans)
    ]


def _shares(plan: Plan, weights: Sequence[Fraction]) -> list[list[Share]]:
    """For each weight what every part of the plan earns, then its boost, then its bonus."""
    weight = weights[0] if len(weights) == 1 else sum(weights, Fraction(0))
    wholes = [_of_part(part, weight) for part in plan.parts]
    paid = any(part.base for part in plan.parts)
    if plan.boost is not None:
        wholes.append(_of_boost(plan.boost, plan.parts, weight, [whole for whole, _ in wholes]))
    if plan.bonus is not None:
        earned = plan.bonus.amount if paid else Money.zero(plan.bonus.amount.currency)
        wholes.append(_fraction(earned, weight.numerator, weight.denominator))
    if len(weights) == 1:
        return [[Share(whole, whole, rounded, True) for whole, rounded in wholes]]
    split = [
        (whole, rounded, whole.allocate(weights) if weight else (whole,) * len(weights))
        for whole, rounded in wholes
    ]
    return [
        [Share(whole, amounts[i], rounded, False) for whole, rounded, amounts in split]
        for i in range(len(weights))
    ]


def _of_part(part: Part, weight: Fraction) -> tuple[Money, bool]:
    """What all shares of this weight earn by one rate, and whether that was rounded.

    Nothing where nothing was paid.
    """
    rate = part.rate
    if not part.base:
        return part.base, False
    numerator, denominator = (1, 1) if part.own else (weight.numerator, weight.denominator)
    if isinstance(rate, Percent):
        return _fraction(part.base, rate.rate_ppm * numerator, PPM * denominator)
    pieces = 1 if isinstance(rate, Fixed) else part.quantity
    return _fraction(rate.amount, pieces * numerator, denominator)


def _of_boost(
    boost: Boost, parts: tuple[Part, ...], weight: Fraction, wholes: list[Money]
) -> tuple[Money, bool]:
    """What a boost gives on top: of the base, or as many times what the rates earned."""
    if boost.times_ppm:
        earned = total(wholes, wholes[0].currency)
        return _fraction(earned, boost.times_ppm - PPM, PPM)
    base = sum(
        (p.base.micros * (ONE if p.own else weight) for p in parts if isinstance(p.rate, Percent)),
        Fraction(0),
    )
    exact = base * boost.add_ppm / PPM
    return _fraction(Money(1, wholes[0].currency), exact.numerator, exact.denominator)


def _fraction(amount: Money, numerator: int, denominator: int) -> tuple[Money, bool]:
    product = amount.micros * numerator
    micros = divide_half_even(product, denominator)
    return Money(micros, amount.currency), micros * denominator != product


def _earned(sale: Sale, place: int, plan: Plan, base: Money, shares: list[Share]) -> Earned:
    credit = sale.credits[place]
    trace = [*_base_steps(sale, credit, base), *plan.steps]
    count = len(plan.parts)
    for part, share in zip(plan.parts, shares, strict=False):
        trace.append(_part_step(part, share))
    amount = shares[0].amount if count == 1 else _sum(shares[:count], base.currency)
    if count > 1:
        trace.append({"step": "sum", "amount": amount.decimal})
    left = shares[count:]
    if plan.boost is not None:
        amount = _add(trace, _boost_told(plan, base.currency), amount, left.pop(0))
    if plan.bonus is not None:
        told = {"first_of": plan.bonus.first_of.value, "bonus": plan.bonus.amount.decimal}
        amount = _add(trace, {"step": "bonus", **told}, amount, left.pop(0))
    return Earned(
        level=1,
        enrollment_id=credit.enrollment_id,
        via_enrollment_id=None,
        rule_version_id=credit.rule_version_id,
        base=base,
        rate_ppm=_rate(plan),
        amount=_capped(credit, trace, amount),
        rule=_name(plan),
        trace=tuple(trace),
    )


def _base_steps(sale: Sale, credit: Credit, base: Money) -> list[dict[str, Any]]:
    step = base_step(sale.net, credit.weight, base)
    if sale.converted is None:
        return [step]
    return [converted_step(sale), step]


def converted_step(sale: Sale) -> dict[str, Any]:
    """How the net came out of another currency."""
    converted = sale.converted
    assert converted is not None
    step = {
        "step": "converted",
        "original": converted.original.decimal,
        "original_currency": converted.original.currency,
        "rate": converted.rate.decimal,
        "net": sale.net.decimal,
    }
    if converted.original.micros * converted.rate.scaled % RATE_SCALE:
        step["rounding"] = "half_even"
    return step


def base_step(net: Money, weight: Fraction, base: Money) -> dict[str, Any]:
    """The credit's share of the net."""
    return {
        "step": "base",
        "net": net.decimal,
        "currency": net.currency,
        "weight": str(weight),
        "amount": base.decimal,
    }


def _part_step(part: Part, share: Share) -> dict[str, Any]:
    rate = part.rate
    step: dict[str, Any] = {"step": "level_1"}
    if isinstance(rate, Percent):
        step |= {"kind": "percent", "rate_ppm": rate.rate_ppm}
    elif isinstance(rate, Fixed):
        step |= {"kind": "fixed", "fixed": rate.amount.decimal}
    else:
        step |= {"kind": "per_item", "each": rate.amount.decimal, "quantity": part.quantity}
    if part.told is not None:
        step |= {"rule": part.rule, "base": part.base.decimal, **part.told}
    step["of_all_shares"] = share.whole.decimal
    step["amount"] = share.amount.decimal
    if share.rounded or not share.alone:
        step |= share.told()
    return step


def _boost_told(plan: Plan, currency: str) -> dict[str, Any]:
    boost = plan.boost
    assert boost is not None
    step: dict[str, Any] = {"step": "boost", "rule": boost.name, "over": list(plan.boost_over)}
    if boost.times_ppm:
        return {**step, "times_ppm": boost.times_ppm}
    bases = (part.base for part in plan.parts if isinstance(part.rate, Percent))
    return {**step, "add_ppm": boost.add_ppm, "base": total(bases, currency).decimal}


def _add(trace: list[dict[str, Any]], told: dict[str, Any], before: Money, share: Share) -> Money:
    """Put an addition into the trace and answer what it makes of the amount."""
    amount = before + share.amount
    step = {**told, "of_all_shares": share.whole.decimal, "added": share.amount.decimal}
    trace.append(step | {"before": before.decimal, "amount": amount.decimal, **share.told()})
    return amount


def _capped(credit: Credit, trace: list[dict[str, Any]], amount: Money) -> Money:
    """What the caps leave of it: first that of the order, then that of the period."""
    caps = credit.terms.caps
    if caps.per_order is not None and amount > caps.per_order:
        told = {"per": "order", "limit": caps.per_order.decimal}
        amount = _cut(trace, told, amount, caps.per_order)
    return within_period(caps.per_period, credit.earned_in_period, trace, amount)


def within_period(
    cap: PeriodCap | None, earned: Money | None, trace: list[dict[str, Any]], amount: Money
) -> Money:
    """What the cap of the period leaves of an amount, after what was earned in it before."""
    if cap is None:
        return amount
    limit, zero = cap.amount, Money.zero(cap.amount.currency)
    earned = earned or zero
    room = max(limit - earned, zero)
    if amount <= room:
        return amount
    told = {
        "per": cap.period.value,
        "limit": limit.decimal,
        "earned_before": earned.decimal,
    }
    return _cut(trace, told, amount, room)


def _cut(trace: list[dict[str, Any]], told: dict[str, Any], before: Money, to: Money) -> Money:
    cut = {"before": before.decimal, "cut": (before - to).decimal, "amount": to.decimal}
    trace.append({"step": "cap", **told, **cut})
    return to


def _sum(shares: list[Share], currency: str) -> Money:
    return total((share.amount for share in shares), currency)


def _rate(plan: Plan) -> int | None:
    """The one percentage that gives the amount of the base; None where there is none such."""
    if len(plan.parts) != 1 or plan.bonus is not None:
        return None
    rate = plan.parts[0].rate
    if not isinstance(rate, Percent) or (plan.boost is not None and plan.boost.times_ppm):
        return None
    return rate.rate_ppm + (plan.boost.add_ppm if plan.boost is not None else 0)


def _name(plan: Plan) -> str:
    if len(plan.parts) == 1:
        return plan.parts[0].rule
    names = dict.fromkeys(part.rule for part in plan.parts)
    return RULE_SEPARATOR.join(names) or RULE_RECURRING
