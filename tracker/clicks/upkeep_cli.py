"""`kopeck rollups …` and `kopeck partitions …`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime

import click
import psycopg
from flask import current_app
from flask.cli import with_appcontext
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.config import Settings
from affiliate.core.db import unit_of_work
from affiliate.core.errors import Refusal
from tracker.clicks import rebuild, retention
from tracker.clicks.partitions import driver
from tracker.clicks.rebuild import ProgramDay
from tracker.clicks.retention import Month, MonthStatus

DIFFERENCES_SHOWN_MAX = 20
DAY = click.DateTime(formats=["%Y-%m-%d"])
MONTH = click.DateTime(formats=["%Y-%m"])


@click.group("rollups")
def rollups_group() -> None:
    """The counters of clicks, kept by the loader beside the rows.

    Days are the programs' own. Days whose raw clicks were detached cannot be recounted;
    their counters stand as they are.
    """


@rollups_group.command("check")
@click.option("--from", "first", type=DAY, help="First day; without it, the first there is.")
@click.option("--to", "last", type=DAY, help="Last day, included.")
@with_appcontext
def check_command(first: datetime | None, last: datetime | None) -> None:
    """Compare every counter with a recount of the rows.

    Exits with 1 and names the first differences. May run beside the loader.
    """
    found = 0
    for one in _days(first, last):
        with _instant() as connection:
            wrong = rebuild.differences(connection, one)
        for each in wrong[: max(0, DIFFERENCES_SHOWN_MAX - found)]:
            click.echo(f"{one.slug}: {each}")
        found += len(wrong)
    if found:
        raise click.ClickException(
            f"{found:,} counters are not what the rows say; kopeck rollups rebuild writes them anew"
        )
    click.echo("Every counter says what the rows say.")


@rollups_group.command("rebuild")
@click.option("--from", "first", type=DAY, help="First day; without it, the first there is.")
@click.option("--to", "last", type=DAY, help="Last day, included.")
@with_appcontext
def rebuild_command(first: datetime | None, last: datetime | None) -> None:
    """Write the counters anew where they differ from the rows.

    One transaction a program and day, during which the loader waits with that program's
    clicks. May be stopped at any time and run again.
    """
    found = 0
    for one in _days(first, last):
        with unit_of_work() as session:
            wrong = rebuild.rebuild(driver(session), one)
        if wrong:
            click.echo(f"{one.slug} {one.day}: {len(wrong):,} counters")
        found += len(wrong)
    click.echo(f"{found:,} counters were written anew.")


@click.group("partitions")
def partitions_group() -> None:
    """The months in which raw clicks lie.

    The loader makes them ahead and detaches those older than KOPECK_CLICKS_KEEP_DAYS, never
    sooner than attribution window and hold allow. Counters of a detached month stay.
    """


@partitions_group.command("list")
@with_appcontext
def list_command() -> None:
    """List the months and where their rows are."""
    with unit_of_work() as session:
        settings: Settings = current_app.extensions["kopeck.settings"]
        since = retention.kept_since(session, settings=settings, now=clock.now(session))
        for month in retention.months(session):
            click.echo(_line(month))
    click.echo("All are kept." if since is None else f"Clicks since {since:%Y-%m-%d} are kept.")


@partitions_group.command("detach")
@click.argument("month", type=MONTH, metavar="YYYY-MM")
@with_appcontext
def detach_command(month: datetime) -> None:
    """Take one month out of the table; its rows stay in a table of their own."""
    try:
        with _work() as session:
            now = clock.now(session)
            done = retention.detach(session, begin=month.date(), by="cli", now=now)
    except OperationalError as error:
        raise click.ClickException(
            "Somebody has been reading clicks for too long; try again later."
        ) from error
    click.echo(f"{done.name} is detached; its counters stay.")


@partitions_group.command("drop-detached")
@click.argument("month", type=MONTH, metavar="YYYY-MM")
@click.confirmation_option(prompt="The rows cannot be had back without a backup. Drop them?")
@with_appcontext
def drop_command(month: datetime) -> None:
    """Give up the rows of a detached month for good."""
    with _work() as session:
        now = clock.now(session)
        done = retention.drop_detached(session, begin=month.date(), by="cli", now=now)
    click.echo(f"{done.name} is dropped; the audit log says so.")


def _days(first: datetime | None, last: datetime | None) -> list[ProgramDay]:
    with unit_of_work() as session:
        whole, gone = rebuild.days_of(driver(session), first=_date(first), last=_date(last))
    if gone:
        click.echo(f"{len(gone):,} days lie in detached months and are left alone.", err=True)
    return whole


def _date(at: datetime | None) -> date | None:
    return None if at is None else at.replace(tzinfo=UTC).date()


@contextmanager
def _instant() -> Iterator[psycopg.Connection]:
    """A transaction that sees one instant only."""
    with unit_of_work() as session:
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        yield driver(session)


@contextmanager
def _work() -> Iterator[Session]:
    """One transaction; a refusal becomes the command's error."""
    try:
        with unit_of_work() as session:
            yield session
    except Refusal as refusal:
        raise click.ClickException(refusal.detail) from refusal


def _line(month: Month) -> str:
    if month.status is MonthStatus.DROPPED:
        return f"{month.begin:%Y-%m}  dropped"
    size = f"{month.size / 1024 / 1024:,.0f} MiB"
    return f"{month.begin:%Y-%m}  {month.status.value:10}{month.rows:>14,} rows{size:>14}"


commands = [rollups_group, partitions_group]
