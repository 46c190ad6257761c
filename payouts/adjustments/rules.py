"""How far a balance may be corrected by hand, and for what reason. Pure.

Rule: docs/rules.md, "Corrections".
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from affiliate.core.money import MICROS, Money

ADJUST_MAJOR_UNITS_MAX: Final = 1_000_000
"""The most that one correction adds, in major units of the currency."""
NOTE_CHARS_MAX: Final = 500


class AdjustmentKind(StrEnum):
    ADJUST = "adjust"
    """More or less than the rules of the program brought."""
    WRITE_OFF = "write_off"
    """A negative balance is given up, wholly or in part."""


class Reason(StrEnum):
    """Why; shown to the affiliate as a sentence."""

    MISSED_COMMISSION = "missed_commission"
    WRONG_COMMISSION = "wrong_commission"
    AGREED_BONUS = "agreed_bonus"
    RULES_BROKEN = "rules_broken"
    PAID_ELSEWHERE = "paid_elsewhere"
    NOT_COLLECTABLE = "not_collectable"
    GOODWILL = "goodwill"
    ACCOUNT_CLOSED = "account_closed"
    OTHER = "other"


REASONS: Final = {
    AdjustmentKind.ADJUST: (
        Reason.MISSED_COMMISSION,
        Reason.WRONG_COMMISSION,
        Reason.AGREED_BONUS,
        Reason.RULES_BROKEN,
        Reason.PAID_ELSEWHERE,
        Reason.OTHER,
    ),
    AdjustmentKind.WRITE_OFF: (
        Reason.NOT_COLLECTABLE,
        Reason.GOODWILL,
        Reason.ACCOUNT_CLOSED,
        Reason.OTHER,
    ),
}


class Unfit(StrEnum):
    """Why a correction cannot be."""

    NOTHING = "nothing"
    ABOVE_MOST = "above_most"
    MORE_THAN_AVAILABLE = "more_than_available"
    """It would make the balance negative, which refunds alone may."""
    NOT_NEGATIVE = "not_negative"
    MORE_THAN_OWED = "more_than_owed"
    """It would give up more than is owed."""


def most(currency: str) -> Money:
    """The largest amount that one correction adds."""
    return Money(ADJUST_MAJOR_UNITS_MAX * MICROS, currency)


def unfit(kind: AdjustmentKind, amount: Money, *, available: Money) -> Unfit | None:
    """Why `amount` cannot be added to what is available; None when it can.

    Asked when it is proposed and again, under the balance's lock, when it is confirmed.
    """
    zero = Money.zero(amount.currency)
    if not amount:
        return Unfit.NOTHING
    if kind is AdjustmentKind.WRITE_OFF:
        if available >= zero:
            return Unfit.NOT_NEGATIVE
        return Unfit.MORE_THAN_OWED if amount > -available or amount < zero else None
    if amount > most(amount.currency):
        return Unfit.ABOVE_MOST
    if amount < zero and available + amount < zero:
        return Unfit.MORE_THAN_AVAILABLE
    return None
