"""The double's sender, bank payouts, capabilities and rolled keys, over real sockets."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests
import stripe
from stripe_double import Double, item, send, until

SECRET, CONNECT_SECRET = "whsec_platform", "whsec_connect"


class Listener:
    """An endpoint that keeps what it was sent, and answers what it is told to."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str, dict[str, Any]]] = []
        self.answer = 200
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                listener.got.append((self.path, self.headers["stripe-signature"], json.loads(body)))
                secret = CONNECT_SECRET if "connect" in self.path else SECRET
                stripe.WebhookSignature.verify_header(
                    body, self.headers["stripe-signature"], secret, 300
                )
                self.send_response(listener.answer)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def ids(self) -> list[str]:
        return [event["id"] for _, _, event in self.got]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def listener(own: Double) -> Iterator[Listener]:
    made = Listener()
    listen(own, made)
    yield made
    made.close()


def listen(double: Double, to: Listener) -> None:
    double.control(
        "POST", "/webhooks",
        {"platform": {"url": f"{to.url}/platform", "secret": SECRET},
         "connect": {"url": f"{to.url}/connect", "secret": CONNECT_SECRET}},
    )  # fmt: skip


def switch(double: Double, **switches: Any) -> None:
    double.control("POST", "/webhooks/switches", switches)


def test_each_endpoint_gets_its_events_signed_with_its_own_secret(
    own: Double, listener: Listener
) -> None:
    account = own.account()
    send(own, account, item())
    until(lambda: {path for path, _, _ in listener.got} == {"/platform", "/connect"})
    for path, _, event in listener.got:
        assert event.get("account") == (account if path == "/connect" else None)
    (created,) = [e for _, _, e in listener.got if e["type"] == "transfer.created"]
    assert created["request"]["idempotency_key"].startswith("key-")


def test_what_is_not_acknowledged_is_sent_again_for_three_days(
    own: Double, listener: Listener
) -> None:
    listener.answer = 500
    account = own.account()
    until(lambda: len(listener.got) >= 2)
    first = listener.ids()[0]
    for _ in range(12):
        own.control("POST", "/clock", {"advance_s": 86_400})
        time.sleep(0.3)
    tries = listener.ids().count(first)
    assert tries == 11  # the first, and one after each pause
    listener.answer = 200
    own.control("POST", "/clock", {"advance_s": 86_400})
    time.sleep(0.5)
    assert listener.ids().count(first) == tries
    send(own, account, item())
    until(lambda: listener.got[-1][2]["type"] == "transfer.created")


def test_a_delivery_that_gets_lost_is_tried_again(own: Double, listener: Listener) -> None:
    switch(own, drop=2)
    own.account()  # two events: capability and account
    time.sleep(0.6)
    assert listener.got == []
    own.control("POST", "/clock", {"advance_s": 20})
    until(lambda: len(listener.got) == 2)


def test_a_delivery_may_be_duplicated_delayed_and_reordered(
    own: Double, listener: Listener
) -> None:
    switch(own, copies=5)
    account = own.account()
    until(lambda: len(listener.got) == 10)
    assert len(set(listener.ids())) == 2
    switch(own, delay_s=3 * 86_400)
    name = item()
    send(own, account, name)
    time.sleep(0.6)
    assert len(listener.got) == 10
    own.control("POST", "/clock", {"advance_s": 3 * 86_400 + 1})
    until(lambda: len(listener.got) == 11)
    switch(own, reorder=3)
    for _ in range(6):
        send(own, account, item())
    until(lambda: len(listener.got) == 17)
    told = own.control("GET", "/events", query={"type": "transfer.created"})["events"]
    made = [event["id"] for event in told[-6:]]
    assert listener.ids()[11:] != made
    assert sorted(listener.ids()[11:]) == sorted(made)


def test_held_events_go_out_when_asked_in_the_order_that_is_asked(
    own: Double, listener: Listener
) -> None:
    switch(own, hold=True)
    own.account()
    events = [event["id"] for event in own.control("GET", "/events")["events"]]
    assert listener.got == []
    told = own.control("POST", "/deliver", {"events": events[::-1], "copies": 3})
    assert [each["statuses"] for each in told["sent"]] == [[200] * 3, [200] * 3]
    assert listener.ids() == [events[1]] * 3 + [events[0]] * 3
    switch(own)
    time.sleep(0.5)
    assert len(listener.got) == 6  # acknowledged, so not due any more


def test_deliveries_survive_a_kill(own: Double, listener: Listener) -> None:
    switch(own, hold=True)
    own.account()
    own.end(9)
    own.start()
    assert listener.got == []
    switch(own)
    until(lambda: len(listener.got) == 2)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/webhooks", {"platform": {"url": "https://example.com", "secret": "x"}}),
        ("/webhooks", {"platform": {"url": "http://127.0.0.1:1"}}),
        ("/webhooks", {"other": {}}),
        ("/webhooks/switches", {"copies": 0}),
        ("/webhooks/switches", {"delay_s": -1}),
        ("/deliver", {"events": ["evt_none"]}),
        ("/deliver", {"events": [1]}),
        ("/reversals", {"transfer": "tr_none"}),
        ("/payouts", {"id": "po_none"}),
        ("/payouts", {"account": "acct_none"}),
    ],
)
def test_a_switch_that_is_none_is_refused(double: Double, path: str, content: Any) -> None:
    answer = requests.post(f"{double.url}/_double{path}", json=content, timeout=10)
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.json()["error"]["message"]


def test_a_bank_payout_takes_the_money_and_a_failure_brings_it_back(double: Double) -> None:
    account = double.account()
    send(double, account, item(), amount=500)
    client = double.client()
    made = client.v1.payouts.create(
        {"amount": 500, "currency": "eur"}, options={"stripe_account": account}
    )
    assert made.status == "pending"
    assert funds(double, account) == 0
    for status in ("in_transit", "paid", "failed"):
        double.control("POST", "/payouts", {"id": made.id, "status": status})
        found = client.v1.payouts.retrieve(made.id, options={"stripe_account": account})
        assert found.status == status
    assert found.failure_code == "account_closed"
    assert funds(double, account) == 500
    types = [
        event["type"]
        for event in double.control("GET", "/events")["events"]
        if event["data"]["object"].get("id") == made.id
    ]
    assert types == ["payout.created", "payout.updated", "payout.paid", "payout.failed"]
    answer = requests.post(
        f"{double.url}/_double/payouts", json={"id": made.id, "status": "paid"}, timeout=10
    )
    assert answer.status_code == 400


def test_a_bank_payout_can_be_cancelled_and_is_its_accounts_own(double: Double) -> None:
    account, stranger = double.account(), double.account()
    send(double, account, item(), amount=100)
    client = double.client()
    made = client.v1.payouts.create(
        {"amount": 100, "currency": "eur"}, options={"stripe_account": account}
    )
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.payouts.retrieve(made.id, options={"stripe_account": stranger})
    client.v1.payouts.cancel(made.id, options={"stripe_account": account})
    listed = client.v1.payouts.list({"status": "canceled"}, options={"stripe_account": account})
    assert [each.id for each in listed.data] == [made.id]
    assert funds(double, account) == 100


@pytest.mark.parametrize("amount", [10_001, 0, -100])
def test_a_bank_takes_whole_forints_alone(double: Double, amount: int) -> None:
    account = double.account()
    double.control("POST", "/balance", {"account": account, "currency": "huf", "amount": 50_000})
    with pytest.raises(stripe.InvalidRequestError):
        double.client().v1.payouts.create(
            {"amount": amount, "currency": "huf"}, options={"stripe_account": account}
        )
    assert funds(double, account, "huf") == 50_000


def funds(double: Double, account: str, currency: str = "eur") -> int:
    balance = double.client().v1.balance.retrieve(options={"stripe_account": account})
    return sum(each.amount for each in balance.available if each.currency == currency)


def test_capabilities_are_objects_of_their_own(double: Double) -> None:
    account = double.account(transfers="pending")
    client = double.client()
    found = client.v1.accounts.capabilities.retrieve(account, "transfers")
    assert (found.status, found.account) == ("pending", account)
    assert [each.id for each in client.v1.accounts.capabilities.list(account).data] == ["transfers"]
    client.v1.accounts.capabilities.update(account, "card_payments", {"requested": True})
    assert client.v1.accounts.capabilities.retrieve(account, "card_payments").status == "inactive"


def test_an_account_that_withdrew_its_leave_is_shown_and_paid_no_more(double: Double) -> None:
    account = double.account()
    double.control("POST", "/accounts", {"id": account, "deauthorized": True})
    client = double.client()
    with pytest.raises(stripe.PermissionError):
        client.v1.accounts.retrieve(account)
    with pytest.raises(stripe.PermissionError):
        client.v1.balance.retrieve(options={"stripe_account": account})
    with pytest.raises(stripe.InvalidRequestError, match="No such destination"):
        send(double, account, item())


def test_a_reversal_by_hand_needs_no_money_at_the_account(double: Double) -> None:
    account = double.account()
    sent = send(double, account, item(), amount=300)
    double.control("POST", "/balance", {"account": account, "currency": "eur", "amount": 0})
    double.control("POST", "/reversals", {"transfer": sent.id, "amount": 100, "force": True})
    double.control("POST", "/reversals", {"transfer": sent.id, "force": True})
    found = double.client().v1.transfers.retrieve(sent.id)
    assert (found.amount_reversed, found.reversed) == (300, True)


def test_two_keys_are_let_in_until_one_is_revoked(own: Double) -> None:
    own.control("POST", "/keys", {"keys": ["sk_test_old", "sk_test_new"]})
    sent = send(own, own.account(), "rolled", client=own.client(key="sk_test_old"))
    assert send(own, sent.destination, "rolled", client=own.client(key="sk_test_new")).id == sent.id
    own.control("POST", "/keys", {"keys": ["sk_test_new"]})
    with pytest.raises(stripe.AuthenticationError):
        own.client(key="sk_test_old").v1.balance.retrieve()


def test_the_console_does_what_its_buttons_say_for_its_own_page_alone(
    own: Double, listener: Listener
) -> None:
    account = own.account()
    sent = send(own, account, item(), amount=200)
    page = requests.get(own.url, timeout=10)
    assert "Take back" in page.text
    assert "Pay to its bank" in page.text
    assert listener.url in page.text

    def press(name: str, origin: str = own.url, **fields: str) -> int:
        return requests.post(
            f"{own.url}/console/{name}", data=fields, headers={"Origin": origin},
            timeout=10, allow_redirects=False,
        ).status_code  # fmt: skip

    assert press("reverse", "http://evil.example", id=sent.id) == 403
    assert press("reverse", "null", id=sent.id) == 403
    assert press("nothing") == 404
    assert press("pay-out", id=account) == 303
    (bank,) = own.client().v1.payouts.list(options={"stripe_account": account}).data
    assert press("bank", id=bank.id, status="paid") == 303
    assert press("bank", id=bank.id, status="failed") == 303
    assert press("account", id=account, status="inactive") == 303
    assert press("hold", status="hold") == 303
    assert press("reverse", id=sent.id) == 303
    assert press("reverse", id=sent.id) == 400
    assert own.client().v1.transfers.retrieve(sent.id).reversed
    event = own.control("GET", "/events", query={"type": "transfer.reversed"})["events"][0]["id"]
    assert press("send", id=event) == 303
    assert event in listener.ids()
    assert press("hold") == 303
    until(lambda: "payout.failed" in {event["type"] for _, _, event in listener.got})
    assert requests.get(own.url, timeout=10).status_code == 200
