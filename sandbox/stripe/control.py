"""What Stripe does not have: the oracle, the clock, balances, accounts, keys and fault switches.

All under ``/_double``, JSON in and out, for tests and the demo; it listens on loopback and asks
for no key. A change must come as ``application/json``, which no foreign web page can send here
without a leave that is never given.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from typing import Any
from urllib.parse import parse_qs

from . import accounts, balances, currencies, store
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
        return {"account": owner, "available": balances.every(con, owner)}


def account(double: Double, given: Content) -> Content:
    """Create an account with a chosen id and states, or move the states of one that exists."""
    asked = _take(
        given, id=str, transfers=str, payouts_enabled=bool, closed=bool, country=str, email=str,
        disabled_reason=str, default_currency=str, service_agreement=str, bank_status=str,
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
        if "bank_status" in asked:
            bank = {"id": "ba_double", "object": "bank_account", "status": asked["bank_status"]}
            found["external_accounts"]["data"] = [bank]
        states = ("transfers", "payouts_enabled", "closed", "disabled_reason")
        return accounts.set_states(call, found, **{name: asked.get(name) for name in states})


def api_keys(double: Double, given: Content) -> Content:
    """Roll the secret keys: only the named ones are let in from now on, until a restart."""
    listed = _take(given, keys=list).get("keys", [])
    if not listed or not all(isinstance(word, str) and word for word in listed):
        raise ApiError(400, "Name at least one key.", param="keys")
    double.api_keys = frozenset(listed)
    return {"count": len(double.api_keys)}


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
    ("POST", "/faults"): add_fault,
    ("GET", "/faults"): list_faults,
    ("DELETE", "/faults"): clear_faults,
}
