"""Counters of several processes: added up, and not lost with the process that counted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from affiliate.core import metrics
from affiliate.core.metrics import ENDED, SUFFIX, Tally

ROOT = Path(__file__).resolve().parents[2]
COUNTING = """
import os, sys, time
from pathlib import Path
from affiliate.core.metrics import Tally
tally = Tally(Path(sys.argv[1]))
tally.add("apples", int(sys.argv[2]))
print("counted", flush=True)
time.sleep(600)
"""


def counting(folder: Path, number: int) -> subprocess.Popen[str]:
    """A process that has counted and goes on living."""
    process = subprocess.Popen(
        [sys.executable, "-c", COUNTING, str(folder), str(number)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "counted\n"
    return process


def files(folder: Path) -> list[Path]:
    return list(folder.glob(f"*{SUFFIX}"))


def test_what_several_processes_count_is_added_up_and_survives_a_kill(tmp_path: Path) -> None:
    first, second = counting(tmp_path, 3), counting(tmp_path, 4)
    own = Tally(tmp_path)
    own.add("apples", 5)
    assert own.totals() == {"apples": 12}
    for process in (first, second):
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert own.totals() == {"apples": 12}
    assert own.fold() == 2
    assert len(files(tmp_path)) == 1
    assert own.totals() == {"apples": 12}
    own.add("apples", 1)
    assert Tally(tmp_path).totals() == {"apples": 13}


def test_files_of_the_living_are_left_alone(tmp_path: Path) -> None:
    own = Tally(tmp_path)
    own.add("apples", 1)
    assert Tally(tmp_path).fold() == 0
    assert len(files(tmp_path)) == 1


def test_a_death_in_the_middle_of_adding_up_counts_nothing_twice(tmp_path: Path) -> None:
    process = counting(tmp_path, 3)
    process.kill()
    process.communicate()
    (path,) = files(tmp_path)
    kept = path.read_bytes()
    assert Tally(tmp_path).fold() == 1
    path.write_bytes(kept)  # The sums were written and the file was not removed any more.
    assert Tally(tmp_path).fold() == 1
    assert Tally(tmp_path).totals() == {"apples": 3}


def test_broken_sums_do_not_break_the_counters(tmp_path: Path) -> None:
    (tmp_path / ENDED).write_text("{")
    own = Tally(tmp_path)
    own.add("apples", 2)
    assert own.totals() == {"apples": 2}


def test_where_no_file_can_be_made_a_process_counts_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    own = Tally(tmp_path / "file" / "counters")
    own.add("apples", 2)
    assert own.totals() == {"apples": 2}


def test_a_file_that_could_not_be_made_at_first_is_made_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "RETRY_INTERVAL_S", 0.0)
    folder = tmp_path / "counters"
    folder.write_text("in the way")
    own = Tally(folder)
    own.add("apples", 2)
    folder.unlink()
    own.add("pears", 1)
    assert len(files(folder)) == 1
    assert Tally(folder).totals() == {"apples": 2, "pears": 1}


def test_room_is_taken_before_the_first_count(tmp_path: Path) -> None:
    own = Tally(tmp_path)
    own.begin()
    (path,) = files(tmp_path)
    assert path.stat().st_blocks * 512 >= metrics.SLOT.size * metrics.SLOTS_MAX
    assert own.totals() == {}


def test_a_forked_child_counts_in_a_file_of_its_own(tmp_path: Path) -> None:
    own = Tally(tmp_path)
    own.add("apples", 2)
    child = os.fork()
    if child == 0:
        own.add("apples", 5)
        os._exit(0)
    os.waitpid(child, 0)
    own.add("apples", 1)
    assert own.totals() == {"apples": 8}
    assert len(files(tmp_path)) == 2


def test_threads_do_not_lose_counts(tmp_path: Path) -> None:
    own = Tally(tmp_path)
    threads = [
        threading.Thread(target=lambda: [own.add(f"k{n % 5}", 1) for n in range(2_000)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert own.totals() == {f"k{n}": 1_600 for n in range(5)}


def test_more_names_than_slots_are_dropped_and_harm_nobody(tmp_path: Path) -> None:
    own = Tally(tmp_path)
    for number in range(metrics.SLOTS_MAX + 50):
        own.add(f"name-{number}", 1)
    assert len(own.totals()) == metrics.SLOTS_MAX


def test_the_exposition_has_each_declared_counter_with_its_labels(tmp_path: Path) -> None:
    metrics.declare("kopeck_test_pears", "Pears.")
    metrics.declare("kopeck_test_plums", "Plums, by colour.")
    metrics.use(tmp_path)
    metrics.count("kopeck_test_plums", 2, colour="blue")
    metrics.count("kopeck_test_plums", colour="yellow")

    class Everything:
        def collect(self) -> object:
            return metrics.counted()

    registry = CollectorRegistry()
    registry.register(Everything())  # type: ignore[arg-type]
    said = generate_latest(registry).decode()
    assert "kopeck_test_pears_total 0.0" in said
    assert 'kopeck_test_plums_total{colour="blue"} 2.0' in said
    assert 'kopeck_test_plums_total{colour="yellow"} 1.0' in said
