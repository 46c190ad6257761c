"""`kopeck migrate, worker, scheduler, backup`: commands that know no noun."""

from __future__ import annotations

from pathlib import Path

import click
from flask import current_app
from flask.cli import with_appcontext

from affiliate.core import backup, migrate, periodic, queue
from affiliate.core.config import Settings
from affiliate.core.errors import Refusal


def _settings() -> Settings:
    settings: Settings = current_app.extensions["kopeck.settings"]
    return settings


@click.command("migrate")
@with_appcontext
def migrate_command() -> None:
    """Bring the database to this version's schema. Safe to repeat and to run at once."""
    migrate.upgrade(_settings().database_url)
    click.echo("The database is up to date.")


@click.command("worker")
@click.argument("name", type=click.Choice(queue.QUEUES))
@click.option("--burst", is_flag=True, help="Stop when the queue is empty.")
@with_appcontext
def worker_command(name: str, burst: bool) -> None:
    """Work on one queue. Money has a queue of its own: run at least one worker for each."""
    queue.work(_settings().redis_url, name, burst=burst)


@click.command("scheduler")
@with_appcontext
def scheduler_command() -> None:
    """Ring the bell of every periodic job. Several may run; nothing happens twice."""
    periodic.run(current_app.extensions["kopeck.periodic"])


@click.command("backup")
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@with_appcontext
def backup_command(path: Path) -> None:
    """Write the whole database to PATH (pg_dump, custom format)."""
    try:
        backup.dump(_settings().database_url, path)
    except Refusal as refusal:
        raise click.ClickException(f"{refusal.title} {refusal.detail}") from refusal
    click.echo(f"The backup is in {path}. Restore it with: kopeck restore {path}")


commands = [migrate_command, worker_command, scheduler_command, backup_command]
