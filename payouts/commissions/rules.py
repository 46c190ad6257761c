"""What a sale earns, and what a refund takes back. Pure.

Rules: docs/rules.md, "Levels" and "Refunds". Rates are parts per million, amounts micros;
each rounding is half to even, each split by largest remainder, so that parts sum to the whole.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import Any

from affiliate.core.money import PPM, Money, total
from affiliate.programs.terms import LevelTwo, Of
from payouts.commissions.level_one import base_step, converted_step, level_1
from payouts.commissions.planning import RULE_FIXED, RULE_PER_ITEM, RULE_PERCENT, RULE_RECURRING
from payouts.commissions.sale import Credit, Earned, NotEarned, Reason, Sale, not_earned
from payouts.commissions.tiers import RULE_TIERS

__all__ = [
    "RULE_FIXED", "RULE_PERCENT", "RULE_PER_ITEM", "RULE_RECRUITER", "RULE_RECURRING",
    "RULE_TIERS", "Credit", "Earned", "NotEarned", "Reason", "ReleaseWait", "Sale",
    "VoidReason", "commissions_of", "reversal",
]  # fmt: skip
# The values stand in `sale`, for the rules below this one need them as well; callers know one door.

RULE_RECRUITER = "recruiter"
RECRUITER_BUYS = "recruiter_buys"
"""The step of a trace that says by what the recruiter is known to be the buyer."""
_CUTS = {"cut_to_net": Reason.CUT_TO_NET, "cap": Reason.CAP_REACHED}


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
    RATE_ENTERED = "rate_entered"
    """The exchange rate that the sale waited for is known now."""
    LEAD_CANCELLED = "lead_cancelled"
    CLICKS_RECOUNTED = "clicks_recounted"
    """Fewer clicks of the link and day count than it was earned by."""
    DECIDED_BY_PERSON = "decided_by_person"
    """A person of the program looked at the sale and decided whose it is."""


class ReleaseWait(StrEnum):
    """What payouts itself adds to the callers' codes when it says what a commission waits for."""

    HOLD_PERIOD = "hold_period"
    BUDGET = "budget"
    """The program has released as much as its budget allows."""


def commissions_of(sale: Sale) -> tuple[Earned | NotEarned, ...]:
    """Decide what a sale earns at both levels, level 1 first.

    Commissions of a sale never exceed its net: level 2 is cut first, then level 1.
    """
    if not sale.credits:
        return ()
    net = max(sale.net, Money.zero(sale.net.currency))
    bases = net.allocate([credit.weight for credit in sale.credits])
    first = level_1(sale, net, bases)
    second = _level_2(sale, first)
    if sale.unconverted is not None:
        return tuple(_awaits_rate(found, sale.unconverted) for found in (*first, *second))
    first, second = _cut_to_net(net, first, second)
    return tuple(_verdict(net, found, first) for found in (*first, *second))


def _awaits_rate(found: Earned, unconverted: Money) -> NotEarned:
    """Nothing yet; the order is decided again when its exchange rate is entered."""
    step = {
        "step": "unconverted",
        "original": unconverted.decimal,
        "original_currency": unconverted.currency,
    }
    return not_earned(replace(found, trace=(step,)), Reason.AWAITS_EXCHANGE_RATE)


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


def _level_2(sale: Sale, first: list[Earned]) -> list[Earned]:
    """What recruiters earn, of what level 1 stands at after its caps; not cut to the net yet."""
    return [
        _recruiters(sale, credit, credit.terms.level_2, credit.recruiter_id, below)
        for credit, below in zip(sale.credits, first, strict=True)
        if credit.terms.level_2 is not None and credit.recruiter_id is not None
    ]


def _recruiters(
    sale: Sale, credit: Credit, terms: LevelTwo, recruiter_id: int, below: Earned
) -> Earned:
    trace = [base_step(sale.net, credit.weight, below.base)]
    if sale.converted is not None:
        trace.insert(0, converted_step(sale))
    base = below.base if terms.of is Of.SALE else below.amount
    if credit.recruiter_buys_by is not None:
        amount = Money.zero(base.currency)
        trace.append({"step": RECRUITER_BUYS, "by": credit.recruiter_buys_by})
    elif _refused(below):
        amount = Money.zero(base.currency)
        trace.append(below.trace[-1])
    else:
        amount = base.share(terms.rate_ppm)
        step = {
            "step": "level_2",
            "of": terms.of.value,
            "base": base.decimal,
            "rate_ppm": terms.rate_ppm,
            "amount": amount.decimal,
        }
        if base.micros * terms.rate_ppm % PPM:
            step["rounding"] = "half_even"
        trace.append(step)
    return Earned(
        level=2,
        enrollment_id=recruiter_id,
        via_enrollment_id=credit.enrollment_id,
        rule_version_id=credit.rule_version_id,
        base=base,
        rate_ppm=terms.rate_ppm,
        amount=amount,
        rule=RULE_RECRUITER,
        trace=tuple(trace),
    )


def _refused(found: Earned) -> bool:
    """Whether the payment came after the months for which a subscription earns."""
    return found.trace[-1].get("ended") is True


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


def _verdict(net: Money, found: Earned, first: list[Earned]) -> Earned | NotEarned:
    if found.amount:
        return found
    return not_earned(found, _why_nothing(net, found, first))


def _why_nothing(net: Money, found: Earned, first: list[Earned]) -> Reason:
    """The reason follows from the steps that led to nothing."""
    if not net:
        return Reason.BELOW_A_MICRO if _converted_away(found) else Reason.NOTHING_PAID
    if any(step["step"] == RECRUITER_BUYS for step in found.trace):
        return Reason.SELF_PURCHASE
    if _refused(found):
        return Reason.RECURRING_OVER
    for step in reversed(found.trace):
        if step["step"] in _CUTS and step["before"] != step["amount"]:
            return _CUTS[step["step"]]
    if found.level == 2 and found.rate_ppm and not found.base:
        # A share of a commission that is nothing: for the same reason as that one.
        below = next(e for e in first if e.enrollment_id == found.via_enrollment_id)
        return _why_nothing(net, below, first)
    given = any(_gives(step) for step in found.trace)
    return Reason.BELOW_A_MICRO if given else Reason.NO_RATE


def _converted_away(found: Earned) -> bool:
    """Whether something was paid, less than a millionth of the program's unit."""
    first = found.trace[0]
    return first["step"] == "converted" and bool(first["original"].strip("0."))


def _gives(step: dict[str, Any]) -> bool:
    """Whether a step has a rate or amount above zero."""
    rates = (str(step.get(name, 0)) for name in ("rate_ppm", "fixed", "each", "bonus"))
    return any(rate.strip("0.") for rate in rates)
