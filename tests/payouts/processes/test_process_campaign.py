"""The campaign's short form: one installation, a dozen kills, and then the same without a guard."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from payouts.batches.jobs import sweep
from tests.payouts.processes import playhouse, verdict
from tests.payouts.processes.bad_wire import Wire
from tests.payouts.processes.playhouse import House
from tests.payouts.processes.process_round import Plan, play
from tests.payouts.processes.puppet import HORSE
from tests.payouts.processes.reaper import Reaper
from tests.payouts.processes.round_books import Desk, Size, prepare
from tests.story.outside import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("stack")]

SHORT = {
    "payouts.batches.intents.LEASE_S": 30,
    "payouts.batches.claims.RETRY_PAUSES_S": [5, 10, 20],
}
"""The real ones are a minute and more."""
PAID_S = 90.0
KILLS = 12


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with (
        tempfile.TemporaryDirectory(prefix="kpk-processes-") as folder,
        playhouse.opened(Path(folder), short=SHORT) as opened,
    ):
        yield opened


def test_whatever_is_killed_in_a_batch_each_payout_leaves_once(house: House) -> None:
    seed = random.SystemRandom().randrange(1, 1 << 32)
    size = Size(programs=2, weekly=3, withdrawals=3, asks_s=10)
    plan = Plan(
        f"{seed}:0",
        size,
        hurt_s=15,
        wire_s=5,
        calls_min=4,
        kills_min=KILLS,
        pause_s=(0.3, 1.2),
        ring_s=3,
    )
    outcome = play(house, plan, print)
    print(outcome)
    assert outcome.violations == []
    assert outcome.reviews == []
    assert sum(outcome.kills.values()) >= KILLS
    assert outcome.counts["transfers"] == outcome.counts["items paid"] == outcome.counts["items"]


def test_without_the_attempt_row_the_oracle_sees_a_second_transfer(house: House) -> None:
    """The same processes, the same kill, and a run that writes nothing before it calls."""
    seed = random.SystemRandom().randrange(1, 1 << 32)
    size = Size(programs=1, weekly=3, withdrawals=0)
    books = prepare(house, f"{seed}-red", size, random.Random(seed))
    desk = Desk(books, size, seed)
    desk.enter()
    assert verdict.payments(house) == []
    house.tell("left-out", ["attempt-row"])
    # Else the list, which each batch's first run is compared with, or a webhook would tell.
    Wire(house, random.Random(seed)).hide()
    Reaper(house, random.Random(seed)).lay_knife("answered", HORSE)
    desk.start()
    until(lambda: sweep.wake() and not books.open_items(), "everything is paid", PAID_S)
    assert [text for text in verdict.payments(house) if text.endswith("was paid 2 times")]
