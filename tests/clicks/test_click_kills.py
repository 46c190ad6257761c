"""The front on granian and `kopeck loader` as processes: started again, stopped, left alone.

That nothing is lost when they are killed under load is the campaign's (tests/faults).
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click_support import CHROME, Shop, rows
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from affiliate.core.embedded.servers import Servers
from tracker.clicks.loader import Loader
from tracker.clicks.recording import ClickRecorder
from tracker.clicks.snapshot import SNAPSHOT, is_whole
from tracker.clicks.tokens import ClickToken, read, signing_keys

ROOT = Path(__file__).resolve().parents[2]


def environment(settings: Settings) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parent}",
        "KOPECK_MODE": "test",
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "KOPECK_SECRET": settings.secrets[0],
        "KOPECK_PUBLIC_URL": settings.public_url,
        "KOPECK_TRUSTED_HOSTS": "127.0.0.1",
        "KOPECK_DATA_DIR": str(settings.data_dir),
        "KOPECK_LOG_LEVEL": "ERROR",
    }


class Web:
    """The front on granian: a master and a worker, killed together as kill -9 of all does."""

    def __init__(self, settings: Settings) -> None:
        self._environment = environment(settings)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = [sys.executable, "-m", "granian", "--interface", "wsgi", "--factory"]
        options = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        options += ["--blocking-threads", "2", "--no-log", "click_served:make"]
        self._process = subprocess.Popen(
            [*program, *options], env=self._environment, start_new_session=True
        )

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def answers(self) -> bool:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            connection.request("GET", "/")
            status = connection.getresponse().status
            connection.close()
        except (OSError, http.client.HTTPException):
            return False
        return status == 200

    def wait(self) -> None:
        deadline = time.monotonic() + 30
        while not self.answers():
            assert time.monotonic() < deadline, "the web process did not come up"
            time.sleep(0.05)


class LoaderProcess:
    """`kopeck loader`, to be killed."""

    def __init__(self, settings: Settings) -> None:
        self._environment = environment(settings)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = "from tracker.clicks.cli import loader; loader()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", program], env=self._environment, start_new_session=True
        )

    def stop(self) -> int:
        assert self._process is not None
        process, self._process = self._process, None
        process.terminate()
        return process.wait(timeout=30)

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


class Client(threading.Thread):
    """Clicks without pause and keeps every token whose redirect arrived."""

    def __init__(self, port: int, code: str, stop: threading.Event) -> None:
        super().__init__()
        self._port = port
        self._path = f"/r/{code}"
        self._halt = stop
        self.tokens: list[str] = []
        self.surprises: list[int] = []

    def run(self) -> None:
        while not self._halt.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
            try:
                while not self._halt.is_set():
                    connection.request("GET", self._path, headers={"User-Agent": CHROME})
                    answer = connection.getresponse()
                    answer.read()
                    if answer.status != 302:
                        self.surprises.append(answer.status)
                        continue
                    location = answer.headers["Location"]
                    self.tokens.append(location.partition("kpk=")[2].partition("#")[0])
            except (OSError, http.client.HTTPException):
                self._halt.wait(0.02)
            finally:
                connection.close()


@pytest.fixture
def web(settings: Settings, shop: Shop) -> Iterator[Web]:
    made = Web(settings)
    yield made
    made.kill()


@pytest.fixture
def loader_process(settings: Settings) -> Iterator[LoaderProcess]:
    made = LoaderProcess(settings)
    yield made
    made.kill()


def click_ids(settings: Settings, tokens: list[str]) -> set[str]:
    keys = signing_keys(settings.keys("click-token"))
    found = [read(token, keys) for token in tokens]
    assert all(isinstance(token, ClickToken) and not token.unrecorded for token in found)
    return {str(token.click_id) for token in found if isinstance(token, ClickToken)}


def test_the_loader_stops_when_asked_and_leaves_nothing_behind(
    settings: Settings, shop: Shop, session: Session, loader_process: LoaderProcess
) -> None:
    with ClickRecorder(settings) as recorder:
        for number in range(50):
            recorder.click(
                link_id=shop.link_id,
                clicked_at=datetime.now(UTC),
                address=f"203.0.113.{number}",
                agent=CHROME,
            )
        loader_process.start()
        deadline = time.monotonic() + 30
        while rows(session, "SELECT count(*) FROM clicks") != [(50,)]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert loader_process.stop() == 0
    loader_process.start()
    while list((settings.data_dir / "journal").glob("*.kpj")):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_f17_a_restarted_process_redirects_with_both_servers_away_and_loads_later(
    web: Web, settings: Settings, shop: Shop, session: Session, servers: Servers
) -> None:
    keeper = LoaderProcess(settings)
    keeper.start()
    deadline = time.monotonic() + 30
    while not is_whole(settings.data_dir / SNAPSHOT):
        assert time.monotonic() < deadline, "the loader wrote no snapshot"
        time.sleep(0.05)
    keeper.kill()
    nowhere = "postgresql+psycopg://nobody@127.0.0.1:9/none"
    alone = Web(replace(settings, database_url=nowhere, redis_url="redis://127.0.0.1:9"))
    alone.start()
    stop = threading.Event()
    client = Client(alone.port, shop.code, stop)
    try:
        alone.wait()
        client.start()
        while len(client.tokens) < 200:
            assert time.monotonic() < deadline + 30
            time.sleep(0.01)
    finally:
        stop.set()
        if client.ident is not None:
            client.join(timeout=30)
        alone.kill()
    assert client.surprises == []
    later = Loader(settings)
    later.round()
    later.close()
    stored = {str(row[0]) for row in rows(session, "SELECT click_id FROM clicks")}
    assert click_ids(settings, client.tokens) <= stored
