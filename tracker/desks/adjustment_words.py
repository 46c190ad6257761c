"""Corrections of a balance in words: one sentence for each code of the closed enums."""

from __future__ import annotations

from payouts.adjustments.rules import AdjustmentKind, Reason
from tracker.desks.words import _


def adjustment_reason(code: str) -> str:
    """Why a balance was corrected; the code itself where none of ours made it."""
    if code not in set(Reason):
        return code
    return {
        Reason.MISSED_COMMISSION: _("A commission was missed"),
        Reason.WRONG_COMMISSION: _("A commission was booked wrongly"),
        Reason.AGREED_BONUS: _("A bonus was agreed"),
        Reason.RULES_BROKEN: _("The rules of the program were broken"),
        Reason.PAID_ELSEWHERE: _("It was paid another way"),
        Reason.NOT_COLLECTABLE: _("It cannot be recovered"),
        Reason.GOODWILL: _("As goodwill"),
        Reason.ACCOUNT_CLOSED: _("The affiliate has left"),
        Reason.OTHER: _("Another reason"),
    }[Reason(code)]


def adjustment_kind(kind: str) -> str:
    """What a correction does."""
    return {
        AdjustmentKind.ADJUST: _("Correction"),
        AdjustmentKind.WRITE_OFF: _("Written off"),
    }[AdjustmentKind(kind)]
