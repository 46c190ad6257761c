"""The kill campaign's short form: the same code, some thousand clicks, a few blows of each kind."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from pathlib import Path

from tests.faults import campaign, nemesis
from tests.faults.nemesis import Blow, Sizes

SHORT = Sizes(kills=5, restarts=1, valkey=1, disk_full=2, loaders=2, outage_s=0.3)


def test_f1_nothing_acknowledged_is_lost_or_doubled_whatever_is_killed() -> None:
    seed = random.SystemRandom().randrange(1, 1 << 32)
    with tempfile.TemporaryDirectory(prefix="kpk-faults-") as folder:
        verdict = campaign.run(
            campaign.Campaign(
                clicks=5_000, sizes=SHORT, seed=seed, connections=8, rate_max=2_000, may_mount=False
            ),
            Path(folder),
            print,
        )
    for name, value in verdict.numbers.items():
        print(f"{name:50} {value:>14}")
    assert verdict.violations == []
    assert int(verdict.numbers["acknowledged clicks"].replace(",", "")) >= 5_000


def test_a_schedule_is_its_seeds_and_has_what_was_asked_for() -> None:
    sizes = Sizes()
    one, same, other = (nemesis.schedule(sizes, random.Random(seed)) for seed in (7, 7, 8))
    assert one == same != other
    dealt = Counter(one)
    kills = (Blow.WORKER, Blow.LOADER, Blow.WEB, Blow.EVERYTHING)
    assert sum(dealt[kill] for kill in kills) == sizes.kills == 200
    assert all(dealt[blow] for blow in Blow)
    assert dealt[Blow.POSTGRES] + dealt[Blow.BLACKOUT] == sizes.restarts == 20
