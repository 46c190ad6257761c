"""Bars of a chart as numbers for an SVG (pure): the template draws them by classes alone.

The drawing is stretched to its box, so widths and heights are in hundredths of a bar and of
the axis; words stand outside it, in HTML, where they keep their size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

HEIGHT = 100
BAR = 10
GAP = 2
STEPS = (1, 2, 5)


@dataclass(frozen=True, slots=True)
class Bar:
    """One day: where it stands, how high it is, what it says when pointed at."""

    x: int
    y: str
    height: str
    day: date
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    bars: tuple[Bar, ...]
    width: int
    top: int
    """The value at the upper end of the axis."""
    empty: bool


def chart(days: Sequence[date], values: Sequence[int], labels: Sequence[str]) -> Chart:
    """Bars of whole values, none negative drawn: what is below zero has no height."""
    top = round_up(max(values, default=0))
    bars = []
    for i, (on, value, label) in enumerate(zip(days, values, labels, strict=True)):
        hundredths = max(0, value) * HEIGHT * 100 // top
        if value > 0:
            hundredths = max(hundredths, 150)
        bars.append(
            Bar(
                i * (BAR + GAP),
                _decimal(HEIGHT * 100 - hundredths),
                _decimal(hundredths),
                on,
                label,
            )
        )
    return Chart(
        tuple(bars), max(1, len(bars) * (BAR + GAP) - GAP), top, not any(v > 0 for v in values)
    )


def round_up(value: int) -> int:
    """The next of 1, 2, 5, 10, 20, 50 … at or above the value; 1 for nothing."""
    scale = 1
    while True:
        for step in STEPS:
            if value <= step * scale:
                return step * scale
        scale *= 10


def _decimal(hundredths: int) -> str:
    return f"{hundredths // 100}.{hundredths % 100:02d}"
