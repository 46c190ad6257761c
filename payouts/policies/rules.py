"""Who must sign a batch, and which small withdrawals need no signature. Pure.

Rules: docs/rules.md, "Approval".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from affiliate.core.errors import FieldError, Invalid
from affiliate.core.money import Money

JUMP_TIMES = 5
"""A withdrawal over this many times the last paid one waits for a person."""
ACCOUNT_DAYS_MIN, ACCOUNT_DAYS_MAX = 1, 3_650
SIGNATURES_ONE, SIGNATURES_TWO = 1, 2


class ApprovedBy(StrEnum):
    """Under which policy a batch was approved."""

    FOUR_EYES = "four_eyes"
    """Whoever signed is none of the makers."""
    ONE_PERSON = "one_person"
    """A maker signed, in one-person mode."""
    AUTOMATIC = "automatic"
    """Nobody signed: a small withdrawal, by the program's rule."""


class NotAutomatic(StrEnum):
    """Why a withdrawal waits for a person where small ones do not."""

    ABOVE_ITEM_LIMIT = "above_item_limit"
    ABOVE_DAY_LIMIT = "above_day_limit"
    FIRST_PAYMENT = "first_payment"
    ACCOUNT_YOUNG = "account_young"
    DESTINATION_CHANGED = "destination_changed"
    """The last payout went elsewhere."""
    JUMP = "jump"
    TROUBLED = "troubled"
    """Another payout of theirs failed, came back, was held or waits for a person's word."""
    TAKEN_BACK = "taken_back"
    """A refund took something back since the last payout."""
    NOT_ACTIVE = "not_active"
    RAIL_NOT_CONFIGURED = "rail_not_configured"


@dataclass(frozen=True, slots=True)
class Automatic:
    """Small withdrawals that are approved by themselves."""

    item: Money
    """The largest."""
    day: Money
    """All of one day together, in the program's zone."""
    account_days: int


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of approval in force. Without any: one signature, never a maker's."""

    id: int | None = None
    second_signature_above: Money | None = None
    automatic: Automatic | None = None
    one_person: bool = False
    set_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A withdrawal and what is known of whoever asked for it."""

    amount: Money
    active: bool
    account_since: datetime | None
    """When the account that the item is to be paid to was named; none: it is not that any more."""
    last_amount: Money | None
    """Of the last paid payout; none: there was none."""
    same_destination: bool
    """Whether that went to the same account."""
    troubled: bool
    taken_back: bool
    approved_today: Money
    """What was approved by itself on this day already, all affiliates together."""


def signatures_needed(policy: Policy, total: Money) -> int:
    """Two above the amount, strictly; else one."""
    above = policy.second_signature_above
    return SIGNATURES_TWO if above is not None and total > above else SIGNATURES_ONE


def why_not_automatic(asked: Asked, rule: Automatic, *, now: datetime) -> NotAutomatic | None:
    """The first reason to show the withdrawal to a person; None: it is approved by itself."""
    reasons = (
        (NotAutomatic.NOT_ACTIVE, not asked.active),
        (NotAutomatic.ABOVE_ITEM_LIMIT, asked.amount > rule.item),
        (NotAutomatic.FIRST_PAYMENT, asked.last_amount is None),
        (NotAutomatic.DESTINATION_CHANGED, not asked.same_destination),
        (NotAutomatic.ACCOUNT_YOUNG, _young(asked, rule, now)),
        (NotAutomatic.JUMP, _jumped(asked)),
        (NotAutomatic.TROUBLED, asked.troubled),
        (NotAutomatic.TAKEN_BACK, asked.taken_back),
        (NotAutomatic.ABOVE_DAY_LIMIT, asked.approved_today + asked.amount > rule.day),
    )
    return next((reason for reason, holds in reasons if holds), None)


def check(policy: Policy) -> None:
    """Raise Invalid, naming each field, for rules that contradict each other."""
    errors = []
    above, rule = policy.second_signature_above, policy.automatic
    if above is not None and policy.one_person:
        errors.append(
            FieldError(
                "one_person",
                "needs_two",
                "A second signature needs a second person: leave its amount empty, or switch "
                "one-person mode off.",
            )
        )
    if rule is not None:
        if rule.item.micros <= 0:
            errors.append(FieldError("automatic_item", "not_positive", "More than zero."))
        if rule.day < rule.item:
            errors.append(
                FieldError(
                    "automatic_day", "below_item", "At least as much as one withdrawal may be."
                )
            )
        if above is not None and rule.item > above:
            errors.append(
                FieldError(
                    "automatic_item",
                    "above_second_signature",
                    "What needs two signatures cannot be approved by itself.",
                )
            )
        if not ACCOUNT_DAYS_MIN <= rule.account_days <= ACCOUNT_DAYS_MAX:
            errors.append(
                FieldError("account_days", "out_of_range", "Between one day and ten years.")
            )
    if errors:
        raise Invalid(errors=errors)


def _young(asked: Asked, rule: Automatic, now: datetime) -> bool:
    """Older than so many days, strictly."""
    since = asked.account_since
    return since is None or now - since <= timedelta(days=rule.account_days)


def _jumped(asked: Asked) -> bool:
    last = asked.last_amount
    return last is not None and asked.amount.micros > JUMP_TIMES * last.micros
