"""Strangers who report order ids, before and after the shop does: they change nothing (A13)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from affiliate.core.money import Money
from affiliate.people.models import Enrollment
from payouts.commissions.release import release_due
from tests.orders.shop_world import DAY, World, affiliates_of, of, rub
from tracker.attribution.subject import ReviewOutcome
from tracker.orders import order_tokens
from tracker.orders.hearing import Confirmed, Word, fits, hear, own_visitor
from tracker.orders.keys import order_token_keys
from tracker.orders.models import Order, OrderReport
from tracker.orders.review import review_order

pytestmark = pytest.mark.abuse("A13")

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
TOTAL = Money.parse("4490.00", "RUB")
BUYER, STRANGER = "b" * 32, "5" * 32


@pytest.fixture
def world(app: Flask, settings: Settings, client: FlaskClient, session: Session) -> World:
    return World.build(app, settings, client, session)


@pytest.fixture
def anna(world: World) -> Enrollment:
    return world.affiliate("anna")


@pytest.fixture
def mallory(world: World) -> Enrollment:
    return world.affiliate("mallory")


def click_of(world: World, who: Enrollment, ago: timedelta = DAY) -> str:
    return world.click(world.link(who), ago=ago, visitor=bytes([who.id % 250]) * 16)


def gif(world: World, token: str, **order: Any) -> None:
    """What a stranger sends: an image from anywhere, with a click of their own a minute old."""
    claim = {"order_id": "A-10042", "total": rub("4490.00"), **order}
    report = {"program": "lamps", "type": "order", "order": claim, "clicks": [token],
              "visitor": STRANGER}  # fmt: skip
    assert world.client.get(f"/p.gif?d={quote(json.dumps(report))}").status_code == 200


def page(world: World, click: str, **order: Any) -> None:
    """What the buyer's own page sends."""
    claim = {"order_id": "A-10042", "total": rub("4490.00"), **order}
    world.event(claim, clicks=[click] if click else [], visitor=BUYER)


def came(world: World, ago: timedelta) -> None:
    """Let everything that browsers said so far have come then."""
    world.session.execute(sa.update(OrderReport).values(received_at=world.now - ago))
    world.session.execute(sa.update(Order).values(received_at=world.now - ago))
    world.session.commit()


def outcomes(world: World) -> list[str]:
    world.tick()
    found = sa.select(OrderReport.outcome).order_by(OrderReport.id)
    return list(world.session.scalars(found))


class TestAheadOfTheShop:
    """The stranger's report is there before the order is placed."""

    @pytest.mark.parametrize("total", ["4490.00", "1.00"], ids=["guessed", "not guessed"])
    def test_a_server_that_knows_no_click_credits_nobody(
        self, world: World, mallory: Enrollment, total: str
    ) -> None:
        gif(world, click_of(world, mallory), total=rub(total))
        came(world, timedelta(minutes=10))
        body = world.post(world.order()).get_json()
        assert (body["status"], body["net"]) == ("confirmed", rub("3500.00"))
        assert body["commissions"] == []

    def test_the_servers_own_click_decides(
        self, world: World, anna: Enrollment, mallory: Enrollment
    ) -> None:
        gif(world, click_of(world, mallory, timedelta(minutes=1)))
        body = world.post(world.order(clicks=[click_of(world, anna)])).get_json()
        assert affiliates_of(body) == [of(anna)]

    def test_the_buyers_page_is_heard_all_the_same(
        self, world: World, anna: Enrollment, mallory: Enrollment
    ) -> None:
        gif(world, click_of(world, mallory, timedelta(minutes=20)))
        came(world, timedelta(minutes=10))
        page(world, click_of(world, anna))
        body = world.post(world.order()).get_json()
        assert affiliates_of(body) == [of(anna)]
        assert [line["affiliate"] for line in body["attribution"]["trace"]] == [of(anna)] * 2

    def test_nor_when_the_page_reports_after_the_server(
        self, world: World, anna: Enrollment, mallory: Enrollment
    ) -> None:
        gif(world, click_of(world, mallory, timedelta(minutes=20)))
        came(world, timedelta(minutes=10))
        world.post(world.order())
        page(world, click_of(world, anna))
        assert affiliates_of(world.get()) == [of(anna)]

    def test_a_coupon_and_a_customer_of_theirs_were_not_there(
        self, world: World, mallory: Enrollment
    ) -> None:
        world.coupon(mallory, "MALLORY")
        gif(world, click_of(world, mallory), coupon="MALLORY", customer={"id": "c-9"})
        came(world, timedelta(minutes=10))
        assert world.post(world.order()).get_json()["commissions"] == []

    def test_the_shops_signed_token_drops_what_they_said(
        self, world: World, anna: Enrollment, mallory: Enrollment
    ) -> None:
        gif(world, click_of(world, mallory, timedelta(minutes=1)), total=rub("999999.00"))
        token = order_tokens.mint(
            order_token_keys(world.program.id, world.settings)[0],
            order_id="A-10042", total=TOTAL, net=TOTAL, signed_at=world.now,
        )  # fmt: skip
        page(world, click_of(world, anna), token=token)
        body = world.get()
        assert (body["status"], body["total"]) == ("confirmed", rub("4490.00"))
        assert affiliates_of(body) == [of(anna)]
        assert affiliates_of(world.post(world.order()).get_json()) == [of(anna)]

    def test_a_confirmation_hears_the_first_page_alone(
        self, world: World, anna: Enrollment, mallory: Enrollment
    ) -> None:
        page(world, click_of(world, anna))
        gif(world, click_of(world, mallory, timedelta(minutes=1)))
        assert affiliates_of(world.get()) == [of(mallory)], "a claim, shown as one"
        body = world.post({"total": rub("4490.00")}, "/A-10042/confirmation").get_json()
        live = [one for one in body["commissions"] if one["status"] != "voided"]
        assert [one["affiliate"] for one in live] == [of(anna)]

    def test_however_often_they_say_it_nothing_of_theirs_is_released(
        self, world: World, mallory: Enrollment
    ) -> None:
        for number in range(7):
            gif(world, click_of(world, mallory), metadata={"n": number})
        assert release_due(world.session, now=world.now + 400 * DAY, rows_max=10) == 0


class TestAfterTheShop:
    def test_another_browser_that_fits_has_a_person_look(
        self, world: World, anna: Enrollment, mallory: Enrollment
    ) -> None:
        world.post(world.order())
        page(world, click_of(world, anna))
        for number in range(7):
            gif(world, click_of(world, mallory, timedelta(minutes=1)), metadata={"n": number})
        body = world.get()
        assert live(body) == [(of(anna), "350.00", "review")]
        assert outcomes(world) == ["created", "evidence_added", *["contested"] * 5]

    @pytest.mark.parametrize(("word", "credited"), [("released", 1), ("declined", 0)])
    def test_what_the_person_says_stands(
        self, world: World, anna: Enrollment, mallory: Enrollment, word: str, credited: int
    ) -> None:
        world.post(world.order())
        page(world, click_of(world, anna))
        gif(world, click_of(world, mallory, timedelta(minutes=1)))
        with world.app.app_context():
            review_order(
                world.session, program_id=world.program.id, order_id="A-10042",
                outcome=ReviewOutcome(word), reason="asked the buyer", by="user:1", now=world.now,
            )  # fmt: skip
        world.session.commit()
        assert live(world.get()) == [(of(anna), "350.00", "hold_period")][:credited]

    def test_one_who_was_first_is_credited_and_looked_at(
        self, world: World, anna: Enrollment, mallory: Enrollment
    ) -> None:
        """Right id, right total, seconds before the buyer: no rule can tell; a person can."""
        gif(world, click_of(world, mallory, timedelta(minutes=1)))
        page(world, click_of(world, anna))
        assert live(world.post(world.order()).get_json()) == [(of(mallory), "350.00", "review")]

    def test_the_same_click_of_another_browser_contests_nothing(
        self, world: World, anna: Enrollment
    ) -> None:
        click = click_of(world, anna)
        world.post(world.order())
        page(world, click)
        gif(world, click)
        assert live(world.get()) == [(of(anna), "350.00", "hold_period")]

    def test_nor_does_any_where_the_server_knows_the_clicks(
        self, world: World, anna: Enrollment, mallory: Enrollment
    ) -> None:
        world.post(world.order(clicks=[click_of(world, anna)]))
        page(world, "")
        before = world.get()
        gif(world, click_of(world, mallory, timedelta(minutes=1)))
        assert world.get() == before

    def test_nor_what_comes_hours_after_the_order(self, world: World, mallory: Enrollment) -> None:
        placed_at = (world.now - timedelta(hours=3)).isoformat()
        world.post(world.order(placed_at=placed_at))
        came(world, timedelta(hours=2))
        gif(world, click_of(world, mallory, timedelta(hours=4)))
        assert world.get()["commissions"] == []
        assert outcomes(world) == ["created", "not_heard"]

    def test_an_order_told_of_at_night_hears_the_page_of_its_day(
        self, world: World, anna: Enrollment
    ) -> None:
        page(world, click_of(world, anna, 2 * DAY))
        came(world, timedelta(hours=9))
        placed_at = (world.now - timedelta(hours=9, minutes=4)).isoformat()
        assert affiliates_of(world.post(world.order(placed_at=placed_at)).get_json()) == [of(anna)]


class TestPlaces:
    """Whoever guesses ids cannot use up the places of the buyer's page."""

    @pytest.mark.parametrize("shop_first", [True, False])
    def test_words_that_do_not_fit_take_none(
        self, world: World, anna: Enrollment, mallory: Enrollment, shop_first: bool
    ) -> None:
        if shop_first:
            world.post(world.order())
        for cents in range(12):
            gif(world, click_of(world, mallory), total=rub(f"100.{cents:02}"))
        page(world, click_of(world, anna))
        if not shop_first:
            world.post(world.order())
        assert live(world.get()) == [(of(anna), "350.00", "hold_period")]

    def test_nor_those_that_came_too_early_with_the_right_total(
        self, world: World, anna: Enrollment, mallory: Enrollment
    ) -> None:
        for number in range(7):
            gif(world, click_of(world, mallory, DAY), metadata={"n": number})
        came(world, timedelta(hours=30))
        page(world, click_of(world, anna))
        body = world.post(world.order()).get_json()
        assert live(body) == [(of(anna), "350.00", "hold_period")]

    def test_a_buyer_without_any_click_stays_without(
        self, world: World, mallory: Enrollment
    ) -> None:
        world.post(world.order())
        page(world, "")
        gif(world, click_of(world, mallory))
        assert world.get()["commissions"] == []

    def test_who_does_not_know_the_total_is_not_heard(
        self, world: World, mallory: Enrollment
    ) -> None:
        world.post(world.order())
        gif(world, click_of(world, mallory), total=rub("4490.01"))
        assert world.get()["commissions"] == []
        assert outcomes(world) == ["created", "not_heard"]

    def test_nor_who_is_another_visitor_than_the_shop_saw(
        self, world: World, mallory: Enrollment
    ) -> None:
        world.post(world.order(visitor=BUYER.replace("b", "a")))
        gif(world, click_of(world, mallory))
        assert world.get()["commissions"] == []

    def test_the_buyers_own_browser_may_say_more_later(
        self, world: World, anna: Enrollment
    ) -> None:
        world.post(world.order())
        page(world, "")
        page(world, click_of(world, anna))
        assert affiliates_of(world.get()) == [of(anna)]


def live(body: dict[str, Any]) -> list[tuple[str, str, str | None]]:
    """Whom an order is credited to, with how much, and what that waits for."""
    return [
        (one["affiliate"], one["amount"]["amount"], one["waits_for"])
        for one in body["commissions"]
        if one["status"] != "voided"
    ]


FALSE: dict[str, Any] = {
    "total": rub("999999.00"),
    "discount": rub("0.00"),
    "tax": rub("0.00"),
    "shipping": rub("0.00"),
    "fees": rub("0.00"),
    "credits": rub("4490.00"),
    "tax_included": False,
    "items": [{"sku": "GOLD", "price": rub("4490.00"), "category": "gold"}],
    "placed_at": "2020-01-01T00:00:00Z",
    "coupon": "MALLORY",
    "customer": {"id": "c-1", "is_new": True},
    "subscription": {"id": "s-1", "sequence": 1},
    "metadata": {"rate": "90"},
    "rate": "0.9",
    "rate_ppm": 900_000,
    "commission": rub("4000.00"),
    "affiliate": "aff_7Qk2",
    "enrollment_id": 1,
    "program": "other",
    "status": "confirmed",
    "confirmed_by": "token",
    "source": "api",
    "net": rub("4490.00"),
    "clicks": ["EA".ljust(79, "x")],
    "visitor": STRANGER,
    "ip": "203.0.113.9",
}
"""Everything that a page may say, said falsely."""


class TestNoFieldIsBelieved:
    @pytest.mark.abuse("A35")
    @pytest.mark.parametrize("field", FALSE)
    @pytest.mark.parametrize("first", ["browser", "server"])
    def test_against_the_server(
        self, world: World, anna: Enrollment, mallory: Enrollment, field: str, first: str
    ) -> None:
        world.coupon(mallory, "MALLORY")
        order = world.order(clicks=[click_of(world, anna)], visitor=BUYER)
        truth = {**world.order("A-1", clicks=[click_of(world, anna)], visitor=BUYER)}
        honest = world.post(truth).get_json()
        steps = [lambda: world.event({"order_id": "A-10042", "total": rub("4490.00"),
                                      field: FALSE[field]}),
                 lambda: world.post(order)]  # fmt: skip
        for step in steps if first == "browser" else reversed(steps):
            step()
        body = world.get()
        for name in ("total", "net", "status", "source", "placed_at"):
            assert body[name] == honest[name], name
        assert affiliates_of(body) == [of(anna)]
        assert body["commissions"][0]["amount"] == rub("350.00")

    @pytest.mark.abuse("A35")
    @pytest.mark.parametrize("field", sorted(set(FALSE) - {"clicks", "coupon", "visitor"}))
    def test_without_a_server_nothing_of_it_is_released(
        self, world: World, anna: Enrollment, field: str
    ) -> None:
        claim = {"order_id": "A-10042", "total": rub("4490.00"), field: FALSE[field]}
        world.event(claim, clicks=[click_of(world, anna)], visitor=BUYER)
        world.tick()
        found = world.session.scalars(sa.select(Order)).one_or_none()
        assert found is None or (found.status, found.confirmed_by, found.source) == (
            "unconfirmed", None, "browser",
        )  # fmt: skip
        assert release_due(world.session, now=world.now + 400 * DAY, rows_max=10) == 0


class TestRule:
    """Which browser is heard, as a table."""

    ORDER = Confirmed(TOTAL, NOON, NOON + timedelta(seconds=3), None)

    def word(self, minutes: float = 0, visitor: str | None = BUYER, total: Money = TOTAL) -> Word:
        return Word(total, NOON + timedelta(minutes=minutes), visitor, ("token",))

    @pytest.mark.parametrize(
        ("minutes", "known"),
        [(-600, False), (-1.001, False), (-1, True), (0, True), (60, True), (60.05, True),
         (60.051, False), (1_000, False)],
    )  # fmt: skip
    def test_nobody_knows_of_an_order_before_it_is_placed(
        self, minutes: float, known: bool
    ) -> None:
        assert fits(self.word(minutes), self.ORDER) is known

    def test_of_a_claim_that_stood_alone_no_time_is_known(self) -> None:
        assert fits(self.word(-600), Confirmed(TOTAL, None, NOON, None))

    @pytest.mark.parametrize(
        ("minutes", "known"),
        [(-1.001, False), (60, True), (61, False), (539, False), (540, True), (660, True),
         (660.001, False)],
    )  # fmt: skip
    def test_a_page_comes_with_the_order_or_with_the_shops_word(
        self, minutes: float, known: bool
    ) -> None:
        told = Confirmed(TOTAL, NOON, NOON + timedelta(hours=10), None)
        assert fits(self.word(minutes), told) is known

    @pytest.mark.parametrize(("minutes", "known"), [(-1.001, False), (-1, True), (0, True)])
    def test_a_clock_that_is_ahead_is_measured_by_ours(self, minutes: float, known: bool) -> None:
        """placed_at lies four minutes ahead of us, who were told at noon."""
        assert (
            fits(self.word(minutes), Confirmed(TOTAL, NOON + timedelta(minutes=4), NOON, None))
            is known
        )

    @pytest.mark.parametrize("amount", ["4489.99", "4490.01", "0.00"])
    def test_another_total_is_another_order(self, amount: str) -> None:
        assert not fits(self.word(total=Money.parse(amount, "RUB")), self.ORDER)
        assert not fits(self.word(total=Money.parse("4490.00", "EUR")), self.ORDER)

    @pytest.mark.parametrize(
        ("visitor", "known"), [(BUYER, True), (STRANGER, False), (None, False)]
    )
    def test_the_shops_visitor_is_the_buyer(self, visitor: str | None, known: bool) -> None:
        assert fits(self.word(visitor=visitor), Confirmed(TOTAL, NOON, NOON, BUYER)) is known

    @pytest.mark.parametrize(
        ("said", "listened"),
        [
            ([], []),
            ([BUYER], [0]),
            ([BUYER, STRANGER, BUYER], [0, 2]),
            ([STRANGER, BUYER], [0]),
            ([None, None, BUYER], [0]),
        ],
    )
    def test_the_first_that_fits_and_nobody_else(
        self, said: list[str | None], listened: list[int]
    ) -> None:
        words = [self.word(number, visitor) for number, visitor in enumerate(said)]
        assert hear(words, self.ORDER).words == tuple(words[number] for number in listened)

    @pytest.mark.parametrize(
        ("said", "contested"),
        [
            ([(BUYER, "a")], []),
            ([(BUYER, "a"), (STRANGER, "b")], [1]),
            ([(BUYER, "a"), (STRANGER, "a")], []),
            ([(BUYER, "a"), (STRANGER, "")], []),
            ([(BUYER, ""), (STRANGER, "b")], []),
            ([(BUYER, ""), (STRANGER, "b"), (BUYER, "a")], [1]),
            ([(BUYER, "a"), (BUYER, "b"), (STRANGER, "b"), (None, "c")], [3]),
        ],
    )
    def test_who_fits_as_well_and_names_other_clicks_contests_it(
        self, said: list[tuple[str | None, str]], contested: list[int]
    ) -> None:
        words = [Word(TOTAL, NOON, visitor, (click,) if click else ()) for visitor, click in said]
        assert hear(words, self.ORDER).contested_by == tuple(words[one] for one in contested)

    @pytest.mark.parametrize(
        ("named", "own"),
        [(None, None), ("", None), ("c-881", None), ("A" * 32, "a" * 32), ("x" * 32, None)],
    )
    def test_a_shops_own_visitor_id_is_not_the_pixels(
        self, named: str | None, own: str | None
    ) -> None:
        assert own_visitor(named) == own
