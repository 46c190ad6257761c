"""/metrics with two web processes and a loader of its own: one answer, whoever gives it."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from click_support import CHROME, Shop
from flask.testing import FlaskClient

from affiliate.core.config import Settings
from tracker.clicks.loader import Loader
from tracker.clicks.recording import ClickRecorder
from wsgi import create_app

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 60.0


def environment(settings: Settings) -> dict[str, str]:
    return {
        **os.environ,
        "KOPECK_MODE": "test",
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "KOPECK_SECRET": settings.secrets[0],
        "KOPECK_PUBLIC_URL": settings.public_url,
        "KOPECK_TRUSTED_HOSTS": "127.0.0.1",
        "KOPECK_DATA_DIR": str(settings.data_dir),
        "KOPECK_LOG_LEVEL": "ERROR",
    }


@contextmanager
def process(settings: Settings, *command: str) -> Iterator[int]:
    """A process group of its own, killed at the end; yields its pid."""
    started = subprocess.Popen(
        [sys.executable, "-m", *command],
        env=environment(settings),
        cwd=ROOT,
        start_new_session=True,
    )
    try:
        yield started.pid
    finally:
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()


def web(port: int) -> tuple[str, ...]:
    return (
        *("granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port)),
        *("--workers", "2", "--blocking-threads", "2", "--no-log"),
        *("--respawn-failed-workers", "--respawn-interval", "0.1"),
        *("--factory", "wsgi:make_application"),
    )


def get(port: int, path: str) -> tuple[int, str]:
    """On a connection of its own: the kernel gives it to one worker or the other."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path, headers={"User-Agent": CHROME})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def workers(master: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            command = (path.parent / "cmdline").read_bytes()
            if parent == master and b"resource_tracker" not in command:
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def value(text: str, sample: str) -> float:
    found = re.search(rf"^{re.escape(sample)} (\S+)$", text, re.MULTILINE)
    assert found, f"{sample} is not in:\n{text}"
    return float(found[1])


def test_counts_of_two_web_processes_and_the_loader_are_one_and_outlive_a_kill(
    settings: Settings, shop: Shop
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    with process(settings, *web(port)) as master, process(settings, "wsgi", "loader"):
        until(lambda: get(port, "/healthz")[0] == 200, "the web did not come up")
        for number in range(40):
            assert get(port, f"/r/nobody{number}")[0] == 404
            assert get(port, f"/r/{shop.code}")[0] == 302

        def says(sample: str, wanted: float) -> bool:
            status, text = get(port, "/metrics")
            return status == 200 and value(text, sample) == wanted

        # Whichever worker answers: the same. The loader's rows are there within a moment.
        until(lambda: says("kopeck_clicks_loaded_total", 40), "the loader's count is missing")
        for _ in range(10):
            assert says("kopeck_clicks_unknown_total", 40)
        until(lambda: says("kopeck_journal_unloaded_bytes", 0), "the loader's state is missing")
        assert says('kopeck_journal_alarm{alarm="loader_silent"}', 0)
        counted = settings.data_dir / "counters"
        assert len(list(counted.glob("*.kpc"))) == 3, "one of the workers never counted"
        killed = workers(master)
        assert len(killed) == 2
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        until(lambda: set(workers(master)).isdisjoint(killed), "the workers did not die")
        until(lambda: get(port, "/healthz")[0] == 200, "the web did not come back")
        assert says("kopeck_clicks_unknown_total", 40)
        assert get(port, "/r/nobody-else")[0] == 404
        assert says("kopeck_clicks_unknown_total", 41)


def test_drops_by_reason_and_quarantine_come_from_the_tables(
    client: FlaskClient, settings: Settings, shop: Shop, loader: Loader
) -> None:
    at = datetime.now(UTC)
    bot = "Mozilla/5.0 (compatible; archive.org_bot +http://archive.org/details)"
    with ClickRecorder(settings) as recorder:
        for link_id, agent in ((shop.link_id, bot), (shop.link_id, CHROME), (900_001, CHROME)):
            recorder.click(link_id=link_id, clicked_at=at, address="203.0.113.9", agent=agent)
        recorder.click(link_id=shop.link_id, clicked_at=at, address="203.0.113.9", agent=CHROME)
    loader.round()
    text = client.get("/metrics").text
    assert value(text, 'kopeck_clicks_dropped_total{reason="bot"}') == 1
    assert value(text, 'kopeck_clicks_dropped_total{reason="duplicate"}') == 1
    assert value(text, 'kopeck_clicks_dropped_total{reason="prefetch"}') == 0
    assert value(text, 'kopeck_quarantine_pieces{reason="unknown_link"}') == 1
    assert value(text, "kopeck_spill_waiting") == 0
    assert value(text, "kopeck_database_up") == 1


def test_metrics_answer_while_the_database_is_away(settings: Settings) -> None:
    nowhere = "postgresql+psycopg://nobody@127.0.0.1:9/none"
    away = create_app(replace(settings, database_url=nowhere)).test_client()
    answer = away.get("/metrics", base_url="http://127.0.0.1:8000")
    assert answer.status_code == 200
    assert value(answer.text, "kopeck_database_up") == 0
    assert value(answer.text, "kopeck_clicks_unrecorded_total") == 0
