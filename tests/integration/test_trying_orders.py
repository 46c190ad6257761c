"""Test orders: what a real one would earn, and nothing anywhere but the one row that says so."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from redis import Redis
from untouched import everything

from affiliate.core.money import Money
from tests.orders.shop_world import World, earned, of, rub
from tracker.clicks import tokens
from tracker.clicks.testing import TEST_LINK_ID
from tracker.integration import tidying, trying
from tracker.integration.models import TestOrder
from tracker.orders.keys import order_token_keys
from tracker.orders.models import Order
from tracker.orders.order_tokens import mint
from tracker.orders.records import lock_order_id


def valkey(world: World) -> list[bytes]:
    with Redis.from_url(world.settings.redis_url) as redis:
        return sorted(key for key in redis.scan_iter() if b"rq:" in key)


def kept_tests(world: World) -> list[TestOrder]:
    world.tick()
    return list(world.session.scalars(sa.select(TestOrder).order_by(TestOrder.id)))


def click_of_test(world: World) -> str:
    """The token of a click on the program's test link."""
    at_ms = int(world.now.timestamp() * 1000)
    click_id = tokens.new_click_id(at_ms, b"0123456789")
    key = tokens.signing_keys(world.settings.keys("click-token"))[0]
    return tokens.mint(key, click_id, TEST_LINK_ID, bytes(range(16)))


class TestByApi:
    def test_it_says_what_the_same_order_then_really_earns(self, world: World) -> None:
        boris = world.affiliate("boris")
        anna = world.affiliate("anna", recruiter=boris)
        order = world.order(clicks=[world.click(world.link(anna))])
        tried = world.post({**order, "test": True})
        assert (tried.status_code, tried.json["test"]) == (200, True)
        real = world.post(order)
        assert real.status_code == 201
        assert earned(tried.json) == earned(real.json)
        assert [line["check"] for line in tried.json["attribution"]["trace"]] == [
            line["check"] for line in real.json["attribution"]["trace"]
        ]
        assert earned(tried.json)[0][:3] == (of(anna), 1, "350.00")

    def test_it_touches_no_row_of_any_other_table_and_wakes_no_job(self, world: World) -> None:
        boris = world.affiliate("boris")
        anna = world.affiliate("anna", recruiter=boris)
        token = world.click(world.link(anna))
        world.coupon(anna, "ANNA10")
        rows, keys = everything(world.session), valkey(world)
        customer = {"id": "c-1", "is_new": True}
        for number, changes in enumerate(
            (
                {"clicks": [token]},
                {"coupon": "ANNA10"},
                {"customer": customer},
                {"clicks": [click_of_test(world)]},
            )
        ):
            answer = world.post({**world.order(f"T-{number}", **changes), "test": True})
            assert answer.status_code == 200, answer.text
        assert everything(world.session) == rows
        assert valkey(world) == keys
        assert len(kept_tests(world)) == 4

    def test_the_same_test_again_is_tried_again(self, world: World) -> None:
        order = {**world.order(), "test": True}
        assert [world.post(order).status_code for _ in range(3)] == [200, 200, 200]

    def test_an_order_that_says_test_false_is_an_order(self, world: World) -> None:
        assert world.post({**world.order(), "test": False}).status_code == 201
        assert kept_tests(world) == []
        assert world.get()["order_id"] == "A-10042"

    @pytest.mark.parametrize("said", ["true", 1, "yes", None])
    def test_whoever_is_not_clear_about_it_is_refused(self, world: World, said: Any) -> None:
        answer = world.post({**world.order(), "test": said})
        assert answer.status_code == 422
        assert [error["field"] for error in answer.json["errors"]] == ["test"]
        assert world.session.scalar(sa.select(sa.func.count(Order.id))) == 0

    def test_what_a_real_order_is_refused_for_a_test_is_refused_for(self, world: World) -> None:
        answer = world.post({**world.order(total=rub("1.00")), "test": True})
        assert (answer.status_code, answer.json["code"]) == (422, "total_mismatch")
        assert kept_tests(world) == []

    def test_a_test_with_the_id_of_a_real_order_and_other_content_conflicts(
        self, world: World
    ) -> None:
        assert world.post(world.order()).status_code == 201
        before = everything(world.session)
        answer = world.post({**world.order(coupon="OTHER"), "test": True})
        assert (answer.status_code, answer.json["code"]) == (409, "order_conflict")
        assert everything(world.session) == before

    def test_it_needs_the_scope_of_real_orders(self, world: World) -> None:
        answer = world.post({**world.order(), "test": True}, headers=world.key("orders:read"))
        assert (answer.status_code, answer.json["code"]) == (403, "scope_missing")

    def test_a_test_click_is_credited_to_an_affiliate_of_its_own(self, world: World) -> None:
        tried = world.post({**world.order(clicks=[click_of_test(world)]), "test": True})
        assert tried.json["attribution"]["outcome"] == "attributed"
        assert earned(tried.json) == [("test", 1, "350.00", "pending", "hold_period")]
        [kept] = kept_tests(world)
        assert kept.answer["commissions"][0]["affiliate"] == "test"
        assert "items" not in kept.answer and "metadata" not in kept.answer

    def test_a_test_click_in_a_real_order_credits_nobody(self, world: World) -> None:
        real = world.post(world.order(clicks=[click_of_test(world)]))
        assert real.status_code == 201
        assert real.json["attribution"]["outcome"] == "unattributed"
        assert real.json["commissions"] == []

    def test_it_waits_for_what_is_real_and_not_for_long(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(trying, "LOCK_MS", 200)
        lock_order_id(world.session, program_id=world.program.id, order_id="A-10042")
        order = {**world.order(), "test": True}
        assert world.post(order).status_code == 503
        assert world.event(order).status_code == 503, "the pixel sends it again"
        world.session.rollback()
        assert world.post(order).status_code == 200

    def test_two_tests_and_a_real_order_of_one_id_at_once(self, world: World) -> None:
        token = world.click(world.link(world.affiliate("anna")))
        bodies = [
            {**world.order(clicks=[token]), "test": True},
            {**world.order(clicks=[token]), "test": True},
            world.order(clicks=[token]),
        ]
        with ThreadPoolExecutor(3) as pool:
            codes = sorted(pool.map(lambda body: world.post(body).status_code, bodies * 3))
        assert codes == [200] * 8 + [201]
        assert world.session.scalar(sa.select(sa.func.count(Order.id))) == 1

    def test_more_than_any_shop_tries_in_an_hour_are_refused(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(trying, "TESTS_PER_HOUR_MAX", 2)
        answers = [
            world.post({**world.order(f"T-{n}"), "test": True}).status_code for n in range(3)
        ]
        assert answers == [200, 200, 429]


class TestByPage:
    def test_the_word_may_stand_in_the_order_or_beside_it(self, world: World) -> None:
        token = world.click(world.link(world.affiliate("anna")))
        before = everything(world.session)
        claim = {"order_id": "T-1", "total": rub("100.00")}
        assert world.event({**claim, "test": True}, clicks=[token]).status_code == 204
        assert world.event(claim, clicks=[token], test=True).status_code == 204
        assert everything(world.session) == before
        first, second = kept_tests(world)
        assert first.source == second.source == "browser"
        [commission] = first.answer["commissions"]
        assert commission["amount"] == rub("10.00")
        assert commission["waits_for"] == "confirmation"
        assert second.answer["commissions"][0]["amount"] == rub("10.00")

    @pytest.mark.parametrize("said", ["true", 1, None])
    def test_whoever_is_not_clear_about_it_reports_nothing(self, world: World, said: Any) -> None:
        world.event({"order_id": "T-1", "total": rub("100.00"), "test": said})
        world.event({"order_id": "T-2", "total": rub("100.00")}, test=said)
        assert kept_tests(world) == []
        assert world.session.scalar(sa.select(sa.func.count(Order.id))) == 0

    def test_a_signed_order_token_is_read_as_a_real_one_is(self, world: World) -> None:
        total = Money.parse("100.00", "RUB")
        token = mint(
            order_token_keys(world.program.id, world.settings)[0], order_id="T-1", total=total,
            net=Money.parse("80.00", "RUB"), signed_at=world.now,
        )  # fmt: skip
        claim = {"order_id": "T-1", "total": rub("100.00"), "test": True}
        world.event({**claim, "token": token})
        world.event({**claim, "token": token[:-1] + ("0" if token[-1] != "0" else "1")})
        [kept] = kept_tests(world)
        assert (kept.answer["status"], kept.answer["net"]) == ("confirmed", rub("80.00"))


def test_old_test_orders_go(world: World) -> None:
    world.post({**world.order(), "test": True})
    [kept] = kept_tests(world)
    kept.received_at = world.now - tidying.KEEP * 2
    world.session.commit()
    assert tidying.tidy(world.session, now=world.now) == 1
    world.session.commit()
    assert kept_tests(world) == []


def test_hash_of_everything_sees_a_change(world: World) -> None:
    before = everything(world.session)
    world.post(world.order())
    changed = {name for name, said in everything(world.session).items() if said != before[name]}
    assert {"orders", "decisions", "order_reports"} <= changed
