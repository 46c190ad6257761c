"""Which browser an agent names, and what each of them cost (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from affiliate.people.agents import BROWSERS

# In the order of their meaning: what is built into an app names a browser as well.
_APPS: Final = (
    ("FBAN", "in_app"), ("FBAV", "in_app"), ("Instagram", "in_app"), ("VKAndroid", "in_app"),
    ("TikTok", "in_app"), ("musical_ly", "in_app"), ("GSA/", "in_app"), ("; wv)", "in_app"),
)  # fmt: skip
_MORE: Final = (
    ("SamsungBrowser", "Samsung Internet"), ("UCBrowser", "UC Browser"), ("EdgA", "Edge"),
    ("EdgiOS", "Edge"), ("OPT/", "Opera"), ("CriOS", "Chrome"), ("FxiOS", "Firefox"),
)  # fmt: skip
IN_APP: Final = "in_app"
OTHER: Final = "other"


def browser_family(agent: str) -> str:
    """`Firefox`; `in_app` for a browser inside of an app, `other` for what names itself in no
    known way."""
    marks = (*_APPS, *_MORE, *BROWSERS)
    return next((name for mark, name in marks if mark in agent), OTHER)


@dataclass(frozen=True, slots=True)
class Cost:
    """Of the orders that one browser's click brought: how many its pixel said nothing of."""

    family: str
    """Empty: no click tells which browser it was."""
    orders: int
    silent: int
    """Known by the shop's server alone."""
    kept: int
    """Of these, credited all the same."""

    @property
    def silent_ppm(self) -> int:
        return self.silent * 1_000_000 // self.orders if self.orders else 0


def costs_of(rows: Iterable[tuple[str | None, bool, bool]]) -> list[Cost]:
    """Sum (agent of the click or none, whether the pixel reported, whether it is credited).

    The most orders first; those without a click come last.
    """
    sums: dict[str, list[int]] = {}
    for agent, reported, credited in rows:
        family = "" if agent is None else browser_family(agent)
        found = sums.setdefault(family, [0, 0, 0])
        found[0] += 1
        found[1] += not reported
        found[2] += not reported and credited
    costs = [Cost(family, *found) for family, found in sums.items()]
    return sorted(costs, key=lambda cost: (cost.family == "", -cost.orders, cost.family))
