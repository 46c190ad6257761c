"""What the desks and the account say about clocks and punctuality."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from staff import earned, hire
from world import World

from payouts.batches.models import PayoutPunctuality, Withdrawal


def text_of(client: FlaskClient, path: str) -> str:
    """The words of a page, without its marks."""
    page = client.get(path)
    assert page.status_code == 200, page.status
    plain = re.sub(r"<[^>]+>", " ", page.text).replace("\N{NO-BREAK SPACE}", " ")
    return re.sub(r"\s+", " ", plain)


@pytest.fixture
def asked(world: World) -> Withdrawal:
    """Anna has asked for her money just now."""
    earned(world, "Anna", "4100.00")
    world.withdraw("Anna", None)
    return world.session.scalars(sa.select(Withdrawal)).one()


def test_both_sides_see_a_clock_that_stands_still_and_why(world: World, asked: Withdrawal) -> None:
    asked.paused_at, asked.paused_for = asked.requested_at + timedelta(hours=4), "payee_not_ready"
    world.session.commit()
    own = text_of(world.people["Anna"].client, "/account/money")
    assert "Your withdrawal waits." in own
    assert "Your account cannot receive money yet." in own
    assert "with 20 hours left" in own
    assert "paid by" not in own
    home = text_of(world.people["Anna"].client, "/account/")
    assert "its clock stands still" in home
    finance = hire(world, "finance")
    assert "paused, 20 hours left" in text_of(finance.client, "/finance/withdrawals")
    assert "paused, 20 hours left" in text_of(finance.client, "/finance/")


def test_a_paused_clock_is_not_told_as_late(world: World, asked: Withdrawal) -> None:
    asked.requested_at -= timedelta(days=3)
    asked.deadline_at -= timedelta(days=3)
    world.session.commit()
    finance = hire(world, "finance")
    assert "1 is over its 24 hours" in text_of(finance.client, "/finance/")
    asked.paused_at, asked.paused_for = asked.requested_at + timedelta(hours=4), "payee_changed"
    world.session.commit()
    assert "over its 24 hours" not in text_of(finance.client, "/finance/")


def test_the_figures_stand_on_the_desk_and_the_promise_in_the_account(
    world: World, asked: Withdrawal
) -> None:
    finance = hire(world, "finance")
    page = "/finance/withdrawals"
    assert "Paid on time" not in text_of(finance.client, page), "nothing is measured yet"
    hour = 3_600
    for kind, count, good, median_s in (
        ("withdrawal", 3, 2, 5 * hour),
        ("order", 9, None, 16 * 24 * hour),
        ("weekly", 0, 0, None),
    ):
        world.session.add(
            PayoutPunctuality(
                program_id=world.program.id, kind=kind, since=world.now - timedelta(days=30),
                until=world.now, count=count, on_time=good, median_s=median_s,
                worst_s=30 * hour if count else None,
            )
        )  # fmt: skip
    asked.closed_at, asked.outcome = world.now, "cancelled"
    world.session.commit()
    told = text_of(finance.client, page)
    assert "Paid on time" in told
    assert "Withdrawals, from the request 66.6% 5 hours" in told
    assert "Orders, from the purchase to the money — 16 days 1 day" in told
    assert "Weekly payouts, from the payout hour" not in told, "of nothing there is no figure"
    own = text_of(world.people["Anna"].client, "/account/money")
    assert "66.6% on time, half of them within 5 hours" in own
