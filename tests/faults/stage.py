"""The installation that the campaign hurts: real servers, real processes, each killable.

PostgreSQL and Valkey of our own, granian with several workers, the loader as `kopeck loader`.
A small supervisor starts again what died. Everything is started from the main thread: the
guard ends a server together with the thread that started it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import redis
import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.config import ROOT, Settings
from affiliate.core.embedded import servers as embedded
from affiliate.core.embedded.folders import make_private
from affiliate.core.migrate import upgrade
from affiliate.links.models import Link
from affiliate.people.models import Affiliate, Enrollment, User
from affiliate.programs.models import Program
from bench.measuring import free_port
from tracker.clicks.database import libpq_url
from tracker.clicks.journal import FOLDER
from tracker.clicks.snapshot import SNAPSHOT, is_whole

START_WAIT_S = 120.0
SECRET = "a-secret-for-the-campaign-that-is-long-enough-0123456789"
CODES = ("tea", "cup", "pot", "leaf")


class StageError(RuntimeError):
    """The installation itself did not come up: the campaign says nothing."""


class Process:
    """One process group that can be killed at any instant and started again."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], log: Path):
        self.name = name
        self._command = command
        self._environment = environment
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                start_new_session=True,
            )

    def signal(self, number: signal.Signals) -> None:
        """To the whole group, as a container's or a machine's end would."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
            self._process = None

    def children(self) -> list[int]:
        """Pids of its own children: granian's workers."""
        if not self.runs:
            return []
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                parent = int(path.read_text().rpartition(")")[2].split()[1])
                command = (path.parent / "cmdline").read_bytes()
                if parent == self.pid and command and b"resource_tracker" not in command:
                    found.append(int(path.parent.name))
        return found


class Server:
    """PostgreSQL or Valkey: stopped hard, started again on the same data."""

    def __init__(self, layout: embedded.Layout, name: str, logs: Path) -> None:
        self._layout = layout
        self.name = name
        self._logs = logs
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once it answers, crash recovery included."""
        of = self._layout
        command = of.postgres_command() if self.name == "postgres" else of.valkey_command()
        with (self._logs / f"{self.name}.log").open("ab") as out:
            self._process = process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd="/",
                start_new_session=True,
            )
        embedded.wait_until_ready(of, self.name, lambda: process.poll() is None, self._logs)

    def stop(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None


class Stage:
    """All of it, in one folder."""

    def __init__(self, folder: Path, *, workers: int, journal_mb_max: int) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.journal = self.data_dir / FOLDER
        self.journal.mkdir(parents=True)
        self.logs = folder / "logs"
        self.logs.mkdir()
        self._layout = embedded.prepare(make_private(folder / "servers"), keep=False)
        self.postgres = Server(self._layout, "postgres", self.logs)
        self.valkey = Server(self._layout, "valkey", self.logs)
        self.port = free_port()
        self.environment = self._environment(journal_mb_max)
        self.settings = Settings.from_environ(self.environment)
        self.web = Process("web", _web(self.port, workers), self.environment, self._log("web"))
        self.loader = self.a_loader("loader")
        self.second_loader = self.a_loader("second-loader")

    def a_loader(self, name: str) -> Process:
        command = [sys.executable, "-m", "wsgi", "loader"]
        return Process(name, command, self.environment, self._log(name))

    def supervise(self) -> None:
        """Start again what has ended; granian does it for its workers itself."""
        for process in (self.web, self.loader):
            if not process.runs:
                process.start()

    def answers(self) -> bool:
        """Whether at least one web process listens and answers."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as probe:
                probe.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                return probe.recv(12) == b"HTTP/1.1 200"
        except OSError:
            return False

    def wait_for(
        self, what: str, condition: Callable[[], bool], *, wait_s: float = START_WAIT_S
    ) -> None:
        deadline = time.monotonic() + wait_s
        while not condition():
            if time.monotonic() > deadline:
                raise StageError(f"{what} took more than {wait_s:.0f} s; logs: {self.logs}")
            self.supervise()
            time.sleep(0.05)

    def flush_valkey(self) -> None:
        with contextlib.closing(redis.Redis.from_url(self._layout.redis_url)) as client:
            client.flushall()

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(libpq_url(self.settings.database_url), autocommit=True)

    def _log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def _environment(self, journal_mb_max: int) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "KOPECK_MODE": "test",
            "DATABASE_URL": self._layout.database_url,
            "REDIS_URL": self._layout.redis_url,
            "KOPECK_SECRET": SECRET,
            "KOPECK_PUBLIC_URL": f"http://127.0.0.1:{self.port}",
            "KOPECK_TRUSTED_HOSTS": "127.0.0.1",
            "KOPECK_PROXY_HOPS": "1",
            "KOPECK_DATA_DIR": str(self.data_dir),
            "KOPECK_LOG_LEVEL": "INFO",
            "KOPECK_JOURNAL_MB_MAX": str(journal_mb_max),
            "KOPECK_JOURNAL_FREE_MB_MIN": "32",
        }

    @contextmanager
    def running(self) -> Iterator[None]:
        """Everything started, four links in the database; all ended and removed afterwards."""
        try:
            self.postgres.start()
            self.valkey.start()
            upgrade(self.settings.database_url)
            _write_links(self.settings.database_url)
            self.supervise()
            self.wait_for("the link snapshot", lambda: is_whole(self.data_dir / SNAPSHOT))
            self.wait_for("the web", self.answers)
            yield
        finally:
            for process in (self.web, self.loader, self.second_loader):
                process.kill()
            self.valkey.stop(signal.SIGTERM)
            self.postgres.stop(signal.SIGINT)
            embedded.discard(self._layout, self.logs)


def _web(port: int, workers: int) -> list[str]:
    """As production serves it (docs/operations.md); a killed worker comes back sooner."""
    return [
        *(sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1"),
        *("--port", str(port), "--http", "1", "--workers", str(workers)),
        *("--blocking-threads", "4", "--respawn-failed-workers", "--respawn-interval", "0.1"),
        *("--no-log", "--factory", "wsgi:make_application"),
    ]


def _write_links(database_url: str) -> None:
    """One program whose days are not UTC's, two affiliates, two links each."""
    now = datetime.now(UTC)
    engine = sa.create_engine(database_url, poolclass=sa.NullPool)
    with Session(engine) as session:
        program = Program(
            slug="tea",
            name="Tea",
            currency="RUB",
            landing_url="https://shop.example/",
            allowed_sites=["shop.example"],
            time_zone="Europe/Moscow",
            created_at=now,
        )
        session.add(program)
        session.flush()
        for number, codes in enumerate((CODES[:2], CODES[2:])):
            user = User(email=f"{number}@blog.example", fs_uniquifier=str(number), created_at=now)
            session.add(user)
            session.flush()
            affiliate = Affiliate(user_id=user.id, name=f"blog {number}", created_at=now)
            session.add(affiliate)
            session.flush()
            enrollment = Enrollment(
                program_id=program.id,
                affiliate_id=affiliate.id,
                status="active",
                answers={},
                applied_at=now,
            )
            session.add(enrollment)
            session.flush()
            for code in codes:
                session.add(
                    Link(
                        program_id=program.id,
                        enrollment_id=enrollment.id,
                        code=code,
                        destination=f"https://shop.example/{code}",
                        created_at=now,
                    )
                )
        session.commit()
