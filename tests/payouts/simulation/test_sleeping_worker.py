"""A process that is stopped for a day between its claim and the wire."""

from __future__ import annotations

from tests.payouts.simulation import payout_guards as off
from tests.payouts.simulation.payout_guards import switched
from tests.payouts.simulation.scene import Scene


def stopped_before_the_wire(scene: Scene) -> int:
    """A machine sleeps for a day, at a worker's last line before the call; others go on."""
    item_id = scene.approved()
    worker = scene.worker(item_id, "sleeper")
    scene.until(worker, "sending")
    scene.wait(minutes=2)
    scene.moved(item_id)
    assert scene.item(item_id).status == "paid"
    scene.wait(hours=25)
    scene.conductor.finish(worker)
    return item_id


def test_a_worker_that_slept_before_the_wire_looks_at_the_clock_again(scene: Scene) -> None:
    item_id = stopped_before_the_wire(scene)
    assert scene.paid(item_id) == 1
    assert scene.verdict() == []


def test_without_that_look_a_worker_that_slept_pays_again(scene: Scene) -> None:
    with switched(scene, off.no_key_life):
        item_id = stopped_before_the_wire(scene)
        assert f"item {item_id} was paid 2 times" in scene.verdict()
