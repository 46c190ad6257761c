"""The loader's verdict on credited clicks, hours after the order."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from affiliate.links.models import Link
from affiliate.people.models import Enrollment
from tests.builders import terms_document
from tests.orders.shop_world import DAY, World, affiliates_of, earned, of
from tracker.attribution.click_checks import CHECK_ROWS_MAX, check_clicks
from tracker.attribution.models import Decision
from tracker.clicks.rules import DropReason

HOUR = timedelta(hours=1)


@pytest.fixture
def anna(world: World) -> Enrollment:
    return world.affiliate("anna")


@pytest.fixture
def link(world: World, anna: Enrollment) -> Link:
    return world.link(anna)


def check(world: World, after: timedelta = HOUR, rows_max: int = CHECK_ROWS_MAX) -> int:
    with world.app.app_context():
        moved = check_clicks(world.session, now=world.now + after, rows_max=rows_max)
        world.session.commit()
    return moved


def wait(world: World) -> list[object]:
    return [commission["waits_for"] for commission in world.get()["commissions"]]


class TestCheck:
    def test_an_order_before_its_clicks_row_waits_for_the_check(
        self,
        world: World,
        link: Link,
    ) -> None:
        world.post(world.order(clicks=[world.click(link, loaded=False)]))
        assert wait(world) == ["click_check"]
        assert check(world) == 0

    def test_a_loaded_click_waits_for_nothing(self, world: World, link: Link) -> None:
        world.post(world.order(clicks=[world.click(link)]))
        assert wait(world) == ["hold_period"]

    def test_an_unrecorded_click_stands_alone(self, world: World, link: Link) -> None:
        world.post(world.order(clicks=[world.click(link, loaded=False, unrecorded=True)]))
        assert wait(world) == ["hold_period"]

    @pytest.mark.parametrize("reason", [None, DropReason.DUPLICATE])
    def test_a_good_verdict_clears_the_wait(
        self,
        world: World,
        link: Link,
        reason: DropReason | None,
    ) -> None:
        token = world.click(link, loaded=False)
        world.post(world.order(clicks=[token]))
        world.load(token, link, reason=reason)
        assert check(world) == 1
        assert wait(world) == ["hold_period"]
        assert check(world) == 0

    def test_a_bad_verdict_voids_and_decides_anew(
        self,
        world: World,
        link: Link,
        anna: Enrollment,
    ) -> None:
        boris = world.affiliate("boris")
        older = world.click(world.link(boris), ago=2 * DAY, visitor=b"b" * 16)
        token = world.click(link, loaded=False)
        body = world.post(world.order(clicks=[older, token])).get_json()
        assert affiliates_of(body) == [of(anna)]
        world.load(token, link, reason=DropReason.BOT)
        assert check(world) == 1
        assert earned(world.get()) == [(of(boris), 1, "350.00", "pending", "hold_period")]
        voided = world.session.execute(
            sa.select(Decision.number, Decision.void_reason).order_by(Decision.number)
        ).all()
        assert [tuple(row) for row in voided] == [(1, "click_invalid"), (2, None)]

    def test_what_is_decided_anew_still_knows_the_items(
        self, app: Flask, settings: Settings, client: FlaskClient, session: Session
    ) -> None:
        """A rule of a product counts for whoever is credited after the verdict too."""
        rule = {
            "name": "Lamps", "when": {"products": ["LAMP-1"]},
            "earns": {"kind": "percent", "rate_ppm": 500_000},
        }  # fmt: skip
        level_1 = {"kind": "percent", "rate_ppm": 100_000}
        world = World.build(
            app, settings, client, session,
            commission={"level_1": level_1, "level_2": None, "rules": [rule]},
        )  # fmt: skip
        anna, boris = world.affiliate("anna"), world.affiliate("boris")
        older = world.click(world.link(boris), ago=2 * DAY, visitor=b"b" * 16)
        link = world.link(anna)
        token = world.click(link, loaded=False)
        world.post(world.order(clicks=[older, token]))
        world.load(token, link, reason=DropReason.BOT)
        assert check(world) == 1
        assert earned(world.get())[0][:3] == (of(boris), 1, "1750.00")

    def test_a_bad_verdict_of_the_only_click_leaves_nobody(
        self,
        world: World,
        link: Link,
    ) -> None:
        token = world.click(link, loaded=False)
        world.post(world.order(clicks=[token]))
        world.load(token, link, reason=DropReason.PREFETCH)
        check(world)
        body = world.get()
        assert (body["attribution"]["reason"], body["commissions"]) == ("not_a_visit", [])

    def test_a_good_verdict_keeps_what_a_person_has_to_look_at(
        self, world: World, link: Link
    ) -> None:
        """The order came too soon after its click: a good click does not change that."""
        token = world.click(link, loaded=False)
        world.post(world.order(clicks=[token]))
        world.session.execute(sa.update(Decision).values(review_reason="too_soon"))
        world.session.commit()
        world.load(token, link)
        assert check(world) == 1
        assert wait(world) == ["review"]
        assert world.session.scalar(sa.select(Decision.review_reason)) == "too_soon"

    def test_a_bad_verdict_on_an_earlier_click_of_a_share_decides_anew(
        self, app: Flask, settings: Settings, client: FlaskClient, session: Session
    ) -> None:
        """Linear, two clicks of Anna and one of Boris: 2/3 and 1/3. Without Anna's older click,
        which the share does not name, 1/2 and 1/2."""
        attribution = {**terms_document()["attribution"], "model": "linear"}
        world = World.build(app, settings, client, session, attribution=attribution)
        anna, boris = world.affiliate("anna"), world.affiliate("boris")
        link = world.link(anna)
        older = world.click(link, ago=3 * DAY, loaded=False)
        middle = world.click(world.link(boris), ago=2 * DAY)
        body = world.post(world.order(clicks=[older, middle, world.click(link)])).get_json()
        weights = [share["weight"] for share in body["attribution"]["shares"]]
        assert weights == ["2/3", "1/3"]
        assert wait(world) == ["click_check", "click_check"]
        world.load(older, link, reason=DropReason.BOT)
        assert check(world) == 1
        shares = world.get()["attribution"]["shares"]
        assert [(s["affiliate"], s["weight"]) for s in shares] == [
            (of(boris), "1/2"),
            (of(anna), "1/2"),
        ]

    def test_without_a_row_the_token_stands_after_a_day(
        self,
        world: World,
        link: Link,
    ) -> None:
        world.post(world.order(clicks=[world.click(link, loaded=False)]))
        assert check(world, 23 * HOUR) == 0
        assert check(world, 25 * HOUR) == 1
        assert wait(world) == ["hold_period"]

    def test_what_still_waits_never_stands_before_what_does_not(
        self,
        world: World,
        link: Link,
    ) -> None:
        world.post(world.order("A-1", clicks=[world.click(link, loaded=False)]))
        token = world.click(link, loaded=False)
        world.post(world.order("A-2", clicks=[token]))
        world.load(token, link)
        assert check_clicks(world.session, now=world.now + HOUR, rows_max=1) == 1

    def test_a_claims_check_leaves_its_wait_for_confirmation(
        self,
        world: World,
        link: Link,
    ) -> None:
        token = world.click(link, loaded=False)
        order = {"order_id": "A-10042", "total": {"amount": "10.00", "currency": "RUB"}}
        world.event(order, clicks=[token])
        world.load(token, link)
        assert check(world) == 1
        assert wait(world) == ["confirmation"]

    def test_a_confirmed_claim_still_waits_for_its_check(
        self,
        world: World,
        link: Link,
    ) -> None:
        token = world.click(link, loaded=False)
        order = {"order_id": "A-10042", "total": {"amount": "10.00", "currency": "RUB"}}
        world.event(order, clicks=[token])
        world.post({}, "/A-10042/confirmation")
        assert wait(world) == ["click_check"]
        world.load(token, link)
        check(world)
        assert wait(world) == ["hold_period"]

    def test_a_refund_before_the_new_decision_is_taken_of_it_too(
        self,
        world: World,
        link: Link,
    ) -> None:
        boris = world.affiliate("boris")
        older = world.click(world.link(boris), ago=2 * DAY, visitor=b"b" * 16)
        token = world.click(link, loaded=False)
        world.post(world.order(clicks=[older, token]))
        amount = {"amount": "449.00", "currency": "RUB"}
        world.post({"refund_id": "r", "amount": amount}, "/A-10042/refunds")
        world.load(token, link, reason=DropReason.BOT)
        check(world)
        [commission] = world.get()["commissions"]
        # a tenth of 350 was refunded before the decision was made anew
        assert commission["reversed"] == {"amount": "35.00", "currency": "RUB"}


def test_an_order_that_cannot_be_decided_does_not_stop_the_others(world: World, link: Link) -> None:
    tokens = [world.click(link, loaded=False) for _ in range(2)]
    for number, token in enumerate(tokens):
        world.post(world.order(f"A-{number}", clicks=[token]))
        world.load(token, link, reason=DropReason.BOT)
    world.session.execute(
        sa.text(
            """
            UPDATE orders SET evidence = '{"server": {"clicks": ["x"], "customer": {"email": "?"}}}'
            WHERE order_id = 'A-0'
            """
        )
    )
    world.session.commit()
    # Not even where the one that fails fills the page in front of the other.
    assert check(world, rows_max=1) == 1
    assert world.get("A-1")["attribution"]["reason"] == "not_a_person"
    live = sa.select(sa.func.count()).where(Decision.voided_at.is_(None))
    assert world.session.scalar(live) == 2, "what failed is as it was"
