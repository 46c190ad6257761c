"""Orders in other currencies: converted by the rate of their day, kept for life, or held for it."""

from __future__ import annotations

import csv
import io
import threading
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.exchange import ExchangeRate, conversion
from affiliate.core.money import Money
from affiliate.rates.enter import enter_rate
from affiliate.rates.rules import day_of
from payouts.audit import run as audit
from payouts.commissions.models import Commission
from payouts.commissions.release import release_budgeted, release_due
from payouts.ledger.balances import balances
from tests.builders import make_program
from tests.orders.shop_world import DAY, World, earned, of, rub
from tracker.attribution.click_checks import check_clicks
from tracker.attribution.models import Decision
from tracker.attribution.sales import read_from
from tracker.clicks.rules import DropReason
from tracker.export import export
from tracker.orders.converting import sale_net_of
from tracker.orders.intake import report_order
from tracker.orders.keys import order_token_keys
from tracker.orders.models import Order, ParkedCall
from tracker.orders.order_tokens import mint
from tracker.orders.rates import convert_waiting, waiting_for_rates
from tracker.orders.refunds import refund_order
from tracker.orders.rules import OrderReportIn, RefundIn, Source

HOLD = timedelta(days=14)


def euro(amount: str, currency: str = "EUR") -> dict[str, str]:
    return {"amount": amount, "currency": currency}


@dataclass
class Shop(World):
    """With two affiliates, a click and a coupon of anna's, whom boris recruited."""

    anna: Any = None
    boris: Any = None
    token: str = ""

    @classmethod
    def build(cls, *args: Any, **terms: Any) -> Shop:
        made = super().build(*args, **terms)
        assert isinstance(made, Shop)
        made.boris = made.affiliate("boris")
        made.anna = made.affiliate("anna", recruiter=made.boris)
        made.token = made.click(made.link(made.anna))
        made.coupon(made.anna, "ANNA")
        return made


def today(world: Shop) -> date:
    return day_of(world.now, world.program.time_zone)


def enter(world: Shop, rate: str, *, ago: int = 0, currency: str = "EUR") -> None:
    """A rate that holds from so many days before today on."""
    enter_rate(
        world.session, program_id=world.program.id, currency=currency, rate=rate, by=None,
        valid_from=today(world) - timedelta(days=ago), now=world.now,
    )  # fmt: skip
    world.session.commit()


def body(
    order_id: str = "E-1", total: str = "10.00", currency: str = "EUR", **changes: Any
) -> dict[str, Any]:
    return {"order_id": order_id, "total": euro(total, currency), **changes}


def sell(world: Shop, **changes: Any) -> dict[str, Any]:
    """An order in euros, credited to anna, whom boris recruited."""
    sent = {"placed_at": world.now.isoformat(), "clicks": [world.token], **body(**changes)}
    answer = world.post(sent)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.get_json()
    return found


def refund(world: Shop, refund_id: str, amount: str | None = None, **parts: Any) -> Any:
    sent = {"refund_id": refund_id, **parts, **({"amount": euro(amount)} if amount else {})}
    return world.post(sent, "/E-1/refunds")


def convert(world: Shop) -> int:
    with world.app.app_context():
        world.tick()
        done = convert_waiting(world.session, now=world.now)
        world.session.commit()
    return done


def sound(world: Shop) -> None:
    """Every check of the audit holds."""
    world.tick()
    real_now = datetime.now(UTC)
    with world.app.app_context():
        found = audit.run(world.session, audit.registered(world.app), real_now=real_now)
    assert not [one for one in found if one.rows], found


@pytest.fixture
def world(app: Flask, settings: Settings, client: FlaskClient, session: Session) -> Shop:
    """The demo's rules in rubles: 10 % and 2 % of the sale; a click of anna's."""
    return Shop.build(app, settings, client, session)


class TestConversion:
    def test_both_levels_earn_of_the_converted_net(self, world: Shop) -> None:
        enter(world, "98.1234567891")
        made = sell(world)
        assert (made["total"], made["net"]) == (euro("10.00"), euro("10.00"))
        assert made["converted"] == {
            "currency": "RUB",
            "net": rub("981.234568"),  # 981.234567891, to a micro
            "rate": "98.1234567891",
            "rate_from": today(world).isoformat(),
        }
        assert earned(made) == [
            (of(world.anna), 1, "98.123457", "pending", "hold_period"),  # 98.1234568
            (of(world.boris), 2, "19.624691", "pending", "hold_period"),  # 19.62469136
        ]
        assert made["commissions"][0]["base"] == rub("981.234568")
        read_again = world.get("E-1")
        assert read_again["converted"] == made["converted"]
        sound(world)

    def test_an_order_in_the_programs_currency_says_nothing_of_it(self, world: Shop) -> None:
        enter(world, "98")
        made = world.post(world.order(clicks=[world.token])).get_json()
        assert "converted" not in made
        assert earned(made)[0][2] == "350.00"

    def test_shipping_fees_and_tax_are_taken_off_before(self, world: Shop) -> None:
        enter(world, "100")
        made = sell(
            world, total="50.00", shipping=euro("5.00"), tax=euro("8.00"), fees=euro("1.00")
        )
        assert (made["net"], made["converted"]["net"]) == (euro("36.00"), rub("3600.00"))
        assert earned(made)[0][2] == "360.00"

    @pytest.mark.parametrize(
        ("currency", "amount", "rate", "net"),
        [
            ("JPY", "1234", "0.5123456789", "632.234568"),  # 632.2345677626
            ("KWD", "1.234", "300.25", "370.5085"),
            ("CLF", "0.0001", "4000", "0.40"),
            ("VND", "1", "0.0000005", "0.00"),  # half a micro, to the even neighbour 0
            ("VND", "3", "0.0000005", "0.000002"),  # one and a half, to the even neighbour 2
            ("VND", "5", "0.0000005", "0.000002"),  # two and a half, to the even neighbour 2
        ],
    )
    def test_currencies_of_other_exponents(
        self, world: Shop, currency: str, amount: str, rate: str, net: str
    ) -> None:
        enter(world, rate, currency=currency)
        made = sell(world, total=amount, currency=currency)
        assert made["converted"]["net"] == rub(net)
        sound(world)

    def test_what_converts_to_nothing_says_so(self, world: Shop) -> None:
        enter(world, "0.0000005", currency="VND")
        made = sell(world, total="1", currency="VND")
        assert [c["reason"] for c in made["commissions"]] == ["below_a_micro", "below_a_micro"]

    def test_a_converted_net_beyond_any_order_is_refused(self, world: Shop) -> None:
        enter(world, "100000000")
        sent = {**body(total="10000.01"), "placed_at": world.now.isoformat()}
        answer = world.post(sent)
        assert (answer.status_code, answer.get_json()["errors"][0]) == (
            422,
            {
                "field": "total.amount", "code": "too_large",
                "message": "In RUB the order is above 1,000,000,000,000.",
            },
        )  # fmt: skip
        assert sell(world, total="10000.00")["converted"]["net"] == rub("1000000000000.00")

    def test_items_share_the_converted_net(
        self, app: Flask, settings: Settings, client: FlaskClient, session: Session
    ) -> None:
        rule = {
            "name": "lamps", "when": {"categories": ["lighting"]},
            "earns": {"kind": "percent", "rate_ppm": 200_000},
        }  # fmt: skip
        terms = {"level_1": {"kind": "percent", "rate_ppm": 50_000}, "level_2": None,
                 "rules": [rule]}  # fmt: skip
        world = Shop.build(app, settings, client, session, commission=terms)
        enter(world, "90")
        items = [
            {"sku": "LAMP", "category": "lighting", "price": euro("6.00")},
            {"sku": "BOOK", "category": "books", "price": euro("4.00")},
        ]
        # Of 900.00: 540.00 x 20 % + 360.00 x 5 % = 108 + 18.
        assert earned(sell(world, items=items))[0][2] == "126.00"

    def test_fixed_amounts_and_caps_are_in_the_programs_currency(
        self, app: Flask, settings: Settings, client: FlaskClient, session: Session
    ) -> None:
        terms = {"level_1": {"kind": "fixed", "amount": "50"}, "level_2": None,
                 "caps": {"per_order": "40"}}  # fmt: skip
        world = Shop.build(app, settings, client, session, commission=terms)
        enter(world, "90")
        assert earned(sell(world, total="10.00"))[0][2] == "40.00"
        # 0.20 EUR are 18.00 RUB: never more than the net.
        assert earned(sell(world, order_id="E-2", total="0.20"))[0][2] == "18.00"

    def test_tiers_and_caps_of_the_period_count_converted_sums(
        self, app: Flask, settings: Settings, client: FlaskClient, session: Session
    ) -> None:
        bands = [{"from": "0", "rate_ppm": 100_000}, {"from": "1000", "rate_ppm": 200_000}]
        terms = {
            "level_1": {"kind": "percent", "rate_ppm": 100_000}, "level_2": None,
            "tiers": {
                "measure": "sales", "period": "year", "apply": "marginal", "bands": bands,
            },
            "caps": {"per_period": {"amount": "150", "period": "year"}},
        }  # fmt: skip
        world = Shop.build(app, settings, client, session, commission=terms)
        enter(world, "90")
        assert earned(sell(world))[0][2] == "90.00"  # of 900.00
        # 100.00 are left of the first band: 10.00, and 800.00 x 20 %; the cap leaves 60.00.
        assert earned(sell(world, order_id="E-2"))[0][2] == "60.00"

    def test_a_budget_counts_what_was_converted(
        self, app: Flask, settings: Settings, client: FlaskClient, session: Session
    ) -> None:
        terms = {"level_1": {"kind": "percent", "rate_ppm": 100_000}, "level_2": None,
                 "budget": {"amount": "150", "period": None}}  # fmt: skip
        world = Shop.build(app, settings, client, session, commission=terms)
        enter(world, "90")
        for number in (1, 2):
            sell(world, order_id=f"E-{number}")
        later = world.now + HOLD
        release_due(session, now=later)
        release_budgeted(session, now=later)
        session.commit()
        found = balances(session, enrollment_id=world.anna.id, currency="RUB")
        assert (found.available, found.pending) == (
            Money(90_000_000, "RUB"), Money(90_000_000, "RUB"),
        )  # fmt: skip


class TestWhichRate:
    def test_the_latest_on_or_before_the_orders_day_holds(self, world: Shop) -> None:
        enter(world, "90", ago=3)
        enter(world, "91", ago=1)
        enter(world, "92", ago=-1)  # tomorrow's
        assert sell(world)["converted"]["rate"] == "91"
        two_ago = (world.now - 2 * DAY).isoformat()
        token = world.click(world.link(world.anna), ago=3 * DAY)
        made = sell(world, order_id="E-2", placed_at=two_ago, clicks=[token])
        assert made["converted"]["rate"] == "90"

    def test_a_day_begins_at_midnight_of_the_programs_zone(self, world: Shop) -> None:
        world.program.time_zone = "Asia/Tokyo"  # UTC+9 all year
        world.session.commit()
        tokyo = ZoneInfo("Asia/Tokyo")
        begins = datetime.combine(today(world) - 3 * DAY, datetime.min.time(), tokyo)
        enter(world, "90", ago=4)
        enter(world, "91", ago=3)
        before = begins - timedelta(microseconds=1)
        first = sell(world, order_id="E-1", placed_at=before.isoformat(), clicks=[])
        second = sell(world, order_id="E-2", placed_at=begins.isoformat(), clicks=[])
        assert (first["converted"]["rate"], second["converted"]["rate"]) == ("90", "91")

    def test_a_rate_holds_for_as_many_days_as_the_program_says(self, world: Shop) -> None:
        world.program.rate_days_max = 3
        world.session.commit()
        enter(world, "90", ago=4)
        made = sell(world)
        assert made["converted"] == {"currency": "RUB", "waits_for": "exchange_rate"}
        world.program.rate_days_max = 4
        world.session.commit()
        assert convert(world) == 1
        assert world.get("E-1")["converted"]["rate"] == "90"

    def test_a_correction_holds_for_orders_that_are_decided_from_then_on(self, world: Shop) -> None:
        enter(world, "90")
        sell(world)
        enter(world, "95")
        assert sell(world, order_id="E-2")["converted"]["rate"] == "95"
        assert world.get("E-1")["converted"]["rate"] == "90"
        sound(world)

    def test_an_inverse_rate_is_never_made_up(self, world: Shop) -> None:
        """A euro program has a rate of rubles; that says nothing of euros in rubles."""
        answer = world.post({**body(), "placed_at": world.now.isoformat()})
        assert answer.status_code == 422

    def test_another_programs_rates_are_not_read(
        self, world: Shop, app: Flask, session: Session
    ) -> None:
        with app.app_context():
            other = make_program(session, slug="other", now=world.now)
            enter_rate(
                session, program_id=other.id, currency="EUR", rate="90", by=None,
                valid_from=world.now.date(), now=world.now,
            )  # fmt: skip
            session.commit()
        assert world.post({**body(), "placed_at": world.now.isoformat()}).status_code == 422


class TestRefusal:
    def test_a_currency_without_any_rate_is_refused_with_what_to_do(self, world: Shop) -> None:
        sent = {**body(shipping=euro("1.00")), "placed_at": world.now.isoformat()}
        answer = world.post(sent)
        assert (answer.status_code, answer.get_json()["errors"]) == (
            422,
            [
                {
                    "field": field, "code": "currency_mismatch",
                    "message": "The program is in RUB and has no exchange rate of EUR. Send the "
                    "order in RUB, or let a manager enter a rate on the desk first.",
                }
                for field in ("total.currency", "shipping.currency")
            ],
        )  # fmt: skip
        world.tick()
        assert not world.session.scalars(sa.select(Order)).all()

    def test_two_currencies_in_one_order_are_refused(self, world: Shop) -> None:
        enter(world, "90")
        sent = {**body(shipping=rub("1.00")), "placed_at": world.now.isoformat()}
        answer = world.post(sent)
        assert (answer.status_code, answer.get_json()["errors"][0]) == (
            422,
            {
                "field": "shipping.currency", "code": "currency_mismatch",
                "message": "The order is in EUR; all of its amounts are in one currency.",
            },
        )  # fmt: skip

    @pytest.mark.parametrize(
        "placed_at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"]
    )
    def test_times_at_the_ends_of_the_calendar_are_refused_as_ever(
        self, world: Shop, placed_at: str
    ) -> None:
        enter(world, "90")
        world.program.time_zone = "Pacific/Kiritimati"
        world.session.commit()
        answer = world.post({**body(), "placed_at": placed_at})
        assert answer.status_code == 422
        assert answer.get_json()["errors"][0]["field"] == "placed_at"

    def test_a_refund_in_another_currency_than_the_order_is_refused(self, world: Shop) -> None:
        enter(world, "90")
        sell(world)
        answer = world.post({"refund_id": "r-1", "amount": rub("1.00")}, "/E-1/refunds")
        assert (answer.status_code, answer.get_json()["errors"][0]) == (
            422,
            {
                "field": "amount.currency", "code": "currency_mismatch",
                "message": "The order is in EUR.",
            },
        )  # fmt: skip


class TestForLife:
    def test_the_same_report_again_is_a_replay_though_the_rate_was_corrected(
        self, world: Shop
    ) -> None:
        enter(world, "90")
        sell(world)
        enter(world, "95")
        sent = {"placed_at": world.now.isoformat(), "clicks": [world.token], **body()}
        again = world.post(sent)
        assert (again.status_code, again.get_json()["converted"]["rate"]) == (200, "90")

    def test_a_later_decision_takes_the_same_rate(self, world: Shop) -> None:
        """The click turns out to be a robot's; nobody but boris' coupon is left."""
        enter(world, "90")
        link = world.link(world.anna)
        token = world.click(link, loaded=False, visitor=bytes(16))
        world.coupon(world.boris, "BORIS")
        sell(world, clicks=[token], coupon="BORIS")
        enter(world, "95")
        world.load(token, link, reason=DropReason.BOT)
        with world.app.app_context():
            assert check_clicks(world.session, now=world.now) == 1
            world.session.commit()
        found = world.get("E-1")
        assert earned(found) == [(of(world.boris), 1, "90.00", "pending", "hold_period")]
        assert found["converted"]["rate"] == "90"
        sound(world)

    def test_the_decision_keeps_what_a_replay_needs(self, world: Shop) -> None:
        enter(world, "98.1234567891")
        sell(world)
        snapshot = world.session.scalars(sa.select(Decision.snapshot)).one()
        rate = ExchangeRate.parse("98.1234567891", source="EUR", target="RUB")
        read = read_from(snapshot["sale"], "RUB")
        assert read.converted == conversion(Money(10_000_000, "EUR"), rate)
        order = world.session.scalars(sa.select(Order)).one()
        assert sale_net_of(order).converted == read.converted


class TestRefunds:
    def test_a_part_takes_back_in_proportion_of_the_converted_net(self, world: Shop) -> None:
        enter(world, "90")
        sell(world)
        enter(world, "45")  # A correction changes nothing of this order.
        assert refund(world, "r-1", "2.50").get_json()["net"] == euro("2.50")
        found = world.get("E-1")
        assert [c["reversed"] for c in found["commissions"]] == [rub("22.50"), rub("4.50")]
        assert found["refunded"] == euro("2.50")
        base_back = world.session.scalars(
            sa.select(Commission.refunded_base_micros).order_by(Commission.level)
        ).all()
        assert base_back == [225_000_000, 225_000_000]
        sound(world)

    def test_a_refund_before_its_order_waits_and_is_applied(self, world: Shop) -> None:
        enter(world, "90")
        assert refund(world, "r-1", "5.00").status_code == 202
        sell(world)
        assert [c["reversed"]["amount"] for c in world.get("E-1")["commissions"]] == [
            "45.00", "9.00",
        ]  # fmt: skip

    def test_a_parked_refund_in_another_currency_than_its_order_is_told(self, world: Shop) -> None:
        enter(world, "90")
        assert refund(world, "r-1", "5.00").status_code == 202
        enter(world, "80", currency="USD")
        sell(world, currency="USD")
        call = world.session.scalars(sa.select(ParkedCall)).one()
        assert (call.applied_at, call.refused_reason) == (None, "invalid")

    def test_a_refund_of_an_unknown_order_in_a_currency_that_is_not_taken_is_refused(
        self, world: Shop
    ) -> None:
        assert refund(world, "r-1", "5.00").status_code == 422

    @examples(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        cents=st.integers(1, 10**9),
        rate=st.integers(1, 10**13),
        cuts=st.lists(st.integers(1, 10**9), max_size=5),
    )
    def test_a_full_refund_in_any_parts_leaves_exactly_zero(
        self, world: Shop, cents: int, rate: int, cuts: list[int]
    ) -> None:
        """On both levels, whatever the rate makes of it; the ledger agrees to the micro."""
        number = next(_numbers)
        day = _FIRST + timedelta(days=number)
        with world.app.app_context():
            _sell_and_refund(world, f"P-{number}", cents, rate, cuts, day)
        left = world.session.execute(
            sa.select(Commission.amount_micros - Commission.reversed_micros)
        ).scalars()
        assert set(left) <= {0}
        for who in (world.anna, world.boris):
            found = balances(world.session, enrollment_id=who.id, currency="RUB")
            assert (found.pending, found.available) == (Money(0, "RUB"), Money(0, "RUB"))


_FIRST = date(2010, 1, 1)
_numbers = iter(range(1, 10_000))


def _sell_and_refund(
    world: Shop, order_id: str, cents: int, rate: int, cuts: list[int], day: date
) -> None:
    """An order of its own day with its own rate, given back in parts."""
    session, at = world.session, datetime.combine(day, datetime.min.time(), UTC)
    text = ExchangeRate("EUR", "RUB", rate).decimal
    enter_rate(
        session, program_id=world.program.id, currency="EUR", rate=text, valid_from=day, by=None,
        now=world.now,
    )  # fmt: skip
    report = OrderReportIn(
        order_id=order_id, placed_at=at, total=Money(cents * 10_000, "EUR"), coupon="ANNA"
    )
    report_order(
        session, program_id=world.program.id, report=report, source=Source.API,
        reported_by="key:kpk_test", now=world.now, may_import=True,
    )  # fmt: skip
    left = cents
    for index, cut in enumerate([*cuts, left]):
        part = min(cut, left)
        if not part:
            break
        left -= part
        refund_order(
            session, program_id=world.program.id, order_id=order_id, now=world.now,
            refund=RefundIn(refund_id=f"r-{index}", amount=Money(part * 10_000, "EUR")),
        )  # fmt: skip
    if left:
        refund_order(
            session, program_id=world.program.id, order_id=order_id, now=world.now,
            refund=RefundIn(refund_id="rest"),
        )  # fmt: skip
    session.commit()


class TestWaiting:
    """A currency that the program takes, and no rate for the order's day."""

    @pytest.fixture
    def held(self, world: Shop) -> Shop:
        enter(world, "80", ago=40)  # older than the 14 days for which a rate holds
        world.made = sell(world)  # type: ignore[attr-defined]
        return world

    def test_the_order_is_kept_and_credited_and_earns_nothing_yet(self, held: Shop) -> None:
        made = held.get("E-1")
        assert made["converted"] == {"currency": "RUB", "waits_for": "exchange_rate"}
        assert made["attribution"]["outcome"] == "attributed"
        assert [
            (c["level"], c["status"], c["reason"], c["waits_for"]) for c in made["commissions"]
        ] == [
            (1, "not_earned", "awaits_exchange_rate", "exchange_rate"),
            (2, "not_earned", "awaits_exchange_rate", "exchange_rate"),
        ]
        [missing] = waiting_for_rates(held.session, program_id=held.program.id)
        assert tuple(missing) == ("EUR", today(held), 1)
        sound(held)

    def test_it_earns_as_soon_as_the_rate_is_entered(self, held: Shop) -> None:
        assert convert(held) == 0
        enter(held, "90", ago=2)
        assert convert(held) == 1
        assert convert(held) == 0
        made = held.get("E-1")
        assert made["converted"]["rate"] == "90"
        assert earned(made) == [
            (of(held.anna), 1, "90.00", "pending", "hold_period"),
            (of(held.boris), 2, "18.00", "pending", "hold_period"),
        ]
        voided = held.session.scalars(
            sa.select(Decision.void_reason).where(Decision.voided_at.is_not(None))
        ).all()
        assert voided == ["rate_entered"]
        assert waiting_for_rates(held.session, program_id=held.program.id) == []
        sound(held)

    def test_nothing_of_it_is_released_before(self, held: Shop) -> None:
        assert release_due(held.session, now=held.now + HOLD) == 0
        assert held.session.scalars(sa.select(Commission.released_at)).all() == [None, None]

    def test_a_rate_of_another_currency_or_a_later_day_does_not_help(self, held: Shop) -> None:
        enter(held, "70", currency="USD")
        enter(held, "90", ago=-1)
        assert convert(held) == 0

    def test_refunds_that_came_meanwhile_are_taken_off(self, held: Shop) -> None:
        assert refund(held, "r-1", "2.50").status_code == 201
        enter(held, "90")
        convert(held)
        assert [c["reversed"]["amount"] for c in held.get("E-1")["commissions"]] == [
            "22.50", "4.50",
        ]  # fmt: skip
        refund(held, "r-2")
        assert {c["status"] for c in held.get("E-1")["commissions"]} == {"reversed"}
        sound(held)

    def test_a_full_refund_meanwhile_leaves_nothing(self, held: Shop) -> None:
        refund(held, "r-1")
        enter(held, "90")
        convert(held)
        assert {c["status"] for c in held.get("E-1")["commissions"]} == {"reversed"}
        sound(held)

    def test_a_confirmation_meanwhile_leaves_it_waiting(self, world: Shop) -> None:
        enter(world, "80", ago=40)
        world.event({**body(), "clicks": [world.token]})
        assert world.post({"total": euro("10.00")}, "/E-1/confirmation").status_code == 200
        assert earned(world.get("E-1"))[0][4] == "exchange_rate"
        enter(world, "90")
        assert convert(world) == 1
        assert earned(world.get("E-1"))[0][2:] == ("90.00", "pending", "hold_period")

    def test_a_cancelled_one_is_left_alone(self, held: Shop) -> None:
        assert held.post({}, "/E-1/cancellation").status_code == 200
        enter(held, "90")
        assert convert(held) == 0
        assert waiting_for_rates(held.session, program_id=held.program.id) == []
        sound(held)

    def test_the_same_report_again_is_a_replay(self, held: Shop) -> None:
        sent = {"placed_at": held.now.isoformat(), "clicks": [held.token], **body()}
        assert held.post(sent).status_code == 200
        assert held.post({**sent, "total": euro("11.00")}).status_code == 409

    def test_one_that_cannot_be_converted_does_not_stop_the_others(self, held: Shop) -> None:
        """A rate that is entered later may make one too large; a refusal has nobody to go to."""
        sell(held, order_id="E-2", total="100000.00")
        enter(held, "100000000")
        assert convert(held) == 1
        assert "rate" in held.get("E-1")["converted"]
        assert held.get("E-2")["converted"]["waits_for"] == "exchange_rate"

    def test_one_that_somebody_holds_is_left_for_the_next_run(
        self, held: Shop, engine: sa.Engine
    ) -> None:
        sell(held, order_id="E-2")
        enter(held, "90")
        with engine.begin() as other:
            other.execute(sa.text("SELECT 1 FROM orders WHERE order_id = 'E-1' FOR UPDATE"))
            assert convert(held) == 1
        assert convert(held) == 1

    def test_two_workers_convert_each_order_once(self, held: Shop, app: Flask) -> None:
        for number in range(2, 8):
            sell(held, order_id=f"E-{number}")
        enter(held, "90")
        held.session.rollback()
        start, done = threading.Barrier(2), []

        def work() -> None:
            with app.app_context():
                start.wait()
                session = db.session()
                done.append(convert_waiting(session, now=held.now))
                session.commit()

        workers = [threading.Thread(target=work) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        held.tick()
        assert sum(done) + convert(held) == 7
        numbers = held.session.scalars(sa.select(sa.func.max(Decision.number))).one()
        assert numbers == 2
        sound(held)

    def test_the_audit_tells_of_one_that_waits_too_long(self, held: Shop) -> None:
        with held.app.app_context():
            checks = audit.registered(held.app)
            later = datetime.now(UTC) + timedelta(days=3)
            found = audit.run(held.session, checks, real_now=later)
        assert "E2" in {one.check.name for one in found if one.rows}


class TestBrowser:
    def test_a_page_may_report_in_another_currency(self, world: Shop) -> None:
        enter(world, "90")
        world.event({**body(), "clicks": [world.token]})
        made = world.get("E-1")
        assert (made["source"], made["converted"]["net"]) == ("browser", rub("900.00"))
        assert earned(made)[0][4] == "confirmation"
        assert world.post({"total": euro("10.00")}, "/E-1/confirmation").status_code == 200

    def test_one_without_a_rate_is_not_lost(self, world: Shop) -> None:
        """Nobody would send a page's report again."""
        enter(world, "80", ago=40)
        world.event({**body(), "clicks": [world.token]})
        enter(world, "90")
        assert earned(world.get("E-1"))[0][2:] == ("0.00", "not_earned", "exchange_rate")
        assert convert(world) == 1
        assert earned(world.get("E-1"))[0][2:] == ("90.00", "pending", "confirmation")
        sound(world)

    def test_the_servers_report_keeps_the_rate_of_the_same_instant(self, world: Shop) -> None:
        enter(world, "90")
        at = world.now.isoformat()
        world.event({**body(), "placed_at": at, "clicks": [world.token]})
        enter(world, "95")
        assert world.post({**body(total="20.00"), "placed_at": at}).status_code == 201
        made = world.get("E-1")
        assert (made["converted"]["rate"], made["converted"]["net"]) == ("90", rub("1800.00"))
        sound(world)

    @pytest.mark.parametrize(
        ("currency", "hours", "rate"), [("EUR", 49, "85"), ("USD", 0, "70"), ("RUB", 0, None)]
    )
    def test_of_another_instant_or_currency_it_is_converted_anew(
        self, world: Shop, currency: str, hours: int, rate: str | None
    ) -> None:
        enter(world, "85", ago=5)
        enter(world, "90")
        enter(world, "70", currency="USD")
        world.event({**body(), "clicks": [world.token]})
        at = world.now - timedelta(hours=hours)
        sent = {**body(currency=currency, total="10.00"), "placed_at": at.isoformat()}
        assert world.post(sent).status_code == 201
        made = world.get("E-1")
        assert (made["total"]["currency"], made.get("converted", {}).get("rate")) == (
            currency, rate,
        )  # fmt: skip
        sound(world)

    def test_a_signed_token_fixes_the_day_of_the_rate(self, world: Shop) -> None:
        """Not what the page says: or a buyer could choose the day with the best rate."""
        enter(world, "99", ago=5)
        enter(world, "90")
        with world.app.app_context():
            key = order_token_keys(world.program.id)[0]
        token = mint(
            key, order_id="E-1", total=Money(10_000_000, "EUR"), net=Money(8_000_000, "EUR"),
            signed_at=world.now,
        )  # fmt: skip
        long_ago = (world.now - 3 * DAY).isoformat()
        world.event({**body(), "placed_at": long_ago, "token": token, "clicks": [world.token]})
        made = world.get("E-1")
        assert (made["status"], made["converted"]["rate"], made["converted"]["net"]) == (
            "confirmed", "90", rub("720.00"),
        )  # fmt: skip

    def test_refunds_keep_an_order_in_their_currency(self, world: Shop) -> None:
        """The page's signed order was refunded in euros; the server cannot make it rubles."""
        enter(world, "90")
        with world.app.app_context():
            key = order_token_keys(world.program.id)[0]
        total = Money(10_000_000, "EUR")
        token = mint(key, order_id="E-1", total=total, net=total, signed_at=world.now)
        world.event({**body(), "token": token, "clicks": [world.token]})
        assert refund(world, "r-1", "1.00").status_code == 201
        sent = {**body(currency="RUB"), "placed_at": world.now.isoformat()}
        answer = world.post(sent)
        assert (answer.status_code, answer.get_json()["errors"][0]["message"]) == (
            422, "Refunds of this order were reported in another currency.",
        )  # fmt: skip
        assert world.get("E-1")["total"] == euro("10.00")
        sound(world)


class TestSums:
    def test_statistics_count_in_the_programs_currency(self, world: Shop) -> None:
        enter(world, "90")
        sell(world)
        world.post(world.order(clicks=[world.token]))
        key = world.key("statistics:read")
        day = today(world).isoformat()
        answer = world.client.get(f"/api/v1/statistics?from={day}&to={day}&by=day", headers=key)
        [row] = answer.get_json()["rows"]
        # 900.00 of the order in euros and 3,500.00 of the one in rubles, 10 % of each.
        assert (row["orders"], row["order_value"], row["earned"]) == (
            2,
            rub("4400.00"),
            rub("440.00"),
        )

    def test_the_export_has_both_amounts_and_the_rate(self, world: Shop) -> None:
        enter(world, "90.5")
        sell(world)
        text = io.StringIO()
        first = world.now - DAY
        export(
            world.session, kind="orders", program_id=world.program.id, since=first,
            until=first + 3 * DAY, to=text,
        )  # fmt: skip
        [row] = csv.DictReader(io.StringIO(text.getvalue()))
        assert (row["currency"], row["net"], row["converted_to"], row["rate"]) == (
            "EUR", "10.00", "RUB", "90.5",
        )  # fmt: skip
        assert row["converted_net"] == "905.00"


@pytest.mark.parametrize(
    ("name", "corruption"),
    [
        ("C3", "UPDATE orders SET converted_to = 'USD'"),
        ("C4", "UPDATE orders SET converted_net_micros = 1"),
        ("C12", "UPDATE commissions SET base_micros = base_micros + 1 WHERE level = 1"),
        ("E1", "UPDATE orders SET converted_net_micros = converted_net_micros + 1"),
        ("E1", "UPDATE orders SET rate_scaled = rate_scaled + 1"),
        ("E1", "UPDATE exchange_rates SET source = 'USD'"),
        ("E1", "UPDATE exchange_rates SET valid_from = valid_from + 2"),
        ("E1", "UPDATE orders SET converted_to = NULL, rate_scaled = NULL,"
               " exchange_rate_id = NULL, converted_net_micros = NULL"),
    ],
)  # fmt: skip
def test_a_planted_contradiction_is_found(world: Shop, name: str, corruption: str) -> None:
    enter(world, "90.1234567891")
    sell(world, total="10.01")
    sound(world)
    session = world.session
    session.execute(sa.text("SET LOCAL session_replication_role = replica"))
    session.execute(sa.text(corruption))
    with world.app.app_context():
        found = audit.run(session, audit.registered(world.app), real_now=datetime.now(UTC))
    assert name in {one.check.name for one in found if one.rows}


@pytest.mark.parametrize("rest", ["49", "50", "51"])
@pytest.mark.parametrize("cents", [1, 2, 3, 4])
def test_the_audit_rounds_as_orders_are_rounded(world: Shop, cents: int, rest: str) -> None:
    """Around the half of a micro: 10,000 micros of a cent times a rate of ten digits."""
    enter(world, f"1.00000000{rest}")
    sell(world, total=f"0.0{cents}")
    sound(world)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE exchange_rates SET rate_scaled = 1",
        "DELETE FROM exchange_rates",
        "TRUNCATE exchange_rates CASCADE",
    ],
)
def test_the_database_refuses_to_change_a_rate(world: Shop, change: str) -> None:
    enter(world, "90")
    with pytest.raises(sa.exc.DBAPIError, match="append-only"):
        world.session.execute(sa.text(change))
