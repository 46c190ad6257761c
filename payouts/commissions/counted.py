"""What leads and clicks earn: an amount for each of them, level 1 alone. Pure.

Rule: docs/rules.md, "Leads and clicks".
"""

from __future__ import annotations

from datetime import date
from typing import Any, Final

from affiliate.core.money import Money
from payouts.commissions.sale import Earned, NotEarned, Reason, not_earned

RULE_PER_LEAD: Final = "per lead"
RULE_PER_CLICK: Final = "per click"


def lead_reference(lead_id: int) -> str:
    """How the commission of a lead is named: `lead:7`."""
    return f"lead:{lead_id}"


def clicks_reference(link_id: int, day: date) -> str:
    """How the commission of a link's day is named: `clicks:3:2026-11-21`."""
    return f"clicks:{link_id}:{day.isoformat()}"


def lead_commission(
    per_lead: Money | None, *, enrollment_id: int, rule_version_id: int, currency: str
) -> Earned | NotEarned:
    """What a lead earns."""
    each = per_lead if per_lead is not None else Money.zero(currency)
    step = {"step": "per_lead", "each": each.decimal, "amount": each.decimal}
    return _counted(each, each, RULE_PER_LEAD, step, enrollment_id, rule_version_id)


def clicks_commission(
    per_click: Money | None,
    *,
    unique_clicks: int,
    enrollment_id: int,
    rule_version_id: int,
    currency: str,
) -> Earned | NotEarned:
    """What the unique clicks of one link and day earn: exact, fractions of a minor unit stay.

    Raises ValueError for a day without clicks: there is nothing to book for it.
    """
    if unique_clicks < 1:
        raise ValueError("a day is counted when it has clicks")
    each = per_click if per_click is not None else Money.zero(currency)
    amount = Money(each.micros * unique_clicks, each.currency)
    step = {
        "step": "per_click",
        "count": unique_clicks,
        "each": each.decimal,
        "amount": amount.decimal,
    }
    return _counted(amount, each, RULE_PER_CLICK, step, enrollment_id, rule_version_id)


def _counted(
    amount: Money,
    each: Money,
    rule: str,
    step: dict[str, Any],
    enrollment_id: int,
    rule_version_id: int,
) -> Earned | NotEarned:
    found = Earned(
        level=1,
        enrollment_id=enrollment_id,
        via_enrollment_id=None,
        rule_version_id=rule_version_id,
        base=each,
        rate_ppm=None,
        amount=amount,
        rule=rule,
        trace=(step,),
    )
    return found if amount else not_earned(found, Reason.NO_RATE)
