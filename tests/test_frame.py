"""The frame: importing opens nothing, the schema is the models', the books refuse changes."""

from __future__ import annotations

import subprocess
import sys

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask import Flask
from sqlalchemy.orm import Session

from affiliate.core import queue
from affiliate.core.db import Model
from wsgi import PERIODIC


def test_importing_wsgi_reads_no_environment_and_opens_nothing() -> None:
    code = (
        "import socket, sys; sys.path.insert(0, '.');"
        "socket.socket.connect = lambda *a: sys.exit('connected');"
        "import wsgi; assert callable(wsgi.create_app)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PATH": "/usr/bin"})


def test_the_migrations_make_the_schema_of_the_models(app: Flask, engine: sa.Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_object": lambda obj, name, kind, *_: (
                    not (kind == "table" and name.startswith("clicks_"))
                )
            },
        )
        differences = compare_metadata(context, Model.metadata)
    assert [d for d in differences if "alembic_version" not in str(d)] == []


@pytest.mark.parametrize("table", ["ledger_transactions", "audit_log"])
def test_the_database_refuses_to_truncate_the_books(session: Session, table: str) -> None:
    with pytest.raises(sa.exc.DBAPIError, match="append-only"):
        session.execute(sa.text(f"TRUNCATE {table} CASCADE"))


def test_help_needs_no_settings_and_lists_our_commands_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wsgi", "--help"],
        check=True, capture_output=True, text=True, env={"PATH": "/usr/bin"},
    )  # fmt: skip
    assert done.stderr == ""
    for command in ("run", "migrate", "seed", "audit", "backup", "restore", "export"):
        assert f"\n  {command} " in done.stdout
    assert "limiter" not in done.stdout


def test_a_command_without_its_settings_says_which_is_missing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wsgi", "migrate"],
        check=False, capture_output=True, text=True, env={"PATH": "/usr/bin"},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: KOPECK_")
    assert "Traceback" not in done.stderr


def test_every_periodic_job_exists_and_has_a_queue_with_a_worker(app: Flask) -> None:
    entries = app.extensions["kopeck.periodic"]
    assert len(entries) == len(PERIODIC)
    assert {entry.job.queue for entry in entries} <= set(queue.QUEUES)
    assert all(entry.every_s > 0 for entry in entries)
