"""Webhooks by API: made, read, changed, ended, and sent again."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa
from standardwebhooks import Webhook

from affiliate.core import ids, repeats
from affiliate.core.audit import AuditEntry
from affiliate.core.repeats import StoredAnswer
from affiliate.people import api_keys
from affiliate.webhooks import endpoints, rules
from affiliate.webhooks.models import WebhookEndpoint
from tests.api.calls import Caller, caller
from tests.webhooks.told import Told
from tests.world import World

HOOK = {"url": "https://shop.example/hook", "types": ["order.created", "payout.paid"]}
ONCE = {"Idempotency-Key": "one-intent"}


@pytest.fixture
def shop(world: World) -> Caller:
    return caller(world, "webhooks:read", "webhooks:write")


def made(shop: Caller, **changes: Any) -> dict[str, Any]:
    answer = shop("/webhooks", "POST", json=HOOK | changes)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.get_json()
    return found


def with_key(shop: Caller) -> Caller:
    twin = Caller(shop.world, "")
    twin.headers = shop.headers | ONCE
    return twin


def actions(world: World) -> list[tuple[str, str]]:
    world.session.rollback()
    found = world.session.execute(
        sa.select(AuditEntry.action, AuditEntry.actor)
        .where(AuditEntry.action.startswith("webhook."))
        .order_by(AuditEntry.id)
    )
    return [(row.action, row.actor.partition("_")[0]) for row in found]


def test_one_is_made_read_and_listed_and_its_secret_shown_once(shop: Caller) -> None:
    whole = made(shop, description=" Our  ERP ")
    secret = whole.pop("secret")
    assert secret.startswith("whsec_")
    assert (whole["types"], whole["description"]) == (HOOK["types"], "Our ERP")
    assert (whole["waiting"], whole["failed"], whole["disabled_at"]) == (0, 0, None)
    read = shop(f"/webhooks/{whole['id']}")
    assert read.get_json() == whole
    listed = shop("/webhooks")
    assert listed.get_json() == {"webhooks": [whole], "next": None}
    assert secret not in read.text + listed.text
    assert actions(shop.world) == [("webhook.create", "key:kpk")]


def test_it_is_told_and_signed_by_the_secret_that_was_shown(shop: Caller, told: Told) -> None:
    whole = made(shop, url=told.url + "/hook")
    sent = shop(f"/webhooks/{whole['id']}/tests", "POST")
    assert sent.status_code == 202
    waiting = sent.get_json()
    assert (waiting["type"], waiting["state"], waiting["attempts"]) == (
        "webhook.test", "waiting", 0,
    )  # fmt: skip
    assert told.deliver() == 1
    [request] = told.requests
    Webhook(whole["secret"]).verify(request.body, request.headers)
    shown = shop.get(f"/webhooks/{whole['id']}/deliveries/{waiting['id']}")
    assert (shown["state"], shown["status"], shown["next_try_at"]) == ("delivered", 200, None)
    assert shown["message_id"] == request.headers["webhook-id"]
    assert json.loads(shown["body"]) == request.message
    [attempt] = shown["attempts_made"]
    assert (attempt["status"], attempt["answer"], attempt["trouble"]) == (200, "thanks", None)
    assert shop.get(f"/webhooks/{whole['id']}")["delivered_at"] is not None


def test_a_put_changes_it_whole(shop: Caller) -> None:
    code = made(shop, description="ERP")["id"]
    other = {"url": "https://other.example/", "types": ["batch.approved"]}
    changed = shop(f"/webhooks/{code}", "PUT", json=other).get_json()
    assert (changed["url"], changed["types"], changed["description"]) == (
        other["url"], other["types"], "",
    )  # fmt: skip
    assert "secret" not in changed
    assert shop.get(f"/webhooks/{code}") == changed
    assert actions(shop.world)[-1] == ("webhook.change", "key:kpk")


def test_a_new_secret_signs_beside_the_one_before(shop: Caller, told: Told) -> None:
    whole = made(shop, url=told.url + "/hook")
    new = shop(f"/webhooks/{whole['id']}/secret", "POST").get_json()
    assert set(new) == {"secret", "previous_until"}
    assert new["secret"] != whole["secret"]
    shop(f"/webhooks/{whole['id']}/tests", "POST")
    told.deliver()
    [request] = told.requests
    for secret in (whole["secret"], new["secret"]):
        Webhook(secret).verify(request.body, request.headers)
    assert actions(shop.world)[-1] == ("webhook.rotate", "key:kpk")


def test_it_is_switched_off_on_and_ended(shop: Caller) -> None:
    path = f"/webhooks/{made(shop)['id']}"
    off = shop(f"{path}/disabling", "POST").get_json()
    assert (off["disabled_for"], off["disabled_at"] is None) == ("person", False)
    assert shop(f"{path}/disabling", "POST").get_json() == off
    for what in ("tests", "repeats"):
        body = {"since": shop.world.now.isoformat()} if what == "repeats" else None
        refused = shop(f"{path}/{what}", "POST", json=body)
        assert (refused.status_code, refused.get_json()["code"]) == (409, "endpoint_disabled")
    assert shop(f"{path}/enabling", "POST").get_json()["disabled_at"] is None
    gone = shop(path, "DELETE")
    assert (gone.status_code, gone.data) == (204, b"")
    assert shop(path, "DELETE").status_code == 404
    assert shop(path).status_code == 404
    assert shop.get("/webhooks")["webhooks"] == []
    assert [action for action, _ in actions(shop.world)] == [
        "webhook.create", "webhook.disable", "webhook.enable", "webhook.delete",
    ]  # fmt: skip


def test_deliveries_are_found_by_their_state_and_sent_again(shop: Caller, told: Told) -> None:
    code = made(shop, url=told.url + "/hook")["id"]
    path = f"/webhooks/{code}"
    told.status = 500
    shop(f"{path}/tests", "POST")
    for pause in (0, *rules.RETRY_PAUSES_S):
        told.later(seconds=pause + 1_000)
        told.deliver()
    [failed] = shop.get(f"{path}/deliveries?state=failed")["deliveries"]
    assert (failed["status"], failed["attempts"]) == (500, rules.ATTEMPTS_MAX)
    assert shop.get(path)["failed"] == 1
    told.status = 204
    again = shop(f"{path}/deliveries/{failed['id']}/repeats", "POST")
    assert (again.status_code, again.get_json()["state"]) == (202, "waiting")
    told.deliver()
    [arrived] = shop.get(f"{path}/deliveries?state=delivered")["deliveries"]
    assert arrived["id"] == failed["id"]
    assert {each.headers["webhook-id"] for each in told.requests} == {
        shop.get(f"{path}/deliveries/{failed['id']}")["message_id"]
    }


def test_all_that_failed_is_sent_again_at_once(shop: Caller) -> None:
    path = f"/webhooks/{made(shop)['id']}"
    for _ in range(3):
        shop(f"{path}/tests", "POST")
    shop(f"{path}/disabling", "POST")  # What waits is given up.
    shop(f"{path}/enabling", "POST")
    begun = shop.world.now.isoformat()
    assert len(shop.get(f"{path}/deliveries?state=failed")["deliveries"]) == 3
    answer = shop(f"{path}/repeats", "POST", json={"since": begun})
    assert (answer.status_code, answer.get_json()) == (202, {"deliveries": 3})
    assert shop.get(path)["waiting"] == 3
    assert shop(f"{path}/repeats", "POST", json={"since": begun}).get_json() == {"deliveries": 0}


@pytest.mark.parametrize(
    "changes",
    [
        {"url": ""}, {"url": "http://shop.example/"}, {"url": "https://10.0.0.1/"},
        {"url": "https://user:pass@shop.example/"}, {"url": "https://shop.example:8443/"},
        {"url": "https://shop.example/" + "x" * 1_000}, {"url": None}, {"types": []},
        {"types": ["order.eaten"]}, {"types": ["webhook.test"]}, {"types": "order.created"},
        {"description": "x" * 101}, {"secret": "whsec_mine"}, {"method": "GET"},
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(shop: Caller, changes: dict[str, Any]) -> None:
    code = made(shop)["id"]
    assert shop("/webhooks", "POST", json=HOOK | changes).status_code == 422
    assert shop(f"/webhooks/{code}", "PUT", json=HOOK | changes).status_code == 422
    assert len(shop.get("/webhooks")["webhooks"]) == 1


def test_there_are_as_many_as_can_be(shop: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "ENDPOINTS_MAX", 1)
    made(shop)
    refused = shop("/webhooks", "POST", json=HOOK)
    assert (refused.status_code, refused.get_json()["code"]) == (409, "too_many_endpoints")


def test_neither_another_program_nor_a_postback_is_reached(
    world: World, shop: Caller, told: Told
) -> None:
    world.affiliate("Anna")
    postback = ids.public_id("whk", told.postback("Anna", "c={click_id}").id)
    code = made(shop)["id"]
    sent = shop(f"/webhooks/{code}/tests", "POST").get_json()["id"]
    stranger = caller(world, *api_keys.SCOPES, program=world.euros)
    beside = made(stranger)["id"]
    for who, path in (
        (stranger, f"/webhooks/{code}"), (shop, f"/webhooks/{postback}"),
        (stranger, f"/webhooks/{beside}/deliveries/{sent}"), (shop, "/webhooks/whk_zzzzzzzzzzzzzz"),
    ):  # fmt: skip
        assert who(path).status_code == 404, path
    repeat = f"/webhooks/{beside}/deliveries/{sent}/repeats"
    assert stranger(repeat, "POST").status_code == 404
    assert stranger(f"/webhooks/{code}/deliveries").status_code == 404
    assert [each["id"] for each in shop.get("/webhooks")["webhooks"]] == [code]


class TestSentAgain:
    """Under an Idempotency-Key."""

    def test_the_answer_of_that_time_has_the_secret_and_the_table_has_not(
        self, shop: Caller
    ) -> None:
        sender, world = with_key(shop), shop.world
        first = sender("/webhooks", "POST", json=HOOK)
        again = sender("/webhooks", "POST", json=HOOK)
        assert (again.status_code, again.data) == (201, first.data)
        assert again.headers["Idempotent-Replayed"] == "true"
        assert len(shop.get("/webhooks")["webhooks"]) == 1
        world.session.rollback()
        stored = world.session.scalars(sa.select(StoredAnswer.body)).one()
        assert first.get_json()["secret"].encode() not in stored
        assert not stored.startswith(b"{")

    def test_a_secret_is_made_once(self, shop: Caller) -> None:
        path = f"/webhooks/{made(shop)['id']}/secret"
        sender = with_key(shop)
        assert sender(path, "POST").data == sender(path, "POST").data
        assert [action for action, _ in actions(shop.world)].count("webhook.rotate") == 1

    def test_an_end_is_answered_as_it_was(self, shop: Caller) -> None:
        path = f"/webhooks/{made(shop)['id']}"
        sender = with_key(shop)
        assert sender(path, "DELETE").status_code == 204
        again = sender(path, "DELETE")
        assert (again.status_code, again.headers["Idempotent-Replayed"]) == (204, "true")

    def test_what_can_be_read_no_more_is_said(
        self, shop: Caller, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sender = with_key(shop)
        assert sender("/webhooks", "POST", json=HOOK).status_code == 201
        monkeypatch.setattr(repeats, "PURPOSE", "another")  # As with another KOPECK_SECRET.
        again = sender("/webhooks", "POST", json=HOOK)
        assert (again.status_code, again.get_json()["code"]) == (409, "answer_unreadable")
        world = shop.world
        world.session.rollback()
        count = sa.select(sa.func.count()).select_from(WebhookEndpoint)
        assert world.session.scalar(count) == 1
