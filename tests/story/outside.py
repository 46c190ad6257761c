"""What the story is checked against from outside: the provider's own list, the audit, patience."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

import requests

from affiliate.core.config import ROOT
from affiliate.core.embedded.launch import Running

T = TypeVar("T")

DEADLINE_S = 120.0
"""Twice the slowest bell of the scheduler, which rings once a minute."""
PAUSE_S = 0.25
TIMEOUT_S = 15


def until(look: Callable[[], T], what: str, timeout_s: float = DEADLINE_S) -> T:
    """Look again until something true is seen; with the deadline over, say what was awaited."""
    deadline = time.monotonic() + timeout_s
    while True:
        seen = look()
        if seen:
            return seen
        assert time.monotonic() < deadline, f"{what}, {timeout_s:.0f} s long; last seen: {seen!r}"
        time.sleep(PAUSE_S)


def transfers(stack: Running) -> dict[str, Any]:
    """The oracle of the Stripe double: all that it accepted, counted by our item."""
    answer = requests.get(f"{stack.urls['stripe']}/_double/transfers", timeout=TIMEOUT_S)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def audit(stack: Running) -> None:
    """`kopeck audit` in the run's own environment finds nothing but what the moved clock made late.

    A story jumps weeks ahead, so a batch that nobody approves waits for longer than H2 allows.
    """
    done = subprocess.run(
        [sys.executable, "-m", "wsgi", "local", "--data", str(stack.data_dir), "audit"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout[-4000:] + done.stderr[-4000:]
    broken = [line.split()[0] for line in done.stdout.splitlines() if ": not so: " in line]
    assert " checks, " in done.stdout, said
    assert done.returncode == (1 if broken else 0), said
    assert set(broken) <= {"H2"}, said
