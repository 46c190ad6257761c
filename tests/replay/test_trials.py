"""What a draft would have paid: each amount by hand, and nothing where nothing differs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from replay_support import PERCENT, TIERS, cancelled, micros, refunded, sold, span_of, tried

from affiliate.core.db import db
from affiliate.core.snapshot import read_once
from affiliate.programs.terms import Period
from payouts.commissions.make_up import make_up_due
from payouts.commissions.models import Commission
from payouts.commissions.periods import stretch_of
from tests.orders.shop_world import DAY, World
from tests.orders.test_what_came_before import Make
from tracker.replay import history


def same(world: World, **terms: Any) -> None:
    """The rules in force as a draft change nothing."""
    found = tried(world, **terms)
    assert found.orders
    assert (found.changed, found.changed_hands) == (0, 0)
    assert found.cost.booked == found.cost.would


def live_micros(world: World) -> int:
    return int(
        world.session.scalar(
            sa.select(
                sa.func.coalesce(
                    sa.func.sum(Commission.amount_micros - Commission.reversed_micros), 0
                )
            ).where(Commission.voided_at.is_(None))
        )
        or 0
    )


@pytest.mark.parametrize(
    "commission",
    [
        {},
        {"tiers": TIERS},
        {"tiers": {**TIERS, "apply": "whole_period"}},
        {
            "tiers": {
                **TIERS,
                "measure": "orders",
                "bands": [{"from": 0, "rate_ppm": 100_000}, {"from": 2, "rate_ppm": 200_000}],
            }
        },
        {
            "caps": {
                "per_order": "90.00",
                "per_period": {"amount": "150.00", "period": "year"},
            }
        },
        {"bonus": {"first_of": "affiliate", "amount": "25.00"}},
        {"level_2": {"of": "commission", "rate_ppm": 200_000}},
    ],
)  # fmt: skip
def test_the_rules_in_force_as_a_draft_change_nothing(
    make: Make, commission: dict[str, Any]
) -> None:
    attribution = {"model": "linear"}
    world = make(commission=commission, attribution=attribution)
    recruiter = world.affiliate("carla")
    anna, ben = world.affiliate("anna", recruiter=recruiter), world.affiliate("ben")
    sold(world, "A-1", "600.00", anna)
    sold(world, "A-2", "700.01", anna, ben)
    refunded(world, "A-1", "100.00")
    sold(world, "A-3", "800.00", anna)
    cancelled(world, "A-3")
    sold(world, "A-4", "333.33", ben, anna)
    refunded(world, "A-2", None)
    sold(world, "A-5", "500.00", anna)
    world.tick()
    found = tried(world, commission=commission, attribution=attribution)
    assert found.orders == 5
    assert (found.changed, found.changed_hands) == (0, 0)
    assert found.cost.booked == found.cost.would == live_micros(world)


def test_another_model_moves_an_order_and_says_why_on_both_sides(world: World) -> None:
    anna, ben = world.affiliate("anna"), world.affiliate("ben")
    sold(world, "A-1", "100.00", anna, ben)
    sold(world, "A-2", "50.00", ben)
    found = tried(world, attribution={"model": "first_click"})
    assert (found.orders, found.changed, found.changed_hands) == (2, 1, 1)
    assert found.cost.booked == found.cost.would == micros("15.00")
    gains, loses = found.affiliates[anna.id], found.affiliates[ben.id]
    assert (gains.booked, gains.would, gains.orders_gained) == (0, micros("10.00"), 1)
    assert (loses.booked, loses.would, loses.orders_lost) == (
        micros("15.00"), micros("5.00"), 1,
    )  # fmt: skip
    assert found.reasons == {(True, "later_click_wins"): 1, (False, "earlier_click_wins"): 1}
    [example] = found.document()["examples"]
    assert example["order_id"] == "A-1"
    assert (example["before"], example["after"]) == ({ben.id: "1"}, {anna.id: "1"})
    assert [(each["enrollment_id"], each["gains"]) for each in example["why"]] == [
        (ben.id, False), (anna.id, True),
    ]  # fmt: skip


def test_another_part_of_an_order_is_more_or_less_and_no_change_of_reasons(make: Make) -> None:
    world = make(attribution={"model": "linear"})
    anna, ben = world.affiliate("anna"), world.affiliate("ben")
    sold(world, "A-1", "100.00", anna, ben)
    found = tried(world, attribution={"model": "last_click"})
    assert found.reasons == {(False, "later_click_wins"): 1}
    [example] = found.document()["examples"]
    told = [(each["enrollment_id"], each["gains"], each["line"]) for each in example["why"]]
    assert [each[:2] for each in told] == [(anna.id, False), (ben.id, True)]
    assert told[1][2] is None
    assert found.affiliates[ben.id].orders_gained == 0


def test_a_shorter_window_leaves_an_order_to_nobody(world: World) -> None:
    anna = world.affiliate("anna")
    token = world.click(world.link(anna), ago=5 * DAY)
    assert world.post(world.order("A-1", clicks=[token])).status_code == 201
    found = tried(world, attribution={"window_days": 3})
    assert found.reasons == {(False, "outside_window"): 1}
    assert found.affiliates[anna.id].would == 0
    assert found.affiliates[anna.id].orders_lost == 1


def test_both_levels_are_compared_and_refunds_come_off_both_sides(world: World) -> None:
    carla = world.affiliate("carla")
    anna = world.affiliate("anna", recruiter=carla)
    sold(world, "A-1", "1000.00", anna)
    refunded(world, "A-1", "250.00")
    found = tried(
        world,
        commission={
            "level_1": {"kind": "percent", "rate_ppm": 200_000},
            "level_2": {"of": "commission", "rate_ppm": 100_000},
        },
    )
    assert found.by_level["level_1"].document() == {
        "booked": micros("75.00"), "would": micros("150.00"),
    }  # fmt: skip
    assert found.by_level["level_2"].document() == {
        "booked": micros("15.00"), "would": micros("15.00"),
    }  # fmt: skip
    assert found.cost.would - found.cost.booked == micros("75.00")


def test_tiers_of_a_draft_count_what_was_sold_before_the_span(make: Make) -> None:
    world = make()
    anna = world.affiliate("anna")
    january = datetime(world.now.year, 1, 1, 12, tzinfo=UTC)
    if world.now - january < 2 * DAY or world.now - january > 60 * DAY:
        earlier = world.now - timedelta(minutes=30)
    else:
        earlier = world.now - timedelta(hours=1)
    sold(world, "A-1", "900.00", anna, placed_at=earlier)
    sold(world, "A-2", "300.00", anna)
    found = tried(world, begins=world.now, commission={"tiers": TIERS})
    # 100 of it up to the edge at 10 %, 200 beyond it at 20 %.
    assert (found.orders, found.cost.booked, found.cost.would) == (
        1, micros("30.00"), micros("50.00"),
    )  # fmt: skip


def test_a_cancelled_order_counts_for_volumes_until_it_is(make: Make) -> None:
    world = make()
    anna = world.affiliate("anna")
    sold(world, "A-1", "1000.00", anna)
    sold(world, "A-2", "100.00", anna)  # in the second band
    cancelled(world, "A-1")
    sold(world, "A-3", "100.00", anna)  # back in the first
    found = tried(world, commission={"tiers": TIERS})
    assert (found.orders, found.cost.booked) == (3, micros("20.00"))
    assert found.cost.would == micros("20.00") + micros("10.00")


def test_a_refund_lowers_the_volume_of_later_orders(make: Make) -> None:
    world = make()
    anna = world.affiliate("anna")
    sold(world, "A-1", "1000.00", anna)
    refunded(world, "A-1", "50.00")
    sold(world, "A-2", "100.00", anna)  # 50 at 10 %, 50 at 20 %
    found = tried(world, commission={"tiers": TIERS})
    assert found.cost.would == micros("95.00") + micros("15.00")


def test_a_bonus_goes_to_the_first_order_alone_and_to_nobody_who_sold_before(make: Make) -> None:
    world = make()
    anna, ben = world.affiliate("anna"), world.affiliate("ben")
    sold(world, "A-0", "100.00", ben, placed_at=world.now - timedelta(minutes=30))
    sold(world, "A-1", "100.00", anna)
    sold(world, "A-2", "100.00", anna)
    sold(world, "A-3", "100.00", ben)
    bonus = {"bonus": {"first_of": "affiliate", "amount": "7.00"}}
    found = tried(world, begins=world.now, commission=bonus)
    assert found.affiliates[anna.id].would == micros("27.00")
    assert found.affiliates[ben.id].would == micros("10.00")


def test_recurring_months_of_a_draft_count_from_the_first_payment(make: Make) -> None:
    world = make()
    anna = world.affiliate("anna")
    said = {"id": "S-1", "sequence": 1}
    first = world.now - 26 * DAY
    token = world.click(world.link(anna), ago=27 * DAY)
    for number, placed_at in ((1, first), (2, world.now)):
        answer = world.post(
            {
                "order_id": f"S-1-{number}",
                "total": {"amount": "100.00", "currency": "RUB"},
                "clicks": [token],
                "placed_at": placed_at.isoformat(),
                "subscription": {**said, "sequence": number},
            }
        )
        assert answer.status_code == 201, answer.text
    endless = tried(world, commission={"recurring": {"months": 2}})
    assert endless.cost.would == micros("20.00")
    document = tried(world, commission={"recurring": {"months": 1}})
    assert document.cost.would == micros("20.00")


@pytest.mark.usefixtures("app")
def test_batches_change_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    anna, ben = world.affiliate("anna"), world.affiliate("ben")
    for number in range(7):
        sold(world, f"A-{number}", f"{number + 1}00.00", anna, ben)
    commission = {"tiers": TIERS}
    whole = tried(world, commission=commission, attribution={"model": "linear"}).document()
    monkeypatch.setattr(history, "BATCH", 2)
    steps = tried(world, commission=commission, attribution={"model": "linear"}).document()
    assert steps == whole
    assert steps["changed"] == 7


def test_an_order_of_nobody_can_be_won_by_nobody(world: World) -> None:
    assert world.post(world.order("A-1")).status_code == 201
    found = tried(world, attribution={"model": "linear"})
    assert (found.orders, found.changed, found.affiliates) == (1, 0, {})


def test_a_replay_cannot_write(world: World) -> None:
    with world.app.app_context(), read_once(db.engine) as session:
        assert history.count(session, span_of(world)) == 0
        with pytest.raises(sa.exc.InternalError, match="read-only"):
            session.execute(sa.text("UPDATE programs SET name = 'x'"))


def test_percent_is_what_the_draft_says(world: World) -> None:
    """The support's own default is the world's level 1, so that tests begin from no change."""
    anna = world.affiliate("anna")
    sold(world, "A-1", "100.00", anna)
    same(world, commission={"level_1": PERCENT})


@pytest.mark.parametrize(
    "caps", [{}, {"caps": {"per_period": {"amount": "190.00", "period": "year"}}}]
)
def test_make_ups_of_whole_periods_are_those_that_are_booked(
    make: Make, caps: dict[str, Any]
) -> None:
    commission = {"tiers": {**TIERS, "apply": "whole_period"}, **caps}
    world = make(commission=commission, attribution={"model": "linear"})
    anna, ben = world.affiliate("anna"), world.affiliate("ben")
    sold(world, "A-1", "900.00", anna, ben)
    sold(world, "A-2", "600.00", anna)
    sold(world, "A-3", "333.33", anna)
    sold(world, "A-4", "250.00", anna)
    refunded(world, "A-1", "90.00")
    cancelled(world, "A-4")
    later = stretch_of(Period.YEAR, world.now, world.program.time_zone).ends + 20 * DAY
    assert make_up_due(world.session, now=later)
    world.session.commit()
    found = tried(world, commission=commission, attribution={"model": "linear"}, now=later)
    assert found.by_level["make_up"].booked == found.by_level["make_up"].would > 0
    assert found.cost.booked == found.cost.would == live_micros(world)
    gone = tried(world, attribution={"model": "linear"}, now=later)
    assert gone.by_level["make_up"].would == 0
    assert gone.by_level["make_up"].booked > 0
