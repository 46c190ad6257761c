"""`kopeck program create`: the first program of an installation, without a browser."""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from affiliate.core import clock
from affiliate.core.db import unit_of_work
from affiliate.core.errors import Refusal
from affiliate.programs.programs import create_program

DEFAULT_RATE_PERCENT = 10
DEFAULT_WINDOW_DAYS = 30
DEFAULT_HOLD_DAYS = 14


@click.group("program")
def program_group() -> None:
    """Programs; their rules are changed on the manager's desk."""


@program_group.command("create")
@click.option("--slug", required=True, help="Stands in addresses: /programs/<slug>.")
@click.option("--name", required=True)
@click.option("--currency", required=True, help="ISO 4217; cannot be changed later.")
@click.option("--landing-url", required=True, help="Where links lead by default.")
@click.option("--site", "sites", multiple=True, required=True, help="Host links may lead to.")
@click.option("--time-zone", default="UTC", show_default=True, help="IANA name.")
@click.option("--rail", default="manual", show_default=True, help="How its payouts leave.")
@click.option(
    "--percent", type=click.IntRange(0, 100), default=DEFAULT_RATE_PERCENT, show_default=True,
    help="Level 1, per cent of the net.",
)  # fmt: skip
@click.option("--window-days", default=DEFAULT_WINDOW_DAYS, show_default=True)
@click.option("--hold-days", default=DEFAULT_HOLD_DAYS, show_default=True)
@with_appcontext
def create_command(
    slug: str,
    name: str,
    currency: str,
    landing_url: str,
    sites: tuple[str, ...],
    time_zone: str,
    rail: str,
    percent: int,
    window_days: int,
    hold_days: int,
) -> None:
    """Make a program: last click, level 1 alone. Everything else is set on the manager's desk."""
    terms = {
        "attribution": {
            "model": "last_click",
            "window_days": window_days,
            "coupon": "loses",
            "existing_customer": "pays",
            "self_purchase": "refuses",
        },
        "commission": {
            "level_1": {"kind": "percent", "rate_ppm": percent * 10_000},
            "level_2": None,
        },
        "payout": {"hold_days": hold_days},
    }
    try:
        with unit_of_work() as session:
            create_program(
                session,
                slug=slug,
                name=name,
                currency=currency,
                landing_url=landing_url,
                allowed_sites=sites,
                time_zone=time_zone,
                rail=rail,
                terms_document=terms,
                by=None,
                now=clock.now(session),
            )
    except Refusal as refusal:
        wrong = "; ".join(f"{e.field}: {e.message}" for e in refusal.errors)
        raise click.ClickException(wrong or refusal.detail) from refusal
    click.echo(f"The program {slug} is open: /programs/{slug}")


commands = [program_group]
