"""docs/operations.md is walked: its commands run in their order against real servers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from affiliate.core.backup import BackupFailed, dump, load
from affiliate.core.embedded.servers import Servers, create_database, drop_database

ROOT = Path(__file__).resolve().parents[2]
SECRET = "a-secret-of-the-operations-walk-0123456789"


@pytest.fixture
def empty_database(servers: Servers) -> Iterator[str]:
    """As `createdb` leaves it: nothing in it yet."""
    url = create_database(servers.database_url, "kopeck_operations")
    yield url
    drop_database(url)


@pytest.fixture
def production(empty_database: str, redis_url: str, tmp_path: Path) -> dict[str, str]:
    """The environment of a production installation."""
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "DATABASE_URL": empty_database.replace("+psycopg", ""),
        "REDIS_URL": redis_url,
        "KOPECK_SECRET": SECRET,
        "KOPECK_PUBLIC_URL": "https://kopeck.example",
        "KOPECK_DATA_DIR": str(tmp_path / "data"),
        "KOPECK_LOG_LEVEL": "WARNING",
    }


def _walk() -> list[str]:
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh walk\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def test_the_commands_of_the_operations_page_work_in_their_order(
    production: dict[str, str], empty_database: str, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    commands = _walk()
    assert len(commands) >= 10
    told: dict[str, str] = {}
    engine = sa.create_engine(empty_database, poolclass=sa.NullPool)
    for command in commands:
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, env=production, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        told[command] = done.stdout
        if command.startswith("kopeck restore"):
            with engine.connect() as connection:
                locks = connection.execute(sa.text("SELECT reason, lifted_at FROM payout_locks"))
                assert list(locks) == [("restored_backup", None)]
    assert any(
        re.search(r"\bkpk_\w+_\S{20,}", out) for c, out in told.items() if "api-key create" in c
    )
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT lifted_at IS NOT NULL FROM payout_locks"))
        assert connection.scalar(sa.text("SELECT email FROM users")) == "owner@shop.example"
    assert (tmp_path / "kopeck.dump").stat().st_mode & 0o077 == 0


def test_a_restore_that_fails_leaves_the_database_as_it_was(
    database_url: str, engine: sa.Engine, tmp_path: Path
) -> None:
    whole = tmp_path / "whole.dump"
    dump(database_url, whole)
    with engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO clock_offset VALUES (1, 5)"))
    broken = tmp_path / "broken.dump"
    broken.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    for path, and_then in (
        (broken, "SELECT 1"),
        (whole, "INSERT INTO public.no_such_table VALUES (1)"),
        (tmp_path / "missing.dump", "SELECT 1"),
    ):
        with pytest.raises(BackupFailed):
            load(database_url, path, and_then=and_then)
        with engine.connect() as connection:
            assert connection.scalar(sa.text("SELECT seconds FROM clock_offset")) == 5


def test_a_backup_that_fails_leaves_no_file(database_url: str, tmp_path: Path) -> None:
    with pytest.raises(BackupFailed, match="does_not_exist"):
        dump(database_url.replace("/kopeck_", "/does_not_exist_"), tmp_path / "no.dump")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_year_may_be_the_first_thing_in_an_empty_database(
    production: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    demo = production | {"KOPECK_MODE": "demo", "KOPECK_PUBLIC_URL": "http://127.0.0.1:8000"}
    command = "kopeck demo-data --affiliates 5 --clicks 60 --orders 12 --days 21 && kopeck audit"
    done = subprocess.run(
        command, shell=True, cwd=tmp_path, env=demo, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout
