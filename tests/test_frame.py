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

from affiliate.core.db import Model


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
