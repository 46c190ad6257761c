"""Run seeds: one after another in this process, each told whether it is sound."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tests.payouts.simulation.house import House
from tests.payouts.simulation.oracle import judge
from tests.payouts.simulation.simulation import Simulation


@dataclass(frozen=True)
class Outcome:
    """What came of a seed."""

    seed: int
    violations: tuple[str, ...]
    story: tuple[str, ...]
    counts: dict[str, int]
    took_s: float

    @property
    def sound(self) -> bool:
        return not self.violations


def run_seed(house: House, seed: int) -> Outcome:
    """One run. What the simulation itself cannot do is a violation too, with its story."""
    began = time.monotonic()
    simulation = Simulation(house, seed)
    try:
        simulation.run()
        violations = judge(simulation)
    except Exception as error:  # noqa: BLE001 -- told with the story that led there
        violations = [f"{type(error).__name__}: {error}"]
        house.conductor.kill_all()
    return Outcome(
        seed, tuple(violations), tuple(simulation.story), dict(simulation.counts),
        time.monotonic() - began,
    )  # fmt: skip
