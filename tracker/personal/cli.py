"""`kopeck people …`: erase a person, erase a buyer of a shop."""

from __future__ import annotations

import click
from flask import current_app
from flask.cli import with_appcontext

from affiliate.core import clock
from affiliate.core.config import Settings
from affiliate.core.db import unit_of_work
from affiliate.core.errors import Refusal
from affiliate.people import users
from affiliate.programs.programs import by_slug
from payouts.rails.registry import rails
from tracker.orders.keys import order_keys
from tracker.personal.customers import Buyer, erase_customer
from tracker.personal.erase import erase_person


@click.group("people")
def people_group() -> None:
    """Personal data: who is erased, and what of them."""


@people_group.command("erase")
@click.option("--email", required=True, help="The address they sign in with.")
@click.option("--yes", is_flag=True, help="Do not ask: there is no way back.")
@with_appcontext
def erase_command(email: str, yes: bool) -> None:
    """Erase a person with all their programs and roles; refused while money is open.

    Make sure that it is them who ask. The books stay, under a pseudonym (docs/personal-data.md).
    """
    settings: Settings = current_app.extensions["kopeck.settings"]
    try:
        with unit_of_work() as session:
            user = users.find(session, email=email)
            if user is None:
                raise click.ClickException(f"There is no user {email!r}.")
            if not yes:
                click.confirm(f"Erase {user.email} for good?", abort=True, err=True)
            erase_person(
                session, user_id=user.id, by=None, rails=rails(settings), now=clock.now(session)
            )
            number = user.id
    except Refusal as refusal:
        raise click.ClickException(refusal.detail) from refusal
    click.echo(f"Erased: user {number}. Marks on their clicks are taken off within some hours.")


@people_group.command("erase-customer")
@click.option("--program", "slug", required=True, help="Slug of the program.")
@click.option("--id", "customer_id", help="The shop's own id of the buyer.")
@click.option("--email", help="Their address; compared with what is kept as a keyed hash.")
@with_appcontext
def erase_customer_command(slug: str, customer_id: str | None, email: str | None) -> None:
    """Erase a buyer of a program's shop; orders and what they earned stay.

    Name the buyer by id, by address or by both: an order that was reported with the id alone
    is not found by the address.
    """
    if not customer_id and not email:
        raise click.UsageError("Give --id, --email or both.")
    try:
        with unit_of_work() as session:
            done = erase_customer(
                session,
                program_id=by_slug(session, slug).id,
                buyer=Buyer(customer_id or None, email or None),
                keys=order_keys(),
                by="cli",
                now=clock.now(session),
            )
    except Refusal as refusal:
        raise click.ClickException(refusal.detail) from refusal
    click.echo(f"Erased: {done.customers} customers, of {done.orders} orders, {done.leads} leads.")


commands: list[click.Command] = [people_group]
