"""What Stripe does not have: the oracle, the clock, balances, accounts, keys and fault switches.

All under ``/_double``, JSON in and out, for tests and the demo; it listens on loopback and asks
for no key. A change must come as ``application/json``, which no foreign web page can send here
without a leave that is never given.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from typing import Any
from urllib.parse import parse_qs

from . import accounts, balances, currencies, events, payouts, reversals, store, webhooks
from .engine import Double
from .faults import Kind, Rule
from .wire import Answer, ApiError, Request, json_answer

ITEM_KEY = "item_id"
"""The metadata name by which the oracle counts, unless ``?item_key=`` names another."""
AMOUNT_MAX_MINOR = 10**15
SWITCHES = tuple(spec.name for spec in fields(Rule) if spec.name not in ("fired", "_draws"))

Content = dict[str, Any]


def serve(double: Double, request: Request) -> Answer:
    """Answer one control request; never raises ApiError."""
    try:
        act = ACTS.get((request.method, request.path.removeprefix("/_double")))
        if act is None:
            raise ApiError(404, f"The double has no {request.method} {request.path[:200]}.")
        given = _content(request) if request.method == "POST" else _query(request)
        return json_answer(200, act(double, given))
    except ApiError as refusal:
        return refusal.answer(request.id)


def _query(request: Request) -> Content:
    return {name: values[-1] for name, values in parse_qs(request.query).items()}


def _content(request: Request) -> Content:
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        raise ApiError(415, "Send application/json.")
    try:
        given = json.loads(request.body or b"{}", parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as cause:
        raise ApiError(400, "The body is not JSON.") from cause
    if not isinstance(given, dict):
        raise ApiError(400, "The body must be a JSON object.")
    return given


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def _take(given: Content, **types: type | tuple[type, ...]) -> Content:
    """Only the named fields, each of its type. Booleans are no numbers here."""
    for name, value in given.items():
        if name not in types:
            raise ApiError(400, f"Unknown field {name}; there are {', '.join(sorted(types))}.")
        wanted = types[name]
        if type(value) not in (wanted if isinstance(wanted, tuple) else (wanted,)):
            raise ApiError(400, f"Field {name} has the wrong type.", param=name)
    return given


def health(double: Double, given: Content) -> Content:
    _take(given)
    with double.store.reading() as con:
        return {"ok": True, "now": store.now(con)}


def state(double: Double, given: Content) -> Content:
    """What is going on: keys in flight, rules in force, balances."""
    _take(given)
    with double.store.reading() as con:
        return {
            "in_flight": double.in_flight.count(),
            "faults": [_told(rule) for rule in double.faults.rules()],
            "balances": balances.every(con, store.PLATFORM),
            "now": store.now(con),
        }


def transfers(double: Double, given: Content) -> Content:
    """The oracle: every accepted transfer, oldest first, counted by item and summed by currency."""
    item_key = _take(given, item_key=str).get("item_key", ITEM_KEY)
    with double.store.reading() as con:
        accepted = store.every(con, "transfer")[::-1]
    totals: Counter[str] = Counter()
    for transfer in accepted:
        totals[transfer["currency"]] += transfer["amount"]
    items = Counter(transfer["metadata"].get(item_key, "") for transfer in accepted)
    return {
        "count": len(accepted),
        "by_item": dict(items),
        "totals": dict(totals),
        "transfers": accepted,
    }


def requests(double: Double, given: Content) -> Content:
    """Every ``/v1`` request since the start, so that a test can say "no POST was made"."""
    wanted = _take(given, method=str, path=str, idempotency_key=str)
    rows = [
        row for row in double.log() if all(row[name] == value for name, value in wanted.items())
    ]
    return {"count": len(rows), "requests": rows}


def clock(double: Double, given: Content) -> Content:
    """Move the clock by ``advance_s`` or set its distance from the machine's by ``offset_s``."""
    moved = _take(given, advance_s=(int, float), offset_s=(int, float))
    with double.store.writing() as con:
        offset_s = float(store.setting(con, "clock_offset_s", "0"))
        offset_s = float(moved.get("offset_s", offset_s)) + float(moved.get("advance_s", 0))
        store.keep_setting(con, "clock_offset_s", repr(offset_s))
        return {"now": store.now(con), "offset_s": offset_s}


def balance(double: Double, given: Content) -> Content:
    """Set a balance in minor units: the platform's, or that of the named account."""
    asked = _take(given, currency=str, amount=int, account=str)
    if "currency" not in asked or not 0 <= asked.get("amount", -1) <= AMOUNT_MAX_MINOR:
        raise ApiError(
            400, f"Name a currency and an amount of 0 to {AMOUNT_MAX_MINOR} minor units."
        )
    owner = asked.get("account", store.PLATFORM)
    with double.store.writing() as con:
        balances.put(con, owner, currencies.known(asked["currency"]), asked["amount"])
        call = replace(double.own_call(con), owner=owner)
        events.record(call, "balance.available", balances.retrieve(call), account=owner)
        return {"account": owner, "available": balances.every(con, owner)}


def account(double: Double, given: Content) -> Content:
    """Create an account with a chosen id and states, or move the states of one that exists."""
    asked = _take(
        given, id=str, transfers=str, payouts_enabled=bool, closed=bool, country=str, email=str,
        disabled_reason=str, deauthorized=bool, default_currency=str, service_agreement=str,
        bank_status=str, bank_number=str,
    )  # fmt: skip
    if not str(asked.get("id", "")).startswith("acct_"):
        raise ApiError(400, "Name an id that begins with acct_.", param="id")
    if asked.get("transfers", "active") not in ("active", "inactive", "pending"):
        raise ApiError(400, "transfers is active, inactive or pending.", param="transfers")
    with double.store.writing() as con:
        call = double.own_call(con)
        found = store.find(con, "account", asked["id"])
        if found is None:
            found = accounts.blank(asked["id"], call)
            store.add(con, "account", found)
            asked = {"transfers": "active", "payouts_enabled": True, **asked}
        for name in ("country", "email", "default_currency"):
            found[name] = asked.get(name, found[name])
        if "service_agreement" in asked:
            found["tos_acceptance"]["service_agreement"] = asked["service_agreement"]
        if asked.keys() & {"bank_status", "bank_number"}:
            accounts.set_bank(
                found, number=asked.get("bank_number", ""), status=asked.get("bank_status", "")
            )
        states = ("transfers", "payouts_enabled", "closed", "disabled_reason", "deauthorized")
        return accounts.set_states(call, found, **{name: asked.get(name) for name in states})


def api_keys(double: Double, given: Content) -> Content:
    """Roll the secret keys: only the named ones are let in from now on, until a restart."""
    listed = _take(given, keys=list).get("keys", [])
    if not listed or not all(isinstance(word, str) and word for word in listed):
        raise ApiError(400, "Name at least one key.", param="keys")
    double.api_keys = frozenset(listed)
    return {"count": len(double.api_keys)}


def reverse(double: Double, given: Content) -> Content:
    """Take a transfer back, or an amount of it, as the merchant does on Stripe's own pages.

    With ``force`` the destination need not have the money any more.
    """
    asked = _take(given, transfer=str, amount=int, force=bool)
    with double.store.writing() as con:
        call = double.own_call(con)
        fields = {"amount": asked["amount"]} if "amount" in asked else {}
        call = replace(call, fields=fields, ids=(asked.get("transfer", ""),))
        return reversals.create(call, force=asked.get("force", False))


def bank_payout(double: Double, given: Content) -> Content:
    """Begin an account's own payout to its bank, or say what the bank did with one.

    To begin: ``account``, and ``amount`` and ``currency`` unless all is meant. To move: ``id``,
    ``status``, and for a failure its ``failure_code``.
    """
    asked = _take(given, id=str, account=str, amount=int, currency=str, status=str,
                  failure_code=str)  # fmt: skip
    with double.store.writing() as con:
        call = double.own_call(con)
        if "id" in asked:
            code = asked.get("failure_code", payouts.FAILURE_DEFAULT)
            owner = payouts.owner_of(call, asked["id"])
            return payouts.move(call, owner, asked["id"], asked.get("status", "paid"), code)
        owner = accounts.known(call, asked.get("account", ""))["id"]
        funds = balances.every(con, owner)
        currency = asked.get("currency") or next(iter(funds), "eur")
        amount = asked.get("amount", funds.get(currency, 0))
        if amount < 1:
            raise ApiError(400, "There is nothing to pay out.", param="amount")
        return payouts.start(call, owner, amount, currencies.known(currency), automatic=True)


def set_webhooks(double: Double, given: Content) -> Content:
    """Set the ``platform`` and ``connect`` endpoints ({url, secret}; {} removes one)."""
    asked = _take(given, platform=dict, connect=dict)
    with double.store.writing() as con:
        for name, each in asked.items():
            words = _take(each, url=str, secret=str)
            endpoint = None
            if words:
                endpoint = webhooks.checked(name, words.get("url", ""), words.get("secret", ""))
            webhooks.keep_endpoint(con, name, endpoint)
        return {name: each.url for name, each in webhooks.endpoints(con).items()}


def list_webhooks(double: Double, given: Content) -> Content:
    """Endpoints, switches and the newest deliveries."""
    _take(given)
    with double.store.reading() as con:
        return {
            "endpoints": {name: each.url for name, each in webhooks.endpoints(con).items()},
            "switches": asdict(webhooks.switches(con)),
            "deliveries": webhooks.deliveries(con),
        }


def switch_webhooks(double: Double, given: Content) -> Content:
    """Make the sender unreliable; see ``webhooks.Switches``. What is not named is switched off."""
    number = (int, float)
    asked = _take(given, hold=bool, copies=int, reorder=int, delay_s=number, drop=int)
    if not 1 <= asked.get("copies", 1) <= webhooks.COPIES_MAX:
        raise ApiError(400, f"copies is 1 to {webhooks.COPIES_MAX}.", param="copies")
    if min(asked.get("delay_s", 0), asked.get("drop", 0)) < 0:
        raise ApiError(400, "delay_s and drop are not negative.")
    with double.store.writing() as con:
        webhooks.keep_switches(con, webhooks.Switches(**asked))
        return asdict(webhooks.switches(con))


def deliver(double: Double, given: Content) -> Content:
    """Send the named ``events`` now, in this order, each ``copies`` times at once."""
    asked = _take(given, events=list, copies=int, endpoint=str)
    if not all(isinstance(each, str) for each in asked.get("events", [])):
        raise ApiError(400, "events is a list of ids.", param="events")
    sent = double.sender.deliver(
        asked.get("events", []), copies=asked.get("copies", 1), endpoint=asked.get("endpoint")
    )
    return {"sent": [asdict(each) for each in sent]}


def list_events(double: Double, given: Content) -> Content:
    """Every event of every owner, oldest first; ``?type=`` narrows it."""
    wanted = _take(given, type=str)
    with double.store.reading() as con:
        found = store.every(con, "event")[::-1]
    return {"events": [each for each in found if wanted.get("type") in (None, each["type"])]}


def add_fault(double: Double, given: Content) -> Content:
    """Switch a fault on; see ``faults.Rule`` for the fields."""
    try:
        kind = Kind(given.get("kind", ""))
    except ValueError as cause:
        raise ApiError(400, f"kind is one of {', '.join(Kind)}.", param="kind") from cause
    number = (int, float)
    asked = _take(
        given, kind=str, times=(int, type(None)), probability=number, seed=int, method=str,
        path=str, match=str, delay_s=number, hang_s=number, lag_s=number,
        sticky=(bool, type(None)), code=str, should_retry=(bool, type(None)),
    )  # fmt: skip
    if kind is Kind.LIST_LAG:
        asked = {"method": "GET", "times": None, **asked}
    rule = Rule(**{**asked, "kind": kind})
    double.faults.add(rule)
    return _told(rule)


def list_faults(double: Double, given: Content) -> Content:
    _take(given)
    return {"faults": [_told(rule) for rule in double.faults.rules()]}


def clear_faults(double: Double, given: Content) -> Content:
    _take(given)
    double.faults.clear()
    return {"faults": []}


def _told(rule: Rule) -> Content:
    told = {name: getattr(rule, name) for name in SWITCHES}
    return {**told, "fired": rule.fired}


ACTS: dict[tuple[str, str], Callable[[Double, Content], Content]] = {
    ("GET", "/health"): health,
    ("GET", "/state"): state,
    ("GET", "/transfers"): transfers,
    ("GET", "/requests"): requests,
    ("POST", "/clock"): clock,
    ("POST", "/balance"): balance,
    ("POST", "/accounts"): account,
    ("POST", "/keys"): api_keys,
    ("POST", "/reversals"): reverse,
    ("POST", "/payouts"): bank_payout,
    ("GET", "/events"): list_events,
    ("GET", "/webhooks"): list_webhooks,
    ("POST", "/webhooks"): set_webhooks,
    ("POST", "/webhooks/switches"): switch_webhooks,
    ("POST", "/deliver"): deliver,
    ("POST", "/faults"): add_fault,
    ("GET", "/faults"): list_faults,
    ("DELETE", "/faults"): clear_faults,
}
