"""`kopeck payouts reconcile`, `differences` and `accept`."""

from __future__ import annotations

import click
import sqlalchemy as sa
from flask import current_app
from flask.cli import with_appcontext

from affiliate.core import clock
from affiliate.core.config import Settings
from affiliate.core.db import db, unit_of_work
from affiliate.core.errors import Refusal
from payouts.batches.models import PayoutAttempt, PayoutBatch, PayoutItem
from payouts.provider import differences
from payouts.provider.jobs import comparing, providers
from payouts.provider.models import Difference
from payouts.provider.reconcile import Compared, reconcile
from payouts.rails.registry import rails

BY = "cli"


@click.command("reconcile")
@with_appcontext
def reconcile_command() -> None:
    """Compare every provider's list of transfers with what was sent, in both directions.

    Settles attempts whose transfer is there. Exits with 1 when anything else differs, or when a
    provider does not answer; payouts are locked by what differs.
    """
    if not compare_all():
        raise SystemExit(1)


@click.command("differences")
@with_appcontext
def differences_command() -> None:
    """List what differs and waits for a person."""
    with unit_of_work() as session:
        found = differences.open_differences(session)
        for each in found:
            click.echo(_line(each))
    if not found:
        click.echo("Nothing differs.")


@click.command("accept")
@click.argument("difference", type=int)
@click.option("--why", required=True, help="What was done about it; stands in the audit log.")
@with_appcontext
def accept_command(difference: int, why: str) -> None:
    """Say that a DIFFERENCE was put right by hand; it is not raised again."""
    try:
        with unit_of_work() as session:
            differences.accept(
                session, difference_id=difference, by=BY, why=why, now=clock.now(session),
                real_now=clock.real_now(),
            )  # fmt: skip
    except Refusal as refusal:
        raise click.ClickException(f"{refusal.title} {refusal.detail}") from refusal
    click.echo("Accepted.")


commands = [reconcile_command, differences_command, accept_command]


def compare_all() -> bool:
    """Compare each provider and say what came out; True when all of it is clean."""
    asked = set()
    clean = True
    for each in providers():
        asked.add(each.name)
        compared = reconcile(comparing(each), by=BY)
        click.echo(f"{each.name}: {_said(compared)}")
        clean = clean and compared.clean
    for rail in sorted(_paid_by() - asked):
        click.echo(f"{rail}: not compared: it is not configured, and payouts were made by it.")
        clean = False
    with unit_of_work() as session:
        for row in differences.open_differences(session):
            click.echo(f"  {_line(row)}")
    return clean


def _paid_by() -> set[str]:
    """Rails with a provider that attempts were made by."""
    settings: Settings = current_app.extensions["kopeck.settings"]
    by_hand = {name for name, rail in rails(settings).items() if rail.by_hand}
    session = db.session()
    used = session.scalars(
        sa.select(PayoutBatch.rail)
        .where(
            sa.exists()
            .where(PayoutItem.batch_id == PayoutBatch.id)
            .where(PayoutAttempt.item_id == PayoutItem.id)
        )
        .distinct()
    )
    return set(used) - by_hand


def _said(compared: Compared) -> str:
    since = f"{compared.covers_from:%Y-%m-%d %H:%M} UTC"
    if compared.status == "failed":
        return f"not compared ({compared.error}); it was to begin at {since}."
    return (
        f"{compared.status}; {compared.transfers} transfers since {since}, "
        f"{compared.settled} settled, {compared.open_differences} open differences."
    )


def _line(row: Difference) -> str:
    return f"{row.id}  {row.kind}  {row.detail}"
