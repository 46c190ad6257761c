"""Rules that look at more than the order: earlier sales, buyers, items, budgets."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from affiliate.core.money import Money
from affiliate.people.models import AffiliateGroup, Enrollment
from affiliate.programs.terms import Period
from payouts.audit import run as audit
from payouts.commissions.make_up import make_up_due
from payouts.commissions.models import Commission, CommissionReversal
from payouts.commissions.periods import stretch_of
from payouts.commissions.release import release_budgeted, release_due
from tests.orders.shop_world import DAY, World, earned, email_sha256, of, rub
from tracker.attribution.click_checks import check_clicks
from tracker.attribution.models import CustomerBinding, Decision
from tracker.clicks.models import Click
from tracker.clicks.rules import DropReason
from tracker.orders.cancellation import cancel_order
from tracker.orders.refunds import refund_order
from tracker.orders.rules import RefundIn
from tracker.orders.units import in_one_unit

PERCENT = {"kind": "percent", "rate_ppm": 100_000}

Make = Callable[..., World]


@pytest.fixture
def make(app: Flask, settings: Settings, client: FlaskClient, session: Session) -> Make:
    """A world under these terms: `make(commission={…}, attribution={…})`, defaults filled in."""

    def made(
        *, commission: dict[str, Any] | None = None, attribution: dict[str, Any] | None = None
    ) -> World:
        return World.build(
            app,
            settings,
            client,
            session,
            commission={"level_1": PERCENT, "level_2": None, **(commission or {})},
            attribution={
                "model": "last_click",
                "window_days": 30,
                "coupon": "loses",
                "existing_customer": "pays",
                "self_purchase": "refuses",
                **(attribution or {}),
            },
        )

    return made


def plain(order_id: str, total: str, **changes: Any) -> dict[str, Any]:
    """An order of one total and nothing else."""
    return {"order_id": order_id, "total": rub(total), **changes}


def sell(world: World, who: Enrollment, order_id: str, total: str, **changes: Any) -> Any:
    """An order of that affiliate's click; the answer."""
    token = world.click(world.link(who), visitor=visitor_of(who))
    body = plain(order_id, total, clicks=[token], **changes)
    body.setdefault("placed_at", world.now.isoformat())
    answer = world.post(body)
    assert answer.status_code == 201, answer.text
    return answer.get_json()


def visitor_of(who: Enrollment) -> bytes:
    """Each affiliate brings somebody else."""
    return who.id.to_bytes(16, "big")


def amounts(order: dict[str, Any]) -> list[str]:
    return [c["amount"]["amount"] for c in order["commissions"]]


def sound(world: World) -> None:
    assert audit.run(world.session, audit.registered(world.app), real_now=world.now) == []


class TestTiers:
    TIERS: ClassVar[dict[str, Any]] = {
        "measure": "sales",
        "period": "year",
        "apply": "marginal",
        "bands": [{"from": "0", "rate_ppm": 100_000}, {"from": "1000.00", "rate_ppm": 200_000}],
    }

    def test_an_order_over_the_edge_of_a_band_earns_by_both(self, make: Make) -> None:
        world = make(commission={"tiers": self.TIERS})
        anna = world.affiliate("anna")
        assert amounts(sell(world, anna, "A-1", "600.00")) == ["60.00"]
        # 400 up to the edge at 10 %, 200 beyond it at 20 %.
        assert amounts(sell(world, anna, "A-2", "600.00")) == ["80.00"]
        assert amounts(sell(world, anna, "A-3", "100.00")) == ["20.00"]
        assert amounts(sell(world, world.affiliate("boris"), "B-1", "600.00")) == ["60.00"]
        sound(world)

    def test_a_refund_lowers_what_was_sold(self, make: Make) -> None:
        world = make(commission={"tiers": self.TIERS})
        anna = world.affiliate("anna")
        sell(world, anna, "A-1", "1000.00")
        body = {"refund_id": "R-1", "amount": rub("500.00")}
        assert world.post(body, "/A-1/refunds").status_code == 201
        # 500 are left of the first; 500 more reach the edge and not beyond it.
        assert amounts(sell(world, anna, "A-2", "500.00")) == ["50.00"]
        sound(world)

    def test_a_cancelled_order_was_never_sold(self, make: Make) -> None:
        world = make(commission={"tiers": self.TIERS})
        anna = world.affiliate("anna")
        sell(world, anna, "A-1", "1000.00")
        assert world.post({}, "/A-1/cancellation").status_code == 200
        assert amounts(sell(world, anna, "A-2", "1000.00")) == ["100.00"]

    def test_the_volume_that_was_read_is_kept_with_the_decision(self, make: Make) -> None:
        world = make(commission={"tiers": self.TIERS})
        anna = world.affiliate("anna")
        sell(world, anna, "A-1", "600.00")
        sell(world, anna, "A-2", "600.00")
        world.tick()
        stored = world.session.scalars(sa.select(Decision.snapshot).order_by(Decision.id)).all()
        volumes = [s["sale"]["standings"][str(anna.id)]["volume"] for s in stored]
        assert volumes == [0, 600_000_000]

    def test_orders_may_be_counted_instead(self, make: Make) -> None:
        bands = [{"from": 0, "rate_ppm": 100_000}, {"from": 2, "rate_ppm": 300_000}]
        world = make(commission={"tiers": {**self.TIERS, "measure": "orders", "bands": bands}})
        anna = world.affiliate("anna")
        got = [amounts(sell(world, anna, f"A-{n}", "100.00"))[0] for n in range(4)]
        assert got == ["10.00", "10.00", "30.00", "30.00"]

    def test_a_whole_period_is_made_up_for_once_when_it_is_over(
        self, make: Make, session: Session
    ) -> None:
        tiers = {**self.TIERS, "period": "month", "apply": "whole_period"}
        world = make(commission={"tiers": tiers})
        anna = world.affiliate("anna")
        assert amounts(sell(world, anna, "A-1", "600.00")) == ["60.00"]
        assert amounts(sell(world, anna, "A-2", "600.00")) == ["60.00"]
        assert amounts(sell(world, anna, "A-3", "100.00")) == ["20.00"]
        month = stretch_of(Period.MONTH, world.now, world.program.time_zone)
        over = month.ends + 14 * DAY
        with world.app.app_context():
            assert make_up_due(session, now=over - timedelta(microseconds=1)) == 0
            # 1,300 at 20 % are 260, less 140 that were earned.
            assert make_up_due(session, now=over) == 1
            assert make_up_due(session, now=over) == 0
            session.commit()
        made = session.scalars(
            sa.select(Commission).where(Commission.reference == f"tier:{anna.id}:{month.name}")
        ).one()
        assert (made.amount_micros, made.level, made.rule) == (120_000_000, 1, "tiers")
        with world.app.app_context():
            assert release_due(session, now=over + 60 * DAY) >= 1
            session.commit()
        sound(world)


class TestRefundsAfterTheMakeUp:
    """Three orders of a month, 600, 600 and 100: 60, 60 and 20 earned, 120 made up for."""

    TIERS: ClassVar[dict[str, Any]] = {
        **TestTiers.TIERS, "period": "month", "apply": "whole_period"
    }  # fmt: skip

    @pytest.fixture
    def made(self, make: Make, session: Session) -> tuple[World, datetime, Commission]:
        world = make(commission={"tiers": self.TIERS})
        anna = world.affiliate("anna")
        for number, total in enumerate(("600.00", "600.00", "100.00"), 1):
            sell(world, anna, f"A-{number}", total)
        month = stretch_of(Period.MONTH, world.now, world.program.time_zone)
        over = month.ends + 15 * DAY
        with world.app.app_context():
            assert make_up_due(session, now=over) == 1
            while release_due(session, now=over):
                session.commit()
            session.commit()
        return world, over, self.make_up(session)

    def make_up(self, session: Session) -> Commission:
        session.expire_all()
        return session.scalars(
            sa.select(Commission).where(Commission.reference.like("tier:%"))
        ).one()

    def refund(
        self, world: World, order_id: str, refund_id: str, amount: str | None, now: datetime
    ) -> None:
        refund = RefundIn(refund_id, Money.parse(amount, "RUB") if amount else None)
        with world.app.app_context():
            refund_order(
                world.session, program_id=world.program.id, order_id=order_id, refund=refund,
                now=now,
            )  # fmt: skip
            world.session.commit()

    def test_each_refund_takes_its_part_once_and_all_of_them_the_whole(
        self, made: tuple[World, datetime, Commission], session: Session
    ) -> None:
        world, over, make_up = made
        assert (make_up.amount_micros, make_up.reversed_micros) == (120_000_000, 0)
        taken = []
        # Half of the first: 300 x 20 % - 30. The third had the final rate and has no part.
        for order_id, refund_id, amount in (
            ("A-1", "R-1", "300.00"), ("A-1", "R-1", "300.00"), ("A-3", "R-2", None),
            ("A-1", "R-3", None), ("A-2", "R-4", "0.01"), ("A-2", "R-5", None),
        ):  # fmt: skip
            self.refund(world, order_id, refund_id, amount, over + DAY)
            taken.append(self.make_up(session).reversed_micros)
        assert taken == [30_000_000, 30_000_000, 30_000_000, 60_000_000, 60_001_000, 120_000_000]
        first = session.scalars(
            sa.select(CommissionReversal)
            .where(CommissionReversal.commission_id == make_up.id)
            .order_by(CommissionReversal.id)
        ).first()
        assert first is not None
        assert first.trace == {
            "step": "tier_make_up", "frozen": "120.00", "rate_ppm": 200_000, "orders": 3,
            "due": "200.00", "before": "110.00", "already": "0.00", "currency": "RUB",
        }  # fmt: skip
        sound(world)

    def test_a_cancellation_takes_its_part_back(
        self, made: tuple[World, datetime, Commission], session: Session
    ) -> None:
        world, over, _ = made
        for _ in range(2):
            with world.app.app_context():
                cancel_order(
                    session, program_id=world.program.id, order_id="A-2", reason=None,
                    now=over + DAY,
                )  # fmt: skip
                session.commit()
            assert self.make_up(session).reversed_micros == 60_000_000
        sound(world)

    def test_refunds_of_two_orders_at_once_take_both_parts(
        self, made: tuple[World, datetime, Commission], session: Session
    ) -> None:
        world, over, _ = made
        threads = [
            threading.Thread(target=self._refund_alone, args=(world, f"A-{number}", over + DAY))
            for number in (1, 2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert self.make_up(session).reversed_micros == 120_000_000
        sound(world)

    def test_a_refund_waits_for_a_make_up_that_is_being_booked(
        self, make: Make, session: Session, engine: sa.Engine
    ) -> None:
        world = make(commission={"tiers": self.TIERS})
        anna = world.affiliate("anna")
        sell(world, anna, "A-1", "1000.00")
        sell(world, anna, "A-2", "100.00")
        month = stretch_of(Period.MONTH, world.now, world.program.time_zone)
        over = month.ends + 15 * DAY
        with world.app.app_context():
            assert make_up_due(session, now=over) == 1  # 100 more for the first; not committed
            other = threading.Thread(target=self._refund_alone, args=(world, "A-1", over))
            other.start()
            other.join(0.5)
            assert other.is_alive()
            session.commit()
        other.join(10)
        assert self.make_up(session).reversed_micros == 100_000_000
        sound(world)

    @staticmethod
    def _refund_alone(world: World, order_id: str, now: datetime) -> None:
        def work(session: Session) -> None:
            refund_order(
                session, program_id=world.program.id, order_id=order_id,
                refund=RefundIn(f"R-{order_id}"), now=now,
            )  # fmt: skip

        with world.app.app_context():
            in_one_unit(work)


class TestCaps:
    def test_a_period_pays_no_more_than_its_cap(self, make: Make) -> None:
        caps = {"per_order": None, "per_period": {"amount": "100.00", "period": "year"}}
        world = make(commission={"caps": caps})
        anna = world.affiliate("anna")
        assert amounts(sell(world, anna, "A-1", "700.00")) == ["70.00"]
        assert amounts(sell(world, anna, "A-2", "700.00")) == ["30.00"]
        last = sell(world, anna, "A-3", "700.00")
        assert amounts(last) == ["0.00"]
        assert last["commissions"][0]["status"] == "not_earned"
        sound(world)

    def test_many_orders_at_once_do_not_pass_it(self, make: Make) -> None:
        caps = {"per_order": None, "per_period": {"amount": "100.00", "period": "year"}}
        world = make(commission={"caps": caps})
        anna = world.affiliate("anna")
        token = world.click(world.link(anna))
        placed = world.now.isoformat()
        bodies = [plain(f"A-{n}", "300.00", clicks=[token], placed_at=placed) for n in range(8)]
        answers: list[int] = []

        def send(body: dict[str, Any]) -> None:
            client = world.app.test_client()
            client.environ_base["HTTP_HOST"] = "127.0.0.1:8000"
            answers.append(
                client.post("/api/v1/orders", json=body, headers=world.headers).status_code
            )

        threads = [threading.Thread(target=send, args=(body,)) for body in bodies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [201] * 8
        world.tick()
        whole = world.session.scalar(sa.select(sa.func.sum(Commission.amount_micros)))
        assert whole == 100_000_000


class TestFirstOrders:
    def test_an_affiliates_first_order_earns_a_bonus_once(self, make: Make) -> None:
        world = make(commission={"bonus": {"amount": "50.00", "first_of": "affiliate"}})
        anna = world.affiliate("anna")
        assert amounts(sell(world, anna, "A-1", "1000.00")) == ["150.00"]
        assert amounts(sell(world, anna, "A-2", "1000.00")) == ["100.00"]

    def test_a_customers_first_order_earns_a_bonus_once(self, make: Make) -> None:
        world = make(commission={"bonus": {"amount": "50.00", "first_of": "customer"}})
        anna = world.affiliate("anna")
        buyer = {"customer": {"id": "C-1"}}
        assert amounts(sell(world, anna, "A-1", "1000.00", **buyer)) == ["150.00"]
        assert amounts(sell(world, anna, "A-2", "1000.00", **buyer)) == ["100.00"]
        assert amounts(sell(world, anna, "A-3", "1000.00")) == ["100.00"], "nobody knows the buyer"

    def test_existing_customers_may_pay_another_rate(self, make: Make) -> None:
        rule = {
            "name": "Old customers",
            "when": {"customer": "existing"},
            "earns": {"kind": "percent", "rate_ppm": 10_000},
        }
        world = make(commission={"rules": [rule]})
        anna = world.affiliate("anna")
        link, buyer = world.link(anna), {"id": "C-1"}
        first = plain("A-1", "1000.00", customer=buyer, clicks=[world.click(link, ago=9 * DAY)])
        first["placed_at"] = (world.now - 8 * DAY).isoformat()
        assert amounts(world.post(first).get_json()) == ["100.00"]
        again = sell(world, anna, "A-2", "1000.00", customer=buyer)
        assert amounts(again) == ["10.00"]
        assert again["commissions"][0]["rule"] == "Old customers"


def test_a_rule_of_a_product_earns_of_its_own_lines(make: Make) -> None:
    rate = {**PERCENT, "rate_ppm": 200_000}
    rule = {"name": "Lamps", "when": {"categories": ["lighting"]}, "earns": rate}
    world = make(commission={"rules": [rule]})
    anna = world.affiliate("anna")

    def line(sku: str, category: str, price: str) -> dict[str, Any]:
        return {"sku": sku, "name": sku, "category": category, "quantity": 1, "price": rub(price)}

    items = [line("LAMP-1", "lighting", "300.00"), line("POT-1", "pots", "100.00")]
    # Of 400, 300 at 20 % and 100 at 10 %.
    assert amounts(sell(world, anna, "A-1", "400.00", items=items)) == ["70.00"]


def test_later_payments_of_a_subscription_earn_for_their_months(make: Make) -> None:
    world = make(commission={"recurring": {"months": 1, "earns": {**PERCENT, "rate_ppm": 50_000}}})
    anna = world.affiliate("anna")

    def pay(sequence: int, back: timedelta) -> list[str]:
        at = (world.now - back).isoformat()
        body = plain(f"S-{sequence}", "100.00", subscription={"id": "sub-1", "sequence": sequence})
        body |= {"placed_at": at, "clicks": [world.click(world.link(anna), ago=back + DAY)]}
        answer = world.post(body, headers=importer)
        assert answer.status_code == 201, answer.text
        return amounts(answer.get_json())

    importer = world.key("orders:write", "orders:import")
    assert pay(1, 60 * DAY) == ["10.00"]
    assert pay(2, 45 * DAY) == ["5.00"]
    assert pay(3, 10 * DAY) == ["0.00"], "fifty days are more than a month after the first"


class TestBinding:
    TERMS: ClassVar[dict[str, Any]] = {"binding": {"months": 12}}
    BUYER: ClassVar[dict[str, Any]] = {
        "customer": {"id": "C-1", "email_sha256": email_sha256("o@m.example")}
    }

    def first(self, world: World, who: Enrollment) -> Any:
        token = world.click(world.link(who), ago=3 * DAY)
        at = (world.now - 2 * DAY).isoformat()
        answer = world.post(plain("A-1", "100.00", clicks=[token], placed_at=at, **self.BUYER))
        assert answer.status_code == 201, answer.text
        return answer.get_json()

    def later(self, world: World, order_id: str = "A-2", **changes: Any) -> Any:
        body = plain(order_id, "100.00", placed_at=world.now.isoformat(), **changes)
        answer = world.post(body)
        assert answer.status_code == 201, answer.text
        return answer.get_json()

    def test_a_bound_buyer_is_credited_without_a_click(self, make: Make) -> None:
        world = make(attribution=self.TERMS)
        anna = world.affiliate("anna")
        self.first(world, anna)
        found = self.later(world, **self.BUYER)
        assert [s["affiliate"] for s in found["attribution"]["shares"]] == [of(anna)]
        assert found["attribution"]["shares"][0]["evidence"] == "bound_customer"
        assert self.later(world, "A-3")["attribution"]["outcome"] == "unattributed"
        sound(world)

    def test_another_affiliates_click_goes_before_and_binds_nobody_anew(self, make: Make) -> None:
        world = make(attribution=self.TERMS)
        anna, boris = world.affiliate("anna"), world.affiliate("boris")
        self.first(world, anna)
        token = world.click(world.link(boris))
        found = self.later(world, clicks=[token], **self.BUYER)
        assert [s["affiliate"] for s in found["attribution"]["shares"]] == [of(boris)]
        world.tick()
        bound = world.session.scalars(sa.select(CustomerBinding)).all()
        assert [(b.enrollment_id, b.voided_at) for b in bound] == [(anna.id, None)]

    def test_the_binding_falls_with_the_order_that_made_it(self, make: Make) -> None:
        world = make(attribution=self.TERMS)
        self.first(world, world.affiliate("anna"))
        assert world.post({}, "/A-1/cancellation").status_code == 200
        assert self.later(world, **self.BUYER)["attribution"]["outcome"] == "unattributed"

    def test_without_the_rule_nobody_is_bound(self, make: Make) -> None:
        world = make()
        self.first(world, world.affiliate("anna"))
        assert self.later(world, **self.BUYER)["attribution"]["outcome"] == "unattributed"
        assert world.session.scalar(sa.select(sa.func.count(CustomerBinding.id))) == 0


class TestKnownAddress:
    STEPS: ClassVar[dict[str, Any]] = {
        "evidence": [["click_token", "visitor_click"], ["customer_email"]],
    }

    @pytest.mark.parametrize(("terms", "outcome"), [(STEPS, "attributed"), ({}, "unattributed")])
    def test_it_credits_where_the_rules_name_it(
        self, make: Make, terms: dict[str, Any], outcome: str
    ) -> None:
        world = make(attribution=terms)
        buyer = {"customer": {"email_sha256": email_sha256("olga@mail.example")}}
        token = world.click(world.link(world.affiliate("anna")), ago=3 * DAY)
        at = (world.now - 2 * DAY).isoformat()
        first = plain("A-1", "9.00", clicks=[token], placed_at=at, **buyer)
        assert world.post(first).status_code == 201
        later = world.post(plain("A-2", "9.00", placed_at=world.now.isoformat(), **buyer))
        assert later.get_json()["attribution"]["outcome"] == outcome


def test_a_group_may_have_a_longer_window(make: Make, session: Session) -> None:
    world = make(attribution={"windows": [{"groups": ["press"], "days": 60}]})
    anna, boris = world.affiliate("anna"), world.affiliate("boris")
    group = AffiliateGroup(program_id=world.program.id, name="press")
    session.add(group)
    session.flush()
    session.execute(sa.update(Enrollment).where(Enrollment.id == anna.id).values(group_id=group.id))
    session.commit()
    for who, outcome in ((anna, "attributed"), (boris, "unattributed")):
        token = world.click(world.link(who), ago=45 * DAY, visitor=visitor_of(who))
        body = plain(f"O-{who.id}", "9.00", clicks=[token], placed_at=world.now.isoformat())
        assert world.post(body).get_json()["attribution"]["outcome"] == outcome


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"referrer": "https://www.shop.example/sale"}, "excluded_site"),
        ({"deep_link": "https://shop.example/lamp?gclid=abc"}, "paid_search"),
        ({"referrer": "https://blog.example/", "deep_link": "https://shop.example/?a=gclid"}, None),
    ],
)
def test_clicks_that_bring_nobody_new_do_not_count(
    make: Make, session: Session, row: dict[str, str], reason: str | None
) -> None:
    world = make(attribution={"excluded": {"sites": [".shop.example"], "paid_search": True}})
    token = world.click(world.link(world.affiliate("anna")))
    session.execute(sa.update(Click).values(**row))
    session.commit()
    answer = world.post(plain("A-1", "9.00", clicks=[token], placed_at=world.now.isoformat()))
    found = answer.get_json()["attribution"]
    told = [line.get("reason") for line in found["trace"] if line["outcome"] == "removed"]
    assert told == ([reason] if reason else [])


class TestBudget:
    def test_what_does_not_fit_waits_and_goes_when_there_is_room(
        self, make: Make, session: Session
    ) -> None:
        world = make(commission={"budget": {"amount": "100.00", "period": "month"}})
        anna = world.affiliate("anna")
        for number, total in enumerate(("700.00", "400.00", "100.00")):
            sell(world, anna, f"A-{number}", total)
        zone = world.program.time_zone
        due = stretch_of(Period.MONTH, world.now + 20 * DAY, zone).begins + 20 * DAY
        with world.app.app_context():
            assert release_due(session, now=due) == 3
            session.commit()
        # 70 fit into 100; 40 do not, and 10 behind them do not overtake.
        waits = ("pending", "budget")
        assert self.states(world) == [("available", None), waits, waits]
        with world.app.app_context():
            assert release_due(session, now=due) == 0
            assert release_budgeted(session, now=due) == 0
            session.commit()
            later = stretch_of(Period.MONTH, due, zone).ends
            assert release_budgeted(session, now=later) == 2
            session.commit()
        assert self.states(world) == [("available", None)] * 3
        sound(world)

    def states(self, world: World) -> list[tuple[str, Any]]:
        world.tick()
        found = [earned(world.get(f"A-{number}"))[0] for number in range(3)]
        return [(status, waits) for _, _, _, status, waits in found]


STRETCHES = """
month   Europe/Moscow 2026-11-30T20:59:59.999999Z 2026-10-31T21:00Z 2026-11-30T21:00Z 2026-11
month   Europe/Moscow 2026-11-30T21:00Z           2026-11-30T21:00Z 2026-12-31T21:00Z 2026-12
quarter Europe/Berlin 2026-03-31T23:00Z           2026-03-31T22:00Z 2026-06-30T22:00Z 2026-Q2
year    Europe/Berlin 2025-12-31T23:30Z           2025-12-31T23:00Z 2026-12-31T23:00Z 2026
"""


@pytest.mark.parametrize(
    ("period", "zone", "at", "begins", "ends", "name"),
    [row.split() for row in STRETCHES.strip().splitlines()],
)
def test_a_stretch_begins_at_its_first_local_midnight(
    period: str, zone: str, at: str, begins: str, ends: str, name: str
) -> None:
    found = stretch_of(Period(period), datetime.fromisoformat(at), zone)
    assert found.begins == datetime.fromisoformat(begins)
    assert found.ends == datetime.fromisoformat(ends)
    assert found.name == name


def test_an_order_that_is_decided_again_still_has_its_items(make: Make) -> None:
    """The verdict on a click made a decision that knew no lines, subscription or time zone."""
    lamps = {
        "name": "lamps", "when": {"categories": ["lighting"]},
        "earns": {"kind": "percent", "rate_ppm": 200_000},
    }  # fmt: skip
    world = make(commission={"rules": [lamps]})
    anna, boris = world.affiliate("anna"), world.affiliate("boris")
    link = world.link(anna)
    token = world.click(link, loaded=False)
    world.coupon(boris, "BORIS")
    items = [{"sku": "LAMP", "category": "lighting", "price": rub("100.00")}]
    body = plain("A-1", "100.00", clicks=[token], coupon="BORIS", items=items)
    assert amounts(world.post({**body, "placed_at": world.now.isoformat()}).get_json()) == ["20.00"]
    world.load(token, link, reason=DropReason.BOT)
    with world.app.app_context():
        assert check_clicks(world.session, now=world.now) == 1
        world.session.commit()
    found = world.get("A-1")
    assert [(c["affiliate"], c["amount"]["amount"]) for c in found["commissions"]] == [
        (of(boris), "20.00")
    ]
    sound(world)
