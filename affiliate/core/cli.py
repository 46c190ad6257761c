"""`kopeck migrate, worker, scheduler, backup`: commands that know no noun."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import click
from flask import current_app
from flask.cli import with_appcontext

from affiliate.core import backup, clock, health, migrate, periodic, queue
from affiliate.core.config import Settings
from affiliate.core.db import unit_of_work
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


@click.command("metrics-token")
@with_appcontext
def metrics_token_command() -> None:
    """Print the bearer token of /metrics, for a collector on another machine."""
    click.echo(health.metrics_token(_settings()))


@click.group("clock")
def clock_group() -> None:
    """Business time; it can be moved in demo mode alone."""


@clock_group.command("show")
@with_appcontext
def clock_show_command() -> None:
    """Print business time."""
    with unit_of_work() as session:
        click.echo(clock.now(session).isoformat())


@clock_group.command("advance")
@click.option("--days", type=click.IntRange(0, 366), default=0)
@click.option("--hours", type=click.IntRange(0, 23), default=0)
@with_appcontext
def clock_advance_command(days: int, hours: int) -> None:
    """Move business time forward (demo and test mode)."""
    try:
        with unit_of_work() as session:
            clock.advance(session, by=timedelta(days=days, hours=hours))
            click.echo(clock.now(session).isoformat())
    except Refusal as refusal:
        raise click.ClickException(refusal.detail) from refusal


commands = [
    migrate_command,
    worker_command,
    scheduler_command,
    backup_command,
    metrics_token_command,
    clock_group,
]
