"""What the provider does to a round: lost answers, storms, late lists, webhooks out of order."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.payouts.processes.playhouse import House

STORM_CALLS = (15, 40)
"""Calls that one storm refuses before it has passed."""
BETWEEN_S = (25.0, 35.0)
"""From storm to storm: a call that hangs is let hang beyond the rail's time-out meanwhile."""
HANG_S = 95.0
LAG_S = 60.0
HIDDEN_S = 1_000 * 3_600.0
ALWAYS: tuple[dict[str, Any], ...] = (
    {"kind": "accept-then-drop", "probability": 0.10},
    {"kind": "accept-then-hang", "probability": 0.04, "hang_s": HANG_S},
    {"kind": "accept-then-500", "probability": 0.06},
    {"kind": "accept-then-500", "probability": 0.04, "sticky": False},
    {"kind": "accept-then-html-502", "probability": 0.02},
    {"kind": "half-body", "probability": 0.03},
    {"kind": "refuse-drop", "probability": 0.05},
    {"kind": "refuse-500", "probability": 0.04, "sticky": False},
    {"kind": "html-502", "probability": 0.02},
)
SLOWLY = {"kind": "delay", "probability": 0.7, "delay_s": 0.4}
"""Calls that take their time are what a kill finds under way."""
STORMS: tuple[dict[str, Any], ...] = (
    {"kind": "429", "probability": 0.85},
    {"kind": "429", "probability": 0.85, "code": "lock_timeout"},
    {"kind": "409", "probability": 0.85},
    {"kind": "html-502", "probability": 0.85},
)


@dataclass
class Wire:
    """The faults of one round, told to the double."""

    house: House
    chance: random.Random
    old_keys: bool = False
    """Webhooks are held and lists hidden until the clocks have moved."""
    nothing_moved: list[int] = field(default_factory=list)
    """Items whose calls end with a 500 that is remembered, and nothing moved."""
    moved_unseen: list[int] = field(default_factory=list)
    """Items that were paid with a 500 that is remembered, and nobody heard of it."""
    storms: Counter[str] = field(default_factory=Counter)
    changes_at: float = 0.0
    began: float = 0.0

    def begin(self) -> None:
        self.began = time.time()
        self._tell()
        if not self.old_keys:
            bad = {"copies": 2, "reorder": self.chance.randrange(1, 1_000), "drop": 15}
            self.house.control("POST", "/webhooks/switches", bad)

    def tick(self) -> None:
        """A storm comes now and then, and passes by itself."""
        if time.monotonic() > self.changes_at:
            storm = {**self.chance.choice(STORMS), "times": self.chance.randint(*STORM_CALLS)}
            self.storms[storm["kind"]] += 1
            self._tell(storm)

    def calls(self) -> int:
        """Transfers that were asked for since this began."""
        told = self.house.control("GET", "/requests")["requests"]
        return sum(each["method"] == "POST" and each["at"] > self.began for each in told)

    def calm(self) -> None:
        """The faults end; what waits for old keys goes on doing so until `show`."""
        self.house.control("DELETE", "/faults")
        if self.old_keys:
            self._doom()
            self.hide()
        else:
            self.heal()

    def hide(self) -> None:
        """Nobody hears of what was paid: no webhook comes, every list is days behind."""
        self.house.control("POST", "/webhooks/switches", {"hold": True})
        self._add({"kind": "list-lag", "lag_s": HIDDEN_S, "method": "GET", "path": "/v1/"})

    def show(self) -> None:
        """Lists are whole again; webhooks of these days stay lost."""
        self.house.control("DELETE", "/faults")

    def heal(self) -> None:
        """Webhooks go out again as they should."""
        self.house.control("POST", "/webhooks/switches", {})

    def _tell(self, storm: dict[str, Any] | None = None) -> None:
        self.changes_at = time.monotonic() + self.chance.uniform(*BETWEEN_S)
        self.house.control("DELETE", "/faults")
        self._doom()
        if storm is not None:
            self._add(storm)
        for rule in ALWAYS:
            if not self.old_keys or rule.get("sticky") is False or "500" not in rule["kind"]:
                self._add(rule)
        self._add(SLOWLY)
        if self.old_keys:
            self.hide()
        else:
            lag = {"kind": "list-lag", "lag_s": LAG_S, "method": "GET", "path": "/v1/transfers"}
            self._add(lag | {"probability": 0.6})

    def _doom(self) -> None:
        for items, kind in (
            (self.nothing_moved, "refuse-500"),
            (self.moved_unseen, "accept-then-500"),
        ):
            for item_id in items:
                self._add({"kind": kind, "sticky": True, "match": f":{item_id}:"})

    def _add(self, rule: dict[str, Any]) -> None:
        seed = self.chance.randrange(1 << 30)
        self.house.control("POST", "/faults", {"times": None, "seed": seed, **rule})
