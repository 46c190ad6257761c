"""What several benchmarks stand on: a front with one link and a journal, and its loader."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.config import ROOT
from affiliate.core.embedded.servers import Servers, create_database
from affiliate.core.migrate import upgrade
from affiliate.links.models import Link
from affiliate.people.models import Affiliate, Enrollment, User
from affiliate.programs.models import Program
from bench.load import Request
from tracker.clicks.database import libpq_url

CODE = "bench1"
DESTINATION = "https://shop.example/tea?a=1"
AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/141.0.0.0 Safari/537.36"
)
CLICK = Request(f"/r/{CODE}", {"User-Agent": AGENT})
"""A click of a visitor who has no cookie yet; all of them from one address."""
CLICK_FROM_ANYWHERE = replace(CLICK, script=ROOT / "bench" / "clicks.lua", forwarded=True)
"""The same from another address each time. wrk is then slower than the servers."""
DRAIN_TIMEOUT_S = 120


def front_environment(servers: Servers, data_dir: Path) -> dict[str, str]:
    """A database and a data folder of its own for one front, with one link."""
    data_dir.mkdir(parents=True)
    url = create_database(servers.database_url, f"bench_{data_dir.name}")
    upgrade(url)
    _add_link(url)
    return {
        **os.environ,
        "KOPECK_MODE": "test",
        "DATABASE_URL": url,
        "REDIS_URL": servers.redis_url,
        "KOPECK_SECRET": "a-secret-for-the-benchmark-0123456789",
        "KOPECK_PUBLIC_URL": "http://127.0.0.1:8000",
        "KOPECK_DATA_DIR": str(data_dir),
        "KOPECK_PROXY_HOPS": "1",
        # A load from one address is a flood, and clicks of a flood cost less than people's.
        "KOPECK_FLOOD_ADDRESS_PER_MINUTE": "0",
        "KOPECK_FLOOD_DEVICE_PER_MINUTE": "0",
        "KOPECK_FLOOD_AFFILIATE_PER_HOUR": "0",
        "KOPECK_LOG_LEVEL": "ERROR",
    }


@contextmanager
def loader(environment: dict[str, str]) -> Iterator[int]:
    """The loader's process, asleep (SIGSTOP) until its turn; its pid."""
    program = "from tracker.clicks.cli import loader; loader()"
    process = subprocess.Popen([sys.executable, "-c", program], env=environment, cwd=ROOT)
    try:
        drain(environment, process)
        process.send_signal(signal.SIGSTOP)
        yield process.pid
    finally:
        process.kill()
        process.wait()


def drain(environment: dict[str, str], process: subprocess.Popen[bytes] | None = None) -> None:
    """Wait until the loader has everything that the journal has; SystemExit if it cannot.

    :param process: the loader, to notice at once that it has ended.
    """
    url = libpq_url(environment["DATABASE_URL"])
    journal = Path(environment["KOPECK_DATA_DIR"]) / "journal"
    deadline = time.monotonic() + DRAIN_TIMEOUT_S
    with psycopg.connect(url, autocommit=True) as connection:
        while time.monotonic() < deadline:
            written = sum(path.stat().st_size for path in journal.rglob("*.kpj"))
            row = connection.execute(
                "SELECT coalesce(sum(loaded_offset), 0) FROM click_segments"
            ).fetchone()
            if row and int(row[0]) == written:
                return
            if process and process.poll() is not None:
                raise SystemExit("the loader has ended")
            time.sleep(0.02)
    raise SystemExit("the loader did not come to the end of the journal")


def check_clicks(environment: dict[str, str], answered: int) -> None:
    """Every redirect that was counted must be a row."""
    with psycopg.connect(libpq_url(environment["DATABASE_URL"])) as connection:
        row = connection.execute("SELECT count(*) FROM clicks").fetchone()
    stored = int(row[0]) if row else 0
    print(f"redirects answered {answered:,}, clicks stored {stored:,}")
    if stored < answered:
        raise SystemExit(f"{answered - stored} clicks are missing")


def _add_link(url: str) -> None:
    """One program, one affiliate, one link."""
    now = datetime.now(UTC)
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with Session(engine) as session:
        program = Program(
            slug="bench",
            name="Bench",
            currency="RUB",
            landing_url="https://shop.example/",
            allowed_sites=["shop.example"],
            created_at=now,
        )
        user = User(email="bench@blog.example", fs_uniquifier="bench", created_at=now)
        session.add_all([program, user])
        session.flush()
        affiliate = Affiliate(user_id=user.id, name="bench", created_at=now)
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
        session.add(
            Link(
                program_id=program.id,
                enrollment_id=enrollment.id,
                code=CODE,
                destination=DESTINATION,
                created_at=now,
            )
        )
        session.commit()
