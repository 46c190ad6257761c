"""All of Kopeck as processes, as `make run` starts it, and a second payout worker beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import requests
import sqlalchemy as sa
from sqlalchemy.orm import Session, sessionmaker

from affiliate.core import clock, queue
from affiliate.core.config import ROOT, Settings
from affiliate.core.db import engine_for, session_for
from affiliate.core.embedded import guard
from affiliate.core.embedded.launch import Running, launched
from affiliate.core.embedded.local import local_environment
from payouts.rails.registry import Rails, rails
from tests.payouts.processes import puppet

STRINGS = Path(__file__).parent / "strings"
BESIDE = "KOPECK_BESIDE"
"""Marks the processes that the campaign starts beside the run's own."""
CONTROL_S = 30.0
ENDS_S = 20.0


@dataclass
class Beside:
    """A worker of our own beside the supervised ones: started again when it ends."""

    name: str
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def tend(self) -> None:
        if self.process is None or self.process.poll() is not None:
            with self.log.open("ab") as out:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "wsgi", "worker", "payouts"],
                    cwd=ROOT,
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        alive = self.process is not None and self.process.poll() is None
        return self.process.pid if alive and self.process is not None else None


@dataclass
class House:
    """One installation under its campaign: its strings, its database, its double."""

    running: Running
    strings: Path
    environment: dict[str, str]
    settings: Settings
    sessions: sessionmaker[Session]
    rails: Rails
    beside: list[Beside] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.running.urls["kopeck"]

    def control(self, method: str, path: str, content: Any = None) -> dict[str, Any]:
        """Say something to the Stripe double, or ask its oracle."""
        answer = requests.request(
            method,
            f"{self._double}/_double{path}",
            json=content,
            headers={"Content-Type": "application/json"} if method == "POST" else {},
            timeout=CONTROL_S,
        )
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    @property
    def _double(self) -> str:
        return f"http://127.0.0.1:{self.running.info()['ports']['stripe']}"

    def real_now(self) -> datetime:
        return clock.real_now() + timedelta(seconds=puppet.ahead_s(self.strings))

    def now(self, session: Session) -> datetime:
        return self.real_now() + clock.offset(session)

    def tend(self) -> None:
        for each in self.beside:
            each.tend()

    def move_clocks(self, seconds: float) -> None:
        """The provider's first, so that it has forgotten its keys when ours may be tried."""
        self.control("POST", "/clock", {"advance_s": seconds})
        self.tell("ahead", puppet.ahead_s(self.strings) + seconds)

    def tell(self, name: str, value: Any) -> None:
        """Write one of the strings, whole or not at all."""
        partial = self.strings / f".{name}"
        partial.write_text(json.dumps(value))
        partial.replace(self.strings / name)

    def rows(self, query: str, **values: Any) -> list[Any]:
        """Read; again while PostgreSQL is away."""
        deadline = time.monotonic() + CONTROL_S
        while True:
            try:
                with self.sessions() as session:
                    return list(session.execute(sa.text(query), values))
            except sa.exc.DBAPIError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`kopeck local …` on this very installation."""
        return subprocess.run(
            [sys.executable, "-m", "wsgi", "local", "--data", str(self.running.data_dir), *words],
            cwd=ROOT,
            env=self.environment | {"KOPECK_MODE": "demo"},
            capture_output=True,
            text=True,
            check=False,
        )


@contextmanager
def opened(
    folder: Path, *, beside: int = 1, short: dict[str, Any] | None = None
) -> Iterator[House]:
    """Everything runs; when the block ends nothing of it does, and the data is gone."""
    strings = folder / "strings"
    for each in (strings, strings / "knives", strings / "dealt"):
        each.mkdir(parents=True)
    (strings / "short").write_text(json.dumps(short or {}))
    # Ours first: an installed package of the same name may be another checkout.
    added = {"PYTHONPATH": f"{ROOT}{os.pathsep}{STRINGS}", "KOPECK_PUPPET": str(strings)}
    with launched(folder / "run", port=0, env=added, keep=False) as running:
        ours = ("KOPECK_", "DATABASE_URL", "REDIS_URL", "FLASK_")
        plain = {k: v for k, v in os.environ.items() if not k.startswith(ours)} | added
        with local_environment(running.data_dir, plain) as environment:
            settings = Settings.from_environ(environment)
        engine = engine_for(settings)
        queue.use(queue.connect(settings.redis_url))
        house = House(running, strings, plain, settings, session_for(engine), rails(settings))
        mark = {BESIDE: str(folder)}
        house.beside = [
            Beside(f"beside-{number}", environment | mark, folder / "run" / f"beside-{number}.log")
            for number in range(1, beside + 1)
        ]
        house.tend()
        try:
            yield house
        finally:
            engine.dispose()
            _end(house, folder)


def _end(house: House, folder: Path) -> None:
    """Workers of ours and their orphans, before the servers go."""
    for each in house.beside:
        if each.process is not None and each.process.poll() is None:
            each.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                each.process.wait(ENDS_S)
    guard.end_all(guard.marked(BESIDE, str(folder)))
    for each in house.beside:
        if each.process is not None:
            each.process.wait(ENDS_S)
