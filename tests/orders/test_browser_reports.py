"""What shops' pages report: claims, evidence, signed tokens, and what strangers cannot do."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from flask import Flask

from affiliate.core.config import Settings
from affiliate.core.money import Money
from payouts.commissions.models import Commission
from payouts.commissions.release import release_due
from tests.orders.shop_world import DAY, World, affiliates_of, earned, of, rub
from tracker.attribution.models import Decision
from tracker.orders import order_tokens
from tracker.orders.keys import order_token_keys
from tracker.orders.models import Order, OrderReport
from tracker.orders.pace import Pace
from tracker.orders.web import EXTENSION


def claim(**changes: Any) -> dict[str, Any]:
    return {"order_id": "A-10042", "total": rub("4490.00"), **changes}


def signed(world: World, *, net: str = "3500.00", **changes: Any) -> str:
    values: dict[str, Any] = {
        "order_id": "A-10042",
        "total": Money.parse("4490.00", "RUB"),
        "net": Money.parse(net, "RUB"),
        "signed_at": world.now,
        **changes,
    }
    key = values.pop("key", None) or order_token_keys(world.program.id, world.settings)[0]
    return order_tokens.mint(key, **values)


class TestClaim:
    @pytest.mark.abuse("A13")
    def test_it_is_attributed_and_waits_for_confirmation(self, world: World) -> None:
        anna = world.affiliate("anna")
        token = world.click(world.link(anna))
        answer = world.event(claim(), clicks=[token], visitor="0" * 32, sent_at="yesterday")
        assert (answer.status_code, answer.data) == (204, b"")
        body = world.get()
        assert (body["status"], body["source"]) == ("unconfirmed", "browser")
        assert earned(body) == [(of(anna), 1, "449.00", "pending", "confirmation")]

    @pytest.mark.abuse("A13")
    def test_it_is_never_released(self, world: World) -> None:
        token = world.click(world.link(world.affiliate("anna")))
        world.event(claim(), clicks=[token])
        released = release_due(world.session, now=world.now + timedelta(days=400), rows_max=10)
        assert released == 0

    def test_the_gif_takes_the_same_report(self, world: World) -> None:
        token = world.click(world.link(world.affiliate("anna")))
        report = {"program": "lamps", "type": "order", "order": claim(), "clicks": [token]}
        answer = world.client.get(f"/p.gif?d={quote(json.dumps(report))}")
        assert (answer.status_code, answer.content_type) == (200, "image/gif")
        assert answer.data.startswith(b"GIF89a")
        assert len(world.get()["commissions"]) == 1

    @pytest.mark.abuse("A43")
    @pytest.mark.parametrize("path", ["/v1/events", "/p.gif"])
    def test_any_page_may_send_and_no_cookie_is_set(self, world: World, path: str) -> None:
        answer = world.client.get(path) if path == "/p.gif" else world.event(claim())
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in answer.headers
        assert "Set-Cookie" not in answer.headers
        assert answer.headers["Cache-Control"] == "no-store"

    def test_a_preflight_is_answered(self, world: World) -> None:
        answer = world.client.options("/v1/events")
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "POST" in answer.headers["Access-Control-Allow-Methods"]

    def test_a_time_that_no_server_may_send_becomes_now(self, world: World) -> None:
        world.event(claim(placed_at="1999-01-01T00:00:00Z"))
        assert world.get()["placed_at"][:10] >= world.now.date().isoformat()

    @pytest.mark.abuse("A4")
    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            b"{",
            b"\xff",
            b"[]",
            b"null",
            b'{"type":"order"}',
            b'{"type":"order","program":"lamps","order":[]}',
            b'{"type":"order","program":"nope","order":{}}',
            b'{"type":"order","program":["lamps"],"order":{"order_id":"A"}}',
            b'{"type":"order","program":"lamps","order":{"order_id":"A","total":1}}',
            b'{"type":"order","program":"lamps","order":{"order_id":"A","order_id":"B"}}',
            b'{"type":"order","program":"lamps","order":{"order_id":"A\\u0000"}}',
            b'{"type":"order","program":"lamps","order":{"order_id":"A",'
            b'"total":{"amount":"1.00","currency":"EUR"}}}',
            b'{"type":"view","program":"lamps"}',
            b"x" * 17_000,
            b"[" * 16_000,
        ],
    )
    def test_what_is_wrong_is_no_error_to_the_page_and_no_order(
        self, world: World, raw: bytes
    ) -> None:
        assert world.client.post("/v1/events", data=raw).status_code in (202, 204)
        assert world.client.get(f"/p.gif?d={quote(raw[:2000])}").status_code == 200
        assert world.session.scalar(sa.select(sa.func.count()).select_from(Order)) == 0

    def test_a_refused_report_is_told_apart_so_that_a_mended_page_is_heard(
        self, world: World
    ) -> None:
        euros = claim(total={"amount": "10.00", "currency": "EUR"})
        for where in ("/v1/events", "/v1/events?explain=1"):
            asked = {"program": "lamps", "type": "order", "order": euros, "clicks": []}
            assert world.client.post(where, json=asked).status_code == 202
        assert world.event(claim()).status_code == 204
        assert world.event(claim()).status_code == 204, "the same again is taken"

    def test_what_a_page_says_beyond_the_contract_is_passed_over(self, world: World) -> None:
        world.event(claim(theme="dark"))
        assert world.get()["status"] == "unconfirmed"


class TestConfirmation:
    def test_the_servers_word_releases_the_wait(self, world: World) -> None:
        anna = world.affiliate("anna")
        world.event(claim(), clicks=[world.click(world.link(anna))])
        answer = world.post({}, "/A-10042/confirmation")
        assert answer.status_code == 200
        assert earned(answer.get_json()) == [(of(anna), 1, "449.00", "pending", "hold_period")]
        again = world.post({}, "/A-10042/confirmation")
        assert again.headers["Idempotent-Replayed"] == "true"

    @pytest.mark.abuse("A13")
    def test_another_total_than_the_servers_is_not_confirmed(self, world: World) -> None:
        world.event(claim(total=rub("999999.00")))
        answer = world.post({"total": rub("4490.00")}, "/A-10042/confirmation")
        assert (answer.status_code, answer.get_json()["code"]) == (409, "total_differs")
        assert world.get()["status"] == "unconfirmed"

    def test_it_waits_for_a_report_that_is_still_on_its_way(self, world: World) -> None:
        parked = world.post({"total": rub("4490.00")}, "/A-10042/confirmation")
        assert (parked.status_code, parked.get_json()["status"]) == (202, "confirmation_parked")
        world.event(claim())
        assert world.get()["status"] == "confirmed"

    @pytest.mark.abuse("A13")
    def test_what_waits_confirms_no_other_total(self, world: World) -> None:
        world.post({"total": rub("4490.00")}, "/A-10042/confirmation")
        world.event(claim(total=rub("999999.00")))
        assert world.get()["status"] == "unconfirmed"


class TestSupersession:
    def test_the_servers_amounts_win_and_the_browser_adds_evidence(self, world: World) -> None:
        anna = world.affiliate("anna")
        token = world.click(world.link(anna))
        world.event(claim(tax=rub("0.00")), clicks=[token])
        answer = world.post(world.order())
        assert answer.status_code == 201
        body = answer.get_json()
        assert (body["source"], body["status"], body["net"]) == (
            "api", "confirmed", rub("3500.00"),
        )  # fmt: skip
        assert earned(body) == [(of(anna), 1, "350.00", "pending", "hold_period")]
        assert world.post(world.order()).status_code == 200
        assert world.post(world.order(coupon="OTHER")).status_code == 409

    def test_both_decisions_and_their_commissions_are_kept(self, world: World) -> None:
        token = world.click(world.link(world.affiliate("anna")))
        world.event(claim(), clicks=[token])
        world.post(world.order())
        decisions = world.session.execute(
            sa.select(Decision.number, Decision.void_reason).order_by(Decision.number)
        ).all()
        assert [tuple(row) for row in decisions] == [(1, "order_superseded"), (2, None)]
        commissions = world.session.execute(
            sa.select(Commission.decision, Commission.void_reason).order_by(Commission.id)
        ).all()
        assert [tuple(row) for row in commissions] == [(1, "order_superseded"), (2, None)]

    @pytest.mark.abuse("A13")
    def test_a_stranger_ahead_of_the_shop_changes_nothing_that_the_server_says(
        self, world: World
    ) -> None:
        anna, mallory = world.affiliate("anna"), world.affiliate("mallory")
        world.coupon(mallory, "MALLORY")
        mine = world.click(world.link(mallory), ago=timedelta(minutes=1), visitor=b"m" * 16)
        world.event(claim(coupon="MALLORY", customer={"is_new": False}), clicks=[mine])
        token = world.click(world.link(anna))
        body = world.post(world.order(clicks=[token])).get_json()
        assert affiliates_of(body) == [of(anna)]
        assert [line["affiliate"] for line in body["attribution"]["trace"]] == [of(anna)] * 2

    def test_a_browser_after_the_server_adds_the_evidence_that_it_lacked(
        self, world: World
    ) -> None:
        anna = world.affiliate("anna")
        assert world.post(world.order()).get_json()["commissions"] == []
        world.event(claim(), clicks=[world.click(world.link(anna))])
        body = world.get()
        assert (body["source"], body["total"]) == ("api", rub("4490.00"))
        assert earned(body) == [(of(anna), 1, "350.00", "pending", "hold_period")]

    @pytest.mark.abuse("A13")
    def test_evidence_after_a_day_comes_too_late(self, world: World) -> None:
        token = world.click(world.link(world.affiliate("anna")))
        world.post(world.order())
        world.session.execute(sa.update(Order).values(confirmed_at=world.now - 1.1 * DAY))
        world.session.commit()
        world.event(claim(), clicks=[token])
        assert world.get()["commissions"] == []

    @pytest.mark.abuse("A13")
    def test_only_so_many_browsers_are_heard_of_one_order(self, world: World) -> None:
        for number in range(8):
            world.event(claim(metadata={"n": number}))
        heard = world.session.scalar(sa.select(sa.func.count()).select_from(OrderReport))
        assert heard == 5

    def test_an_order_cancelled_as_a_claim_stays_cancelled(self, world: World) -> None:
        world.event(claim(), clicks=[world.click(world.link(world.affiliate("anna")))])
        world.post({}, "/A-10042/cancellation")
        body = world.post(world.order()).get_json()
        assert (body["status"], body["net"]) == ("cancelled", rub("3500.00"))
        assert {c["status"] for c in body["commissions"]} == {"voided"}


class TestSignedToken:
    def test_it_confirms_with_the_amounts_that_it_signs(self, world: World) -> None:
        anna = world.affiliate("anna")
        token = world.click(world.link(anna))
        page = claim(tax=rub("0.00"), shipping=rub("0.00"), token=signed(world))
        world.event(page, clicks=[token])
        body = world.get()
        assert (body["status"], body["net"]) == ("confirmed", rub("3500.00"))
        assert earned(body) == [(of(anna), 1, "350.00", "pending", "hold_period")]

    def test_it_stands_above_a_claim_that_came_first(self, world: World) -> None:
        world.event(claim(total=rub("999999.00")))
        world.event(claim(token=signed(world)))
        body = world.get()
        assert (body["status"], body["total"]) == ("confirmed", rub("4490.00"))

    @pytest.mark.abuse("A13")
    @pytest.mark.parametrize(
        "changes",
        [
            {"order_id": "A-10043"},
            {"total": Money.parse("4490.01", "RUB")},
            {"total": Money.parse("4490.00", "EUR")},
            {"key": b"another program's key"},
            {"net": "4490.01"},
            {"age": timedelta(hours=24, minutes=5)},
            {"age": -timedelta(minutes=10)},
        ],
    )
    def test_a_token_that_does_not_fit_records_nothing(
        self, world: World, changes: dict[str, Any]
    ) -> None:
        if "age" in changes:
            changes = {"signed_at": world.now - changes["age"]}
        world.event(claim(token=signed(world, **changes)))
        answer = world.client.get("/api/v1/orders/A-10042", headers=world.headers)
        assert answer.status_code == 404

    @pytest.mark.parametrize("text", ["", "k1", "k2~1~1~" + "0" * 64, "k1~1~1~" + "0" * 64])
    def test_garbage_is_not_believed(self, world: World, text: str) -> None:
        world.event(claim(token=text))
        answer = world.client.get("/api/v1/orders/A-10042", headers=world.headers)
        assert answer.status_code == 404


class TestPace:
    def test_one_address_is_slowed_and_another_is_not(self, world: World) -> None:
        pace = Pace(None, per_minute=2)
        assert [pace.allows("a", now_s=60.0) for _ in range(3)] == [True, True, False]
        assert pace.allows("b", now_s=60.0)
        assert pace.allows("a", now_s=120.0)

    def test_two_processes_count_together(self, world: World) -> None:
        from affiliate.core import queue

        redis = queue.connect(world.settings.redis_url)
        one, two = Pace(redis, per_minute=2), Pace(redis, per_minute=2)
        told = [each.allows("a", now_s=60.0) for each in (one, two, one)]
        redis.close()
        assert told == [True, True, False]

    @pytest.mark.abuse("A49")
    def test_without_valkey_it_counts_alone(self) -> None:
        from affiliate.core import queue

        pace = Pace(queue.connect("redis://127.0.0.1:1/0"), per_minute=1)
        assert [pace.allows("a", now_s=60.0) for _ in range(2)] == [True, False]

    def test_too_many_are_answered_and_not_recorded(self, world: World) -> None:
        world.app.extensions[EXTENSION] = Pace(None, per_minute=1)
        world.event(claim())
        assert world.event(claim(order_id="A-2")).status_code == 204
        answer = world.client.get("/api/v1/orders/A-2", headers=world.headers)
        assert answer.status_code == 404

    @pytest.mark.parametrize(
        ("first", "second", "slowed"),
        [
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
            ("198.51.100.7", "::ffff:198.51.100.7", True),
            ("198.51.100.7", "198.51.100.8", False),
        ],
    )
    @pytest.mark.abuse("A18")
    def test_whoever_has_a_network_of_addresses_is_one_of_them(
        self, world: World, first: str, second: str, slowed: bool
    ) -> None:
        world.app.extensions[EXTENSION] = Pace(None, per_minute=1)
        for number, address in enumerate((first, second), 1):
            world.client.post(
                "/v1/events",
                json={"program": world.program.slug, "type": "order",
                      "order": claim(order_id=f"N-{number}")},
                environ_base={"REMOTE_ADDR": address},
            )  # fmt: skip
        answer = world.client.get("/api/v1/orders/N-2", headers=world.headers)
        assert answer.status_code == (404 if slowed else 200)


@pytest.mark.abuse("A49")
def test_with_the_database_away_the_page_is_told_to_send_again(settings: Settings) -> None:
    from wsgi import create_app

    gone = replace(settings, database_url="postgresql+psycopg://kopeck@127.0.0.1:1/none")
    app: Flask = create_app(gone)
    client = app.test_client()
    client.environ_base["HTTP_HOST"] = "127.0.0.1:8000"
    body = json.dumps({"program": "lamps", "type": "order", "order": claim()})
    answer = client.post("/v1/events", data=body)
    assert answer.status_code == 503
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


class TestReplays:
    """A token that somebody read out of a page, sent again (A14). The order's id is its nonce."""

    def stands(self, world: World) -> dict[str, Any]:
        world.tick()
        body = world.get()
        counts = {
            model.__tablename__: world.session.scalar(sa.select(sa.func.count()).select_from(model))
            for model in (Order, OrderReport, Decision, Commission)
        }
        return {**body, "counts": counts}

    @pytest.mark.abuse("A13", "A14")
    def test_the_same_again_has_the_same_answer_and_no_effect(self, world: World) -> None:
        page = claim(token=signed(world))
        clicks = [world.click(world.link(world.affiliate("anna")))]
        first = world.event(page, clicks=clicks)
        before = self.stands(world)
        for _ in range(3):
            again = world.event(page, clicks=clicks)
            assert (again.status_code, again.data) == (first.status_code, first.data)
        assert self.stands(world) == before

    @pytest.mark.abuse("A13", "A14")
    @pytest.mark.parametrize(
        "changes",
        [
            {"tax": rub("0.00"), "shipping": rub("0.00")},
            {"items": [{"sku": "GOLD", "price": rub("4490.00")}]},
            {"coupon": "BORIS"},
            {"customer": {"id": "somebody-else"}},
            {"subscription": {"id": "s-1", "sequence": 1}},
            {"metadata": {"channel": "mine"}},
        ],
        ids=lambda changes: next(iter(changes)),
    )
    def test_around_other_content_it_changes_nothing(
        self, world: World, changes: dict[str, Any]
    ) -> None:
        """Amounts edited in the page, another's coupon: the order is what it was confirmed as."""
        anna, boris = world.affiliate("anna"), world.affiliate("boris")
        world.coupon(boris, "BORIS")
        token = signed(world)
        world.event(claim(token=token), clicks=[world.click(world.link(anna))])
        before = self.stands(world)
        assert before["net"] == rub("3500.00")
        mine = world.click(world.link(boris), visitor=bytes([9]) * 16)
        world.event(claim(token=token, **changes), clicks=[mine])
        after = self.stands(world)
        assert after == before
        assert affiliates_of(after) == [of(anna)]

    @pytest.mark.abuse("A14")
    def test_after_a_refund_or_cancellation_it_brings_nothing_back(self, world: World) -> None:
        page = claim(token=signed(world))
        clicks = [world.click(world.link(world.affiliate("anna")))]
        world.event(page, clicks=clicks)
        assert world.post({"refund_id": "R-1", "amount": rub("1000.00")}, "/A-10042/refunds")
        before = self.stands(world)
        world.event(page, clicks=clicks)
        assert self.stands(world) == before
        world.post({}, "/A-10042/cancellation")
        before = self.stands(world)
        world.event(page, clicks=clicks)
        assert self.stands(world) == before
        assert before["status"] == "cancelled"

    @pytest.mark.abuse("A14")
    def test_after_the_servers_own_report_it_changes_nothing(self, world: World) -> None:
        token = signed(world, net="4490.00")
        assert world.post(world.order()).status_code == 201
        before = self.stands(world)
        world.event(claim(token=token))
        after = self.stands(world)
        assert (after["net"], after["counts"]["decisions"]) == (rub("3500.00"), 1)
        assert after["commissions"] == before["commissions"]

    @pytest.mark.abuse("A14")
    def test_it_signs_no_other_program(self, world: World) -> None:
        from tests.builders import make_program

        other = make_program(world.session, now=world.now - 80 * DAY, slug="other")
        world.session.commit()
        body = {"program": other.slug, "type": "order", "order": claim(token=signed(world))}
        assert world.client.post("/v1/events", json=body).status_code == 202
        world.tick()
        assert world.session.scalar(sa.select(sa.func.count()).select_from(Order)) == 0

    @pytest.mark.abuse("A14")
    def test_twenty_at_once_make_one_order(self, world: World) -> None:
        page = claim(token=signed(world))
        clicks = [world.click(world.link(world.affiliate("anna")))]
        body = json.dumps(
            {"program": world.program.slug, "type": "order", "order": page, "clicks": clicks}
        )

        def send(_: int) -> int:
            client = world.app.test_client()
            return client.post("/v1/events", data=body, content_type="text/plain").status_code

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(send, range(20))) == {204}
        stands = self.stands(world)
        assert stands["counts"] == {
            "orders": 1, "order_reports": 1, "decisions": 1, "commissions": 1,
        }  # fmt: skip
        assert stands["status"] == "confirmed"


class TestGuessedCoupons:
    """A page can name any code (A22): it learns nothing by it, and not for long."""

    def coupon_of(self, world: World, order_id: str) -> Any:
        return world.get(order_id)["coupon"]

    @pytest.mark.abuse("A22")
    def test_a_right_code_is_answered_like_a_wrong_one(self, world: World) -> None:
        world.coupon(world.affiliate("anna"), "ANNA10")
        right = world.event(claim(coupon="ANNA10"))
        wrong = world.event(claim(order_id="A-2", coupon="ANNA11"))
        assert (right.status_code, right.data) == (wrong.status_code, wrong.data) == (204, b"")
        volatile = {"X-Request-Id", "Date"}
        assert [h for h in right.headers if h[0] not in volatile] == [
            h for h in wrong.headers if h[0] not in volatile
        ]

    @pytest.mark.abuse("A22")
    def test_after_twenty_wrong_codes_a_right_one_counts_as_little(self, world: World) -> None:
        anna = world.affiliate("anna")
        world.coupon(anna, "ANNA10")
        for number in range(1, 21):
            world.event(claim(order_id=f"G-{number}", coupon=f"CODE{number}"))
        assert self.coupon_of(world, "G-20") == "CODE20"
        world.event(claim(order_id="H-1", coupon="ANNA10"))
        world.event(claim(order_id="H-2", coupon="CODE21"))
        assert [self.coupon_of(world, f"H-{n}") for n in (1, 2)] == [None, None]
        assert world.get("H-1")["attribution"]["reason"] == "no_evidence"
        # Somebody else is not slowed, and the shop's server is believed as ever.
        document = {"program": world.program.slug, "type": "order",
                    "order": claim(order_id="I-1", coupon="anna10")}  # fmt: skip
        world.client.post("/v1/events", json=document, environ_base={"REMOTE_ADDR": "9.9.9.9"})
        assert affiliates_of(world.get("I-1")) == [of(anna)]
        assert affiliates_of(world.post(world.order("H-1", coupon="ANNA10")).get_json()) == [
            of(anna)
        ]

    @pytest.mark.abuse("A22")
    def test_right_codes_are_no_guesses(self, world: World) -> None:
        world.coupon(world.affiliate("anna"), "ANNA10")
        for number in range(25):
            world.event(claim(order_id=f"A-{number}", coupon=" anna10"))
        assert self.coupon_of(world, "A-24") == " anna10"

    def test_the_hour_over_it_is_heard_again(self) -> None:
        pace = Pace(None, per_minute=1, what="guesses", window_s=3_600)
        assert pace.has_room("a", now_s=3_600.0)
        assert [pace.allows("a", now_s=3_600.0 + i) for i in range(2)] == [True, False]
        assert not pace.has_room("a", now_s=7_199.0)
        assert pace.has_room("a", now_s=7_200.0)
