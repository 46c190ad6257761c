"""The webhook addresses: who is let in, what is kept, and that nothing is acknowledged unkept."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import requests
import sqlalchemy as sa
import stripe
from flask.testing import FlaskClient
from hooked import CONNECT_SECRET, PLATFORM_SECRET, Hooked

from affiliate.core.config import Settings, SettingsError
from payouts.provider.models import ProviderAccount

PLATFORM, CONNECT = "/webhooks/stripe", "/webhooks/stripe-connect"


def event(**changes: Any) -> dict[str, Any]:
    return {
        "id": "evt_1abc",
        "object": "event",
        "api_version": "2026-10-28.endive",
        "created": int(time.time()),
        "data": {"object": {"id": "tr_1", "object": "transfer"}},
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": "req_1", "idempotency_key": "po:x:1:1"},
        "type": "transfer.created",
        **changes,
    }


def signed(body: str, secret: str, *, at: int | None = None) -> dict[str, str]:
    header = stripe.WebhookSignature.generate_signature_header(body, secret, at or int(time.time()))
    return {"Stripe-Signature": header, "Content-Type": "application/json"}


def post(
    hooked: Hooked, path: str = PLATFORM, secret: str = PLATFORM_SECRET, **changes: Any
) -> requests.Response:
    body = json.dumps(event(**changes))
    return requests.post(
        hooked.url + path, data=body.encode(), headers=signed(body, secret), timeout=10
    )


def test_a_signed_event_is_stored_once_and_acknowledged(hooked: Hooked) -> None:
    for _ in range(3):
        answer = post(hooked)
        assert (answer.status_code, answer.json()) == (200, {"received": True})
    (stored,) = hooked.stored()
    assert (stored.id, stored.type, stored.object_id) == ("evt_1abc", "transfer.created", "tr_1")
    assert stored.idempotency_key == "po:x:1:1"
    assert stored.processed_at is None


@pytest.mark.abuse("A38")
@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("none", None),
        ("empty", ""),
        ("words", "hello"),
        ("no signature", "t={now}"),
        ("of another scheme", "t={now},v0={good}"),
        ("a wrong one", "t={now},v1=" + "0" * 64),
        ("letters that are no ASCII", "t={now},v1=\u00e9\u00e9"),
        ("time is a word", "t=now,v1={good}"),
        ("time is endless", "t=" + "9" * 400 + ",v1={good}"),
        ("time was moved", "t={later},v1={good}"),
    ],
)
def test_a_signature_that_does_not_fit_is_a_400(
    hooked: Hooked, name: str, header: str | None
) -> None:
    body, now = json.dumps(event()), int(time.time())
    good = signed(body, PLATFORM_SECRET, at=now)["Stripe-Signature"].partition("v1=")[2]
    headers: dict[str, Any] = {"Content-Type": "application/json"}
    if header is not None:
        text = header.replace("{now}", str(now)).replace("{later}", str(now + 1))
        headers["Stripe-Signature"] = text.replace("{good}", good).encode("latin-1")
    answer = requests.post(hooked.url + PLATFORM, data=body, headers=headers, timeout=10)
    assert answer.status_code == 400, name
    assert answer.json()["code"] == "bad_signature"
    assert hooked.stored() == []


@pytest.mark.abuse("A38")
@pytest.mark.parametrize("age_s", [301, 86_400, -301, -86_400])
def test_a_signature_of_another_time_is_a_400_to_either_side(hooked: Hooked, age_s: int) -> None:
    body = json.dumps(event())
    headers = signed(body, PLATFORM_SECRET, at=int(time.time()) - age_s)
    assert requests.post(hooked.url + PLATFORM, data=body, headers=headers, timeout=10
                         ).status_code == 400  # fmt: skip
    assert hooked.stored() == []


@pytest.mark.abuse("A38")
def test_each_endpoint_has_a_secret_of_its_own(hooked: Hooked) -> None:
    assert post(hooked, PLATFORM, CONNECT_SECRET).status_code == 400
    assert post(hooked, CONNECT, PLATFORM_SECRET).status_code == 400
    assert hooked.stored() == []


@pytest.mark.abuse("A38")
def test_a_body_that_was_changed_after_signing_is_a_400(hooked: Hooked) -> None:
    body = json.dumps(event())
    headers = signed(body, PLATFORM_SECRET)
    changed = body.replace("tr_1", "tr_2")
    answer = requests.post(hooked.url + PLATFORM, data=changed, headers=headers, timeout=10)
    assert answer.status_code == 400


@pytest.mark.abuse("A38")
@pytest.mark.parametrize(
    "body",
    [b"\xff\xfe{}", b"", b"[]", b"null", b'"evt"', b"{}", b"{", b"[" * 100_000,
     b'{"id":"evt_1","type":"x"}'],
    ids=["no UTF-8", "empty", "list", "null", "text", "object", "half", "deep", "no time"],
)  # fmt: skip
def test_a_body_that_is_no_event_is_a_400_signed_or_not(hooked: Hooked, body: bytes) -> None:
    text = body.decode("latin-1")
    headers = signed(body.decode("utf-8", "replace"), PLATFORM_SECRET)
    answer = requests.post(hooked.url + PLATFORM, data=body, headers=headers, timeout=10)
    assert answer.status_code == 400, text[:50]
    assert hooked.stored() == []


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "evt_\x00"},
        {"id": "evt_" + "x" * 300},
        {"id": 17},
        {"type": "transfer.created\n"},
        {"type": "t" * 300},
        {"created": "today"},
        {"created": 10**18},
        {"created": True},
        {"data": {"object": {"id": "tr_'; DROP"}}},
        {"data": []},
        {"request": []},
        {"account": "acct_\x00"},
        {"request": {"idempotency_key": "k" * 300}},
    ],
    ids="-".join,
)
def test_a_signed_body_with_names_that_are_none_is_a_400(
    hooked: Hooked, changes: dict[str, Any]
) -> None:
    assert post(hooked, **changes).status_code == 400
    assert hooked.stored() == []


@pytest.mark.abuse("A38")
def test_a_live_event_at_a_test_key_is_a_400(hooked: Hooked) -> None:
    answer = post(hooked, livemode=True)
    assert (answer.status_code, answer.json()["code"]) == (400, "not_our_event")


@pytest.mark.abuse("A38")
def test_a_test_event_at_a_live_key_is_a_400(hooked: Hooked) -> None:
    client = client_of(
        hooked, stripe_api_key="sk_live_of_nobody", stripe_webhook_secrets=(PLATFORM_SECRET,)
    )
    body = json.dumps(event())
    answer = client.post(PLATFORM, data=body, headers=signed(body, PLATFORM_SECRET))
    assert (answer.status_code, answer.json["code"]) == (400, "not_our_event")
    body = json.dumps(event(livemode=True))
    assert (
        client.post(PLATFORM, data=body, headers=signed(body, PLATFORM_SECRET)).status_code == 200
    )


@pytest.mark.abuse("A38")
def test_events_of_foreign_accounts_are_a_400(hooked: Hooked) -> None:
    hooked.pay.affiliate("anna", "1.00")
    known = hooked.account_of("anna")
    hooked.pay.session.add(
        ProviderAccount(rail="stripe", account="acct_own", seen_at=hooked.pay.sending.real_now())
    )
    hooked.pay.session.commit()
    assert post(hooked, PLATFORM, account="acct_stranger").status_code == 400
    assert post(hooked, PLATFORM, account=known).status_code == 400
    assert post(hooked, CONNECT, CONNECT_SECRET).status_code == 400
    assert post(hooked, CONNECT, CONNECT_SECRET, account="acct_own").status_code == 400
    assert post(hooked, CONNECT, CONNECT_SECRET, account="acct_stranger").status_code == 400
    assert hooked.stored() == []
    assert post(hooked, PLATFORM, account="acct_own").status_code == 200
    assert post(hooked, CONNECT, CONNECT_SECRET, id="evt_2", account=known).status_code == 200


def test_an_endpoint_without_a_secret_does_not_exist(hooked: Hooked) -> None:
    client = client_of(hooked, stripe_webhook_secrets=())
    body = json.dumps(event())
    for path in (PLATFORM, CONNECT):
        for secret in ("", " ", PLATFORM_SECRET):
            assert client.post(path, data=body, headers=signed(body, secret)).status_code == 404


def test_both_secrets_are_valid_while_one_is_rolled(hooked: Hooked) -> None:
    secrets = ("whsec_the_new_secret", PLATFORM_SECRET)
    client = client_of(hooked, stripe_webhook_secrets=secrets)
    for number, secret in enumerate(secrets):
        body = json.dumps(event(id=f"evt_{number}"))
        assert client.post(PLATFORM, data=body, headers=signed(body, secret)).status_code == 200
    body = json.dumps(event(id="evt_9"))
    both = (
        f"{signed(body, 'whsec_of_somebody_else')['Stripe-Signature']},"
        + (signed(body, PLATFORM_SECRET)["Stripe-Signature"].partition(",")[2])
    )
    assert client.post(PLATFORM, data=body, headers={"Stripe-Signature": both}).status_code == 200
    assert len(hooked.stored()) == 3


def test_a_type_that_nobody_knows_is_stored_and_comes_to_nothing(hooked: Hooked) -> None:
    assert post(hooked, type="treasury.something.of_2031", api_version="2031-01-01").ok
    assert post(hooked, id="evt_big", type="invoice.paid", padding="x" * 500_000).ok
    hooked.digest()
    assert hooked.outcomes() == ["ignored", "ignored"]
    assert requests.get(f"{hooked.url}/metrics", timeout=10).text.count(
        'kopeck_provider_events_total{outcome="ignored"} 2.0'
    )


def test_a_body_beyond_the_limit_is_refused_unread(hooked: Hooked) -> None:
    assert post(hooked, padding="x" * 1_100_000).status_code == 413
    assert hooked.stored() == []


def test_nothing_is_acknowledged_while_the_database_cannot_keep_it(hooked: Hooked) -> None:
    with hooked.pay.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE provider_events RENAME TO provider_events_away"))
    assert post(hooked).status_code == 500
    with hooked.pay.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE provider_events_away RENAME TO provider_events"))
    assert post(hooked).status_code == 200


@pytest.mark.parametrize(
    "name", ["KOPECK_STRIPE_WEBHOOK_SECRET", "KOPECK_STRIPE_CONNECT_WEBHOOK_SECRET"]
)
@pytest.mark.parametrize(
    "value",
    [
        "short",
        "whsec_of_the_first_one,x",
        "whsec_\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9",
    ],
)
def test_a_secret_that_is_none_is_refused_at_the_start_by_its_name(name: str, value: str) -> None:
    environ = {
        "KOPECK_MODE": "test", "DATABASE_URL": "postgresql:///x", "REDIS_URL": "redis://x",
        "KOPECK_SECRET": "x" * 40, "KOPECK_PUBLIC_URL": "http://127.0.0.1:8000", name: value,
    }  # fmt: skip
    with pytest.raises(SettingsError, match=name):
        Settings.from_environ(environ)


def client_of(hooked: Hooked, **changes: Any) -> FlaskClient:
    client = hooked.another_app(**changes).test_client()
    client.environ_base["HTTP_HOST"] = "127.0.0.1:8000"
    return client
