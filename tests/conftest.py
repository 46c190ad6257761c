"""Real servers for every test: PostgreSQL and Valkey out of wheels, a fresh database each."""

from __future__ import annotations

import functools
import gc
import itertools
import os
import shutil
import sys
import tempfile
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from sqlalchemy.orm import Session

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from affiliate.core.embedded.launch import Running

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from affiliate.core.config import Settings  # noqa: E402
from affiliate.core.db import db, session_for  # noqa: E402
from affiliate.core.embedded.servers import (  # noqa: E402
    Servers,
    create_database,
    drop_database,
    running,
)
from affiliate.core.migrate import upgrade  # noqa: E402
from tests import quick_apps  # noqa: E402
from tests.api.seen import Seen  # noqa: E402

quick_apps.share()

SECRET = "a-secret-for-tests-that-is-long-enough-0123456789"

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# A busy machine makes drawing slow; that says nothing about what is drawn. The suite always draws
# the same examples, so that a run says something about the change it is run for; `make hunt` draws
# new ones each time, and what it finds becomes an example of its own.
hypothesis_settings.register_profile(
    "kopeck",
    derandomize="KOPECK_HUNT" not in os.environ,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
hypothesis_settings.load_profile("kopeck")

_FOLDERS = "kpk-tests-"
_ROOM_BYTES = 2 << 30
_numbers = itertools.count()


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """One PostgreSQL and one Valkey for the whole run, in a folder that goes with it.

    In memory where there is room: a database for each test is a thousand small files.
    """
    with tempfile.TemporaryDirectory(prefix=f"{_FOLDERS}{os.getpid()}-", dir=_memory()) as name:
        folder = Path(name)
        folder.chmod(0o711)  # The servers' user passes through it.
        with running(folder / "data", durable=False, keep=False, base=folder) as started:
            yield started


def _memory() -> Path | None:
    """Where files cost no disk, after what killed runs have left there; None: nowhere."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or shutil.disk_usage(memory).free < _ROOM_BYTES:
        return None
    for left in memory.glob(f"{_FOLDERS}*"):
        if not Path("/proc", left.name.removeprefix(_FOLDERS).partition("-")[0]).exists():
            shutil.rmtree(left, ignore_errors=True)
    return memory


@pytest.fixture(scope="session")
def template_database(servers: Servers) -> str:
    """Name of a migrated database that each test's own is copied from."""
    url = create_database(servers.database_url, "kopeck_template")
    upgrade(url)
    return "kopeck_template"


@pytest.fixture
def database_url(servers: Servers, template_database: str) -> Iterator[str]:
    """A migrated, empty database of one's own."""
    name = f"kopeck_{os.getpid()}_{next(_numbers)}"
    url = create_database(servers.database_url, name, template=template_database)
    yield url
    drop_database(url)


@pytest.fixture
def redis_url(servers: Servers) -> str:
    """The shared Valkey, emptied."""
    from redis import Redis

    with Redis.from_url(servers.redis_url) as client:
        client.flushall()
    return servers.redis_url


@pytest.fixture
def settings(database_url: str, redis_url: str) -> Iterator[Settings]:
    """Test mode on this database, with a data folder of its own."""
    with tempfile.TemporaryDirectory(prefix="kpk-data-") as folder:
        yield Settings.from_environ(
            {
                "KOPECK_MODE": "test",
                "DATABASE_URL": database_url,
                "REDIS_URL": redis_url,
                "KOPECK_SECRET": SECRET,
                "KOPECK_PUBLIC_URL": "http://127.0.0.1:8000",
                "KOPECK_TRUSTED_HOSTS": "127.0.0.1,localhost",
                "KOPECK_DATA_DIR": folder,
                "KOPECK_LOG_LEVEL": "WARNING",
                "KOPECK_SMTP_URL": "smtp://127.0.0.1:9",
            }
        )


@pytest.fixture
def engine(settings: Settings) -> Iterator[sa.Engine]:
    """A plain engine on this test's database."""
    made = sa.create_engine(
        settings.database_url, connect_args={"options": "-c timezone=UTC -c lock_timeout=5000"}
    )
    yield made
    made.dispose()


@pytest.fixture
def session(engine: sa.Engine) -> Iterator[Session]:
    """A plain session; the test commits what others should see."""
    with session_for(engine)() as opened:
        yield opened


@pytest.fixture
def app(settings: Settings) -> Iterator[Flask]:
    """The application on this test's database."""
    from wsgi import create_app

    made = create_app(settings)
    _freeze_once()
    seen = Seen(made)
    made.extensions["tests.seen"] = seen
    yield made
    with made.app_context():
        db.session.remove()
        for engine in db.engines.values():
            engine.dispose()
    assert not seen.faults, "\n".join(seen.faults)


@functools.cache
def _freeze_once() -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A browser's requests, host 127.0.0.1:8000."""
    app.config["SERVER_NAME"] = None
    made = app.test_client()
    made.environ_base["HTTP_HOST"] = "127.0.0.1:8000"
    return made


@pytest.fixture
def production_settings(settings: Settings) -> Settings:
    """The same as in production mode."""
    return replace(settings, mode="production", public_url="https://kopeck.example")


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """The Chromium of this machine; tests in the browser are skipped where there is none."""
    for name in CHROMIUM_NAMES:
        if found := shutil.which(name):
            return found
    if os.environ.get("KOPECK_REQUIRE_BROWSER"):
        pytest.fail("no Chromium on this machine, and KOPECK_REQUIRE_BROWSER is set")
    pytest.skip("no Chromium on this machine")


@pytest.fixture(scope="session")
def browser(chromium_path: str) -> Iterator[Browser]:
    """One Chromium for the whole run: a second Playwright beside it would not start."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium_path, args=CHROMIUM_ARGS)
        yield started
        started.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file stays in one process; all that needs everything at once is one group, and comes last.

    At the very end all pages are looked at, when the stories have filled them.
    """

    def needs_everything(item: pytest.Item) -> bool:
        return "stack" in getattr(item, "fixturenames", ())

    items.sort(key=lambda item: (needs_everything(item), item.path.stem == "test_pages"))
    for item in items:
        group = "stack" if needs_everything(item) else str(item.path.relative_to(ROOT))
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Half a surrogate that a test had logged could not be sent to the process that reports."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections
    ]
    return report


@pytest.fixture(scope="session")
def stack() -> Iterator[Running]:
    """All that `make run` starts, demo program included; no process of it is left afterwards."""
    from affiliate.core.embedded import guard
    from affiliate.core.embedded.launch import launched
    from affiliate.core.embedded.supervise import RUN_MARK

    folder = Path(tempfile.mkdtemp(prefix="kpk-run-"))
    with launched(folder, port=0, keep=False) as running:
        yield running
        pids = {*running.processes.values(), running.info()["supervisor"], running.process.pid}
        pids |= set(guard.marked(RUN_MARK, str(running.data_dir)))
    left = [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert not left, f"still there after the run has ended: {left}"
