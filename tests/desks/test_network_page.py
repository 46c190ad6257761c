"""The network in figures: each is what the orders say, and quiet affiliates are named."""

from __future__ import annotations

import html
from datetime import timedelta

import pytest
from sqlalchemy.orm import Session
from staff import hire
from world import DAY, World

from affiliate.core.money import Money
from tracker.desks.manage import network
from tracker.stats.order_sums import add_up

RUNS = 3
"""A run notes how far, the next one who may still be writing, the third one adds."""


def figures(world: World) -> network.Network:
    add_all_up(world.session)
    since = world.local.date() - timedelta(days=network.DAYS - 1)
    return network.figures(world.session, program=world.program, since=since, now=world.now)


def add_all_up(session: Session) -> None:
    session.commit()
    for _ in range(RUNS):
        add_up(session)
        session.commit()


def test_each_figure_is_what_the_orders_say(world: World) -> None:
    world.affiliate("Anna")
    world.affiliate("Boris", recruiter="Anna")
    world.affiliate("Vera")
    world.affiliate("Newcomer", approved=False)
    for days in (40, 20, 10):
        world.sale("Boris", "100.00", days_ago=days)
    world.refund(world.sale("Anna", "300.00", days_ago=5), "150.00")
    world.cancel(world.sale("Boris", "50.00", days_ago=4))
    world.sale("Vera", "900.00", days_ago=120)  # before the days that are asked
    world.release()
    found = figures(world)
    assert (found.enrolled, found.active, found.sellers) == (3, 2, 2)
    assert found.orders == 4
    assert found.value == Money(600_000_000, "RUB")
    # Ten percent of 300 and of 3 × 100, and two percent of Boris's sales to Anna.
    assert found.earned == Money(66_000_000, "RUB")
    assert found.taken_back == Money(15_000_000, "RUB")
    assert found.level_2_ppm == 6 * 1_000_000 // 66
    assert found.taken_back_ppm == 15 * 1_000_000 // 66
    assert found.cost_ppm == 110_000
    assert found.per_order == Money(12_750_000, "RUB")
    assert (found.released, found.refused) == (2, 1)
    assert found.approved_ppm == 2 * 1_000_000 // 3
    assert found.carriers == 2


def test_how_few_carry_the_program(world: World) -> None:
    for name, total in (("Anna", "800.00"), ("Boris", "100.00"), ("Vera", "100.00")):
        world.affiliate(name)
        world.sale(name, total, days_ago=3)
    assert figures(world).carriers == 1
    world.sale("Boris", "100.00", days_ago=2)
    assert figures(world).carriers == 2


def test_the_first_sale_is_counted_from_the_approval(world: World) -> None:
    for name in ("Anna", "Boris", "Vera"):
        world.affiliate(name)  # approved on the program's first day but one
    begun = world.program.created_at + DAY
    for name, days in (("Anna", 10), ("Boris", 30)):
        world.sale(name, "10.00", at=begun + timedelta(days=days))
        world.sale(name, "10.00", days_ago=1)
    found = figures(world)
    assert (found.asked, found.sold) == (3, 2)
    assert found.first_sale_days == pytest.approx(20, abs=1)
    assert found.sold_ppm == 666_666


def test_an_empty_program_divides_by_nothing(world: World) -> None:
    found = figures(world)
    assert (found.active_ppm, found.sold_ppm, found.taken_back_ppm) == (None, None, None)
    assert (found.level_2_ppm, found.cost_ppm, found.approved_ppm) == (None, None, None)
    assert (found.per_order, found.carriers, found.first_sale_days) == (None, None, None)
    page = hire(world, "analyst").client.get("/manage/network")
    assert page.status_code == 200
    assert "Nobody has gone quiet" in page.text


def test_who_has_gone_quiet_is_named_the_best_first(world: World) -> None:
    for name, total in (("Anna", "100.00"), ("Boris", "900.00"), ("Vera", "50.00")):
        world.affiliate(name)
        world.sale(name, total, days_ago=60)
    link = world.people["Vera"].link
    assert link is not None
    world.click(link, at=world.now - timedelta(days=2))
    add_all_up(world.session)
    page = html.unescape(hire(world, "manager").client.get("/manage/network").text)
    rows = page[page.index("Gone quiet") :]
    assert rows.index("Boris") < rows.index("Anna")
    assert "Vera" not in rows


def test_another_programs_figures_stay_there(world: World) -> None:
    world.affiliate("Anna")
    world.sale("Anna", "100.00", days_ago=3)
    add_all_up(world.session)
    stranger = hire(world, "manager", program=world.euros)
    assert stranger.client.get("/manage/network?program=demo").status_code == 404
    assert "100.00" not in stranger.client.get("/manage/network").text
