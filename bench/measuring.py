"""What every benchmark counts with: CPU time of processes, a free port, a running granian."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from affiliate.core.config import ROOT

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """CPU time of a process and all below it, in seconds (proc(5), /proc/pid/stat)."""
    parents: dict[int, int] = {}
    spent: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        number = int(path.parent.name)
        parents[number] = int(fields[1])
        # User and system time, and that of children which were waited for.
        spent[number] = sum(int(fields[place]) for place in (11, 12, 13, 14))
    ticks = 0
    for number, own in spent.items():
        above: int | None = number
        while above is not None and above != pid:
            above = parents.get(above)
        if above == pid:
            ticks += own
    return ticks / TICKS_PER_S


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def granian(
    target: str,
    *options: str,
    port: int,
    workers: int,
    threads: int,
    environment: Mapping[str, str],
    python: str = sys.executable,
    folder: Path = ROOT,
) -> Iterator[int]:
    """A granian in a process group of its own; its pid. It may not listen yet.

    `python` and `folder` are for applications that have an environment of their own.
    """
    command = [python, "-m", "granian", "--interface", "wsgi", "--no-log"]
    command += ["--workers", str(workers), "--blocking-threads", str(threads)]
    command += ["--host", "127.0.0.1", "--port", str(port), *options, target]
    process = subprocess.Popen(command, env=dict(environment), cwd=folder, start_new_session=True)
    try:
        yield process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
