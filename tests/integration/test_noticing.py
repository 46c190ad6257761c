"""What requests notice in passing: facts of sites, refused calls; never their own outcome."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
import sqlalchemy as sa

from affiliate.core.money import Money
from affiliate.people.models import ApiKey
from tests.orders.shop_world import World, rub
from tracker.integration import notebook as notebooks
from tracker.integration import tidying
from tracker.integration.models import IntegrationFact, RefusedCall
from tracker.integration.notebook import flush, notebook
from tracker.integration.noticing import call_refused
from tracker.integration.rules import Fact
from tracker.orders import order_tokens
from tracker.orders.keys import order_token_keys
from tracker.pixel.web import current_script

SHOP = {"Origin": "https://shop.example"}
CLAIM = {"order_id": "A-1", "total": rub("100.00")}


def facts(world: World) -> dict[tuple[str, str], IntegrationFact]:
    flush(world.app)
    world.tick()
    rows = world.session.scalars(sa.select(IntegrationFact))
    return {(row.host, row.fact): row for row in rows}


def refused(world: World) -> list[RefusedCall]:
    flush(world.app)
    world.tick()
    return list(world.session.scalars(sa.select(RefusedCall).order_by(RefusedCall.id)))


def report(world: World, headers: dict[str, str] | None = None, **envelope: Any) -> None:
    body = {"program": world.program.slug, "type": "order", "order": CLAIM, **envelope}
    answer = world.client.post(
        "/v1/events", data=json.dumps(body), content_type="text/plain", headers=headers or SHOP
    )
    assert answer.status_code in (202, 204)


class TestSites:
    def test_a_page_that_fetches_the_pixel_is_seen_with_its_version(self, world: World) -> None:
        world.client.get("/pixel.js", headers={"Referer": "https://www.shop.example/"})
        seen = facts(world)["www.shop.example", Fact.PIXEL]
        assert (seen.program_id, seen.detail) == (world.program.id, current_script().version)

    def test_a_page_with_a_version_that_is_not_installed_is_seen_too(self, world: World) -> None:
        asked = world.client.get("/pixel-0123456789abcdef.js", headers={"Referer": SHOP["Origin"]})
        assert asked.status_code == 404
        assert facts(world)["shop.example", Fact.OLD_PIXEL].detail == "0123456789abcdef"

    def test_what_is_no_version_is_not_kept(self, world: World) -> None:
        for version in ("%00", "\N{SNOWMAN}", "a" * 100):
            world.client.get(f"/pixel-{version}.js", headers={"Referer": SHOP["Origin"]})
            notebook(world.app)._noticed.clear()
        assert facts(world)["shop.example", Fact.OLD_PIXEL].detail in ("?", "a" * 32)

    @pytest.mark.parametrize("referrer", ["https://elsewhere.example/", "", "javascript:x", "//["])
    def test_pages_of_nobodys_site_are_not(self, world: World, referrer: str) -> None:
        assert world.client.get("/pixel.js", headers={"Referer": referrer}).status_code == 200
        assert facts(world) == {}

    def test_a_report_tells_its_site_and_whether_its_tokens_are_ours(self, world: World) -> None:
        token = world.click(world.link(world.affiliate("anna")))
        report(world, clicks=[token])
        assert set(facts(world)) == {
            ("shop.example", Fact.REPORTED), ("shop.example", Fact.LANDED),
        }  # fmt: skip

    def test_a_token_that_somebody_changed_is_seen_with_the_reason(self, world: World) -> None:
        token = world.click(world.link(world.affiliate("anna")))
        report(world, clicks=[("A" if token[40] != "A" else "B").join((token[:40], token[41:]))])
        found = facts(world)["shop.example", Fact.BAD_CLICK_TOKEN]
        assert found.detail == "bad_signature"

    def test_the_gif_names_its_site_in_the_referrer(self, world: World) -> None:
        body = quote(json.dumps({"program": "lamps", "type": "order", "order": CLAIM}))
        world.client.get(f"/p.gif?d={body}", headers={"Referer": "https://shop.example/"})
        assert ("shop.example", Fact.REPORTED) in facts(world)

    def test_order_tokens_good_and_bad(self, world: World) -> None:
        signed = order_tokens.mint(
            order_token_keys(world.program.id, world.settings)[0], order_id="A-1",
            total=Money.parse("100.00", "RUB"), net=Money.parse("80.00", "RUB"),
            signed_at=world.now,
        )  # fmt: skip
        report(world, order={**CLAIM, "token": signed})
        assert ("shop.example", Fact.ORDER_TOKEN) in facts(world)
        report(world, order={**CLAIM, "token": "k1~1~1~" + "0" * 64})
        bad = facts(world)["shop.example", Fact.BAD_ORDER_TOKEN]
        assert bad.detail == "The signed order token is bad_signature."

    def test_a_fact_is_written_once_a_minute(self, world: World) -> None:
        report(world)
        first = facts(world)["shop.example", Fact.REPORTED].last_at
        for _ in range(3):
            report(world)
        assert facts(world)["shop.example", Fact.REPORTED].last_at == first
        # Another process, whose notebook knows nothing of it.
        notebook(world.app)._noticed.clear()
        report(world)
        assert facts(world)["shop.example", Fact.REPORTED].last_at == first

    def test_hosts_that_somebody_invents_end_somewhere(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(notebooks, "STRANGERS_MAX", 2)
        for number in range(5):
            report(world, {"Origin": f"https://x{number}.example"})
        report(world)
        hosts = {host for host, _ in facts(world)}
        assert hosts == {"x0.example", "x1.example", "shop.example"}

    def test_hosts_that_somebody_invents_under_a_site_end_too(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(notebooks, "HOSTS_MAX", 3)
        world.program.allowed_sites = [*world.program.allowed_sites, ".shop.example"]
        world.session.commit()
        for number in range(5):
            site = f"https://x{number}.shop.example/"
            world.client.get("/pixel.js", headers={"Referer": site})
        report(world)
        assert facts(world).keys() >= {("shop.example", Fact.REPORTED)}
        assert len({host for host, _ in facts(world)} - {"shop.example"}) <= 3


class TestRefusedCalls:
    def test_the_reason_is_kept_and_nothing_that_was_said(self, world: World) -> None:
        body = world.order(total=rub("1.234"), customer={"id": "c-881"}, metadata={"name": "Anna"})
        answer = world.post(body)
        [row] = refused(world)
        assert (row.route, row.status, row.code) == ("POST /api/v1/orders", 422, "invalid")
        assert row.fields.startswith("total.amount: ")
        assert (row.order_id, row.request_id) == ("A-10042", answer.json["request_id"])
        assert row.caller == world.headers["Authorization"].removeprefix("Bearer ")[:12]
        kept = " ".join(str(value) for value in vars(row).values())
        assert "Anna" not in kept and "c-881" not in kept and "1.234" not in kept

    def test_a_conflict_is_one_too(self, world: World) -> None:
        world.post(world.order())
        world.post(world.order(coupon="X"))
        assert [(row.status, row.code) for row in refused(world)] == [(409, "order_conflict")]

    def test_a_wrong_secret_of_a_known_key_is_kept_a_strangers_is_not(self, world: World) -> None:
        key = world.headers["Authorization"]
        for sent in (key[:-3] + "xxx", "Bearer kpk_ffffffff_" + "x" * 43, "Bearer no"):
            answer = world.post(world.order(), headers={"Authorization": sent})
            assert answer.status_code == 401
        assert [row.code for row in refused(world)] == ["key_refused"]

    def test_the_order_is_named_by_the_address_too(self, world: World) -> None:
        world.post({"refund_id": "r-1", "amount": rub("0.00")}, "/A-7/refunds")
        world.client.get("/api/v1/orders/A-8", headers=world.headers)
        assert {(row.route, row.order_id) for row in refused(world)} == {
            ("GET /api/v1/orders/<order_id>", "A-8"),
            ("POST /api/v1/orders/<order_id>/refunds", "A-7"),
        }

    def test_a_flood_is_one_row_a_minute(self, world: World) -> None:
        for number in range(40):
            world.post(world.order(f"A-{number}", total=rub("1.00")))
        rows = refused(world)
        assert sum(row.calls for row in rows) == 40
        assert len(rows) <= 2  # Two, where a minute ended meanwhile.

    def test_kinds_without_end_end(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(notebooks, "CALLS_PER_MINUTE_MAX", 3)
        for number in range(10):
            world.post({**world.order(), f"field_{number}": 1})
        assert len(refused(world)) <= 6

    def test_a_refused_report_of_a_page_is_kept(self, world: World) -> None:
        report(world, order={**CLAIM, "total": rub("1.234")})
        report(world, program="nobodys", order={})
        [row] = refused(world)
        assert (row.caller, row.route, row.code) == ("browser", "POST /v1/events", "invalid")
        assert row.order_id == "A-1"

    def test_what_was_taken_is_not(self, world: World) -> None:
        world.post(world.order())
        report(world)
        assert refused(world) == []

    def test_others_may_say_what_they_refused(self, world: World) -> None:
        with world.app.test_request_context("/v1/events", method="POST"):
            call_refused(
                program_id=world.program.id, caller="src_7Qk2", code="bad_signature", status=400
            )
        [row] = refused(world)
        assert (row.caller, row.code, row.fields) == ("src_7Qk2", "bad_signature", "")

    def test_the_answer_is_the_same_while_nothing_can_be_written(self, world: World) -> None:
        with psycopg.connect(
            world.settings.database_url.replace("+psycopg", "", 1), autocommit=True
        ) as other:
            other.execute("ALTER TABLE refused_calls RENAME TO away")
            try:
                answer = world.post(world.order(total=rub("1.00")))
                flush(world.app)
            finally:
                other.execute("ALTER TABLE away RENAME TO refused_calls")
        assert (answer.status_code, answer.json["code"]) == (422, "total_mismatch")
        assert not notebook(world.app).due()

    def test_old_rows_and_too_many_go(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tidying, "REFUSED_ROWS_MAX", 2)
        for number in range(4):
            world.post({**world.order(), f"field_{number}": 1})
        rows = refused(world)
        assert len(rows) == 4
        rows[3].last_at = world.now - tidying.KEEP - timedelta(days=1)
        world.session.commit()
        assert tidying.tidy(world.session, now=world.now) == 2
        world.session.commit()
        assert len(refused(world)) == 2

    def test_a_key_is_never_written_whole(self, world: World) -> None:
        world.post(world.order(total=rub("1.00")))
        [row] = refused(world)
        stored = world.session.scalar(sa.select(ApiKey.prefix))
        assert row.caller == f"kpk_{stored}"
