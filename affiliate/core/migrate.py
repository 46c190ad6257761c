"""Bring the database to this version's schema. Safe to run from several nodes at once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from affiliate.core.config import ROOT


def alembic_config(engine: sa.Engine) -> Config:
    """Alembic's configuration without a file: the folder and the engine."""
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations").replace("%", "%%"))
    config.attributes["engine"] = engine
    return config


def upgrade(database_url: str) -> None:
    """Run every migration that is missing."""
    engine = sa.create_engine(database_url, poolclass=sa.NullPool)
    try:
        command.upgrade(alembic_config(engine), "head")
    finally:
        engine.dispose()


def is_current(connection: sa.Connection) -> bool:
    """Whether the database has exactly the schema that this code was written for."""
    head = ScriptDirectory(str(ROOT / "migrations")).get_current_head()
    return MigrationContext.configure(connection).get_current_revision() == head
