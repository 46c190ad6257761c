"""POST and GET /api/v1/orders as docs/api.md fixes them, over the real application."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from payouts.ledger.models import LedgerTransaction
from tests.builders import make_program
from tests.orders.shop_world import DAY, World, affiliates_of, earned, of, rub
from tracker.attribution.models import Decision
from tracker.orders.models import Order, OrderReport

PARALLEL = 50


def test_the_contracts_example_earns_at_both_levels(world: World) -> None:
    boris = world.affiliate("boris")
    anna = world.affiliate("anna", recruiter=boris)
    token = world.click(world.link(anna))
    answer = world.post(world.order(clicks=[token]))
    assert answer.status_code == 201
    body = answer.get_json()
    assert body["net"] == rub("3500.00")
    assert body["status"] == "confirmed"
    assert (body["program"], body["source"]) == ("lamps", "api")
    attribution = body["attribution"]
    assert (attribution["outcome"], attribution["model"]) == ("attributed", "last_click")
    assert attribution["rule_version"] == 1
    [share] = attribution["shares"]
    assert (share["affiliate"], share["weight"], share["evidence"]) == (
        of(anna), "1", "click_token",
    )  # fmt: skip
    first = attribution["trace"][0]
    assert (first["candidate"], first["check"], first["outcome"], first["age_seconds"]) == (
        "click_token", "window", "passed", 86_400,
    )  # fmt: skip
    # 10 % of 3500 = 350, 2 % of 3500 = 70
    assert earned(body) == [
        (of(anna), 1, "350.00", "pending", "hold_period"),
        (of(boris), 2, "70.00", "pending", "hold_period"),
    ]
    level_1, level_2 = body["commissions"]
    assert (level_1["base"], level_1["rate"], level_1["rule"]) == (
        rub("3500.00"), "0.100000", "default percent",
    )  # fmt: skip
    assert (level_2["via"], level_2["of"], level_2["rate"]) == (of(anna), "sale", "0.020000")
    assert body["refunds"] == []
    shown = world.get()
    assert all(line.pop("text") for line in shown["attribution"]["trace"])
    assert shown == body


def test_only_id_time_and_total_are_required(world: World) -> None:
    body = {"order_id": "A", "placed_at": world.now.isoformat(), "total": rub("10.00")}
    answer = world.post(body)
    assert answer.status_code == 201
    assert answer.get_json()["attribution"]["reason"] == "no_evidence"
    assert answer.get_json()["commissions"] == []


@pytest.mark.abuse("A6")
def test_a_total_of_zero_is_accepted_and_earns_nothing(world: World) -> None:
    token = world.click(world.link(world.affiliate("anna")))
    body = {"order_id": "A", "placed_at": world.now.isoformat(), "total": rub("0")}
    answer = world.post({**body, "clicks": [token]})
    assert answer.status_code == 201
    [commission] = answer.get_json()["commissions"]
    assert (commission["status"], commission["reason"]) == ("not_earned", "nothing_paid")


@pytest.mark.abuse("A8")
def test_the_same_order_again_is_answered_as_it_stands(world: World) -> None:
    body = world.order()
    first, second = world.post(body), world.post(body)
    assert (first.status_code, second.status_code) == (201, 200)
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert second.get_json() == first.get_json()
    spelt_out = world.post({**body, "fees": rub("0.00"), "metadata": {}})
    assert spelt_out.status_code == 200


@pytest.mark.abuse("A9")
@pytest.mark.parametrize(
    "changes",
    [
        {"total": rub("4490.01")},
        {"placed_at": "2026-11-20T00:00:00Z"},
        {"coupon": "ANNA10"},
        {"metadata": {"channel": "app"}},
    ],
)
def test_the_same_id_with_other_content_is_a_conflict(
    world: World, changes: dict[str, Any]
) -> None:
    first = world.post(world.order()).get_json()
    if "placed_at" in changes:
        changes = {"placed_at": (world.now - DAY).isoformat()}
    answer = world.post(world.order(**changes))
    assert answer.status_code == 409
    assert answer.content_type == "application/problem+json"
    assert answer.get_json()["code"] == "order_conflict"
    shown = world.get()
    assert (shown["total"], shown["placed_at"]) == (first["total"], first["placed_at"])
    kept = world.session.scalars(sa.select(OrderReport.outcome).order_by(OrderReport.id)).all()
    assert kept == ["created", "conflict"]


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "negative": ({"total": rub("-1.00")}, "total.amount", "not_a_decimal"),
    "plus": ({"total": rub("+1.00")}, "total.amount", "not_a_decimal"),
    "exponent": ({"total": rub("1e3")}, "total.amount", "not_a_decimal"),
    "nan": ({"total": rub("NaN")}, "total.amount", "not_a_decimal"),
    "infinity": ({"total": rub("Infinity")}, "total.amount", "not_a_decimal"),
    "underscore": ({"total": rub("1_000")}, "total.amount", "not_a_decimal"),
    "spaces": ({"total": rub(" 5 ")}, "total.amount", "not_a_decimal"),
    "separator": ({"total": rub("1,000.00")}, "total.amount", "not_a_decimal"),
    "empty": ({"total": rub("")}, "total.amount", "not_a_decimal"),
    "arabic digits": ({"total": rub("٥")}, "total.amount", "not_a_decimal"),
    "full-width digits": ({"total": rub("５")}, "total.amount", "not_a_decimal"),
    "number": ({"total": {"amount": 5, "currency": "RUB"}}, "total.amount", "not_a_decimal"),
    "float": ({"total": {"amount": 5.5, "currency": "RUB"}}, "total.amount", "not_a_decimal"),
    "bool": ({"total": {"amount": True, "currency": "RUB"}}, "total.amount", "not_a_decimal"),
    "null": ({"total": {"amount": None, "currency": "RUB"}}, "total.amount", "not_a_decimal"),
    "no amount": ({"total": {"currency": "RUB"}}, "total.amount", "required"),
    "bare string": ({"total": "5.00"}, "total", "not_money"),
    "too many digits": ({"total": rub("1.001")}, "total.amount", "too_many_digits"),
    "huge": ({"total": rub("1000000000000.01")}, "total.amount", "too_large"),
    "item negative": (
        {"items": [{"price": rub("-1")}]}, "items.0.price.amount", "not_a_decimal"),
    "quantity zero": ({"items": [{"price": rub("1"), "quantity": 0}]}, "items.0.quantity",
        "invalid"),
    "quantity bool": ({"items": [{"price": rub("1"), "quantity": True}]}, "items.0.quantity",
        "not_an_integer"),
    "quantity float": ({"items": [{"price": rub("1"), "quantity": 1.5}]}, "items.0.quantity",
        "not_an_integer"),
}  # fmt: skip


@pytest.mark.abuse("A6")
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_amount_is_refused_with_its_field(world: World, name: str) -> None:
    changes, field, code = WRONG[name]
    _refused(world, world.order(**changes), field, code)


@pytest.mark.abuse("A7")
@pytest.mark.parametrize(
    ("money", "field", "code"),
    [
        ({"amount": "1", "currency": "rub"}, "total.currency", "unknown_currency"),
        ({"amount": "1", "currency": "Rub"}, "total.currency", "unknown_currency"),
        ({"amount": "1", "currency": "XXQ"}, "total.currency", "unknown_currency"),
        ({"amount": "1", "currency": 643}, "total.currency", "unknown_currency"),
        ({"amount": "1"}, "total.currency", "required"),
        ({"amount": "1.0", "currency": "JPY"}, "total.amount", "too_many_digits"),
        ({"amount": "1.0001", "currency": "KWD"}, "total.amount", "too_many_digits"),
        ({"amount": "1.000", "currency": "KWD"}, "total.currency", "currency_mismatch"),
        ({"amount": "1", "currency": "EUR"}, "total.currency", "currency_mismatch"),
    ],
)
def test_a_wrong_currency_is_refused_with_its_field(
    world: World, money: dict[str, Any], field: str, code: str
) -> None:
    body = {"order_id": "A", "placed_at": world.now.isoformat(), "total": money}
    _refused(world, body, field, code)


def test_a_second_currency_inside_the_order_is_refused(world: World) -> None:
    body = world.order(shipping={"amount": "1.00", "currency": "EUR"})
    _refused(world, body, "shipping.currency", "currency_mismatch")


def test_a_total_that_is_not_its_parts_is_refused(world: World) -> None:
    answer = world.post(world.order(total=rub("4490.02")))
    assert (answer.status_code, answer.get_json()["code"]) == (422, "total_mismatch")
    assert world.post(world.order(total=rub("4490.01"))).status_code == 201


@pytest.mark.abuse("A12")
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("2026-11-21T10:15:00", "not_a_moment"),
        ("2026-11-21 10:15:00+03:00", "not_a_moment"),
        ("2026-11-21", "not_a_moment"),
        ("2026-02-30T10:15:00Z", "not_a_moment"),
        ("2026-11-21T24:15:00Z", "not_a_moment"),
        ("2026-11-21T10:15:60Z", "not_a_moment"),
        ("0001-01-01T00:00:00+14:00", "not_a_moment"),
        (1_763_709_300, "not_a_moment"),
        ("2999-01-01T00:00:00Z", "in_the_future"),
        ("1999-01-01T00:00:00Z", "too_old"),
    ],
)
def test_a_time_that_cannot_be_the_orders_is_refused(world: World, text: Any, code: str) -> None:
    _refused(world, world.order(placed_at=text), "placed_at", code)


@pytest.mark.abuse("A12")
def test_older_orders_need_the_scope_to_import(world: World) -> None:
    body = world.order(placed_at=(world.now - timedelta(days=40)).isoformat())
    assert world.post(body).status_code == 422
    importer = world.key("orders:write", "orders:import")
    assert world.post(body, headers=importer).status_code == 201


@pytest.mark.abuse("A35")
@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"status": "confirmed"}, "status"),
        ({"program_id": 2}, "program_id"),
        ({"net": rub("1.00")}, "net"),
        ({"commission": rub("1.00")}, "commission"),
        ({"customer": {"id": "c", "role": "owner"}}, "customer.role"),
        ({"items": [{"price": rub("1"), "rate": "1"}]}, "items.0.rate"),
        ({"total": {**rub("1"), "micros": 1}}, "total.micros"),
    ],
)
def test_unknown_fields_are_refused(world: World, changes: dict[str, Any], field: str) -> None:
    _refused(world, world.order(**changes), field, "unknown_field")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"order_id": ""}, "order_id"),
        ({"order_id": "a b"}, "order_id"),
        ({"order_id": "a/b"}, "order_id"),
        ({"order_id": "é"}, "order_id"),
        ({"order_id": "x" * 256}, "order_id"),
        ({"order_id": 7}, "order_id"),
        ({"tax_included": "yes"}, "tax_included"),
        ({"customer": {"email_sha256": "anna@blog.example"}}, "customer.email_sha256"),
        ({"clicks": ["t"] * 21}, "clicks"),
        ({"clicks": ["t" * 121]}, "clicks.0"),
        ({"coupon": "c" * 65}, "coupon"),
        ({"metadata": {"a": {"b": 1}}}, "metadata"),
        ({"metadata": {str(i): i for i in range(51)}}, "metadata"),
        ({"subscription": {"id": "s", "sequence": 0}}, "subscription.sequence"),
    ],
)
def test_a_field_of_the_wrong_shape_is_refused(
    world: World, changes: dict[str, Any], field: str
) -> None:
    answer = world.post(world.order(**changes))
    assert answer.status_code == 422
    assert field in [error["field"] for error in answer.get_json()["errors"]]


def test_an_id_of_every_allowed_character_is_found_again(world: World) -> None:
    order_id = "Az09._:@#~-" + "x" * 244
    assert world.post(world.order(order_id)).status_code == 201
    assert world.get(order_id.replace("#", "%23"))["order_id"] == order_id


@pytest.mark.abuse("A5")
@pytest.mark.abuse("A36")
@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b'{"order_id":"A","order_id":"B"}',
        b'{"total":{"amount":"1","amount":"2","currency":"RUB"}}',
        b'{"total":NaN}',
        b'{"total":1e999}',
        b'{"coupon":"\xff"}',
        b'{"coupon":"\\ud800"}',
        b'{"coupon":"\\u0000"}',
        b"[" * 100_000,
    ],
)
def test_a_body_that_is_no_strict_json_is_malformed(world: World, raw: bytes) -> None:
    answer = world.post(raw)
    assert (answer.status_code, answer.get_json()["code"]) == (400, "malformed")


def test_a_body_that_is_not_json_by_its_type_is_refused(world: World) -> None:
    answer = world.client.post("/api/v1/orders", data={"order_id": "A"}, headers=world.headers)
    assert (answer.status_code, answer.get_json()["code"]) == (415, "not_json")


@pytest.mark.abuse("A4")
def test_a_body_over_the_limit_is_refused(world: World) -> None:
    answer = world.post(world.order(coupon="x" * 1_000_001))
    assert answer.status_code == 413


@pytest.mark.abuse("A36")
def test_method_override_changes_nothing(world: World) -> None:
    world.headers["X-HTTP-Method-Override"] = "DELETE"
    assert world.post(world.order(), path="?_method=DELETE").status_code == 201


@pytest.mark.abuse("A34")
@pytest.mark.parametrize("text", ["'; DROP TABLE orders; --", "%' OR 1=1 --", "\\", "$1", ":x"])
def test_sql_in_texts_is_only_text(world: World, text: str) -> None:
    body = world.order(coupon=text, visitor=text, metadata={text: text})
    assert world.post(body).status_code == 201
    assert world.get()["metadata"] == {text: text}


@pytest.mark.abuse("A34")
def test_sql_in_an_id_of_the_path_is_refused(world: World) -> None:
    answer = world.client.get("/api/v1/orders/A'%20OR%201=1--", headers=world.headers)
    assert answer.status_code == 422


class TestKeys:
    @pytest.mark.abuse("A15")
    @pytest.mark.parametrize(
        "authorization",
        [
            None,
            "",
            "Bearer",
            "Bearer kpk_00000000_wrong",
            "Basic a3BrOng=",
            "Bearer none.eyJhbGciOiJub25lIn0.",
        ],
    )
    def test_a_missing_or_wrong_key_is_refused(
        self, world: World, authorization: str | None
    ) -> None:
        headers = {} if authorization is None else {"Authorization": authorization}
        answer = world.post(world.order(), headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")

    @pytest.mark.abuse("A15")
    def test_a_secret_that_differs_in_one_character_is_refused(self, world: World) -> None:
        key = world.headers["Authorization"]
        wrong = key[:-1] + ("A" if key[-1] != "A" else "B")
        assert world.post(world.order(), headers={"Authorization": wrong}).status_code == 401

    @pytest.mark.abuse("A15")
    def test_a_key_in_the_address_is_refused(self, world: World) -> None:
        key = world.headers["Authorization"].removeprefix("Bearer ")
        assert world.post(world.order(), path=f"?api_key={key}").status_code == 401

    def test_a_key_without_the_scope_is_refused(self, world: World) -> None:
        reader = world.key("orders:read")
        assert world.post(world.order(), headers=reader).status_code == 403

    @pytest.mark.abuse("A15")
    def test_another_programs_key_sees_and_touches_nothing(self, world: World) -> None:
        world.post(world.order())
        other = make_program(world.session, now=world.now - 90 * DAY, slug="other")
        world.session.commit()
        headers = world.key("orders:read", "orders:write", program=other)
        answer = world.client.get("/api/v1/orders/A-10042", headers=headers)
        assert answer.status_code == 404
        parked = world.post({"refund_id": "r"}, "/A-10042/refunds", headers=headers)
        assert parked.status_code == 202
        assert world.get()["refunds"] == []
        assert world.post(world.order(), headers=headers).status_code == 201

    @pytest.mark.abuse("A43")
    def test_the_api_is_closed_to_other_pages(self, world: World) -> None:
        answer = world.post(world.order())
        assert not [name for name in answer.headers if "Access-Control" in name]


def test_an_unknown_order_is_not_found(world: World) -> None:
    answer = world.client.get("/api/v1/orders/nope", headers=world.headers)
    assert (answer.status_code, answer.get_json()["code"]) == (404, "not_found")


def test_a_closed_program_takes_the_order_and_credits_nobody(world: World) -> None:
    token = world.click(world.link(world.affiliate("anna")), ago=2 * DAY)
    world.program.status, world.program.closes_at = "closing", world.now - DAY
    world.session.commit()
    late = world.post(world.order(clicks=[token])).get_json()
    assert late["attribution"]["reason"] == "program_closed"
    in_time = world.order("A-2", clicks=[token], placed_at=(world.now - 1.5 * DAY).isoformat())
    assert world.post(in_time).get_json()["attribution"]["outcome"] == "attributed"


class TestEvidence:
    def test_the_newest_of_two_tokens_is_credited(self, world: World) -> None:
        anna, boris = world.affiliate("anna"), world.affiliate("boris")
        tokens = [
            world.click(world.link(anna), ago=3 * DAY),
            world.click(world.link(boris), ago=DAY),
        ]
        body = world.post(world.order(clicks=tokens)).get_json()
        assert affiliates_of(body) == [of(boris)]
        reasons = [line.get("reason") for line in body["attribution"]["trace"]]
        assert "later_click_wins" in reasons

    def test_an_earlier_click_of_the_same_visitor_is_found_by_the_token(
        self, app: Flask, settings: Settings, client: Any, session: Session
    ) -> None:
        world = World.build(
            app, settings, client, session,
            attribution={
                "model": "first_click", "window_days": 30, "coupon": "loses",
                "existing_customer": "pays", "self_purchase": "refuses",
            },
        )  # fmt: skip
        anna, boris = world.affiliate("anna"), world.affiliate("boris")
        world.click(world.link(anna), ago=3 * DAY)
        token = world.click(world.link(boris), ago=DAY)
        body = world.post(world.order(clicks=[token])).get_json()
        assert affiliates_of(body) == [of(anna)]
        assert body["attribution"]["shares"][0]["evidence"] == "visitor_click"

    def test_another_programs_token_credits_nobody(self, world: World) -> None:
        other = make_program(world.session, now=world.now - 90 * DAY, slug="other")
        home, world.program = world.program, other
        token = world.click(world.link(world.affiliate("stranger")))
        world.program = home
        body = world.post(world.order(clicks=[token])).get_json()
        assert body["attribution"]["reason"] == "other_program"
        assert "affiliate" not in body["attribution"]["trace"][0]

    @pytest.mark.abuse("A16")
    def test_a_token_changed_by_one_character_credits_nobody(self, world: World) -> None:
        token = world.click(world.link(world.affiliate("anna")))
        forged = token[:20] + ("A" if token[20] != "A" else "B") + token[21:]
        body = world.post(world.order(clicks=[forged, "", "x" * 120])).get_json()
        assert body["attribution"]["reason"] == "token_not_genuine"

    def test_clicks_before_a_link_was_disabled_credit_and_later_ones_do_not(
        self, world: World
    ) -> None:
        link = world.link(world.affiliate("anna"), disabled_at=world.now - 2 * DAY)
        before, after = world.click(link, ago=3 * DAY), world.click(link, ago=DAY)
        assert len(world.post(world.order("A", clicks=[before])).get_json()["commissions"]) == 1
        late = world.post(world.order("B", clicks=[after], visitor=None)).get_json()
        outcomes = {line.get("reason") for line in late["attribution"]["trace"]}
        assert "link_disabled" in outcomes

    def test_a_suspended_affiliate_is_not_credited(self, world: World) -> None:
        anna = world.affiliate("anna")
        token = world.click(world.link(anna))
        anna.status = "suspended"
        world.session.commit()
        body = world.post(world.order(clicks=[token])).get_json()
        assert body["attribution"]["reason"] == "affiliate_inactive"

    def test_a_suspended_recruiter_earns_no_level_2(self, world: World) -> None:
        boris = world.affiliate("boris")
        anna = world.affiliate("anna", recruiter=boris)
        boris.status = "suspended"
        world.session.commit()
        token = world.click(world.link(anna))
        assert affiliates_of(world.post(world.order(clicks=[token])).get_json()) == [of(anna)]

    @pytest.mark.abuse("A22")
    def test_a_coupon_alone_credits_its_owner_however_it_is_typed(self, world: World) -> None:
        anna = world.affiliate("anna")
        world.coupon(anna, "ANNA10")
        body = world.post(world.order(coupon=" anna10 ")).get_json()
        assert affiliates_of(body) == [of(anna)]
        assert body["coupon"] == " anna10 "

    @pytest.mark.abuse("A22")
    def test_a_coupon_against_anothers_click_has_one_payer(self, world: World) -> None:
        anna, boris = world.affiliate("anna"), world.affiliate("boris")
        world.coupon(boris, "BORIS")
        token = world.click(world.link(anna))
        body = world.post(world.order(clicks=[token], coupon="BORIS")).get_json()
        assert affiliates_of(body) == [of(anna)]
        lost = next(line for line in body["attribution"]["trace"] if line["outcome"] == "lost")
        assert (lost["candidate"], lost["affiliate"], lost["check"], lost["reason"]) == (
            "coupon", of(boris), "coupon_against_click", "click_wins",
        )  # fmt: skip

    @pytest.mark.abuse("A22")
    @pytest.mark.parametrize("ended", ["valid_until", "disabled_at"])
    def test_a_coupon_that_is_over_credits_nobody(self, world: World, ended: str) -> None:
        world.coupon(world.affiliate("anna"), "ANNA10", **{ended: world.now - DAY})
        body = world.post(world.order(coupon="ANNA10")).get_json()
        assert body["attribution"]["reason"] == "coupon_not_valid"

    def test_the_affiliates_own_address_is_a_self_purchase(self, world: World) -> None:
        from tests.orders.shop_world import email_sha256

        token = world.click(world.link(world.affiliate("anna")))
        customer = {"id": "c-1", "email_sha256": email_sha256("Anna@Blog.example")}
        body = world.post(world.order(clicks=[token], customer=customer)).get_json()
        assert body["attribution"]["reason"] == "self_purchase"
        # Without the address, the shop's own id for the same person is enough.
        again = world.post(world.order("A-2", clicks=[token], customer={"id": "c-1"})).get_json()
        assert again["attribution"]["reason"] == "self_purchase"

    def test_no_buyers_address_is_kept_in_a_form_that_can_be_guessed(self, world: World) -> None:
        from tests.orders.shop_world import email_sha256

        hashed = email_sha256("buyer@mail.example")
        world.post(world.order(customer={"email_sha256": hashed}))
        stored = world.session.execute(
            sa.text(
                "SELECT (SELECT json_agg(o) FROM orders o)::text"
                " || (SELECT json_agg(r) FROM order_reports r)::text"
                " || (SELECT json_agg(c) FROM customers c)::text"
                " || (SELECT json_agg(d) FROM decisions d)::text"
            )
        ).scalar_one()
        assert hashed not in stored


def test_an_existing_customer_is_refused_by_our_own_record(
    app: Flask, settings: Settings, client: Any, session: Session
) -> None:
    world = World.build(
        app, settings, client, session,
        attribution={
            "model": "last_click", "window_days": 30, "coupon": "loses",
            "existing_customer": "refuses", "self_purchase": "refuses",
        },
    )  # fmt: skip
    link = world.link(world.affiliate("anna"))
    buyer = {"id": "c-1", "is_new": True}
    first = world.order("A", customer=buyer, placed_at=(world.now - 3 * DAY).isoformat())
    assert world.post(first).status_code == 201
    token = world.click(link, ago=DAY)
    body = world.post(world.order("B", customer=buyer, clicks=[token])).get_json()
    assert body["attribution"]["reason"] == "existing_customer"
    earlier = world.click(link, ago=5 * DAY, visitor=bytes([9]) * 16)
    body = world.post(world.order("C", customer=buyer, clicks=[earlier])).get_json()
    assert body["attribution"]["outcome"] == "attributed"
    stranger = {"id": "c-2", "is_new": False}
    body = world.post(world.order("D", customer=stranger, clicks=[token])).get_json()
    assert body["attribution"]["reason"] == "existing_customer"


class TestParallel:
    def test_fifty_equal_reports_make_one_order(self, world: World) -> None:
        token = world.click(world.link(world.affiliate("anna")))
        body = world.order(clicks=[token])
        statuses = _parallel(world, [body] * PARALLEL)
        assert sorted(statuses) == [200] * (PARALLEL - 1) + [201]
        _one_of_each(world)

    def test_fifty_different_reports_make_one_order(self, world: World) -> None:
        token = world.click(world.link(world.affiliate("anna")))
        bodies = [
            world.order(clicks=[token], metadata={"number": number}) for number in range(PARALLEL)
        ]
        statuses = _parallel(world, bodies)
        assert sorted(statuses) == [201] + [409] * (PARALLEL - 1)
        _one_of_each(world)


def _parallel(world: World, bodies: list[dict[str, Any]]) -> list[int]:
    """Every body at once, each in a thread and a connection of its own."""
    statuses: list[int] = []
    start = threading.Barrier(10)
    queue = list(bodies)
    lock = threading.Lock()

    def send() -> None:
        client = world.app.test_client()
        client.environ_base["HTTP_HOST"] = "127.0.0.1:8000"
        start.wait()
        while True:
            with lock:
                if not queue:
                    return
                body = queue.pop()
            answer = client.post(
                "/api/v1/orders",
                data=json.dumps(body),
                content_type="application/json",
                headers=world.headers,
            )
            with lock:
                statuses.append(answer.status_code)

    threads = [threading.Thread(target=send) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def _one_of_each(world: World) -> None:
    def count(model: Any) -> int:
        return world.session.scalar(sa.select(sa.func.count()).select_from(model)) or 0

    assert (count(Order), count(Decision), count(LedgerTransaction)) == (1, 1, 1)


def _refused(world: World, body: dict[str, Any], field: str, code: str) -> None:
    answer = world.post(body)
    assert answer.status_code == 422, answer.text
    assert answer.content_type == "application/problem+json"
    problem = answer.get_json()
    assert (field, code) in [(error["field"], error["code"]) for error in problem["errors"]]
    assert problem["request_id"]
    assert world.session.scalar(sa.select(sa.func.count()).select_from(Order)) == 0
