"""Payouts by real processes that are killed all the time (docs/reliability.md, "Real processes").

    make faults-payouts-processes ARGS="[--kills 500] [--seed N] [--stacks 2] [--resume]"

Each stack is all that `make run` starts, with a second payout worker, in a folder of its own. It
plays rounds: batches are drafted, withdrawn and approved while workers, work-horses, web,
scheduler, PostgreSQL and Valkey are killed and the Stripe double misbehaves; then the faults end,
and everything comes to its end without a hand. Every fourth round leaves some payouts without an
answer for a day. Rounds are written down one by one, so that a campaign may be played in parts.
`--without` leaves a guard out, to see that it is missed. Exits with 1 on any violation.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from tests.payouts.processes import left_out, playhouse
from tests.payouts.processes.process_round import Plan, play
from tests.payouts.processes.verdict import Outcome

KILLS = 500
STACKS = 2
FOLDER = Path(tempfile.gettempdir()) / "kopeck-faults-processes"
DONE_FILE = "rounds.jsonl"
OLD_KEYS_EACH = 4
"""Of so many rounds one lets keys grow old; it takes some minutes more."""


@dataclass
class Tally:
    """What has come of all rounds so far."""

    rounds: list[dict[str, Any]] = field(default_factory=list)

    @property
    def kills(self) -> int:
        return sum(sum(each["kills"].values()) for each in self.rounds)

    @property
    def violations(self) -> list[str]:
        return [f"{each['seed']}: {text}" for each in self.rounds for text in each["violations"]]

    def sum(self, name: str) -> Counter[str]:
        total: Counter[str] = Counter()
        for each in self.rounds:
            total.update(each[name])
        return total


def read(folder: Path) -> Tally:
    """The rounds that are done, of every seed; a line that was torn is left out."""
    tally = Tally()
    path = folder / DONE_FILE
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            tally.rounds.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return tally


def note(folder: Path, outcome: Outcome) -> None:
    with (folder / DONE_FILE).open("a", encoding="utf-8") as out:
        out.write(json.dumps(asdict(outcome)) + "\n")


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def work(folder: Path, numbers: range, seed: int, kills: int, without: tuple[str, ...]) -> None:
    """One stack: round after round, until enough was killed."""
    signal.signal(signal.SIGTERM, _end)
    own = Path(tempfile.mkdtemp(prefix="kpk-processes-"))
    try:
        with playhouse.opened(own) as house:
            for number in numbers:
                done = read(folder)
                if done.kills >= kills or (without and done.violations):
                    break
                name = f"{seed}:{number}"
                if name in {each["seed"] for each in done.rounds}:
                    continue
                old_keys = number % OLD_KEYS_EACH == OLD_KEYS_EACH - 1 or "key-life" in without
                plan = Plan(name, old_keys=old_keys, left_out=without)
                say(f"{name}: begins" + (", keys will grow old" if old_keys else ""))
                outcome = play(house, plan, say)
                note(folder, outcome)
                tell_round(outcome)
                if outcome.violations:
                    shutil.copytree(own / "run" / "logs", folder / f"logs-{number}")
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _end(_number: int, _frame: FrameType | None) -> None:
    """Told to stop: everything that was started is ended first."""
    raise SystemExit(1)


def tell_round(outcome: Outcome) -> None:
    """A round in a few lines."""
    say(
        f"{outcome.seed}: {sum(outcome.kills.values())} kills, {outcome.counts.get('items', 0)} "
        f"payouts, {outcome.counts.get('transfers', 0)} transfers; all at its end "
        f"{outcome.recovered_s:.0f} s after the last fault"
    )
    for name in ("kills", "steps", "faults"):
        told = ", ".join(f"{key} {value}" for key, value in sorted(getattr(outcome, name).items()))
        say(f"{outcome.seed}:   {name}: {told}")
    for text in outcome.reviews:
        say(f"{outcome.seed}:   needs review: {text}")
    for text in outcome.violations:
        say(f"{outcome.seed}:   VIOLATED: {text}")


def tell(tally: Tally) -> None:
    """The campaign's table."""
    recovered = [each["recovered_s"] for each in tally.rounds]
    counts = tally.sum("counts")
    rows: list[tuple[str, object]] = [
        ("seeds", ", ".join(sorted({each["seed"].partition(":")[0] for each in tally.rounds}))),
        ("rounds", len(tally.rounds)),
        ("kill -9", tally.kills),
        *((f"  {name}", number) for name, number in sorted(tally.sum("kills").items())),
        *((f"  at the step {name}", number) for name, number in sorted(tally.sum("steps").items())),
        *((f"  knife for {name}", number) for name, number in sorted(tally.sum("acts").items())),
        ("faults of the provider", tally.sum("faults").total()),
        *((f"  {name}", number) for name, number in sorted(tally.sum("faults").items())),
        *sorted(counts.items()),
        ("payouts on the review desk", sum(len(each["reviews"]) for each in tally.rounds)),
        ("longest until all was at its end, s", f"{max(recovered, default=0):.0f}"),
        ("violations", len(tally.violations)),
    ]
    print("")
    for name, value in rows:
        print(f"{name:56} {value:>12,}" if isinstance(value, int) else f"{name:56} {value:>12}")


def main() -> None:
    arguments = _arguments()
    seed = arguments.seed or random.SystemRandom().randrange(1, 1 << 32)
    folder: Path = arguments.folder
    if not arguments.resume and folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    without = tuple(arguments.without)
    say(f"seed {seed}; rounds are written down in {folder}; {read(folder).kills} kills so far")
    spawn = multiprocessing.get_context("spawn")
    stacks = []
    for number in range(arguments.stacks):
        first = arguments.first + number
        numbers = range(first, arguments.first + arguments.rounds, arguments.stacks)
        stacks.append(
            spawn.Process(target=work, args=(folder, numbers, seed, arguments.kills, without))
        )
    signal.signal(signal.SIGTERM, _end)
    for stack in stacks:
        stack.start()
    try:
        for stack in stacks:
            stack.join()
    finally:
        for stack in stacks:
            stack.terminate()
            stack.join()
    tally = read(folder)
    tell(tally)
    for text in tally.violations:
        print(f"VIOLATED: {text}")
    ended = [stack.exitcode for stack in stacks]
    if any(ended):
        print(f"a stack ended with {ended}")
    if tally.violations or any(ended) or not tally.rounds:
        sys.exit(1)
    print("Nothing was paid twice, nothing was lost.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make faults-payouts-processes", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--kills", type=int, default=KILLS, help="so many at least")
    parser.add_argument("--rounds", type=int, default=1_000, help="no more than so many")
    parser.add_argument("--first", type=int, default=0, help="number of the first round")
    parser.add_argument("--seed", type=int, default=0, help="of the campaign; 0: by chance")
    parser.add_argument("--stacks", type=int, default=STACKS, help="installations at once")
    parser.add_argument("--resume", action="store_true", help="add to the rounds that are done")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="for rounds and logs")
    parser.add_argument(
        "--without", action="append", default=[], choices=sorted(left_out.GUARDS),
        help="leave a guard out, to see the campaign turn red",
    )  # fmt: skip
    return parser.parse_args()


if __name__ == "__main__":
    main()
