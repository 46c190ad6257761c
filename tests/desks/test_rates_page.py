"""The manager's page of exchange rates, and orders in other currencies on every desk."""

from __future__ import annotations

import io
from datetime import date, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from staff import Staff, hire, unmarked
from world import World

from affiliate.core import ids
from affiliate.core.audit import AuditEntry
from affiliate.core.money import Money
from affiliate.rates.enter import enter_rate
from affiliate.rates.models import DatedRate
from affiliate.rates.rules import day_of
from tracker.orders.intake import report_order
from tracker.orders.models import Order
from tracker.orders.rates import convert_waiting
from tracker.orders.refunds import refund_order
from tracker.orders.rules import OrderReportIn, RefundIn, Source


@pytest.fixture(autouse=True)
def no_csrf(app: Flask) -> None:
    """These tests are about the desk; the matrix has the ones about forged forms."""
    app.config["WTF_CSRF_ENABLED"] = False


@pytest.fixture
def manager(world: World) -> Staff:
    return hire(world, "manager")


def order_day(world: World) -> date:
    """The program's day the orders here fall on; in its first hour that is yesterday."""
    return day_of(world.lately(hours=1), world.program.time_zone)


def today(world: World) -> str:
    return order_day(world).isoformat()


def typed(world: World, **changes: str) -> dict[str, str]:
    return {"currency": "EUR", "rate": "90", "valid_from": today(world), **changes}


def brought(text: str, **more: str) -> dict[str, Any]:
    return {"file": (io.BytesIO(text.encode()), "rates.csv"), **more}


def known(world: World) -> list[tuple[str, str]]:
    world.session.rollback()
    rows = world.session.execute(
        sa.select(DatedRate.source, DatedRate.rate_scaled).order_by(DatedRate.id)
    )
    return [(source, str(scaled // 10**10)) for source, scaled in rows]


def euros(world: World, name: str, total: str = "10.00") -> Order:
    """An order in euros of a person's link."""
    person = world.people[name]
    assert person.link is not None
    token = world.click(person.link, at=world.now - timedelta(hours=2))
    with world.app.app_context():
        report = OrderReportIn(
            order_id=f"E-{total}", placed_at=world.lately(hours=1),
            total=Money(int(float(total) * 100) * 10_000, "EUR"), clicks=(token,),
        )  # fmt: skip
        done = report_order(
            world.session, program_id=world.program.id, report=report, source=Source.API,
            reported_by="key:kpk_test", now=world.now,
        )  # fmt: skip
        world.session.commit()
    return world.session.get_one(Order, done.order_row_id)


def rate(world: World, text: str, *, ago: int = 0) -> None:
    with world.app.app_context():
        enter_rate(
            world.session, program_id=world.program.id, currency="EUR", rate=text, by=None,
            valid_from=order_day(world) - timedelta(days=ago),
            now=world.now,
        )  # fmt: skip
        world.session.commit()


def test_a_rate_is_entered_corrected_and_audited(world: World, manager: Staff) -> None:
    assert "No exchange rates" in manager.client.get("/manage/rates").text
    done = manager.client.post("/manage/rates", data=typed(world), follow_redirects=True)
    assert done.status_code == 200
    assert "1 rate is entered." in done.text
    done = manager.client.post(
        "/manage/rates", data=typed(world, rate="95", currency=" eur "), follow_redirects=True
    )
    assert "1 corrects an earlier one" in done.text
    assert "corrected since" in done.text
    assert known(world) == [("EUR", "90"), ("EUR", "95")]
    actors = world.session.scalars(
        sa.select(AuditEntry.actor).where(AuditEntry.action == "rates.enter")
    ).all()
    assert actors == [f"user:{manager.user_id}"] * 2
    assert "entered exchange rates" in manager.client.get("/manage/audit").text


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rate": ""}, "Please fill this in."),
        ({"rate": "0"}, "An exchange rate is above zero."),
        ({"rate": "-1"}, "Write the rate with a point and up to ten digits: 98.1234."),
        ({"rate": "98,1234"}, "Write the rate with a point and up to ten digits: 98.1234."),
        ({"currency": "RUB"}, "The program is in RUB itself."),
        ({"currency": "QQQ"}, "This is not an ISO 4217 currency."),
        ({"valid_from": "soon"}, "Write the date as 2026-11-26."),
        ({"valid_from": "2999-01-01"}, "A rate is entered at most a day ahead."),
        ({"valid_from": "1999-12-31"}, "Rates are kept from 2000 on."),
    ],
)
def test_what_is_no_rate_is_said_beside_its_field(
    world: World, manager: Staff, changes: dict[str, str], says: str
) -> None:
    done = manager.client.post("/manage/rates", data=typed(world, **changes))
    assert done.status_code == 422
    assert says in done.text
    assert known(world) == []


def test_the_same_rate_again_is_a_conflict_that_says_so(world: World, manager: Staff) -> None:
    manager.client.post("/manage/rates", data=typed(world))
    done = manager.client.post("/manage/rates", data=typed(world))
    assert done.status_code == 409
    assert "This very rate of that day is entered already." in done.text


def test_a_file_is_brought(world: World, manager: Staff) -> None:
    day = today(world)
    text = f"currency,date,rate\nEUR,{day},90\nUSD,{day},80\n"
    done = manager.client.post("/manage/rates/files", data=brought(text), follow_redirects=True)
    assert "2 rates are entered." in done.text
    done = manager.client.post("/manage/rates/files", data=brought(text), follow_redirects=True)
    assert "Every rate of it was known already; nothing has changed." in done.text
    ecb = f"Date,USD,RUB\n{day},1.05,95.5\n"
    done = manager.client.post(
        "/manage/rates/files", data=brought(ecb, currencies="eur"), follow_redirects=True
    )
    assert "1 corrects an earlier one" in done.text
    csv = manager.client.get("/manage/rates.csv").get_data(as_text=True)
    assert csv.splitlines() == [
        "\ufeffcurrency,date,rate", f"EUR,{day},95.5", f"USD,{day},80",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({}, "Choose a file."),
        (brought(""), "The file is empty."),
        (brought("currency,date,rate\nEUR,2026-01-01,0\n"), "line 2: An exchange rate is above"),
        (brought("Date,USD,RUB\n2025-01-01,1,90\n"), "Name the currencies"),
        (brought("<x/>"), "as the Bank of Russia writes it"),
    ],
)
def test_a_file_that_is_none_is_said_beside_its_field(
    world: World, manager: Staff, data: dict[str, Any], says: str
) -> None:
    done = manager.client.post("/manage/rates/files", data=data)
    assert done.status_code == 422
    assert says in done.text
    assert known(world) == []


@pytest.mark.parametrize("after", ["x", "2026-11-26", "2026-11-26.x", "soon.1", "2026-11-26.-1"])
def test_a_page_that_we_never_linked_to_is_not_found(
    world: World, manager: Staff, after: str
) -> None:
    assert manager.client.get("/manage/rates", query_string={"after": after}).status_code == 404


def test_analysts_read_and_do_not_enter(world: World) -> None:
    analyst = hire(world, "analyst")
    assert 'name="rate"' not in analyst.client.get("/manage/rates").text
    assert analyst.client.post("/manage/rates", data=typed(world)).status_code == 403
    assert known(world) == []


def test_a_manager_of_another_program_does_not_enter_here(world: World) -> None:
    other = hire(world, "manager", program=world.euros)
    there = f"/manage/rates?program={world.program.slug}"
    assert other.client.post(there, data=typed(world)).status_code == 404
    assert known(world) == []


def test_for_how_long_a_rate_holds_is_a_setting(world: World, manager: Staff) -> None:
    url = f"/manage/programs/{world.program.slug}"
    page = manager.client.get(url).text
    assert 'name="rate_days_max"' in page
    data = {
        "name": "Lamp & Leaf partners", "landing_url": world.program.landing_url,
        "allowed_sites": "\n".join(world.program.allowed_sites), "rail": world.program.rail,
        "payout_weekday": "0", "payout_hour": "9", "time_zone": world.program.time_zone,
    }  # fmt: skip
    refused = manager.client.post(url, data={**data, "rate_days_max": "367"})
    assert refused.status_code == 422
    assert manager.client.post(url, data={**data, "rate_days_max": "31"}).status_code == 303
    world.session.expire_all()
    assert world.program.rate_days_max == 31


class TestDesks:
    def test_an_order_shows_both_amounts_and_the_rate(self, world: World, manager: Staff) -> None:
        world.affiliate("Rita")
        anna = world.affiliate("Anna", recruiter="Rita")
        rate(world, "98.1234567891")
        order = euros(world, "Anna")
        url = ids.public_id("ord", order.id)
        desk = manager.client.get(f"/manage/orders/{url}").text
        account = anna.client.get(f"/account/orders/{url}").text
        for text in (desk, account):
            assert "10.00\N{NO-BREAK SPACE}EUR" in text
            assert "981.234568\N{NO-BREAK SPACE}RUB" in text
            assert "1 EUR = 98.1234567891 RUB" in text
        assert "at a rate of 98.1234567891 is" in account
        rows = unmarked(manager.client.get("/manage/orders").text)
        # 98.123457 of Anna's and 19.624691 of Rita's; in a list to the coin.
        assert "117.75\N{NO-BREAK SPACE}RUB" in rows
        assert "10.00\N{NO-BREAK SPACE}EUR" in rows
        overview = manager.client.get("/manage/").text
        assert "net 981.234568\N{NO-BREAK SPACE}RUB" in overview

    def test_a_refund_is_told_in_both(self, world: World, manager: Staff) -> None:
        anna = world.affiliate("Anna")
        rate(world, "90")
        order = euros(world, "Anna")
        with world.app.app_context():
            refund_order(
                world.session, program_id=world.program.id, order_id=order.order_id,
                refund=RefundIn("r-1", Money(2_500_000, "EUR")), now=world.now,
            )  # fmt: skip
            world.session.commit()
        url = ids.public_id("ord", order.id)
        account = anna.client.get(f"/account/orders/{url}").text
        assert "2.50\N{NO-BREAK SPACE}EUR" in account
        assert "225.00\N{NO-BREAK SPACE}RUB of 900.00\N{NO-BREAK SPACE}RUB went back" in account
        assert "25%" in manager.client.get("/manage/").text

    def test_an_order_that_waits_says_so_on_every_desk(self, world: World, manager: Staff) -> None:
        anna = world.affiliate("Anna")
        rate(world, "90", ago=40)
        order = euros(world, "Anna")
        url = ids.public_id("ord", order.id)
        assert "1 order waits for its exchange rate." in manager.client.get("/manage/").text
        rates = manager.client.get("/manage/rates").text
        assert "1 order" in rates
        assert "waits for an exchange rate of its day" in (
            manager.client.get(f"/manage/orders/{url}").text
        )
        account = anna.client.get(f"/account/orders/{url}").text
        assert "No exchange rate into RUB is known for its day yet." in account
        assert "waits for its exchange rate" in account
        assert "waits for the exchange rate of its day" in anna.client.get("/account/orders").text

    def test_entering_the_rate_lets_it_earn(self, world: World, manager: Staff) -> None:
        anna = world.affiliate("Anna")
        rate(world, "90", ago=40)
        order = euros(world, "Anna")
        manager.client.post("/manage/rates", data=typed(world))
        with world.app.app_context():
            world.session.rollback()
            assert convert_waiting(world.session, now=world.now) == 1
            world.session.commit()
        url = ids.public_id("ord", order.id)
        account = anna.client.get(f"/account/orders/{url}").text
        assert "The exchange rate of its day came, so it was reckoned." in account
        desk = manager.client.get(f"/manage/orders/{url}").text
        assert "the exchange rate that it waited for was entered" in desk

    def test_finance_finds_it_with_its_commission(self, world: World) -> None:
        world.affiliate("Anna")
        rate(world, "90")
        order = euros(world, "Anna")
        finance = hire(world, "finance")
        found = finance.client.get("/finance/search", query_string={"q": order.order_id}).text
        assert "90.00\N{NO-BREAK SPACE}RUB" in found
