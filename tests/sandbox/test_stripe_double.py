"""The Stripe double, driven by the official package against a real process on a real socket."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import requests
import stripe
from stripe_double import DEADLINE_S, KEY, Double, headers, item, send, until

DAY_S = 24 * 60 * 60


# Transfers


def test_a_transfer_moves_money_once_and_says_where_it_went(double: Double) -> None:
    payee, name = double.account(), item()
    sent = send(double, payee, name, amount=250, transfer_group="batch-1", description="November")
    assert sent.id.startswith("tr_")
    assert (sent.amount, sent.currency, sent.destination) == (250, "eur", payee)
    assert (sent.transfer_group, sent.description) == ("batch-1", "November")
    assert sent.metadata.to_dict() == {"item_id": name}
    assert not hasattr(sent, "status")
    funds = double.client().v1.balance.retrieve().available
    assert [(one.currency, one.amount) for one in funds] == [("eur", 999_750)]
    theirs = double.client().v1.balance.retrieve(options={"stripe_account": payee})
    assert [(one.currency, one.amount) for one in theirs.available] == [("eur", 250)]
    assert double.client().v1.transfers.retrieve(sent.id).id == sent.id
    assert double.accepted(name) == 1


def test_what_arrived_can_be_read_by_expanding_the_payment(double: Double) -> None:
    sent = send(
        double, double.account(), item(), expand=["destination_payment.balance_transaction"]
    )
    assert sent.destination_payment.balance_transaction.amount == 100


def test_only_metadata_and_description_of_a_transfer_can_change(double: Double) -> None:
    sent = send(double, double.account(), "kept")
    changed = double.client().v1.transfers.update(
        sent.id, {"description": "new", "metadata": {"item_id": "", "note": "n"}}
    )
    assert (changed.description, changed.amount) == ("new", 100)
    assert changed.metadata.to_dict() == {"note": "n"}
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        double.client().v1.transfers.update(sent.id, {"amount": 5})
    assert refusal.value.code == "parameter_unknown"


@pytest.mark.parametrize(
    ("given", "code", "param"),
    [
        ({"amount": "0"}, "parameter_invalid_integer", "amount"),
        ({"amount": "-1"}, "parameter_invalid_integer", "amount"),
        ({"amount": "1.5"}, "parameter_invalid_integer", "amount"),
        ({"amount": "nan"}, "parameter_invalid_integer", "amount"),
        ({"amount": "True"}, "parameter_invalid_integer", "amount"),
        ({"amount": "1" + "0" * 20}, "parameter_invalid_integer", "amount"),
        ({"amount": ""}, "parameter_invalid_empty", "amount"),
        ({"amount": None}, "parameter_missing", "amount"),
        ({"currency": None}, "parameter_missing", "currency"),
        ({"destination": None}, "parameter_missing", "destination"),
        ({"currency": "xyz"}, None, "currency"),
        ({"currency": "kwd", "amount": "1001"}, "parameter_invalid_integer", "amount"),
        ({"destination": "acct_nobody"}, "resource_missing", "destination"),
        ({"source_transaction": "ch_none"}, "resource_missing", "source_transaction"),
        ({"source_type": "cash"}, None, "source_type"),
        ({"paid": "yes"}, "parameter_unknown", "paid"),
        ({"idempotency_key": "k"}, "parameter_unknown", "idempotency_key"),
        ({"metadata": "text"}, None, "metadata"),
        ({"metadata[" + "k" * 41 + "]": "v"}, None, "metadata"),
        ({"metadata[k]": "v" * 501}, None, "metadata[k]"),
        ({"description": "d" * 5001}, None, "description"),
        ({"expand[0]": "secrets"}, None, "expand"),
        ({"amount[x]": "1"}, None, "amount"),
        ({"a[b][c][d][e][f][g][h][i]": "1"}, None, None),
    ],
)
def test_a_malformed_transfer_is_refused_in_stripes_words(
    double: Double, given: dict[str, str | None], code: str | None, param: str | None
) -> None:
    form: dict[str, str | None] = {"amount": "1", "currency": "eur", "destination": "acct_x"}
    sent = {name: value for name, value in {**form, **given}.items() if value is not None}
    if "amount[x]" in sent:
        del sent["amount"]
    answer = requests.post(
        f"{double.url}/v1/transfers", data=sent, auth=(KEY, ""), timeout=DEADLINE_S
    )
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (400, "invalid_request_error")
    assert (error.get("code"), error.get("param")) == (code, param)
    assert error["request_log_url"].endswith(answer.headers["Request-Id"])
    assert (code is None) == ("doc_url" not in error)


def test_fifty_one_metadata_keys_are_one_too_many(double: Double) -> None:
    labels = {f"k{number}": "v" for number in range(50)}
    sent = send(double, double.account(), "x", key="fifty", metadata=labels)
    assert sent.metadata.to_dict() == labels
    with pytest.raises(stripe.InvalidRequestError, match="up to 50 metadata keys"):
        send(double, double.account(), "x", key="fifty-one", metadata={**labels, "more": "v"})


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ({"transfers": "inactive"}, "insufficient_capabilities_for_transfer"),
        ({"transfers": "pending"}, "insufficient_capabilities_for_transfer"),
        ({"closed": True}, "account_closed"),
        ({"country": "BR"}, "transfers_not_allowed"),
    ],
)
def test_an_account_that_cannot_be_paid_is_refused(
    double: Double, states: dict[str, Any], code: str
) -> None:
    name = item()
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        send(double, double.account(**states), name)
    assert (refusal.value.http_status, refusal.value.code) == (400, code)
    assert double.accepted(name) == 0


@pytest.mark.parametrize(
    "states", [{"country": "US"}, {"country": "BR", "service_agreement": "recipient"}]
)
def test_an_account_within_reach_is_paid(double: Double, states: dict[str, Any]) -> None:
    name = item()
    send(double, double.account(**states), name)
    assert double.accepted(name) == 1


def test_a_wrong_key_is_told_apart_from_none(double: Double) -> None:
    with pytest.raises(stripe.AuthenticationError, match="Invalid API Key provided: sk_test_"):
        double.client(key="sk_test_some_other_key").v1.balance.retrieve()
    answer = requests.get(f"{double.url}/v1/balance", timeout=DEADLINE_S)
    assert answer.status_code == 401


def test_a_rolled_key_is_let_in_and_the_old_one_is_not(own: Double) -> None:
    own.control("POST", "/keys", {"keys": ["sk_test_rolled"]})
    with pytest.raises(stripe.AuthenticationError):
        own.client().v1.balance.retrieve()
    assert own.client(key="sk_test_rolled").v1.balance.retrieve().object == "balance"


def test_a_stranger_to_the_platform_is_no_account(double: Double) -> None:
    with pytest.raises(stripe.PermissionError) as refusal:
        double.client().v1.balance.retrieve(options={"stripe_account": "acct_stranger"})
    assert refusal.value.error is not None
    assert refusal.value.error.code == "account_invalid"


@pytest.mark.parametrize("path", ["/v1/customers", "/v1/transfers/tr_none", "/v2/core/accounts"])
def test_an_unknown_address_or_id_is_404(double: Double, path: str) -> None:
    answer = requests.get(double.url + path, auth=(KEY, ""), timeout=DEADLINE_S)
    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "invalid_request_error"


# Idempotency keys


def test_the_same_key_replays_the_same_transfer(double: Double) -> None:
    payee, name = double.account(), item()
    first = send(double, payee, name)
    again = send(double, payee, name)
    assert again.to_dict() == first.to_dict()
    assert "idempotent-replayed" not in headers(first)
    assert headers(first)["original-request"] == headers(first)["request-id"]
    assert headers(again)["idempotent-replayed"] == "true"
    assert headers(again)["original-request"] == headers(first)["request-id"]
    assert headers(again)["request-id"] != headers(first)["request-id"]
    assert headers(again)["idempotency-key"] == f"key-{name}"
    assert double.accepted(name) == 1


def test_the_same_key_with_other_parameters_is_refused(double: Double) -> None:
    payee, name = double.account(), item()
    first = send(double, payee, name)
    with pytest.raises(stripe.IdempotencyError, match="same parameters") as refusal:
        send(double, payee, name, amount=101)
    assert refusal.value.http_status == 400
    with pytest.raises(stripe.IdempotencyError):
        double.client().v1.transfers.update(
            first.id, {"description": "x"}, options={"idempotency_key": f"key-{name}"}
        )
    assert double.accepted(name) == 1


def test_each_account_has_keys_of_its_own(double: Double) -> None:
    payee, name = double.account(), item()
    send(double, payee, name, key="scoped")
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        double.client().v1.transfers.create(
            {"amount": 1, "currency": "eur", "destination": payee},
            options={"idempotency_key": "scoped", "stripe_account": payee},
        )
    assert refusal.value.code == "resource_missing"


def test_a_key_in_flight_is_a_conflict_until_the_first_request_ends(double: Double) -> None:
    payee, name = double.account(), item()
    double.fault("delay", delay_s=DEADLINE_S)
    sent: list[stripe.Transfer] = []
    first = threading.Thread(target=lambda: sent.append(send(double, payee, name)))
    first.start()
    until(lambda: double.control("GET", "/state")["in_flight"] == 1)
    with pytest.raises(stripe.APIError) as refusal:
        send(double, payee, name)
    assert refusal.value.http_status == 409
    assert refusal.value.error is not None
    assert refusal.value.error.code == "idempotency_key_in_use"
    double.control("DELETE", "/faults")
    first.join(DEADLINE_S)
    assert send(double, payee, name).id == sent[0].id
    assert double.accepted(name) == 1


def test_many_requests_with_one_key_make_one_transfer(double: Double) -> None:
    payee, name = double.account(), item()
    outcomes: list[str] = []
    start = threading.Barrier(8)

    def race() -> None:
        start.wait()
        try:
            outcomes.append(send(double, payee, name).id)
        except stripe.APIError as refusal:
            outcomes.append(str(refusal.http_status))

    racers = [threading.Thread(target=race) for _ in range(8)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(DEADLINE_S)
    assert len(outcomes) == 8
    assert len(set(outcomes) - {"409"}) == 1
    assert double.accepted(name) == 1


def test_failed_validation_leaves_the_key_free(double: Double) -> None:
    payee, name = double.account(), item()
    with pytest.raises(stripe.InvalidRequestError):
        send(double, payee, name, amount=0)
    send(double, payee, name, amount=1)
    assert double.accepted(name) == 1


def test_insufficient_funds_are_replayed_and_a_new_key_works_after_a_top_up(
    double: Double,
) -> None:
    payee, name = double.account(), item()
    double.control("POST", "/balance", {"currency": "eur", "amount": 99})
    for _ in range(2):
        with pytest.raises(stripe.InvalidRequestError) as refusal:
            send(double, payee, name)
        assert refusal.value.code == "balance_insufficient"
        double.control("POST", "/balance", {"currency": "eur", "amount": 100})
    assert (refusal.value.headers or {}).get("Idempotent-Replayed") == "true"
    send(double, payee, name, key=f"key-{name}-2")
    assert double.accepted(name) == 1
    assert double.control("GET", "/state")["balances"] == {"eur": 0}


def test_racing_transfers_never_overdraw_the_balance(double: Double) -> None:
    payee = double.account()
    double.control("POST", "/balance", {"currency": "eur", "amount": 350})
    refused: list[str | None] = []

    def race(name: str) -> None:
        try:
            send(double, payee, name)
        except stripe.InvalidRequestError as refusal:
            refused.append(refusal.code)

    racers = [threading.Thread(target=race, args=(item(),)) for _ in range(8)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(DEADLINE_S)
    assert refused == ["balance_insufficient"] * 5
    assert double.control("GET", "/state")["balances"] == {"eur": 50}


def test_a_key_lives_a_day_and_then_pays_again(own: Double) -> None:
    payee, name = own.account(), item()
    first = send(own, payee, name)
    own.control("POST", "/clock", {"advance_s": DAY_S - 60})
    assert send(own, payee, name).id == first.id
    own.control("POST", "/clock", {"advance_s": 60})
    assert send(own, payee, name).id != first.id
    assert own.accepted(name) == 2


def test_a_key_of_255_characters_is_the_longest(double: Double) -> None:
    payee, name = double.account(), item()
    send(double, payee, name, key="k" * 255)
    with pytest.raises(stripe.InvalidRequestError, match="255"):
        send(double, payee, name, key="k" * 256)


def test_a_rejected_key_or_rate_limit_is_not_remembered(double: Double) -> None:
    payee, name = double.account(), item()
    with pytest.raises(stripe.AuthenticationError):
        send(double, payee, name, client=double.client(key="sk_test_some_other_key"))
    double.fault("429")
    with pytest.raises(stripe.RateLimitError):
        send(double, payee, name)
    assert "idempotent-replayed" not in headers(send(double, payee, name))


# Lists and events


def test_lists_are_newest_first_and_page_by_cursor(double: Double) -> None:
    payee = double.account()
    sent = [send(double, payee, item()).id for _ in range(5)]
    listed = double.client().v1.transfers.list
    first = listed({"destination": payee, "limit": 2})
    assert ([one.id for one in first.data], first.has_more) == (sent[:2:-1], True)
    rest = listed({"destination": payee, "limit": 3, "starting_after": first.data[-1].id})
    assert ([one.id for one in rest.data], rest.has_more) == (sent[2::-1], False)
    back = listed({"destination": payee, "limit": 2, "ending_before": sent[1]})
    assert ([one.id for one in back.data], back.has_more) == ([sent[3], sent[2]], True)
    walked = [one.id for one in first.auto_paging_iter()]
    assert walked == sent[::-1]


def test_lists_filter_by_destination_group_and_time(own: Double) -> None:
    one, two = own.account(), own.account()
    old = send(own, one, item(), transfer_group="batch-a")
    own.control("POST", "/clock", {"advance_s": 3600})
    new = send(own, two, item(), transfer_group="batch-b")
    listed = own.client().v1.transfers.list

    def ids(**filters: Any) -> list[str]:
        return [found.id for found in listed(filters).data]

    assert ids() == [new.id, old.id]
    assert ids(destination=one) == [old.id]
    assert ids(transfer_group="batch-b") == [new.id]
    assert ids(transfer_group="batch-b", destination=one) == []
    assert ids(created={"gte": new.created}) == [new.id]
    assert ids(created={"gt": old.created, "lt": new.created}) == []
    assert ids(created={"lte": old.created}) == [old.id]
    assert ids(created=old.created) == [old.id]


@pytest.mark.parametrize(
    ("filters", "code"),
    [
        ({"limit": 0}, "parameter_invalid_integer"),
        ({"limit": 101}, "parameter_invalid_integer"),
        ({"limit": "many"}, "parameter_invalid_integer"),
        ({"starting_after": "tr_none"}, "resource_missing"),
        ({"metadata": {"item_id": "1"}}, "parameter_unknown"),
        ({"created": {"since": 1}}, "parameter_unknown"),
    ],
)
def test_a_list_that_stripe_does_not_offer_is_refused(
    double: Double, filters: Any, code: str
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        double.client().v1.transfers.list(filters)
    assert refusal.value.code == code


def test_an_event_names_the_request_and_the_key_that_caused_it(double: Double) -> None:
    name = item()
    sent = send(double, double.account(), name)
    (event,) = double.client().v1.events.list({"types": ["transfer.created"], "limit": 1}).data
    assert (event.type, event.data.object["id"]) == ("transfer.created", sent.id)
    assert event.request is not None
    assert event.request.idempotency_key == f"key-{name}"
    assert event.request.id == headers(sent)["request-id"]
    assert double.client().v1.events.retrieve(event.id).id == event.id


def test_events_reach_back_thirty_days(own: Double) -> None:
    send(own, own.account(), item())
    own.control("POST", "/clock", {"advance_s": 30 * DAY_S - 60})
    assert len(own.client().v1.events.list().data) == 1
    own.control("POST", "/clock", {"advance_s": 120})
    assert own.client().v1.events.list().data == []


# Reversals


def test_reversals_take_back_in_parts_and_never_more(double: Double) -> None:
    payee = double.account()
    sent = send(double, payee, item(), amount=100)
    back = double.client().v1.transfers.reversals
    assert back.create(sent.id, {"amount": 30}).amount == 30
    with pytest.raises(stripe.InvalidRequestError, match="greater than the unreversed"):
        back.create(sent.id, {"amount": 71})
    half = double.client().v1.transfers.retrieve(sent.id)
    assert (half.amount_reversed, half.reversed) == (30, False)
    assert back.create(sent.id).amount == 70
    whole = double.client().v1.transfers.retrieve(sent.id)
    assert (whole.amount_reversed, whole.reversed) == (100, True)
    with pytest.raises(stripe.InvalidRequestError, match="already fully reversed"):
        back.create(sent.id)
    assert [one.amount for one in back.list(sent.id).data] == [70, 30]
    assert double.control("GET", "/state")["balances"] == {"eur": 1_000_000}


def test_a_reversal_needs_the_money_to_be_there_still(double: Double) -> None:
    payee = double.account()
    sent = send(double, payee, item(), amount=100)
    double.control("POST", "/balance", {"currency": "eur", "amount": 99, "account": payee})
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        double.client().v1.transfers.reversals.create(sent.id)
    assert refusal.value.code == "balance_insufficient"


# Accounts


def test_an_account_becomes_ready_by_its_single_use_link(double: Double) -> None:
    client = double.client()
    account = client.v1.accounts.create(
        {
            "controller": {"stripe_dashboard": {"type": "express"}},
            "capabilities": {"transfers": {"requested": True}},
            "country": "FR",
            "email": "payee@example.com",
        }
    )
    assert account.capabilities is not None
    assert (account.capabilities.transfers, account.payouts_enabled) == ("inactive", False)
    link = client.v1.account_links.create(
        {
            "account": account.id,
            "type": "account_onboarding",
            "refresh_url": "http://localhost:9/again",
            "return_url": "http://localhost:9/back",
        }
    )
    assert link.expires_at - link.created == 300
    page = requests.get(link.url, timeout=DEADLINE_S)
    assert "form-action 'self' http://localhost:9" in page.headers["Content-Security-Policy"]
    session = page.text.split('name="session" value="')[1].split('"')[0]

    spent = requests.get(link.url, allow_redirects=False, timeout=DEADLINE_S)
    assert spent.headers["Location"] == "http://localhost:9/again"
    forged = requests.post(link.url, data={"session": "x"}, timeout=DEADLINE_S)
    assert forged.status_code == 403
    done = requests.post(
        link.url, data={"session": session}, allow_redirects=False, timeout=DEADLINE_S
    )
    assert done.headers["Location"] == "http://localhost:9/back"

    ready = client.v1.accounts.retrieve(account.id)
    assert ready.capabilities is not None
    assert (ready.capabilities.transfers, ready.payouts_enabled) == ("active", True)
    told = client.v1.events.list(options={"stripe_account": account.id})
    assert [event.type for event in told.data] == ["account.updated", "capability.updated"]
    send(double, account.id, item())


def test_an_onboarding_link_is_too_old_after_five_minutes(own: Double) -> None:
    link = own.client().v1.account_links.create(
        {
            "account": own.account(transfers="inactive"),
            "type": "account_onboarding",
            "refresh_url": "http://localhost:9/again",
            "return_url": "http://localhost:9/back",
        }
    )
    own.control("POST", "/clock", {"advance_s": 301})
    late = requests.get(link.url, allow_redirects=False, timeout=DEADLINE_S)
    assert late.headers["Location"] == "http://localhost:9/again"


def test_account_parameters_are_checked_to_their_depth(double: Double) -> None:
    asked: Any = {"type": "express", "capabilities": {"transfers": {"asked": True}}}
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        double.client().v1.accounts.create(asked)
    assert refusal.value.param == "capabilities[transfers][asked]"
    asked = {"type": "express", "capabilities": {"transfers": {"requested": "maybe"}}}
    with pytest.raises(stripe.InvalidRequestError, match="Invalid boolean"):
        double.client().v1.accounts.create(asked)


def test_an_account_can_lose_its_readiness_midway(double: Double) -> None:
    payee = double.account()
    send(double, payee, item())
    double.control(
        "POST", "/accounts", {"id": payee, "transfers": "inactive", "payouts_enabled": False}
    )
    account = double.client().v1.accounts.retrieve(payee)
    assert account.requirements is not None
    assert account.requirements.disabled_reason == "requirements.past_due"
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        send(double, payee, item())
    assert refusal.value.code == "insufficient_capabilities_for_transfer"


# The double itself


def test_control_takes_json_alone_and_names_what_it_does_not_know(double: Double) -> None:
    address = f"{double.url}/_double/faults"
    form = requests.post(address, data={"kind": "429"}, timeout=DEADLINE_S)
    assert form.status_code == 415
    for content in ({"kind": "typhoon"}, {"kind": "429", "time": 1}, {"kind": "429", "times": "1"}):
        answer = requests.post(address, json=content, timeout=DEADLINE_S)
        assert answer.status_code == 400, content


def test_the_page_for_people_shows_transfers_and_escapes_what_strangers_wrote(
    double: Double,
) -> None:
    sent = send(double, double.account(), "<script>alert(1)</script>", amount=1, key="page")
    page = requests.get(double.url, timeout=DEADLINE_S)
    assert sent.id in page.text
    assert "0.01 EUR" in page.text
    assert "<script>" not in page.text
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'self';")
    assert requests.get(f"{double.url}/style.css", timeout=DEADLINE_S).status_code == 200


def test_an_overlong_body_is_refused_unread(double: Double) -> None:
    answer = requests.post(
        f"{double.url}/v1/transfers",
        data=b"",
        headers={"Content-Length": str(1024 * 1024 + 1)},
        auth=(KEY, ""),
        timeout=DEADLINE_S,
    )
    assert answer.status_code == 413


def test_the_double_ends_quietly_on_sigterm(tmp_path: Path) -> None:
    double = Double(tmp_path / "double")
    double.end()
    assert double.process.returncode == 0
