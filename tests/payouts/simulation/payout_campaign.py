"""Ten thousand runs of the payout simulation (docs/reliability.md, "The simulation").

    python -m tests.payouts.simulation.payout_campaign [--seeds 10000] [--resume] [--seed N]

Three processes, each with a database of its own, share the seeds. What is done is written down
seed by seed, so that `--resume` goes on where a run was ended. A seed that is not sound is
listed with what the oracle said and the story of its steps. Exits with 1 when there is one.
`--seed N` runs that one and prints its story.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from affiliate.core.embedded.servers import create_database, running
from affiliate.core.migrate import upgrade
from tests.payouts.simulation.house import opened, settings_for
from tests.payouts.simulation.seeds import Outcome, run_seed

SEEDS = 10_000
PROCESSES = 3
"""Of two, which wait for PostgreSQL now and then, two cores are not quite busy."""
PROGRESS_S = 15.0
SILENCE_S_MAX = 300.0
"""Without an outcome for so long the campaign gives up."""
FOLDER = Path(tempfile.gettempdir()) / "kopeck-faults-payouts"
DONE_FILE = "seeds.jsonl"
TEMPLATE = "kopeck_template"


@dataclass
class Tally:
    """What has come of all seeds so far, those of earlier runs included."""

    seeds: set[int] = field(default_factory=set)
    unsound: list[int] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    took_s: float = 0.0

    def add(self, line: dict[str, Any]) -> None:
        self.seeds.add(line["seed"])
        self.counts.update(line["counts"])
        self.took_s += line["took_s"]
        if line["violations"]:
            self.unsound.append(line["seed"])


def read(folder: Path) -> Tally:
    """What a folder says is done; a line that was torn by the end of its run is left out."""
    tally = Tally()
    path = folder / DONE_FILE
    if path.exists():
        for text in path.read_text(encoding="utf-8").splitlines():
            try:
                tally.add(json.loads(text))
            except json.JSONDecodeError:
                continue
    return tally


def note(out: TextIO, folder: Path, outcome: Outcome) -> dict[str, Any]:
    """Write a seed down; an unsound one with its story in a file of its own."""
    line = {k: v for k, v in asdict(outcome).items() if k != "story"}
    out.write("\n" * (out.tell() > 0) + json.dumps(line))
    out.flush()
    if not outcome.sound:
        told = "\n".join((*outcome.violations, "", *outcome.story, ""))
        (folder / f"seed-{outcome.seed}.txt").write_text(told, encoding="utf-8")
    return line


@contextmanager
def databases(count: int) -> Iterator[list[tuple[str, str, Path]]]:
    """Servers of our own, as many migrated databases as processes, a data folder for each."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(
        prefix="kpk-sim-", dir=memory if memory.is_dir() else None
    ) as name:
        folder = Path(name)
        folder.chmod(0o711)  # The servers' user passes through it.
        with running(folder / "data", durable=False, keep=False, base=folder) as servers:
            upgrade(create_database(servers.database_url, TEMPLATE))
            made = []
            for number in range(count):
                url = create_database(servers.database_url, f"sim_{number}", template=TEMPLATE)
                own = folder / f"node-{number}"
                own.mkdir()
                made.append((url, servers.redis_url, own))
            yield made


def work(place: tuple[str, str, Path], seeds: list[int], told: Any) -> None:
    """One process: seed after seed, each outcome told at once."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with opened(settings_for(*place)) as house:
        gc.collect()
        gc.freeze()  # The application is as large as all the garbage of a hundred runs.
        for seed in seeds:
            told.put(run_seed(house, seed))


def run_all(folder: Path, tally: Tally, wanted: list[int], processes: int) -> None:
    """Run what is not done yet, and write down what comes of it."""
    left = [seed for seed in wanted if seed not in tally.seeds]
    spawn = multiprocessing.get_context("spawn")
    told = spawn.Queue()
    began = spoken = time.monotonic()
    with databases(processes) as places, (folder / DONE_FILE).open("a", encoding="utf-8") as out:
        workers = [
            spawn.Process(target=work, args=(place, left[n::processes], told), daemon=True)
            for n, place in enumerate(places)
        ]
        for worker in workers:
            worker.start()
        try:
            for number in range(1, len(left) + 1):
                tally.add(note(out, folder, told.get(timeout=SILENCE_S_MAX)))
                if time.monotonic() - spoken > PROGRESS_S or number == len(left):
                    spoken = time.monotonic()
                    rate = number / (spoken - began)
                    print(
                        f"{number:>6} of {len(left)} seeds, {rate:.2f} a second, "
                        f"{len(tally.unsound)} unsound",
                        flush=True,
                    )
        finally:
            for worker in workers:
                worker.terminate()
                worker.join()


def run_one(seed: int) -> bool:
    """Run a seed again and tell its story."""
    with databases(1) as [place], opened(settings_for(*place)) as house:
        outcome = run_seed(house, seed)
    print("\n".join((*outcome.story, "", *(outcome.violations or ("sound",)))))
    return outcome.sound


def main() -> None:
    arguments = _arguments()
    if arguments.seed is not None:
        sys.exit(0 if run_one(arguments.seed) else 1)
    folder: Path = arguments.folder
    if not arguments.resume and folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tally = read(folder)
    wanted = list(range(arguments.first, arguments.first + arguments.seeds))
    print(f"{len(wanted)} seeds, {len(tally.seeds & set(wanted))} of them done; in {folder}")
    began = time.monotonic()
    run_all(folder, tally, wanted, arguments.processes)
    _tell(tally, time.monotonic() - began)
    if tally.unsound:
        for seed in sorted(tally.unsound):
            print(f"UNSOUND: seed {seed}, its story is in {folder / f'seed-{seed}.txt'}")
        sys.exit(1)
    print("Nothing was paid twice, nothing was lost.")


def _tell(tally: Tally, took_s: float) -> None:
    print("")
    for name, value in (
        ("seeds", len(tally.seeds)),
        ("unsound", len(tally.unsound)),
        *sorted(tally.counts.items()),
        ("seconds of all processes together", round(tally.took_s)),
        ("seconds of this run", round(took_s)),
    ):
        print(f"{name:50} {value:>14,}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make faults-payouts", description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many runs")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--resume", action="store_true", help="go on where the last run ended")
    parser.add_argument("--seed", type=int, help="run this one alone and tell its story")
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="for progress and stories")
    return parser.parse_args()


if __name__ == "__main__":
    main()
