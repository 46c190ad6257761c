"""`kopeck seals …`: seal now, show heads, compare the books with what was sealed."""

from __future__ import annotations

import re

import click
from flask import current_app
from flask.cli import with_appcontext

from affiliate.core.config import Settings
from affiliate.core.db import db, unit_of_work
from affiliate.core.snapshot import read_once
from payouts.ledger.seals import walk
from payouts.ledger.seals.kept import kept_head
from payouts.ledger.seals.sealing import TRANSACTIONS_MAX, database_now, newest, seal_next

FINDINGS_SHOWN_MAX = 1_000
_HEAD = re.compile(r"[0-9a-f]{64}")


@click.group("seals")
def seals_group() -> None:
    """Seals over the ledger."""


@seals_group.command("now")
@with_appcontext
def now_command() -> None:
    """Seal what is committed, without waiting for the job."""
    sealed = 0
    while True:
        with unit_of_work() as session:
            transactions = seal_next(session, real_now=database_now(session))
        sealed += transactions
        if transactions < TRANSACTIONS_MAX:
            break
    click.echo(f"{sealed} transactions sealed.")
    head_command.callback()  # type: ignore[misc]


@seals_group.command("head")
@with_appcontext
def head_command() -> None:
    """Print the newest head: note it where nobody can change it."""
    with unit_of_work() as session:
        row = newest(session)
    if row is None:
        click.echo("Nothing is sealed yet.")
    else:
        click.echo(f"{row.number} {row.head.hex()} {row.sealed_at:%Y-%m-%d %H:%M:%S} UTC")


@seals_group.command("verify")
@click.option("--head", "heads", multiple=True, help="A head that was given out; repeat for more.")
@with_appcontext
def verify_command(heads: tuple[str, ...]) -> None:
    """Compare every entry of the books with its seal, and the chain with itself.

    Prints each thing that is not as it was sealed, and exits with 1 then.
    """
    wrong = [head for head in heads if not _HEAD.fullmatch(head)]
    if wrong:
        raise click.BadParameter(f"{wrong[0]!r} is not a head: 64 digits 0-9 a-f.")
    settings: Settings = current_app.extensions["kopeck.settings"]
    kept = kept_head(settings.data_dir)
    given = [*heads, *([kept.head] if kept else [])]
    found = 0
    with read_once(db.engine) as session:
        last = walk.last_number(session)
        for finding in walk.all_findings(
            session, heads=given, back_dating=settings.production, rows_max=FINDINGS_SHOWN_MAX
        ):
            found += 1
            if found <= FINDINGS_SHOWN_MAX:
                click.echo(str(finding))
    click.echo(f"{last} seals and {len(given)} heads given out looked at, {found} findings.")
    if found:
        raise SystemExit(1)


commands = [seals_group]
