"""What was booked beside what other rules would have paid: sums, who gains, what changes hands.

Everything here is what refunds and cancellations leave by now, on both sides alike. Kept are
sums by affiliate, day and reason and the orders that differ most, so that memory does not grow
with the history. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction
from heapq import heappush, heappushpop
from typing import Any, Final
from zoneinfo import ZoneInfo

from tracker.attribution.rules import Attribution, Step
from tracker.attribution.snapshot import trace_document
from tracker.replay.history import PastOrder
from tracker.replay.reckoning import Reckoned, kept_of

EXAMPLES_MAX: Final = 100
_AGAINST: Final = (Step.REMOVED.value, Step.LOST.value)

Amounts = dict[tuple[int, int], int]
"""Micros by level and enrollment."""


@dataclass(frozen=True, slots=True)
class Change:
    """An order of which the other rules would have paid somebody else, or something else."""

    past: PastOrder
    again: Reckoned
    booked: Amounts
    would: Amounts

    @property
    def by_micros(self) -> int:
        """What the order would have cost more (or less, below zero)."""
        return sum(self.would.values()) - sum(self.booked.values())

    @property
    def moved_micros(self) -> int:
        """By how much somebody's money would differ, over all of them."""
        keys = {*self.booked, *self.would}
        return sum(abs(self.would.get(key, 0) - self.booked.get(key, 0)) for key in keys)

    @property
    def before(self) -> dict[int, str]:
        """Weights of the credit by enrollment, as it was decided."""
        return {each["enrollment_id"]: each["weight"] for each in self.past.shares}

    @property
    def after(self) -> dict[int, str]:
        return after_of(self.again)

    @property
    def changes_hands(self) -> bool:
        return self.before != self.after

    def why(self) -> list[dict[str, Any]]:
        """Of each affiliate who would have more or less of the credit: the line that says why.

        `{"enrollment_id", "gains", "line"}`: who gains is told by the line that was against them,
        who loses by the one that would be; None where there is none, as for a part that changes.
        """
        before, after = self.before, self.after
        told = []
        for who in [*before, *(each for each in after if each not in before)]:
            if before.get(who) == after.get(who):
                continue
            gains = Fraction(after.get(who, "0")) > Fraction(before.get(who, "0"))
            lines = (
                self.past.trace if gains else [trace_document(each) for each in self.trace_again]
            )
            against = [
                line
                for line in lines
                if line.get("enrollment_id") == who and line["outcome"] in _AGAINST
            ]
            told.append(
                {"enrollment_id": who, "gains": gains, "line": against[-1] if against else None}
            )
        return told

    @property
    def trace_again(self) -> tuple[Any, ...]:
        return self.again.verdict.trace

    def document(self) -> dict[str, Any]:
        """As a replay's row keeps it."""
        return {
            "order_row_id": self.past.subject.id,
            "order_id": self.past.order_id,
            "placed_at": self.past.subject.placed_at.isoformat(),
            "before": self.before,
            "after": self.after,
            "booked": _listed(self.booked),
            "would": _listed(self.would),
            "why": self.why() if self.changes_hands else [],
        }


def after_of(again: Reckoned) -> dict[int, str]:
    """Weights of the credit by enrollment, as the other rules would have decided."""
    if not isinstance(again.verdict, Attribution):
        return {}
    return {each.enrollment_id: str(each.weight) for each in again.verdict.shares}


@dataclass(slots=True)
class Pair:
    """Micros as booked, and as they would be."""

    booked: int = 0
    would: int = 0

    def document(self) -> dict[str, int]:
        return {"booked": self.booked, "would": self.would}


@dataclass(slots=True)
class Affiliate:
    """What changes for one of them."""

    booked: int = 0
    would: int = 0
    orders_gained: int = 0
    orders_lost: int = 0

    def document(self) -> dict[str, int]:
        return {
            "booked": self.booked,
            "would": self.would,
            "orders_gained": self.orders_gained,
            "orders_lost": self.orders_lost,
        }


@dataclass(slots=True)
class Comparison:
    """Sums over the orders that were added; days are the program's."""

    zone: str
    told: Callable[[Change], None] | None = None
    """Is told every order that differs, in the order in which they are added."""
    orders: int = 0
    changed: int = 0
    """Orders of which anybody's money would differ, or the credit."""
    changed_hands: int = 0
    by_level: dict[str, Pair] = field(
        default_factory=lambda: {name: Pair() for name in ("level_1", "level_2", "make_up")}
    )
    affiliates: dict[int, Affiliate] = field(default_factory=dict)
    days: dict[date, Pair] = field(default_factory=dict)
    reasons: Counter[tuple[bool, str]] = field(default_factory=Counter)
    """How often somebody would have gained (True) or lost all credit, by the reason's code."""
    examples: list[tuple[int, int, dict[str, Any]]] = field(default_factory=list)

    def add(self, past: PastOrder, again: Reckoned) -> None:
        """One order more."""
        booked: Amounts = {}
        for row in past.booked:
            key = (row.level, row.enrollment_id)
            booked[key] = booked.get(key, 0) + row.kept_micros
        would: Amounts = {}
        for found in again.found:
            key = (found.level, found.enrollment_id)
            would[key] = would.get(key, 0) + kept_of(past, found).micros
        self.orders += 1
        self._sum(booked, would)
        on = past.subject.placed_at.astimezone(ZoneInfo(self.zone)).date()
        day = self.days.setdefault(on, Pair())
        day.booked += sum(booked.values())
        day.would += sum(would.values())
        change = Change(past, again, booked, would)
        if _nothing_but_zeros(booked, would) and not change.changes_hands:
            return
        self._note(change)

    def add_make_up(self, enrollment_id: int, on: date, *, booked: int = 0, would: int = 0) -> None:
        """The make-up of a period's tiers, in micros, on the period's last day."""
        for pair in (
            self.by_level["make_up"],
            self.affiliates.setdefault(enrollment_id, Affiliate()),
            self.days.setdefault(on, Pair()),
        ):
            pair.booked += booked
            pair.would += would

    @property
    def cost(self) -> Pair:
        """All of it."""
        sides = self.by_level.values()
        return Pair(sum(each.booked for each in sides), sum(each.would for each in sides))

    def document(self) -> dict[str, Any]:
        """As a replay's row keeps it; amounts are micros of the program's currency."""
        examples = sorted(self.examples, key=lambda each: (-each[0], each[1]))
        return {
            "orders": self.orders,
            "changed": self.changed,
            "changed_hands": self.changed_hands,
            "cost": self.cost.document(),
            "by_level": {name: pair.document() for name, pair in self.by_level.items()},
            "affiliates": {str(who): each.document() for who, each in self.affiliates.items()},
            "days": {
                day.isoformat(): self.days[day].document() for day in sorted(self.days)
            },
            "reasons": [
                {"gains": gains, "reason": reason, "orders": count}
                for (gains, reason), count in self.reasons.most_common()
            ],
            "examples": [document for _, _, document in examples],
        }  # fmt: skip

    def _sum(self, booked: Amounts, would: Amounts) -> None:
        for (level, who), micros in booked.items():
            self.by_level[f"level_{level}"].booked += micros
            self.affiliates.setdefault(who, Affiliate()).booked += micros
        for (level, who), micros in would.items():
            self.by_level[f"level_{level}"].would += micros
            self.affiliates.setdefault(who, Affiliate()).would += micros

    def _note(self, change: Change) -> None:
        self.changed += 1
        if change.changes_hands:
            self.changed_hands += 1
            self._note_hands(change)
        if self.told is not None:
            self.told(change)
        weight, tie = change.moved_micros, -change.past.subject.id
        if len(self.examples) < EXAMPLES_MAX:
            heappush(self.examples, (weight, tie, change.document()))
        elif (weight, tie) > self.examples[0][:2]:
            heappushpop(self.examples, (weight, tie, change.document()))

    def _note_hands(self, change: Change) -> None:
        before, after = change.before, change.after
        for who in before.keys() - after.keys():
            self.affiliates.setdefault(who, Affiliate()).orders_lost += 1
        for who in after.keys() - before.keys():
            self.affiliates.setdefault(who, Affiliate()).orders_gained += 1
        for each in change.why():
            if before.keys() & after.keys() & {each["enrollment_id"]}:
                continue  # Another part of the same order: nothing spoke for or against them.
            line = each["line"]
            self.reasons[(each["gains"], line["reason"] if line else "")] += 1


def _nothing_but_zeros(booked: Amounts, would: Amounts) -> bool:
    """Whether nobody's money differs."""
    if booked == would:
        return True
    keys = booked.keys() | would.keys()
    return all(booked.get(key, 0) == would.get(key, 0) for key in keys)


def _listed(amounts: Mapping[tuple[int, int], int]) -> list[dict[str, int]]:
    return [
        {"level": level, "enrollment_id": who, "micros": micros}
        for (level, who), micros in sorted(amounts.items())
    ]
