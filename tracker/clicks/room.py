"""How much room the journal may take, and when somebody must look (pure).

Segments that are loaded are kept for a restore and are the first to go, oldest first. What is
not loaded is never given up: it is the clicks. When it alone is too much, or has waited too
long, that is an alarm, and clicks go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MB: Final = 1_000_000
LAG_ALARM_S: Final = 60.0
"""A click belongs into the statistics within a second; a minute is no hiccup any more."""
SILENT_S: Final = 30.0
"""A loader says how it stands every second."""


class Alarm(StrEnum):
    """What a person should look at. None of them refuses a click."""

    LAGS = "journal_lags"
    OVER_BUDGET = "journal_over_budget"
    DISK_NEARLY_FULL = "disk_nearly_full"
    LOADER_SILENT = "loader_silent"

    @property
    def sentence(self) -> str:
        """What it means and what to do; docs/operations.md, "Watching it"."""
        return _SENTENCES[self]


_SENTENCES: Final = {
    Alarm.LAGS: "clicks wait in the journal for over a minute: is the database away or slow?",
    Alarm.OVER_BUDGET: "clicks that wait to be loaded take more than KOPECK_JOURNAL_MB_MAX",
    Alarm.DISK_NEARLY_FULL: "the journal's disk has less free than KOPECK_JOURNAL_FREE_MB_MIN",
    Alarm.LOADER_SILENT: "no loader has reported on this node for half a minute",
}


@dataclass(frozen=True, slots=True)
class Budget:
    """What an installation allows, in bytes."""

    bytes_max: int
    """Of all segments together, loaded or not."""
    free_bytes_min: int
    """Of the file system that the journal lies on."""


@dataclass(frozen=True, slots=True)
class Taken:
    """How a node's journal stands, in bytes."""

    waiting_bytes: int
    """Written and not loaded."""
    segments_bytes: int
    """Of segments in use, loaded or not."""
    kept_bytes: int
    """Of segments that are loaded and kept for a restore."""
    free_bytes: int
    lag_s: float
    """Age of the oldest record that is not loaded; 0 when all are."""


def how_many_to_give_up(sizes: Sequence[int], taken: Taken, budget: Budget) -> int:
    """How many of the kept segments must go; `sizes` in bytes, oldest first."""
    over = taken.segments_bytes + taken.kept_bytes - budget.bytes_max
    short = budget.free_bytes_min - taken.free_bytes
    wanted = max(over, short)
    number = 0
    while wanted > 0 and number < len(sizes):
        wanted -= sizes[number]
        number += 1
    return number


def alarms_of(taken: Taken, budget: Budget) -> list[Alarm]:
    """What is wrong after everything that may be given up has been."""
    found = []
    if taken.lag_s > LAG_ALARM_S:
        found.append(Alarm.LAGS)
    if taken.waiting_bytes > budget.bytes_max:
        found.append(Alarm.OVER_BUDGET)
    if taken.free_bytes < budget.free_bytes_min:
        found.append(Alarm.DISK_NEARLY_FULL)
    return found
