"""How much of what is due a program's budget lets go. Pure.

Rule: docs/rules.md, "Budget".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from affiliate.core.money import Money


@dataclass(frozen=True, slots=True)
class Due:
    """A commission whose hold is over and that waits for nothing else."""

    id: int
    available_at: datetime
    amount: Money
    """What refunds have left of it."""


@dataclass(frozen=True, slots=True)
class WithinBudget:
    """What goes now, and what waits for ReleaseWait.BUDGET; both in the order of the queue."""

    released: tuple[int, ...]
    waiting: tuple[int, ...]
    left: Money
    """What the budget still has after it."""


def within_budget(due: Iterable[Due], *, budget: Money, released: Money) -> WithinBudget:
    """Let whole commissions go, oldest available_at first, then by id, while they fit.

    `released` is what was released in the period already. Nobody is overtaken: the first that
    does not fit holds back those behind it, save one that no full budget could ever pay; that
    one waits alone. What is nothing any more goes at any time.
    """
    left = budget - released
    going: list[int] = []
    waiting: list[int] = []
    held = False
    for each in sorted(due, key=lambda one: (one.available_at, one.id)):
        if not each.amount:
            going.append(each.id)
        elif each.amount > budget:
            waiting.append(each.id)
        elif held or each.amount > left:
            held = True
            waiting.append(each.id)
        else:
            left -= each.amount
            going.append(each.id)
    return WithinBudget(tuple(going), tuple(waiting), left)
