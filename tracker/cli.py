"""`kopeck seed`, `kopeck demo-data` and `kopeck export`."""

from __future__ import annotations

import click
from flask import current_app
from flask.cli import with_appcontext

from affiliate.core import clock
from affiliate.core.config import Settings
from affiliate.core.db import unit_of_work
from affiliate.core.errors import Refusal
from payouts.rails.protocol import RailAway
from tracker.demo import payees
from tracker.demo import seed as demo


def _settings() -> Settings:
    settings: Settings = current_app.extensions["kopeck.settings"]
    return settings


@click.command("seed")
@click.option(
    "--wait-for-stripe",
    "wait_s",
    type=click.FloatRange(0, 120),
    default=0,
    metavar="SECONDS",
    help="Wait so long for the Stripe double, to give the affiliates their accounts.",
)
@with_appcontext
def seed_command(wait_s: float) -> None:
    """Write the demo's programs, people, links and keys. Again: the same.

    In demo and test mode alone. Sign-ins stand in demo.json, the shop's API key in
    shop-api-key, both in the data folder. Affiliates get their accounts at the Stripe double
    when it answers.
    """
    settings = _settings()
    try:
        with unit_of_work() as session:
            demo.seed(session, settings=settings, now=clock.now(session))
        if payees.wait_for_double(settings, timeout_s=wait_s):
            with unit_of_work() as session:
                payees.give_accounts(session, settings=settings, now=clock.now(session))
        else:
            click.echo("Stripe double: no answer; run `kopeck seed` again once it is up.")
    except Refusal as refusal:
        raise click.ClickException(refusal.detail) from refusal
    except RailAway as away:
        raise click.ClickException(f"The Stripe double refused: {away}") from away
    click.echo(f"The demo is ready; sign-ins: {settings.data_dir / demo.SIGN_INS}")


commands: list[click.Command] = [seed_command]
