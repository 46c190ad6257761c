"""`kopeck order-days check | rebuild`: the sums of orders against the orders themselves."""

from __future__ import annotations

import click
import sqlalchemy as sa
from flask.cli import with_appcontext

from affiliate.core.db import db, unit_of_work
from tracker.orders.models import Order
from tracker.stats import order_sums
from tracker.stats.models import OrderSumsMark

SHOWN_MAX = 20


@click.group("order-days")
def order_days() -> None:
    """What orders of a day earned, summed ahead."""


@order_days.command("check")
@with_appcontext
def check() -> None:
    """Compare the days with a recount; exits with 1 where they differ."""
    with unit_of_work():
        wrong = order_sums.differences(db.session())
    for row in wrong[:SHOWN_MAX]:
        whose = f"affiliate {row.enrollment_id}" if row.enrollment_id else "a whole program"
        click.echo(f"{whose}, {row.day}: kept {row.kept}, is {row.counted}")
    if wrong:
        raise click.ClickException(f"{len(wrong)} days of affiliates differ from their orders.")
    click.echo("Every day is what its orders are.")


@order_days.command("rebuild")
@with_appcontext
def rebuild() -> None:
    """Make them anew; questions are answered meanwhile, only slower."""
    with unit_of_work():
        order_sums.rebuild(db.session())
        last = db.session.scalar(sa.select(sa.func.max(Order.id))) or 0
    added = -1
    while added < last:
        with unit_of_work():
            order_sums.add_up(db.session())
            added = db.session.scalar(sa.select(OrderSumsMark.added_order_id)) or 0
    click.echo("Every order is added up.")


commands = [order_days]
