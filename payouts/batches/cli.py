"""`kopeck restore`: a backup takes the place of the books, and payouts wait for a person."""

from __future__ import annotations

from pathlib import Path

import click
from flask import current_app
from flask.cli import with_appcontext

from affiliate.core import backup, clock, migrate
from affiliate.core.config import Settings
from affiliate.core.errors import Refusal
from payouts.batches.locks import LockReason

LOCK = """
    INSERT INTO public.payout_locks (reason, detail, locked_at)
    VALUES ('{reason}', 'Restored by command at {at}.', '{at}')
    ON CONFLICT DO NOTHING
"""


@click.command("restore")
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_appcontext
def restore_command(path: Path, yes: bool) -> None:
    """Replace the whole database by the backup at PATH, and lock payouts.

    Stop web, workers and scheduler first. Payouts made since the backup are not in it: they
    stay locked until a person has compared the books with the provider and says so with
    `kopeck payouts unlock` (docs/operations.md, "Restore").
    """
    settings: Settings = current_app.extensions["kopeck.settings"]
    if not yes:
        click.confirm("Everything in the database will be replaced. Go on?", abort=True)
    at = clock.real_now().isoformat()
    lock = LOCK.format(reason=LockReason.RESTORED_BACKUP.value, at=at)
    try:
        backup.load(settings.database_url, path, and_then=lock)
    except Refusal as refusal:
        raise click.ClickException(f"{refusal.title} {refusal.detail}") from refusal
    migrate.upgrade(settings.database_url)
    click.echo("The backup is restored. Payouts are locked until you have reconciled them.")


commands = [restore_command]
