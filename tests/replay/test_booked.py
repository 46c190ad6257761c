"""The standing audit: silent over whatever happened to orders, loud over a changed row."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from replay_support import TIERS, refunded, sold, span_of

from payouts.audit.run import registered, run
from tests.orders.shop_world import DAY, World
from tests.orders.test_what_came_before import Make
from tracker.replay import booked, history
from tracker.replay.booked import Difference, differences, standing_audit


def found(world: World) -> list[Difference]:
    world.tick()
    span = span_of(world)
    return list(differences(history.orders(world.session, span), world.session))


def change(world: World, statement: str) -> None:
    world.session.execute(sa.text(statement))
    world.session.commit()


def plant(world: World) -> None:
    """Two orders, one of them shared and half refunded, with a recruiter."""
    recruiter = world.affiliate("carla")
    anna, ben = world.affiliate("anna", recruiter=recruiter), world.affiliate("ben")
    sold(world, "A-1", "600.00", anna)
    sold(world, "A-2", "700.01", anna, ben)
    refunded(world, "A-2", "350.00")


LINEAR = {"model": "linear"}
TWO_LEVELS = {"level_2": {"of": "commission", "rate_ppm": 100_000}, "tiers": TIERS}


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE commissions SET amount_micros = amount_micros + 1", "amount_micros"),
        ("UPDATE commissions SET reversed_micros = reversed_micros + 1 WHERE reversed_micros > 0",
         "reversed_micros"),
        ("UPDATE commissions SET base_micros = base_micros - 1", "base_micros"),
        ("UPDATE commissions SET refunded_base_micros = 1", "refunded_base_micros"),
        ("UPDATE commissions SET rule = 'friends'", "rule"),
        ("UPDATE commissions SET rate_ppm = 1 WHERE level = 2", "rate_ppm"),
        ("UPDATE decisions SET shares = '[]'", "shares"),
        ("""UPDATE decisions SET shares = jsonb_set(shares, '{0,weight}', '"1/3"')""", "shares"),
        ("""UPDATE decisions SET snapshot = jsonb_set(snapshot, '{candidates,0,active}', 'false')
            WHERE jsonb_array_length(shares) = 1""", "shares"),
        ("""UPDATE decisions SET snapshot = snapshot #- '{sale,recruiters}'""", "level 2"),
        ("UPDATE decisions SET snapshot = '{}'", "cannot be replayed"),
        ("UPDATE orders SET net_micros = net_micros - 1000000", "base_micros"),
        ("UPDATE orders SET refunded_net_micros = 1 WHERE refunded_net_micros > 0",
         "reversed_micros"),
    ],
)  # fmt: skip
def test_a_changed_row_is_found(make: Make, statement: str, what: str) -> None:
    world = make(attribution=LINEAR, commission=TWO_LEVELS)
    plant(world)
    assert found(world) == []
    change(world, statement)
    assert any(what in each.what for each in found(world)), found(world)


def test_the_audit_knows_the_check_and_shows_where(make: Make) -> None:
    world = make(attribution=LINEAR, commission=TWO_LEVELS)
    plant(world)
    checks = [check for check in registered(world.app) if check.name == "R1"]
    assert run(world.session, checks, real_now=world.now) == []
    change(world, "UPDATE commissions SET amount_micros = amount_micros - 1 WHERE level = 2")
    [finding] = run(world.session, checks, real_now=world.now)
    assert "level 2 of enrollment" in str(finding)
    assert "reference=order:" in str(finding)


def test_terms_that_were_changed_under_history_are_found(world: World) -> None:
    sold(world, "A-1", "600.00", world.affiliate("anna"))
    assert found(world) == []
    change(world, "ALTER TABLE rule_versions DISABLE TRIGGER USER")
    change(
        world,
        "UPDATE rule_versions SET terms = "
        "jsonb_set(terms, '{commission,level_1,rate_ppm}', '90000')",
    )
    assert {each.what.partition(": ")[2] for each in found(world)} == {"amount_micros", "rate_ppm"}
    change(
        world,
        "UPDATE rule_versions SET terms = "
        "jsonb_set(terms, '{commission,level_1,rate_ppm}', '100000')",
    )


def test_of_a_long_history_the_latest_and_one_slice_are_looked_at(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = world.affiliate("anna")
    for number in range(6):
        sold(world, f"A-{number}", "100.00", anna)
    change(world, "UPDATE decisions SET decided_at = decided_at - interval '10 days' WHERE id <= 4")
    change(world, "UPDATE commissions SET amount_micros = amount_micros - 1")
    monkeypatch.setattr(booked, "ALL_MAX", 3)
    monkeypatch.setattr(booked, "SLICES", 2)
    beginning = world.now.replace(minute=0, second=0)
    seen: set[str] = set()
    for hour in range(2):
        rows: list[dict[str, Any]] = list(
            standing_audit(world.session, beginning + timedelta(hours=hour))
        )
        assert len(rows) == 4  # the two of today, and every other one of the old
        seen |= {row["reference"] for row in rows}
    assert len(seen) == 6
    change(world, "UPDATE commissions SET amount_micros = amount_micros + 1")


@pytest.mark.usefixtures("client")
def test_orders_of_another_program_are_its_own_matter(world: World) -> None:
    sold(world, "A-1", "100.00", world.affiliate("anna"))
    span = span_of(world)
    other = type(span)(span.program_id + 1, "EUR", "UTC", span.begins, span.ends)
    assert list(history.orders(world.session, other)) == []
    early = type(span)(span.program_id, "RUB", "UTC", span.begins, world.now - DAY)
    assert history.count(world.session, early) == 0
