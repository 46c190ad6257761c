"""supervisord, kept by us: its configuration, its start, what it says of its processes.

supervisord restarts what dies; `run` restarts supervisord. Each program goes through the
guard, so that nothing outlives supervisord on Linux, and holds the data folder's process
lock, so that the next start knows when the last of them has ended.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from supervisor.xmlrpc import Faults, SupervisorTransport

from affiliate.core.config import ROOT
from affiliate.core.embedded import guard
from affiliate.core.embedded.binaries import EmbeddedError
from affiliate.core.embedded.folders import make_own, make_private, short_folder, write_private
from affiliate.core.embedded.servers import GUARD

RUN_MARK = "KOPECK_RUN"
"""In the environment of every supervised process: the data folder it belongs to."""
LOG_BYTES_MAX = 10_000_000
LOG_FILES_MAX = 3
END_GRACE_S = 40.0
ORPHANS_GRACE_S = 8.0
CONTROL_WAIT_S = 30.0
RETRIES_MAX = 1_000
SERVERS, APPS = "servers", "apps"


@dataclass(frozen=True, slots=True)
class Program:
    """One supervised process."""

    name: str
    command: Sequence[str]
    """Absolute program first; for a server it is guarded already."""
    group: str = APPS
    """servers stop only after every app has stopped."""
    stop_signal: str = "TERM"
    stop_wait_s: int = 30
    sweeps: bool = False
    """True: it forks; what a killed one left behind is ended before it starts again."""


class Supervisor:
    """One supervisord over one data folder."""

    def __init__(self, data_dir: Path, programs: Sequence[Program], env: Mapping[str, str]) -> None:
        self.data_dir = data_dir
        self.programs = {program.name: program for program in programs}
        self.logs = make_private(data_dir / "logs")
        self.locks = make_private(data_dir / "locks")
        self.control = make_own(short_folder(data_dir / "control", data_dir)) / "s.sock"
        self.env = {**env, RUN_MARK: str(data_dir)}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start supervisord, with nothing running yet, once all of an earlier one has ended."""
        end_leftovers(self.data_dir)
        config = self._write_config()
        with (self.logs / "supervisord.out.log").open("wb") as out:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-I", str(GUARD), "--death-signal", "SIGTERM", "--"),
                    *(sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(config)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=ROOT,
                env=self.env,
            )
        deadline = time.monotonic() + CONTROL_WAIT_S
        while not self._answers():
            if not self.alive or time.monotonic() > deadline:
                said = (self.logs / "supervisord.out.log").read_text()[-2000:]
                raise EmbeddedError(f"supervisord did not start:\n{said}")
            time.sleep(0.05)

    def start_group(self, group: str) -> None:
        """Start the group's programs and return at once.

        Raises EmbeddedError for one that cannot be: supervisord reports that and goes on.
        """
        with self._calls() as calls:
            results = cast(list[dict[str, Any]], calls.startProcessGroup(group, False))
        for result in results:
            if result["status"] not in (Faults.SUCCESS, Faults.ALREADY_STARTED):
                said = f"{result['name']} cannot be started: {result['description']}"
                command = shlex.join(self.programs[result["name"]].command)
                raise EmbeddedError(f"{said} ({command})")

    def processes(self) -> dict[str, int]:
        """Pid by name of each process that runs now; one that gave up is started again."""
        pids = {}
        with self._calls() as calls:
            for info in cast(list[dict[str, Any]], calls.getAllProcessInfo()):
                if info["statename"] == "FATAL":
                    calls.startProcess(f"{info['group']}:{info['name']}", False)
                elif info["pid"]:
                    pids[str(info["name"])] = int(info["pid"])
        return pids

    def stop(self) -> None:
        """Apps first, then the servers, then supervisord; whatever is left is killed."""
        if self.process is not None and self.alive:
            self.process.send_signal(signal.SIGTERM)
            waits = (program.stop_wait_s for program in self.programs.values())
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(sum(sorted(waits)[-2:]) + 10)
        end_leftovers(self.data_dir, grace_s=5.0)

    def _answers(self) -> bool:
        try:
            with self._calls() as calls:
                return bool(calls.getState())
        except (OSError, xmlrpc.client.Error):
            return False

    @contextlib.contextmanager
    def _calls(self) -> Iterator[Any]:
        """Its XML-RPC interface over the private socket (supervisord.org/api.html)."""
        transport = SupervisorTransport(None, None, f"unix://{self.control}")
        with contextlib.closing(transport):
            yield xmlrpc.client.ServerProxy("http://localhost", transport).supervisor

    def _write_config(self) -> Path:
        path = self.data_dir / "supervisord.conf"
        write_private(path, self._config())
        return path

    def _config(self) -> str:
        """No secret stands in it: settings reach the processes through the environment."""
        parts = [
            _section(
                "supervisord",
                nodaemon="true",
                logfile=self.logs / "supervisord.log",
                logfile_maxbytes=LOG_BYTES_MAX,
                logfile_backups=LOG_FILES_MAX,
                pidfile=self.data_dir / "supervisord.pid",
                directory=ROOT,
                identifier="kopeck",
                **({"user": "root"} if os.geteuid() == 0 else {}),
            ),
            _section("unix_http_server", file=self.control, chmod="0700"),
            _section(
                "rpcinterface:supervisor",
                **{
                    "supervisor.rpcinterface_factory": (
                        "supervisor.rpcinterface:make_main_rpcinterface"
                    )
                },
            ),
            *(self._program(program) for program in self.programs.values()),
        ]
        for group, priority in ((SERVERS, 1), (APPS, 100)):
            names = [name for name, program in self.programs.items() if program.group == group]
            if names:
                parts.append(
                    _section(f"group:{group}", programs=",".join(names), priority=priority)
                )
        return "\n".join(parts)

    def _program(self, program: Program) -> str:
        command = program.command
        if program.group == APPS:
            sweep = ["--sweep", str(self.locks / program.name)] if program.sweeps else []
            command = guarded(self.data_dir, command, *sweep)
        return _section(
            f"program:{program.name}",
            command=shlex.join(command),
            autostart="false",
            autorestart="true",
            startsecs=1,
            startretries=RETRIES_MAX,
            stopsignal=program.stop_signal,
            stopwaitsecs=program.stop_wait_s,
            killasgroup="true",
            redirect_stderr="true",
            stdout_logfile=self.logs / f"{program.name}.log",
            stdout_logfile_maxbytes=LOG_BYTES_MAX,
            stdout_logfile_backups=LOG_FILES_MAX,
        )


def guarded(data_dir: Path, command: Sequence[str], *options: str) -> list[str]:
    """The command, ended with its parent and counted among the data folder's processes."""
    lock = ("--shared-lock", str(_lock_of(data_dir)))
    return [sys.executable, "-I", str(GUARD), *lock, *options, "--", *command]


def end_leftovers(data_dir: Path, *, grace_s: float = END_GRACE_S) -> None:
    """Wait until no process of an earlier start is alive, and kill what takes too long.

    While an earlier supervisord is still stopping its processes it gets `grace_s`; without
    one they are orphans, have long been told to end, and get less.
    """
    lock = _lock_of(make_private(data_dir / "locks").parent)
    began = time.monotonic()
    while (left := guard.marked(RUN_MARK, str(data_dir))) or not _is_free(lock):
        waited_s = time.monotonic() - began
        if waited_s > (grace_s if _has_supervisor(left) else min(grace_s, ORPHANS_GRACE_S)):
            guard.end_all(left + guard.holders(lock))
        if waited_s > 2 * END_GRACE_S:
            raise EmbeddedError(f"Processes of an earlier start still hold {lock}: {left}.")
        time.sleep(0.05)


def _has_supervisor(pids: Sequence[int]) -> bool:
    for pid in pids:
        with contextlib.suppress(OSError):
            if b"supervisor.supervisord" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return True
    return False


def _lock_of(data_dir: Path) -> Path:
    return data_dir / "locks" / "processes"


def _is_free(lock: Path) -> bool:
    fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        return guard.try_lock(fd, shared=False)
    finally:
        os.close(fd)


def _section(header: str, **values: object) -> str:
    """One section of its INI dialect, in which % is an escape (supervisord.org/configuration)."""
    lines = (f"{key}={str(value).replace('%', '%%')}" for key, value in values.items())
    return "\n".join([f"[{header}]", *lines, ""])
