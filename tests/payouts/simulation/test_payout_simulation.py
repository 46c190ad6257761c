"""Hundreds of seeds on every run of the suite; `make faults-payouts` runs ten thousand."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.payouts.simulation import payout_guards as off
from tests.payouts.simulation.house import House
from tests.payouts.simulation.seeds import run_seed
from tests.payouts.simulation.simulation import Simulation

pytestmark = pytest.mark.slow
SEEDS = 240
AT_ONCE = 10


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_nothing_is_paid_twice_and_nothing_is_lost(house: House, first: int) -> None:
    for seed in range(first, first + AT_ONCE):
        outcome = run_seed(house, seed)
        assert outcome.sound, "\n".join((f"seed {seed}", *outcome.violations, *outcome.story))


@pytest.mark.parametrize("seed", [3, 11, 42])
def test_a_seed_is_one_run(house: House, seed: int) -> None:
    one, again = run_seed(house, seed), run_seed(house, seed)
    assert one.story == again.story
    assert one.counts == again.counts


def test_seeds_differ(house: House) -> None:
    assert run_seed(house, 1).story != run_seed(house, 2).story


def test_the_simulation_hurts(house: House) -> None:
    """Of some seeds together: processes died, locks were waited for, faults were met."""
    wanted = {
        "dies of Died", "dies of JobTimeoutException", "is cut before", "is cut after",
        "waits for a lock", "key gone", "list gone", "funds gone", "queue: flushed",
        "PostgreSQL restarts", "a backup is taken", "the backup is restored", "refused",
        "provider: executes", "provider: never sees", "is held", "is refunded", "is suspended",
        "is tried anew",
    }  # fmt: skip
    for seed in range(1_000, 1_200):
        simulation = Simulation(house, seed)
        simulation.run()
        text = "\n".join(simulation.story)
        wanted -= {what for what in wanted if what in text}
        if not wanted:
            return
    raise AssertionError(f"never seen: {wanted}")


@pytest.mark.parametrize(
    "switches",
    [
        (off.no_key_reuse, off.no_look_up),
        (off.no_fence, off.no_key_reuse, off.no_look_up),
        (off.no_frozen_payee, off.no_parking),
    ],
    ids=("keys and look-up", "fence", "payee"),
)
def test_random_seeds_see_what_is_missing(house: House, switches: tuple[off.Switch, ...]) -> None:
    for seed in range(SEEDS):
        with ExitStack() as stack:
            for switch in switches:
                stack.enter_context(switch(house))
            outcome = run_seed(house, seed)
        if not outcome.sound:
            return
    raise AssertionError("no seed saw it")
