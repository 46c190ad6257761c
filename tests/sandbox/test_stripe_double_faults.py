"""The Stripe double under faults: what was accepted stays, what was refused left no trace."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from typing import Any

import pytest
import stripe
from stripe_double import DEADLINE_S, ROOT, Double, headers, item, send, until


def test_an_accepted_transfer_survives_kill_9(own: Double) -> None:
    payee, name = own.account(), item()
    own.fault("accept-then-hang")
    lost: list[Exception] = []

    def cut_off() -> None:
        try:
            send(own, payee, name)
        except stripe.APIConnectionError as cause:
            lost.append(cause)

    caller = threading.Thread(target=cut_off)
    caller.start()
    until(lambda: own.accepted(name) == 1)
    own.end(signal.SIGKILL)
    caller.join(DEADLINE_S)
    assert len(lost) == 1
    own.start()
    assert own.accepted(name) == 1
    assert headers(send(own, payee, name))["idempotent-replayed"] == "true"
    assert own.accepted(name) == 1
    assert own.control("GET", "/state")["balances"] == {"eur": 999_900}


def test_a_folder_has_one_owner(own: Double) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "sandbox.stripe", "--port", "0", "--data", str(own.folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )
    assert second.returncode == 1
    assert "already uses" in second.stderr


@pytest.mark.parametrize(
    ("kind", "switches", "raised"),
    [
        ("accept-then-drop", {}, stripe.APIConnectionError),
        ("accept-then-500", {"sticky": False}, stripe.APIError),
        ("accept-then-html-502", {}, stripe.APIError),
        ("half-body", {}, stripe.APIConnectionError),
    ],
)
def test_a_lost_answer_is_found_again_by_its_key(
    double: Double, kind: str, switches: dict[str, Any], raised: type[Exception]
) -> None:
    payee, name = double.account(), item()
    double.fault(kind, **switches)
    with pytest.raises(raised):
        send(double, payee, name)
    assert double.accepted(name) == 1
    assert headers(send(double, payee, name))["idempotent-replayed"] == "true"
    assert double.accepted(name) == 1


def test_a_hanging_answer_outlives_the_clients_patience(double: Double) -> None:
    payee, name = double.account(), item()
    double.fault("accept-then-hang")
    with pytest.raises(stripe.APIConnectionError):
        send(double, payee, name, client=double.client(timeout_s=0.5))
    assert headers(send(double, payee, name))["idempotent-replayed"] == "true"
    assert double.accepted(name) == 1


def test_a_slow_body_arrives_whole(double: Double) -> None:
    payee, name = double.account(), item()
    double.fault("slow-body", hang_s=0.2)
    assert send(double, payee, name).metadata["item_id"] == name


def test_a_500_after_accepting_is_remembered_for_the_life_of_the_key(double: Double) -> None:
    payee, name = double.account(), item()
    double.fault("accept-then-500")
    for _ in range(2):
        with pytest.raises(stripe.APIError) as refusal:
            send(double, payee, name)
        assert refusal.value.http_status == 500
    assert (refusal.value.headers or {}).get("Idempotent-Replayed") == "true"
    assert double.accepted(name) == 1
    caused = double.client().v1.events.list({"type": "transfer.created", "limit": 1}).data[0]
    assert caused.request is not None
    assert caused.request.idempotency_key == f"key-{name}"


@pytest.mark.parametrize(
    ("kind", "switches", "raised", "status"),
    [
        ("refuse-500", {}, stripe.APIError, 500),
        ("refuse-drop", {}, stripe.APIConnectionError, None),
        ("429", {}, stripe.RateLimitError, 429),
        ("429", {"code": "lock_timeout"}, stripe.RateLimitError, 429),
        ("409", {}, stripe.APIError, 409),
        ("html-502", {}, stripe.APIError, 502),
    ],
)
def test_a_refusal_at_the_door_has_no_effect_and_the_key_stays_free(
    double: Double,
    kind: str,
    switches: dict[str, Any],
    raised: type[stripe.StripeError],
    status: int | None,
) -> None:
    payee, name = double.account(), item()
    double.fault(kind, **switches)
    with pytest.raises(raised) as refusal:
        send(double, payee, name)
    assert refusal.value.http_status == status
    assert double.accepted(name) == 0
    assert "idempotent-replayed" not in headers(send(double, payee, name))
    assert double.accepted(name) == 1


def test_a_sticky_500_without_effect_is_replayed(double: Double) -> None:
    payee, name = double.account(), item()
    double.fault("refuse-500", sticky=True)
    for _ in range(2):
        with pytest.raises(stripe.APIError):
            send(double, payee, name)
    assert double.accepted(name) == 0


def test_should_retry_is_sent_when_told(double: Double) -> None:
    double.fault("429", should_retry=True)
    with pytest.raises(stripe.RateLimitError) as refusal:
        send(double, double.account(), item())
    assert (refusal.value.headers or {})["Stripe-Should-Retry"] == "true"


def test_a_fault_fires_as_often_as_it_was_told(double: Double) -> None:
    payee, name = double.account(), item()
    double.fault("409", times=2)
    for _ in range(2):
        with pytest.raises(stripe.APIError):
            send(double, payee, name)
    send(double, payee, name)
    assert double.control("GET", "/faults")["faults"][0]["fired"] == 2


def test_a_fault_meets_only_the_item_it_is_meant_for(double: Double) -> None:
    payee, poisoned, sound = double.account(), item(), item()
    double.fault("refuse-500", times=None, match=f"key-{poisoned}")
    send(double, payee, sound)
    with pytest.raises(stripe.APIError):
        send(double, payee, poisoned)


def test_a_seed_repeats_its_misfortune(double: Double) -> None:
    def misfortunes() -> list[bool]:
        double.control("DELETE", "/faults")
        double.fault("409", times=None, probability=0.5, seed=7, method="GET", path="/v1/balance")
        seen = []
        for _ in range(20):
            try:
                double.client().v1.balance.retrieve()
                seen.append(False)
            except stripe.APIError:
                seen.append(True)
        return seen

    first = misfortunes()
    assert 0 < sum(first) < 20
    assert misfortunes() == first


def test_a_lagging_list_does_not_show_the_newest_yet(own: Double) -> None:
    payee, name = own.account(), item()
    send(own, payee, name)
    own.fault("list-lag", lag_s=60)
    assert own.client().v1.transfers.list({"destination": payee}).data == []
    own.control("POST", "/clock", {"advance_s": 61})
    assert len(own.client().v1.transfers.list({"destination": payee}).data) == 1


def test_requests_are_logged_so_that_a_test_can_say_none_was_made(double: Double) -> None:
    name = item()
    query = {"method": "POST", "idempotency_key": f"key-{name}"}
    assert double.control("GET", "/requests", query=query)["count"] == 0
    send(double, double.account(), name)
    (row,) = double.control("GET", "/requests", query=query)["requests"]
    assert (row["path"], row["status"], row["replayed"]) == ("/v1/transfers", 200, False)
