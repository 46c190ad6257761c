"""People behind the desks, and a weekly batch for finance to look at."""

from __future__ import annotations

import re
from dataclasses import dataclass

from builders import make_user
from flask.testing import FlaskClient
from world import World

from affiliate.core import ids
from affiliate.people import grants
from affiliate.programs.models import Program
from payouts.batches.draft import draft_weekly, open_periods, undrafted
from payouts.batches.models import PayoutBatch, PayoutItem
from payouts.rails.registry import rails

STAFF = ("finance", "curator", "manager", "analyst", "owner")


@dataclass
class Staff:
    """Somebody with one role, in a browser that is signed in."""

    user_id: int
    client: FlaskClient


def hire(world: World, role: str, *, program: Program | None = None, name: str = "") -> Staff:
    """Give a new person a role in a program (the ruble one), an owner in all."""
    name = name or f"{role}{'' if program is None else program.id}"
    where = None if role == "owner" else (program or world.program).id
    with world.app.app_context():
        begun = world.program.created_at
        user = make_user(world.session, f"{name}@example.com", now=begun, name=name.title())
        grants.grant_role(
            world.session, user_id=user.id, role=role, program_id=where, by=None, now=begun
        )
        world.session.commit()
    return Staff(user.id, world.sign_in(user.id))


def weekly_batch(world: World) -> PayoutBatch:
    """Draft whatever payout days have come; the last batch that was made."""
    with world.app.app_context():
        known = rails(world.settings)
        open_periods(world.session, now=world.now)
        made = [
            batch_id
            for period_id in undrafted(world.session)
            if (
                batch_id := draft_weekly(
                    world.session, period_id=period_id, rails=known, now=world.now
                )
            )
        ]
        world.session.commit()
    return world.session.get_one(PayoutBatch, made[-1])


def earned(world: World, name: str, total: str = "4100.00", *, days_ago: float = 30) -> None:
    """Somebody with a sale whose hold is over and an account to be paid to."""
    if name not in world.people:
        world.affiliate(name)
    world.sale(name, total, days_ago=days_ago)
    world.payee(name, f"{name}, DE89 3704 0044 0532 0130 00")
    world.release()


def two_in_a_batch(world: World) -> PayoutBatch:
    """Anna and Boris in a frozen weekly batch: 410.00 and 2.17 rubles."""
    earned(world, "Anna", "4100.00")
    earned(world, "Boris", "21.70")
    return weekly_batch(world)


def url_of(batch: PayoutBatch) -> str:
    return f"/finance/batches/{ids.public_id('bat', batch.id)}"


def url_of_item(item: PayoutItem) -> str:
    return f"/finance/items/{ids.public_id('pay', item.id)}"


def unmarked(html: str) -> str:
    """The page with its amounts in one piece, digits below the minor unit with the others."""
    return re.sub(r'<span class="money-rest">(\d+)</span>(\N{NO-BREAK SPACE})<wbr>', r"\1\2", html)
