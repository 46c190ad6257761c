"""`kopeck bring-in`: a merchant's files without a browser."""

from __future__ import annotations

from typing import BinaryIO

import click
from flask.cli import with_appcontext

from affiliate.core import clock
from affiliate.core.db import db, unit_of_work
from affiliate.core.errors import Refusal
from affiliate.core.languages import LANGUAGES, SOURCE
from affiliate.imports.bring import bring
from affiliate.imports.rules import FILE_BYTES_MAX, Kind
from affiliate.programs.programs import by_slug


@click.command("bring-in")
@click.argument("kind", type=click.Choice([kind.value for kind in Kind]))
@click.argument("file", type=click.File("rb"))
@click.option("--program", "slug", required=True, help="Slug of the program.")
@click.option("--dry-run", is_flag=True, help="Say what would come of it, and keep nothing.")
@click.option("--tell", is_flag=True, help="Mail new affiliates how they get in.")
@click.option(
    "--language",
    type=click.Choice(LANGUAGES),
    default=SOURCE,
    show_default=True,
    help="Of people of whom the file does not say it.",
)
@with_appcontext
def bring_in_command(
    kind: str, file: BinaryIO, slug: str, dry_run: bool, tell: bool, language: str
) -> None:
    """Bring affiliates, links, coupons or history of the program before Kopeck, from CSV.

    All of the file or nothing. Columns and order: docs/moving-in.md.
    """
    try:
        with unit_of_work() as session:
            brought = bring(
                session,
                program_id=by_slug(session, slug).id,
                kind=Kind(kind),
                raw=file.read(FILE_BYTES_MAX + 1),
                tell=tell,
                locale=language,
                by=None,
                now=clock.now(session),
            )
            if dry_run:
                db.session.rollback()
    except Refusal as refusal:
        told = "\n".join(error.message for error in refusal.errors) or refusal.detail
        raise click.ClickException(told) from refusal
    click.echo(f"{brought.new:>10,} new")
    click.echo(f"{brought.changed:>10,} changed")
    click.echo(f"{brought.known:>10,} known already")
    click.echo(f"{brought.told:>10,} letters")
    if dry_run:
        click.echo("A dry run: nothing is kept.")


commands = [bring_in_command]
