"""`kopeck pixel`: what a shop puts on its pages."""

from __future__ import annotations

import click
import sqlalchemy as sa
from flask import current_app
from flask.cli import with_appcontext

from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.programs.models import Program
from tracker.orders.keys import order_token_keys
from tracker.pixel.proxied import BUYER_HEADER, SECRET_HEADER, proxy_secret
from tracker.pixel.scripts import current_script, freeze


@click.command("pixel")
@click.option("--program", "slug", required=True, help="Slug of the shop's program.")
@with_appcontext
def pixel_command(slug: str) -> None:
    """Print the lines that a shop embeds, with the integrity of the fixed version."""
    settings: Settings = current_app.extensions["kopeck.settings"]
    if db.session.scalar(sa.select(Program.id).where(Program.slug == slug)) is None:
        raise click.ClickException(f"There is no program {slug!r}.")
    base, script = settings.public_url.rstrip("/"), current_script()
    click.echo("Kept up to date by itself:")
    click.echo(f'  <script async src="{base}/pixel.js" data-program="{slug}"></script>')
    click.echo("\nThis very version, checked by the browser:")
    click.echo(f'  <script async src="{base}/{script.name}" data-program="{slug}"')
    click.echo(f'          integrity="{script.integrity}" crossorigin="anonymous"></script>')
    click.echo("\nWhat the proxy of a path of the shop's own shows, beside the buyer's address")
    click.echo(f"in {BUYER_HEADER}:")
    click.echo(f"  {SECRET_HEADER}: {proxy_secret(settings, slug)}")


@click.command("order-token-key")
@click.option("--program", "slug", required=True, help="Slug of the shop's program.")
@with_appcontext
def token_key_command(slug: str) -> None:
    """Print the key by which a shop's server signs order tokens (hexadecimal). It is a secret."""
    program_id = db.session.scalar(sa.select(Program.id).where(Program.slug == slug))
    if program_id is None:
        raise click.ClickException(f"There is no program {slug!r}.")
    click.echo(order_token_keys(program_id)[0].hex())
    click.echo("Keep it on the shop's server: who has it confirms orders.", err=True)


@click.command("freeze-pixel")
def freeze_command() -> None:
    """Keep the pixel of this release under its own address for good; part of releasing."""
    click.echo(freeze())


commands = [pixel_command, token_key_command, freeze_command]
