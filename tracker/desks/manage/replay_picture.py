"""What was booked beside what a draft would have paid, as numbers for an SVG (pure).

A bar is what was booked, a mark across its place what the draft would have paid: two shapes,
so that they are told apart without colour. Long spans are drawn by week or by month, so that
a phone has room for each. The drawing is stretched to its box; words stand outside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Final

from affiliate.core.money import MICROS
from tracker.desks.account.charts import HEIGHT, round_up

DAYS_MAX: Final = 45
"""Longer spans are drawn by week."""
WEEKS_MAX: Final = 60
"""Still longer ones by month."""
PLACE: Final = 12
BAR: Final = 10
_SEEN: Final = 150
"""So high, in hundredths of the axis' hundredth, is the smallest amount that is drawn."""
_DAY: Final = timedelta(days=1)


class Unit(StrEnum):
    """What one place of the picture stands for."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Slot:
    """A day, week or month, as far as it lies in the span; amounts in micros."""

    first: date
    last: date
    booked: int
    would: int


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a slot's bar and mark stand, in the units of the drawing."""

    slot: Slot
    x: int
    """Of the slot's place, which is PLACE wide; its bar is BAR wide, in the middle."""
    y: str
    height: str
    draft_y: str
    """Empty: nothing was booked and nothing would be, so that no mark is drawn."""


@dataclass(frozen=True, slots=True)
class Picture:
    unit: Unit
    marks: tuple[Mark, ...]
    width: int
    top: int
    """The upper end of the axis, in major units of the currency."""

    @property
    def slots(self) -> list[Slot]:
        return [mark.slot for mark in self.marks]

    @property
    def axis(self) -> list[Slot]:
        """The first, the one in the middle and the last: those that are named below it."""
        slots = self.slots
        return list(dict.fromkeys((slots[0], slots[len(slots) // 2], slots[-1])))


def picture(days: Mapping[date, tuple[int, int]], first: date, last: date) -> Picture:
    """Draw micros booked and micros as they would be, by day; days without orders are none.

    What lies below zero is drawn as nothing.
    """
    first, last = min([first, *days]), max([last, *days])
    unit = _unit(first, last)
    slots = _slots(days, first, last, unit)
    most = max(max(slot.booked, slot.would) for slot in slots)
    top = round_up(-(-most // MICROS))
    marks = tuple(_mark(i, slot, top) for i, slot in enumerate(slots))
    return Picture(unit, marks, len(marks) * PLACE, top)


def _unit(first: date, last: date) -> Unit:
    days = (last - first).days + 1
    if days <= DAYS_MAX:
        return Unit.DAY
    return Unit.WEEK if days <= WEEKS_MAX * 7 else Unit.MONTH


def _slots(
    days: Mapping[date, tuple[int, int]], first: date, last: date, unit: Unit
) -> Sequence[Slot]:
    found: list[Slot] = []
    begins = first
    while begins <= last:
        ends = min(_end(begins, unit), last)
        inside = [days.get(begins + i * _DAY, (0, 0)) for i in range((ends - begins).days + 1)]
        found.append(Slot(begins, ends, sum(b for b, _ in inside), sum(w for _, w in inside)))
        begins = ends + _DAY
    return found


def _end(day: date, unit: Unit) -> date:
    """The last day of the day's week, which begins on Monday, or of its month."""
    if unit is Unit.DAY:
        return day
    if unit is Unit.WEEK:
        return day + (6 - day.weekday()) * _DAY
    return (day.replace(day=28) + 4 * _DAY).replace(day=1) - _DAY


def _mark(number: int, slot: Slot, top: int) -> Mark:
    booked, would = _hundredths(slot.booked, top), _hundredths(slot.would, top)
    seen = slot.booked > 0 or slot.would > 0
    return Mark(
        slot,
        number * PLACE,
        _decimal(HEIGHT * 100 - booked),
        _decimal(booked),
        _decimal(HEIGHT * 100 - would) if seen else "",
    )


def _hundredths(micros: int, top: int) -> int:
    if micros <= 0:
        return 0
    return max(_SEEN, micros * HEIGHT * 100 // (top * MICROS))


def _decimal(hundredths: int) -> str:
    return f"{hundredths // 100}.{hundredths % 100:02d}"
