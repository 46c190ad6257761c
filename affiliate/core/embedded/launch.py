"""Start a whole Kopeck from a program: what the story test and the benchmarks use."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affiliate.core.config import ROOT
from affiliate.core.embedded.binaries import EmbeddedError
from affiliate.core.embedded.folders import make_private
from affiliate.core.embedded.servers import GUARD, discard_data

READY_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 120.0
POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Running:
    """A `kopeck run` in a process of its own."""

    process: subprocess.Popen[bytes]
    data_dir: Path
    output: Path
    """What it printed."""

    def info(self) -> dict[str, Any]:
        """run.json as it stands now (shape: `affiliate.core.embedded.run`); {} without one."""
        try:
            told: dict[str, Any] = json.loads((self.data_dir / "run.json").read_text())
        except FileNotFoundError:
            return {}
        return told if told.get("pid") == self.process.pid else {}

    @property
    def urls(self) -> dict[str, str]:
        """kopeck, shop, mail and stripe."""
        return dict(self.info()["urls"])

    @property
    def processes(self) -> dict[str, int]:
        """Pid by name of what runs now."""
        return dict(self.info().get("processes", {}))

    def sign_ins(self) -> list[dict[str, str]]:
        """The demo sign-ins: who, email, password, url."""
        return list(json.loads((self.data_dir / "demo.json").read_text()))

    def wait_until_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Return once Kopeck answers; raise EmbeddedError with what was printed if it ended."""
        deadline = time.monotonic() + timeout_s
        while self.info().get("state") != "ready":
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise EmbeddedError(f"kopeck run is not ready:\n{self.output.read_text()[-5000:]}")
            time.sleep(POLL_S)

    def kill(self, name: str) -> int:
        """Kill -9 the named process ("supervisor" and "run" too); return the pid it had."""
        info = self.info()
        known = {**info["processes"], "supervisor": info["supervisor"], "run": info["pid"]}
        os.kill(known[name], signal.SIGKILL)
        return int(known[name])

    def wait_until_back(self, name: str, old_pid: int, timeout_s: float = READY_TIMEOUT_S) -> int:
        """Wait until the process runs under another pid and Kopeck is ready; return that pid."""
        deadline = time.monotonic() + timeout_s
        while True:
            info = self.info()
            processes = info.get("processes", {}) | {"supervisor": info.get("supervisor", 0)}
            if processes.get(name, old_pid) != old_pid and info["state"] == "ready":
                return int(processes[name])
            if time.monotonic() > deadline:
                raise EmbeddedError(f"{name} did not come back within {timeout_s:.0f} s.")
            time.sleep(POLL_S)

    def stop(self) -> None:
        """As Ctrl-C does; returns when everything has ended."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise EmbeddedError("kopeck run did not stop.") from None


def launch(
    data_dir: Path, port: int | None = None, env: Mapping[str, str] | None = None
) -> Running:
    """Start `kopeck run` on the folder and return at once; see `Running.wait_until_ready`.

    Call it from the main thread: on Linux all of it ends when the thread that started it does.

    :param port: None: any free ports for everything, kept in the folder.
    :param env: added to a clean environment; Kopeck's own settings are not inherited.
    """
    data_dir = make_private(data_dir)
    ours = ("KOPECK_", "DATABASE_URL", "REDIS_URL", "FLASK_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    inherited |= {name: os.environ[name] for name in _PLACES if name in os.environ}
    output = data_dir / "run.out"
    with output.open("wb") as out:
        process = subprocess.Popen(
            [
                # Whoever launches may be killed: then the whole of it ends too.
                *(sys.executable, "-I", str(GUARD), "--death-signal", "SIGINT", "--"),
                *(sys.executable, "-m", "wsgi", "run", "--no-browser"),
                *("--data", str(data_dir), "--port", str(port or 0)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={**inherited, **(env or {})},
            start_new_session=True,
        )
    return Running(process, data_dir, output)


_PLACES = ("KOPECK_SERVER_HOME", "KOPECK_SERVER_USER")


@contextlib.contextmanager
def launched(
    data_dir: Path,
    port: int | None = None,
    env: Mapping[str, str] | None = None,
    *,
    keep: bool = True,
) -> Iterator[Running]:
    """A ready Kopeck for the time of the block; with keep=False its data is removed after it."""
    running = launch(data_dir, port, env)
    try:
        running.wait_until_ready()
        yield running
    finally:
        running.stop()
        if not keep:
            discard_data(running.data_dir)
