"""API v1: balances, withdrawals and batches, by a shop's key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from money_world import NOW
from paying import Pay

from affiliate.core.ids import public_id
from affiliate.people import api_keys, ids

SCOPES = ("affiliates:read", "withdrawals:write", "batches:read")


@pytest.fixture
def call(by_hand: Pay, client: FlaskClient) -> Callable[..., Any]:
    by_hand.affiliate("anna", "5.005")

    def make(method: str, path: str, *, scopes: tuple[str, ...] = SCOPES, pay: Pay = by_hand,
             **more: Any) -> Any:  # fmt: skip
        _, key = api_keys.create_key(
            pay.session, program_id=pay.world.program_id, scopes=scopes, name="", by=None, now=NOW
        )
        pay.session.commit()
        headers = {"Authorization": f"Bearer {key}"}
        return client.open(f"/api/v1{path}", method=method, headers=headers, **more)

    return make


def eur(amount: str) -> dict[str, str]:
    return {"amount": amount, "currency": "EUR"}


def test_a_withdrawal_moves_the_balance_and_has_a_deadline(
    call: Callable[..., Any], by_hand: Pay
) -> None:
    anna = ids.public(by_hand.world.enrollments["anna"])
    before = call("GET", f"/affiliates/{anna}/balance").json
    assert before["available"] == {"amount": "5.005", "currency": "EUR"}
    assert before["withdrawal"] is None
    made = call("POST", f"/affiliates/{anna}/withdrawals", json={"amount": eur("1.50")})
    assert made.status_code == 201
    assert made.json["amount"] == eur("1.50")
    after = call("GET", f"/affiliates/{anna}/balance").json
    assert (after["available"], after["in_payout"], after["paid"]) == (
        {"amount": "3.505", "currency": "EUR"},
        eur("1.50"),
        eur("0.00"),
    )
    assert after["withdrawal"]["deadline_at"] == made.json["deadline_at"]
    batches = call("GET", "/batches").json["batches"]
    assert [(b["id"], b["status"], b["count"]) for b in batches] == [
        (made.json["batch"], "frozen", 1)
    ]
    shown = call("GET", f"/batches/{made.json['batch']}").json
    assert [(i["affiliate"], i["amount"], i["status"]) for i in shown["items"]] == [
        (anna, eur("1.50"), "queued")
    ]
    assert call("POST", f"/affiliates/{anna}/withdrawals", json={}).status_code == 409


def test_without_an_amount_all_whole_units_are_withdrawn(
    call: Callable[..., Any], by_hand: Pay
) -> None:
    anna = ids.public(by_hand.world.enrollments["anna"])
    made = call("POST", f"/affiliates/{anna}/withdrawals")
    assert (made.status_code, made.json["amount"]) == (201, eur("5.00"))


@pytest.mark.parametrize(
    ("amount", "code"),
    [
        (eur("5.01"), "more_than_available"),
        (eur("0.001"), "too_many_digits"),
        (eur("0"), "not_positive"),
        (eur("-1"), "not_a_decimal"),
        ({"amount": "1.00", "currency": "USD"}, "wrong_currency"),
    ],
)
def test_an_amount_that_cannot_be_paid_is_422(
    call: Callable[..., Any], by_hand: Pay, amount: dict[str, str], code: str
) -> None:
    anna = ids.public(by_hand.world.enrollments["anna"])
    answer = call("POST", f"/affiliates/{anna}/withdrawals", json={"amount": amount})
    assert answer.status_code == 422
    assert code in [error["code"] for error in answer.json["errors"]]


@pytest.mark.abuse("A24", "A35")
def test_another_programs_money_is_not_there(
    call: Callable[..., Any], by_hand: Pay, pay: Callable[..., Pay]
) -> None:
    anna = ids.public(by_hand.world.enrollments["anna"])
    made = call("POST", f"/affiliates/{anna}/withdrawals", json={"amount": eur("1.00")})
    stranger = pay("manual")
    for method, path in (
        ("GET", f"/affiliates/{anna}/balance"),
        ("POST", f"/affiliates/{anna}/withdrawals"),
        ("GET", f"/batches/{made.json['batch']}"),
        ("GET", "/batches/nonsense"),
        ("GET", f"/batches/{public_id('bat', 999)}"),
    ):
        assert call(method, path, pay=stranger).status_code == 404
    assert call("GET", "/batches", pay=stranger).json["batches"] == []
    extra = {"amount": eur("1.00"), "approved": True}
    assert call("POST", f"/affiliates/{anna}/withdrawals", json=extra).status_code == 422


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/affiliates/aff_x/balance"),
        ("POST", "/affiliates/aff_x/withdrawals"),
        ("GET", "/batches"),
        ("GET", "/batches/bat_x"),
    ],
)
def test_each_call_needs_its_scope(call: Callable[..., Any], method: str, path: str) -> None:
    assert call(method, path, scopes=("statistics:read",)).status_code == 403


@pytest.mark.abuse("A25")
def test_nothing_approves_by_key(client: FlaskClient, call: Callable[..., Any]) -> None:
    for path in ("/batches/bat_x/approval", "/batches/bat_x"):
        assert call("POST", path).status_code in (404, 405)
