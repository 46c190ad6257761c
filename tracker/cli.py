"""`kopeck seed`, `kopeck demo-data` and `kopeck export`."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TextIO

import click
from flask import current_app
from flask.cli import with_appcontext
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from affiliate.core import clock, migrate
from affiliate.core.config import Settings
from affiliate.core.db import unit_of_work
from affiliate.core.errors import Refusal
from affiliate.products.jobs import fetch_feeds, fetch_pictures
from affiliate.programs.programs import by_slug
from payouts.rails.protocol import RailAway
from tracker.demo import seed as demo
from tracker.demo.payees import give_accounts, wait_for_double
from tracker.demo.plan import Sizes
from tracker.demo.year import load_year
from tracker.export import QUERIES, export

DOUBLE_WAIT_S = 20.0
"""How long a run that has just started its Stripe double is waited for."""


def _settings() -> Settings:
    settings: Settings = current_app.extensions["kopeck.settings"]
    return settings


@click.command("seed")
@click.option(
    "--payees",
    is_flag=True,
    help="Only what the double and the shop have to answer for: accounts, products; waits.",
)
@with_appcontext
def seed_command(payees: bool) -> None:
    """Write the demo's programs, people, links and keys. Again: the same.

    In demo and test mode alone. Sign-ins stand in demo.json, the shop's API key in
    shop-api-key, both in the data folder. Affiliates get their accounts at the Stripe double
    when it answers.
    """
    settings = _settings()
    try:
        if not payees:
            with unit_of_work() as session:
                demo.seed(session, settings=settings, now=clock.now(session))
        answers = wait_for_double(settings, timeout_s=DOUBLE_WAIT_S if payees else 0)
        if answers:
            with unit_of_work() as session:
                give_accounts(session, settings=settings, now=clock.now(session))
        if payees:
            fetch_feeds()  # By now the shop answers as well; a newcomer sees its products at once.
            fetch_pictures()
    except Refusal as refusal:
        raise click.ClickException(refusal.detail) from refusal
    except RailAway as away:
        raise click.ClickException(f"The Stripe double refused: {away}") from away
    if not answers:
        click.echo("The Stripe double does not answer; later: kopeck seed --payees")
    click.echo(f"The demo is ready; sign-ins: {settings.data_dir / demo.SIGN_INS}")


@click.command("demo-data")
@click.option("--affiliates", default=2_000, show_default=True, type=click.IntRange(1, 1_000_000))
@click.option("--clicks", default=100_000, show_default=True, type=click.IntRange(0, 100_000_000))
@click.option("--orders", default=10_000, show_default=True, type=click.IntRange(0, 10_000_000))
@click.option("--days", default=365, show_default=True, type=click.IntRange(1, 3_650))
@click.option("--program", "slug", default="year", show_default=True, help="Slug of the program.")
@click.option(
    "--seed", "chance_seed", default=7, show_default=True, help="Another one, another year."
)
@with_appcontext
def demo_data_command(
    affiliates: int, clicks: int, orders: int, days: int, slug: str, chance_seed: int
) -> None:
    """Load a year of believable history into a program of its own.

    Everything goes through the verbs that real traffic takes, dated back: applications,
    clicks by journal and loader, orders, refunds, releases, weekly batches, withdrawals. In
    demo and test mode alone, and while `kopeck run` is down.
    """
    if not _settings().production:
        # On a new clone this may well be the first command: there are no tables yet.
        migrate.upgrade(_settings().database_url)
    sizes = Sizes(affiliates=affiliates, clicks=clicks, orders=orders, days=days)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[made]}"),
    )
    try:
        with Progress(*columns) as bar, unit_of_work() as session:
            task = bar.add_task(f"{days} days", total=days, made="")

            def passed(day: int, made: Counter[str]) -> None:
                bar.update(task, completed=day + 1, made=f"{made['orders']:,} orders")

            made = load_year(
                session,
                settings=_settings(),
                sizes=sizes,
                slug=slug,
                chance_seed=chance_seed,
                now=clock.now(session),
                progress=passed,
            )
    except Refusal as refusal:
        raise click.ClickException(refusal.detail) from refusal
    for name, number in sorted(made.items()):
        click.echo(f"{name:>14} {number:>10,}")


@click.command("export")
@click.argument("kind", type=click.Choice(sorted(QUERIES)))
@click.option("--program", "slug", required=True, help="Slug of the program.")
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="First day, in UTC.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="First day that is not in it.")
@click.option("--to", type=click.File("w", lazy=False, encoding="utf-8"), default="-")
@with_appcontext
def export_command(
    kind: str, slug: str, since: datetime | None, until: datetime | None, to: TextIO
) -> None:
    """Write orders, leads, commissions, clicks by day or the ledger's journal as CSV."""
    try:
        with unit_of_work() as session:
            count = export(
                session,
                kind=kind,
                program_id=by_slug(session, slug).id,
                since=(since or datetime(1970, 1, 1)).replace(tzinfo=UTC),  # noqa: DTZ001
                until=(until or datetime(9999, 1, 1)).replace(tzinfo=UTC),  # noqa: DTZ001
                to=to,
            )
    except Refusal as refusal:
        raise click.ClickException(refusal.detail) from refusal
    click.echo(f"{count:,} rows", err=True)


commands: list[click.Command] = [seed_command, demo_data_command, export_command]
