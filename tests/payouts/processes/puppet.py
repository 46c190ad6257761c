"""What ties a real process to the campaign: a clock that can be moved, and knives at its steps.

A folder holds the strings. In it

    ahead           seconds by which the machine's clock runs ahead in these processes
    left-out        guards that the next run of a batch goes without (`left_out.py`)
    short           times that are made shorter: `{"module.NAME": value}`
    knives/         `<number>.<step>.<act>.<ms>`: whoever comes to that step first takes the file
                    into `dealt/` and does it. `horse` dies, `both` takes the worker with it,
                    `orphan` kills the worker alone and stays at the step for so long
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

STEPS = (
    "intent_written",
    "intent_committed",
    "fence_raised",
    "sending",
    "wire",
    "answered",
    "answer_written",
    "answer_committed",
)
"""Those that `Sending.at` names, in order; `wire` is an instant of the call itself."""
HORSE, BOTH, ORPHAN = "horse", "both", "orphan"


def tie(folder: str) -> None:
    """Called at the start of a process, before anything of Kopeck is imported."""
    sys.meta_path.insert(0, _Strings(Path(folder)))


class _Strings(importlib.abc.MetaPathFinder):
    """Changes two modules right after they were imported."""

    def __init__(self, folder: Path) -> None:
        self.ties: dict[str, Callable[[ModuleType, Path], None]] = {
            "affiliate.core.clock": _move_the_clock,
            "payouts.batches.jobs": _hand_out_knives,
        }
        self.folder = folder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        tied = self.ties.pop(fullname, None)
        if tied is None:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        assert spec is not None and spec.loader is not None
        real = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            real(module)
            tied(module, self.folder)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _move_the_clock(clock: Any, folder: Path) -> None:
    real: Callable[[], datetime] = clock.real_now

    def real_now() -> datetime:
        return real() + timedelta(seconds=ahead_s(folder))

    clock.real_now = real_now


def ahead_s(folder: Path) -> float:
    """By how much the machine's clock runs ahead for the campaign's processes."""
    try:
        return float((folder / "ahead").read_text())
    except FileNotFoundError:
        return 0.0


def _hand_out_knives(jobs: Any, folder: Path) -> None:
    real = jobs._sending
    for name, value in _read(folder / "short", {}).items():
        module, _, constant = name.rpartition(".")
        setattr(sys.modules[module], constant, value)

    def _sending() -> Any:
        # In the work-horse: what is left out is gone with it.
        for guard in _read(folder / "left-out", []):
            from tests.payouts.processes import left_out

            left_out.GUARDS[guard]()
        return replace(real(), at=partial(_at, folder))

    jobs._sending = _sending


def _read(path: Path, otherwise: Any) -> Any:
    return json.loads(path.read_text()) if path.exists() else otherwise


def _at(folder: Path, step: str) -> None:
    """A step of the protocol: whoever finds a knife here does what it says."""
    wanted = ("sending", "wire") if step == "sending" else (step,)
    for name in sorted(path.name for path in (folder / "knives").iterdir()):
        _, where, act, ms = name.split(".")
        if where not in wanted:
            continue
        with suppress(FileNotFoundError):  # Another thread or process was quicker.
            (folder / "knives" / name).rename(folder / "dealt" / name)
            if where == "wire":
                threading.Timer(int(ms) / 1000, _die, (act, 0.0)).start()
            else:
                _die(act, int(ms) / 1000)
            return


def _die(act: str, stays_s: float) -> None:
    if act in (BOTH, ORPHAN):
        _kill_the_worker()
    if act == ORPHAN:
        time.sleep(stays_s)
    else:
        os.kill(os.getpid(), signal.SIGKILL)


def _kill_the_worker() -> None:
    """The parent, unless this horse is an orphan already and somebody else adopted it."""
    worker = os.getppid()
    with suppress(OSError):
        if b"worker" in Path(f"/proc/{worker}/cmdline").read_bytes().split(b"\0"):
            os.kill(worker, signal.SIGKILL)
