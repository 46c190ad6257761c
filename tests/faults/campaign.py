"""The kill campaign: clicks under load while everything that carries them is killed (F1, F2, F17).

    python -m tests.faults.campaign [--kills 200] [--restarts 20] [--clicks 1000000] [--seed N]

Real processes: PostgreSQL, Valkey, granian with several workers, the loader; clients note
the click id of every answer. Afterwards each answered click must be in the table, once, and
the counters must agree with the rows. Exits with 1 when anything was lost, doubled, counted
wrong, or a known link was answered with anything but a redirect. One seed, one schedule; the
instants at which the blows fall are the machine's own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.faults import checker, clients, nemesis, stage
from tests.faults.nemesis import Blow, Nemesis, Sizes

PROGRESS_S = 10.0
STUCK_S = 120.0
"""Without a single answer for so long the campaign gives up."""


@dataclass(frozen=True)
class Campaign:
    """How large a campaign is; the defaults are the full one."""

    clicks: int = 1_000_000
    sizes: Sizes = field(default_factory=Sizes)
    seed: int = 0
    workers: int = 2
    client_processes: int = 1
    connections: int = 16
    rate_max: float = 4_000.0
    """Clicks a second: what the loader of a small machine keeps up with between two kills."""
    journal_disk_mb: int = 1024
    journal_mb_max: int = 256
    may_mount: bool = True


def run(campaign: Campaign, folder: Path, say: Callable[[str], None]) -> checker.Verdict:
    """Set up, hurt, drain, check. Raises StageError when the installation itself fails."""
    chance = random.Random(campaign.seed)
    blows = nemesis.schedule(campaign.sizes, chance)
    say(f"seed {campaign.seed}; {len(blows)} blows, {campaign.clicks:,} clicks at least")
    for blow, number in Counter(blows).most_common():
        say(f"  {number:4} x {blow.value}")
    at = stage.Stage(folder, workers=campaign.workers, journal_mb_max=campaign.journal_mb_max)
    size = campaign.journal_disk_mb
    with nemesis.disk_for(at, size_mb=size, may_mount=campaign.may_mount) as disk, at.running():
        hurts = Nemesis(at, disk, campaign.sizes, chance, dict)
        began = time.monotonic()
        with _clicking(campaign, at) as totals:
            hurts.totals = totals
            _hurt(campaign, blows, hurts, totals, say)
        clicked_s = time.monotonic() - began
        for process in (at.web, at.loader, at.second_loader):
            process.kill()
        hurts.kills += 2
        say("all processes killed; a last loader loads what they left")
        drained_s = checker.drain(at)
        verdict = checker.check(at, client_count=campaign.client_processes, hurts=hurts)
    verdict.violations += hurts.violations
    if drained_s == float("inf"):
        verdict.violations.append("the journal was not drained")
    _note_blows(verdict, hurts, clicked_s, drained_s)
    return verdict


@contextmanager
def _clicking(campaign: Campaign, at: stage.Stage) -> Iterator[Callable[[], dict[str, int]]]:
    """Client processes at work; yields what gives their totals."""
    spawn = multiprocessing.get_context("spawn")
    boards = []
    processes = []
    for number in range(campaign.client_processes):
        boards.append(clients.Board(clients.board_file(at.folder, number), create=True))
        errand = clients.Errand(
            port=at.port,
            codes=stage.CODES,
            connections=campaign.connections,
            seed=campaign.seed + number,
            folder=at.folder,
            number=number,
            token_secret=at.settings.key("click-token"),
            rate_max=campaign.rate_max / campaign.client_processes,
        )
        processes.append(spawn.Process(target=clients.run, args=(errand,), daemon=True))
    for process in processes:
        process.start()

    def totals() -> dict[str, int]:
        each = [board.totals() for board in boards]
        return {name: sum(board[name] for board in each) for name in clients.FIELDS}

    try:
        yield totals
    finally:
        clients.stop_file(at.folder).touch()
        for process in processes:
            process.join(timeout=60)
    ended = [process.exitcode for process in processes]
    if any(code != 0 for code in ended):
        raise stage.StageError(f"a client ended with {ended}")


def _hurt(
    campaign: Campaign,
    blows: list[Blow],
    hurts: Nemesis,
    totals: Callable[[], dict[str, int]],
    say: Callable[[str], None],
) -> None:
    """One blow after another, spread over the clicks that are to come."""
    began = said = time.monotonic()

    def tell() -> None:
        nonlocal said
        if (now := time.monotonic()) - said > PROGRESS_S:
            said = now
            dealt = sum(hurts.dealt.values())
            say(
                f"{now - began:6.0f} s {totals()['acked']:>10,} clicks acknowledged, "
                f"{dealt} of {len(blows)} blows, {hurts.kills} kills"
            )

    def wait_for(wanted: int) -> None:
        last, last_at = -1, time.monotonic()
        while (acked := totals()["acked"]) < wanted:
            now = time.monotonic()
            if acked != last:
                last, last_at = acked, now
            if now - last_at > STUCK_S:
                raise stage.StageError(f"no click was answered for {STUCK_S:.0f} s")
            tell()
            hurts.stage.supervise()
            time.sleep(0.02)

    for number, blow in enumerate(blows, 1):
        wait_for(campaign.clicks * number // (len(blows) + 1))
        hurts.deal(blow)
        tell()
    wait_for(campaign.clicks)


def _note_blows(
    verdict: checker.Verdict, hurts: Nemesis, clicked_s: float, drained_s: float
) -> None:
    verdict.note("kill -9 of web processes and loaders", hurts.kills)
    verdict.note("immediate restarts of PostgreSQL", hurts.restarts)
    for blow in Blow:
        verdict.note(f"  {blow.value}", hurts.dealt[blow])
    verdict.note("the disk was filled by", hurts.disk.name)
    verdict.note("under load for", f"{clicked_s:.0f} s")
    verdict.note("last load took", f"{drained_s:.1f} s")


def main() -> None:
    arguments = _arguments()
    seed = arguments.seed or random.SystemRandom().randrange(1, 1 << 32)
    full = Campaign()
    sizes = replace(
        full.sizes,
        kills=arguments.kills,
        restarts=arguments.restarts,
        valkey=arguments.valkey,
        disk_full=arguments.disk_full,
        loaders=arguments.loaders,
    )
    campaign = replace(
        full,
        clicks=arguments.clicks,
        sizes=sizes,
        seed=seed,
        workers=arguments.workers,
        client_processes=arguments.clients,
        connections=arguments.connections,
        rate_max=arguments.rate,
        may_mount=not arguments.no_mount,
    )
    folder = Path(tempfile.mkdtemp(prefix="kpk-faults-"))

    def say(line: str) -> None:
        print(line, flush=True)

    verdict = run(campaign, folder, say)
    say("")
    for name, value in verdict.numbers.items():
        say(f"{name:50} {value:>14}")
    if verdict.violations:
        say(f"\nVIOLATED (seed {seed}; everything is kept in {folder}):")
        for violation in verdict.violations:
            say(f"  {violation}")
        sys.exit(1)
    say("\nNo acknowledged click is missing, none is stored twice.")
    shutil.rmtree(folder, ignore_errors=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    sizes, full = Sizes(), Campaign()
    parser.add_argument("--clicks", type=int, default=full.clicks, help="acknowledged, at least")
    parser.add_argument("--kills", type=int, default=sizes.kills)
    parser.add_argument("--restarts", type=int, default=sizes.restarts, help="of PostgreSQL")
    parser.add_argument("--valkey", type=int, default=sizes.valkey, help="stops of Valkey")
    parser.add_argument("--disk-full", type=int, default=sizes.disk_full, help="half: database too")
    parser.add_argument("--loaders", type=int, default=sizes.loaders, help="pauses and pairs")
    parser.add_argument("--seed", type=int, default=0, help="the schedule's; 0: by chance")
    parser.add_argument("--workers", type=int, default=full.workers, help="web processes")
    parser.add_argument("--clients", type=int, default=full.client_processes, help="processes")
    parser.add_argument("--connections", type=int, default=full.connections, help="a client")
    parser.add_argument(
        "--rate", type=float, default=full.rate_max, help="clicks a second; 0: all it takes"
    )
    parser.add_argument("--no-mount", action="store_true", help="fill the disk without a tmpfs")
    return parser.parse_args()


if __name__ == "__main__":
    main()
