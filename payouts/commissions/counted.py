"""What leads and clicks earn: an amount for each of them, level 1 alone. Pure.

Rule: docs/rules.md, "Leads and clicks".
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from fractions import Fraction
from typing import Any, Final

from affiliate.core.money import Money
from affiliate.programs.terms import PeriodCap
from payouts.commissions.level_one import within_period
from payouts.commissions.sale import Credit, Earned, NotEarned, Reason, not_earned

RULE_PER_LEAD: Final = "per lead"
RULE_PER_CLICK: Final = "per click"
LEAD: Final = "lead:"
CLICKS: Final = "clicks:"
"""What the references of such commissions begin with."""


def lead_reference(lead_id: int) -> str:
    """How the commission of a lead is named: `lead:7`."""
    return f"{LEAD}{lead_id}"


def clicks_reference(link_id: int, day: date) -> str:
    """How the commission of a link's day is named: `clicks:3:2026-11-21`."""
    return f"{CLICKS}{link_id}:{day.isoformat()}"


def lead_commissions(credits: Sequence[Credit], *, currency: str) -> tuple[Earned | NotEarned, ...]:
    """What a lead earns everybody who is credited: their share of their own terms' amount.

    Shares are split by largest remainder, as a fixed amount of an order is. What the cap of
    the period leaves is earned; `earned_in_period` of each credit was read before.
    """
    weights = [credit.weight for credit in credits]
    return tuple(
        lead_commission(
            credit.terms.per_lead,
            enrollment_id=credit.enrollment_id,
            rule_version_id=credit.rule_version_id,
            currency=currency,
            weights=weights,
            place=place,
            cap=credit.terms.caps.per_period,
            earned_in_period=credit.earned_in_period,
        )
        for place, credit in enumerate(credits)
    )


def lead_commission(
    per_lead: Money | None,
    *,
    enrollment_id: int,
    rule_version_id: int,
    currency: str,
    weights: Sequence[Fraction] = (Fraction(1),),
    place: int = 0,
    cap: PeriodCap | None = None,
    earned_in_period: Money | None = None,
) -> Earned | NotEarned:
    """What a lead earns one of those who share it: the one at `place` of the weights."""
    each = per_lead if per_lead is not None else Money.zero(currency)
    amount = each.allocate(weights)[place]
    step: dict[str, Any] = {"step": "per_lead", "each": each.decimal, "amount": amount.decimal}
    if len(weights) > 1:
        step["weight"] = str(weights[place])
    trace = [step]
    found = _counted(each, RULE_PER_LEAD, enrollment_id, rule_version_id)
    return _capped(found, each, amount, trace, cap, earned_in_period)


def clicks_commission(
    per_click: Money | None,
    *,
    unique_clicks: int,
    enrollment_id: int,
    rule_version_id: int,
    currency: str,
    before: int = 0,
    cap: PeriodCap | None = None,
    earned_in_period: Money | None = None,
) -> Earned | NotEarned:
    """What the unique clicks of one link and day earn: exact, fractions of a minor unit stay.

    `before` says how many of the same link and day were booked already; it is only told.
    Raises ValueError for a day without clicks: there is nothing to book for it.
    """
    if unique_clicks < 1:
        raise ValueError("a day is counted when it has clicks")
    each = per_click if per_click is not None else Money.zero(currency)
    amount = Money(each.micros * unique_clicks, each.currency)
    step: dict[str, Any] = {
        "step": "per_click",
        "count": unique_clicks,
        "each": each.decimal,
        "amount": amount.decimal,
    }
    if before:
        step["before"] = before
    trace = [step]
    found = _counted(each, RULE_PER_CLICK, enrollment_id, rule_version_id)
    return _capped(found, each, amount, trace, cap, earned_in_period)


def _counted(each: Money, rule: str, enrollment_id: int, rule_version_id: int) -> dict[str, Any]:
    return {
        "level": 1,
        "enrollment_id": enrollment_id,
        "via_enrollment_id": None,
        "rule_version_id": rule_version_id,
        "base": each,
        "rate_ppm": None,
        "rule": rule,
    }


def _capped(
    found: dict[str, Any],
    each: Money,
    amount: Money,
    trace: list[dict[str, Any]],
    cap: PeriodCap | None,
    earned_in_period: Money | None,
) -> Earned | NotEarned:
    before = amount
    amount = within_period(cap, earned_in_period, trace, before)
    earned = Earned(**found, amount=amount, trace=tuple(trace))
    if amount:
        return earned
    if before:
        return not_earned(earned, Reason.CAP_REACHED)
    return not_earned(earned, Reason.BELOW_A_MICRO if each else Reason.NO_RATE)
