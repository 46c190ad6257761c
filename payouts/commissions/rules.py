"""What a sale earns, and what a refund takes back. Pure.

Rules: docs/rules.md, "Commission". Rates are parts per million, amounts micros; each
rounding is half to even, each split by largest remainder, so that parts sum to the whole.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from fractions import Fraction
from typing import Any

from affiliate.core.money import PPM, Money, total
from affiliate.programs.terms import CommissionTerms, Fixed, Of, Percent

RULE_PERCENT = "default percent"
RULE_FIXED = "default fixed"
RULE_RECRUITER = "recruiter"


class Reason(StrEnum):
    """Why a credited sale earned nothing at a level."""

    NOTHING_PAID = "nothing_paid"
    """The buyer paid nothing for goods: the net is zero."""
    NO_RATE = "no_rate"
    """The rules set a rate or amount of zero."""
    BELOW_A_MICRO = "below_a_micro"
    """The share is under a millionth of the currency's unit."""
    CUT_TO_NET = "cut_to_net"
    """All commissions together may not pass the net, and nothing was left for this one."""


class VoidReason(StrEnum):
    """Why a commission was taken back as a whole."""

    ORDER_CANCELLED = "order_cancelled"
    ORDER_SUPERSEDED = "order_superseded"
    """A server's report took the place of a browser's."""
    DECISION_REPLACED = "decision_replaced"
    """Late evidence led to another decision."""
    CLICK_INVALID = "click_invalid"
    """The credited click did not pass the checks."""
    REVIEW_REJECTED = "review_rejected"
    DECIDED_BY_PERSON = "decided_by_person"
    """A person of the program looked at the sale and decided whose it is."""


class ReleaseWait(StrEnum):
    """What payouts itself adds to the callers' codes when it says what a commission waits for."""

    HOLD_PERIOD = "hold_period"


@dataclass(frozen=True, slots=True)
class Credit:
    """Whose sale it is, for how much of it, and on which terms."""

    enrollment_id: int
    weight: Fraction
    terms: CommissionTerms
    rule_version_id: int
    recruiter_id: int | None


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

    def __post_init__(self) -> None:
        if sum((c.weight for c in self.credits), Fraction(0)) not in (0, 1):
            raise ValueError("the weights of a sale's credits must sum to one")
        if len({c.enrollment_id for c in self.credits}) < len(self.credits):
            raise ValueError("an enrollment is credited once")


@dataclass(frozen=True, slots=True)
class Earned:
    """What one level of one credit earns."""

    level: int
    enrollment_id: int
    via_enrollment_id: int | None
    rule_version_id: int
    base: Money
    rate_ppm: int | None
    amount: Money
    rule: str
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


def commissions_of(sale: Sale) -> tuple[Earned | NotEarned, ...]:
    """Decide what a sale earns at both levels, level 1 first.

    Credits on the same terms are computed as one and split by their shares, so that the
    parts sum to exactly what one affiliate alone would have earned. Commissions of a sale
    never exceed its net: level 2 is cut first, then level 1.
    """
    if not sale.credits:
        return ()
    net = max(sale.net, Money.zero(sale.net.currency))
    bases = net.allocate([credit.weight for credit in sale.credits])
    first = _level_1(sale, net, bases)
    second = _level_2(sale, first)
    first, second = _cut_to_net(net, first, second)
    return tuple(_verdict(net, found) for found in (*first, *second))


def reversal(*, frozen: Money, refunded_net: Money, net: Money, already: Money) -> Money:
    """What a refund takes back of a commission, on top of what earlier refunds took.

    `refunded_net` is cumulative. round(frozen × refunded_net / net) − already: the same
    rule over any number of parts ends at the same sum, and at exactly `frozen` when the
    whole net is refunded.
    """
    zero = Money.zero(frozen.currency)
    if net <= zero:
        return zero
    due = frozen.fraction(min(refunded_net, net).micros, net.micros)
    return max(due - already, zero)


def _level_1(sale: Sale, net: Money, bases: tuple[Money, ...]) -> list[Earned]:
    amounts: dict[int, tuple[Money, dict[str, Any]]] = {}
    for level_1 in dict.fromkeys(credit.terms.level_1 for credit in sale.credits):
        group = [i for i, c in enumerate(sale.credits) if c.terms.level_1 == level_1]
        weights = [sale.credits[i].weight for i in group]
        whole = _whole(level_1, net, sum(weights, Fraction(0)))
        parts = whole.allocate(weights) if sum(weights) else (whole,) * len(group)
        step = {"step": "level_1", **_told(level_1), "of_all_shares": whole.decimal}
        amounts |= {i: (part, step) for i, part in zip(group, parts, strict=True)}
    return [
        Earned(
            level=1,
            enrollment_id=credit.enrollment_id,
            via_enrollment_id=None,
            rule_version_id=credit.rule_version_id,
            base=bases[i],
            rate_ppm=_rate(credit.terms.level_1),
            amount=amounts[i][0],
            rule=RULE_PERCENT if isinstance(credit.terms.level_1, Percent) else RULE_FIXED,
            trace=(
                _base_step(sale.net, credit.weight, bases[i]),
                {**amounts[i][1], "amount": amounts[i][0].decimal},
            ),
        )
        for i, credit in enumerate(sale.credits)
    ]


def _level_2(sale: Sale, first: list[Earned]) -> list[Earned]:
    found = []
    for credit, below in zip(sale.credits, first, strict=True):
        terms = credit.terms.level_2
        if terms is None or credit.recruiter_id is None:
            continue
        base = below.base if terms.of is Of.SALE else below.amount
        amount = base.share(terms.rate_ppm)
        step = {
            "step": "level_2",
            "of": terms.of.value,
            "base": base.decimal,
            "rate_ppm": terms.rate_ppm,
            "amount": amount.decimal,
        }
        found.append(
            Earned(
                level=2,
                enrollment_id=credit.recruiter_id,
                via_enrollment_id=credit.enrollment_id,
                rule_version_id=credit.rule_version_id,
                base=base,
                rate_ppm=terms.rate_ppm,
                amount=amount,
                rule=RULE_RECRUITER,
                trace=(_base_step(sale.net, credit.weight, below.base), step),
            )
        )
    return found


def _cut_to_net(
    net: Money, first: list[Earned], second: list[Earned]
) -> tuple[list[Earned], list[Earned]]:
    room = net - total((e.amount for e in first), net.currency)
    if room < Money.zero(net.currency):
        return _cut(first, net, net), _cut(second, Money.zero(net.currency), net)
    if total((e.amount for e in second), net.currency) > room:
        return first, _cut(second, room, net)
    return first, second


def _cut(found: list[Earned], room: Money, net: Money) -> list[Earned]:
    """Bring the sum down to `room`, in proportion, losing no micro."""
    weights = [e.amount.micros for e in found]
    if not sum(weights):
        return found
    parts = room.allocate(weights)
    return [
        replace(
            e,
            amount=part,
            trace=(
                *e.trace,
                {
                    "step": "cut_to_net",
                    "net": net.decimal,
                    "before": e.amount.decimal,
                    "amount": part.decimal,
                },
            ),
        )
        for e, part in zip(found, parts, strict=True)
    ]


def _verdict(net: Money, found: Earned) -> Earned | NotEarned:
    if found.amount:
        return found
    reason = _why_nothing(net, found)
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


def _why_nothing(net: Money, found: Earned) -> Reason:
    if not net:
        return Reason.NOTHING_PAID
    if found.trace[-1]["step"] == "cut_to_net":
        return Reason.CUT_TO_NET
    fixed_at_nothing = found.trace[1].get("fixed") == Money.zero(net.currency).decimal
    if found.rate_ppm == 0 or fixed_at_nothing or not found.base:
        return Reason.NO_RATE
    return Reason.BELOW_A_MICRO


def _whole(level_1: Percent | Fixed, net: Money, weight: Fraction) -> Money:
    """What all credits on these terms earn together; nothing where nothing was paid."""
    if not net:
        return net
    if isinstance(level_1, Fixed):
        return level_1.amount.fraction(weight.numerator, weight.denominator)
    return net.fraction(level_1.rate_ppm * weight.numerator, PPM * weight.denominator)


def _rate(level_1: Percent | Fixed) -> int | None:
    return level_1.rate_ppm if isinstance(level_1, Percent) else None


def _told(level_1: Percent | Fixed) -> dict[str, Any]:
    if isinstance(level_1, Percent):
        return {"kind": "percent", "rate_ppm": level_1.rate_ppm}
    return {"kind": "fixed", "fixed": level_1.amount.decimal}


def _base_step(net: Money, weight: Fraction, base: Money) -> dict[str, Any]:
    return {
        "step": "base",
        "net": net.decimal,
        "currency": net.currency,
        "weight": str(weight),
        "amount": base.decimal,
    }
