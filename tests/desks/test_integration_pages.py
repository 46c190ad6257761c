"""The pages of the integration: the checklist, test orders, the canary, refused calls, browsers."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from markupsafe import escape
from redis import Redis
from staff import Staff, hire
from world import CHROME, World

from affiliate.core import clock, queue
from affiliate.people import api_keys
from affiliate.people.models import ApiKey
from tracker.clicks.testing import TEST_LINK_ID
from tracker.clicks.tokens import mint, new_click_id, signing_keys
from tracker.integration import canary
from tracker.integration.jobs import walk_canaries
from tracker.integration.models import Canary
from tracker.integration.notebook import flush
from tracker.integration.way import Problem, Step, Walk
from tracker.orders.refusals import OrderConflict

PAGE = "/manage/integration"
PAGES = (PAGE, f"{PAGE}/checklist", f"{PAGE}/refused", f"{PAGE}/browsers")


@pytest.fixture(autouse=True)
def no_csrf(app: Flask) -> None:
    app.config["WTF_CSRF_ENABLED"] = False


@pytest.fixture
def manager(world: World) -> Staff:
    return hire(world, "manager")


def shown(who: Staff, path: str = PAGE) -> str:
    answer = who.client.get(f"{path}{'&' if '?' in path else '?'}program=demo")
    assert answer.status_code == 200, answer.text
    return " ".join(answer.text.split())


def shop_key(world: World) -> dict[str, str]:
    _, key = api_keys.create_key(
        world.session, program_id=world.program.id, scopes=("orders:write",), name="shop", by=None,
        now=world.now,
    )  # fmt: skip
    world.session.commit()
    return {"Authorization": f"Bearer {key}"}


def order(world: World, order_id: str = "A-1", **more: Any) -> dict[str, Any]:
    total = {"amount": "100.00", "currency": "RUB"}
    return {"order_id": order_id, "placed_at": world.now.isoformat(), "total": total, **more}


def send(world: World, body: dict[str, Any], headers: dict[str, str]) -> int:
    return world.app.test_client().post("/api/v1/orders", json=body, headers=headers).status_code


def report(world: World, **envelope: Any) -> None:
    body = {"program": "demo", "type": "order", "order": order(world, "A-9"), **envelope}
    world.app.test_client().post(
        "/v1/events", data=json.dumps(body), headers={"Origin": "https://shop.example"}
    )
    flush(world.app)


def test_a_new_program_is_told_what_to_do_next(world: World, manager: Staff) -> None:
    page = shown(manager)
    for said in (
        "No page of this site has fetched it yet.",
        "Put the line of the pixel on every page of the site.",
        "data-program=&#34;demo&#34;&gt;&lt;/script&gt;",
        f"{world.settings.public_url}/r/~demo",
        "Make a key and send a test order as shown here.",
        "curl http://127.0.0.1:8000/api/v1/orders",
        "Switch it on: it notices before affiliates do.",
        "No test order yet",
    ):
        assert said in page, said
    assert "Nothing was refused" in shown(manager, f"{PAGE}/refused")
    assert "No orders yet" in shown(manager, f"{PAGE}/browsers")


def test_the_checklist_turns_green_as_things_come_in(world: World, manager: Staff) -> None:
    headers = shop_key(world)
    world.app.test_client().get("/pixel.js", headers={"Referer": "https://shop.example/"})
    key = signing_keys(world.settings.keys("click-token"))[0]
    click_id = new_click_id(int(world.now.timestamp() * 1000), b"0123456789")
    report(world, clicks=[mint(key, click_id, TEST_LINK_ID, bytes(16))])
    assert send(world, order(world), headers) == 201
    part = shown(manager, f"{PAGE}/checklist")
    for said in ("Seen on", "A click token came back on", "The last came on", "Orders come from"):
        assert said in part, said
    assert "check-red" not in part
    assert "<html" not in part and "every 5s" in part


def test_a_test_order_is_shown_with_every_check(world: World, manager: Staff) -> None:
    headers = shop_key(world)
    key = signing_keys(world.settings.keys("click-token"))[0]
    click_id = new_click_id(int(world.now.timestamp() * 1000), b"0123456789")
    token = mint(key, click_id, TEST_LINK_ID, bytes(16))
    assert send(world, order(world, "T-1", test=True, clicks=[token]), headers) == 200
    assert send(world, order(world, "T-2", test=True), headers) == 200
    page = shown(manager)
    assert "T-1" in page and "10.00" in page and "the test affiliate" in page
    assert "nobody&#39;s click or coupon came with the order" in page
    assert "Every check" in page


def test_refused_calls_are_listed_and_filtered(world: World, manager: Staff) -> None:
    headers = shop_key(world)
    assert send(world, order(world, total={"amount": "x", "currency": "RUB"}), headers) == 422
    assert send(world, {**order(world, "A-2"), "colour": "red"}, headers) == 422
    assert send(world, order(world, "A-3"), headers) == 201
    assert send(world, order(world, "A-3", coupon="X"), headers) == 409
    flush(world.app)
    page = shown(manager, f"{PAGE}/refused")
    assert "total.amount: not_a_decimal" in page and "colour: unknown_field" in page
    assert "409 <code>order_conflict</code>" in page and "A-3" in page
    assert escape(OrderConflict.title) in page
    only = shown(manager, f"{PAGE}/refused?code=order_conflict")
    assert "A-3" in only and "not_a_decimal" not in only
    assert "No call fits" in shown(manager, f"{PAGE}/refused?caller=kpk_nobody")
    assert "3 in the last 24 hours" in shown(manager)


def test_what_browsers_cost_is_told_by_the_browser_of_the_click(
    world: World, manager: Staff
) -> None:
    world.affiliate("Anna")
    world.sale("Anna", "100.00", days_ago=3)
    page = shown(manager, f"{PAGE}/browsers")
    assert "Chrome" in CHROME and ">Chrome<" in page
    assert "No page has reported an order in this time" in page
    assert "100%" in page
    assert "An order that neither the page nor the server told of is in no row." in page


class TestCanary:
    def test_it_is_switched_on_and_off_by_who_may_act(self, world: World, manager: Staff) -> None:
        post = lambda **data: manager.client.post(f"{PAGE}/canary?program=demo", data=data)  # noqa: E731
        assert post(what="on").status_code == 303
        world.session.rollback()
        row = world.session.get_one(Canary, world.program.id)
        assert (row.off_since, row.switched_by) == (None, manager.user_id)
        assert "Its first walk begins within a minute." in shown(manager)
        keys = manager.client.get("/manage/keys").text
        assert "kopeck.canary" in keys
        assert "/rotation" not in keys and "/revocation" not in keys, "it is the canary's alone"
        assert post(what="off").status_code == 303
        assert post(what="off").status_code == 409
        world.session.rollback()
        assert world.session.scalar(sa.select(ApiKey.revoked_at)) is not None
        analyst = hire(world, "analyst")
        assert analyst.client.post(f"{PAGE}/canary?program=demo").status_code == 403
        assert "Switch it on</button>" not in shown(analyst)

    def test_it_sets_out_when_it_is_told_to(
        self, world: World, manager: Staff, redis_url: str
    ) -> None:
        def rung() -> list[str]:
            with Redis.from_url(redis_url) as redis:
                return [job.func_name for job in queue.queue_on(redis, queue.GENERAL).jobs]

        for what, bells in (("on", 1), ("on", 2), ("off", 2)):
            manager.client.post(f"{PAGE}/canary?program=demo", data={"what": what})
            assert rung().count(walk_canaries.path) == bells

    def test_an_alarm_stands_on_the_overview_the_menu_and_the_page(
        self, world: World, manager: Staff
    ) -> None:
        real = clock.real_now()
        with world.app.app_context():
            canary.switch_on(
                world.session, program_id=world.program.id, settings=world.settings,
                by=manager.user_id, now=real, real=real,
            )  # fmt: skip
            due = canary.claim_due(world.session, settings=world.settings, real=real)
            assert due is not None
            broken = Walk(
                {Step.CLICK: 5}, Step.CLICK, Problem.UNREACHABLE, "ConnectionRefusedError"
            )
            for ago in (6, 1):
                at = real - timedelta(minutes=ago)
                canary.note_walk(
                    world.session, due=due, walk=broken, settings=world.settings, now=at, real=at
                )
            world.session.commit()
        page = shown(manager)
        assert "Click on the test link: nothing answers at the public address" in page
        assert 'class="count count-late"' in page
        overview = manager.client.get("/manage/?program=demo").text
        assert "The canary has not come through since" in overview
        with world.app.app_context():
            canary.note_walk(
                world.session, due=due, walk=Walk({Step.CLICK: 5}), settings=world.settings,
                now=real, real=real,
            )  # fmt: skip
            world.session.commit()
        assert "has not come through since" not in shown(manager)
        assert "It last came through on" in shown(manager)


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_there_in_russian_and_for_readers_alone(world: World, path: str) -> None:
    analyst = hire(world, "analyst")
    answer = analyst.client.get(f"{path}?program=demo", headers={"Accept-Language": "ru"})
    assert answer.status_code == 200
    world.affiliate("Anna")
    assert world.people["Anna"].client.get(path).status_code == 403


def test_without_a_program_the_page_says_so(world: World) -> None:
    owner = hire(world, "owner")
    assert shown(owner)
    assert owner.client.get(f"{PAGE}?program=nobody").status_code == 404
