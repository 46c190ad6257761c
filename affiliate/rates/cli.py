"""`kopeck rates …`: exchange rates without a browser. Nothing is fetched: files are brought."""

from __future__ import annotations

from datetime import date, datetime
from typing import BinaryIO

import click
from flask.cli import with_appcontext

from affiliate.core import clock
from affiliate.core.db import unit_of_work
from affiliate.core.errors import Refusal
from affiliate.programs.programs import by_slug
from affiliate.rates.enter import enter_rate, import_rates
from affiliate.rates.files import FILE_BYTES_MAX
from affiliate.rates.lookup import listed

ROWS_SHOWN_MAX = 200


@click.group("rates")
def rates_group() -> None:
    """Exchange rates, by which orders in other currencies are converted."""


@rates_group.command("list")
@click.option("--program", "slug", required=True)
@click.option("--currency", help="Of one currency alone.")
@with_appcontext
def list_command(slug: str, currency: str | None) -> None:
    """The latest rates: day, currency, rate, how it came; a star: corrected since."""
    try:
        with unit_of_work() as session:
            program = by_slug(session, slug)
            for one in listed(session, program=program, rows_max=ROWS_SHOWN_MAX, source=currency):
                row, star = one.row, " *" if one.replaced else ""
                click.echo(
                    f"{row.valid_from}  1 {row.source} = {one.rate.decimal} {row.target}  "
                    f"{row.origin}{star}"
                )
    except Refusal as refusal:
        raise _told(refusal) from refusal


@rates_group.command("enter")
@click.option("--program", "slug", required=True)
@click.option("--currency", required=True, help="Of the orders, such as USD.")
@click.option("--from", "valid_from", required=True, type=click.DateTime(["%Y-%m-%d"]))
@click.option("--rate", required=True, help="So much of the program's currency for one.")
@with_appcontext
def enter_command(slug: str, currency: str, valid_from: datetime, rate: str) -> None:
    """Enter one rate; another rate of the same day corrects it for orders from now on."""
    try:
        with unit_of_work() as session:
            done = enter_rate(
                session,
                program_id=by_slug(session, slug).id,
                currency=currency,
                valid_from=valid_from.date(),
                rate=rate,
                by=None,
                now=clock.now(session),
            )
    except Refusal as refusal:
        raise _told(refusal) from refusal
    click.echo("Corrected." if done.corrected else "Entered.")


@rates_group.command("import")
@click.option("--program", "slug", required=True)
@click.option(
    "--currency", "currencies", multiple=True,
    help="Take this one; may be given again. Of a bank's file, without it: those known already.",
)  # fmt: skip
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="Leave earlier days out.")
@click.argument("file", type=click.File("rb"))
@with_appcontext
def import_command(
    slug: str, currencies: tuple[str, ...], since: datetime | None, file: BinaryIO
) -> None:
    """Enter the rates of a FILE: currency,date,rate as CSV, the ECB's CSV, or the Bank of
    Russia's XML; - for standard input. The same file again changes nothing."""
    raw = file.read(FILE_BYTES_MAX + 1)
    first: date | None = since.date() if since else None
    try:
        with unit_of_work() as session:
            done = import_rates(
                session,
                program_id=by_slug(session, slug).id,
                raw=raw,
                currencies=currencies,
                since=first,
                by=None,
                now=clock.now(session),
            )
    except Refusal as refusal:
        raise _told(refusal) from refusal
    click.echo(f"{done.new} new, {done.corrected} corrected, {done.unchanged} unchanged")


def _told(refusal: Refusal) -> click.ClickException:
    wrong = "; ".join(f"{e.field}: {e.message}" for e in refusal.errors)
    return click.ClickException(wrong or refusal.detail)


commands = [rates_group]
