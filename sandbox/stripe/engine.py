"""The layers that each ``/v1`` request passes, in Stripe's order.

Key, then rate limits and other refusals at the door (nothing saved), then the idempotency layer
(replay, mismatch, in flight), then validation (nothing saved), then the endpoint with the saved
answer in one transaction. Faults act where they would act in the world.
"""

from __future__ import annotations

import base64
import binascii
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any

from . import declared, forms, keys, routes, store
from .accounts import is_connected, no_access
from .calls import Call
from .faults import Faults, Kind, Rule, html_502, internal_error, refuse_at_the_door
from .webhooks import Sender
from .wire import API_VERSION, Answer, ApiError, Request, json_answer

LOG_ROWS_MAX = 100_000
FORM_TYPE = "application/x-www-form-urlencoded"


@dataclass
class LogRow:
    """One ``/v1`` request as it was seen, kept in memory for tests."""

    at: float
    method: str
    path: str
    idempotency_key: str | None
    account: str
    request_id: str
    status: int | None = None
    """The status that was meant for the wire; None while the request runs or was dropped."""
    fault: str | None = None
    replayed: bool = False


@dataclass(frozen=True)
class Delivery:
    """An answer and what is to become of it on the wire."""

    answer: Answer
    rule: Rule | None = None


@dataclass(frozen=True)
class Asked:
    """A request that came through the door: where it goes, with which parameters and key."""

    request: Request
    route: routes.Route
    ids: tuple[str, ...]
    flat: list[tuple[str, str]]
    key: str | None
    rule: Rule | None


class Double:
    """One Stripe: its state, its faults and who may call it."""

    def __init__(
        self,
        kept: store.Store,
        *,
        api_keys: Iterable[str],
        platform_country: str,
        platform_account: str,
    ) -> None:
        self.store = kept
        self.sender = Sender(kept)
        self.faults = Faults()
        self.in_flight = keys.KeysInFlight()
        self.api_keys = frozenset(api_keys)
        self.platform_country = platform_country
        self.platform_account = platform_account
        self.base_url = ""
        self._log: deque[LogRow] = deque(maxlen=LOG_ROWS_MAX)
        self._log_lock = threading.Lock()

    def log(self) -> list[dict[str, Any]]:
        with self._log_lock:
            return [asdict(row) for row in self._log]

    def serve(self, request: Request) -> Delivery:
        """Answer one ``/v1`` request; never raises ApiError."""
        row = LogRow(
            time.time(),
            request.method,
            request.path,
            request.idempotency_key,
            request.account,
            request.id,
        )
        with self._log_lock:
            self._log.append(row)
        rule = None
        try:
            self._authorise(request)
            rule = self.faults.draw(request)
            answer = self._through_the_door(request, rule)
        except ApiError as refusal:
            answer = refusal.answer(request.id)
        answer = answer.with_headers(*_common_headers(request))
        row.fault = None if rule is None else rule.kind.value
        row.replayed = ("Idempotent-Replayed", "true") in answer.headers
        row.status = answer.status
        return Delivery(answer, rule)

    def _authorise(self, request: Request) -> None:
        given = _api_key(request.headers.get("authorization", ""))
        if not given:
            raise ApiError(
                401,
                "You did not provide an API key. You need to provide your API key in the "
                "Authorization header, using Bearer auth (e.g. 'Authorization: Bearer "
                "YOUR_SECRET_KEY').",
            )
        if given not in self.api_keys:
            hidden = given[:8] + "*" * 8 + given[-4:] if len(given) > 16 else "*" * len(given)
            raise ApiError(401, f"Invalid API Key provided: {hidden}")

    def _through_the_door(self, request: Request, rule: Rule | None) -> Answer:
        if rule is not None:
            refused = refuse_at_the_door(rule)
            if refused is not None:
                return refused
            if rule.kind is Kind.REFUSE_DROP:  # Never sent: the connection is cut instead.
                return json_answer(500, {})
        route, ids = routes.find(request.method, request.path)
        writes = request.method == "POST"
        key = request.idempotency_key if writes else None
        asked = Asked(request, route, ids, _parameters(request), key, rule)
        held = self.in_flight.hold(request.account, keys.valid(key)) if key else nullcontext()
        with held:
            if rule is not None:
                self.faults.wait(rule.delay_s)
            with self.store.writing() if writes else self.store.reading() as con:
                answer = self._once(con, asked)
        return _spoilt(answer, rule, request)

    def _once(self, con: sqlite3.Connection, asked: Asked) -> Answer:
        """Replay what the key remembers, or run the endpoint and remember its answer."""
        request, key = asked.request, asked.key
        now = store.now(con)
        digest = keys.fingerprint(request, asked.flat)
        if key:
            saved = keys.replay(con, request.account, key, digest, now)
            if saved is not None:
                return saved
        answer = _run(self._call(con, asked, now), asked)
        if key:
            keys.remember(
                con, request.account, key, digest, now, request_id=request.id, answer=answer
            )
            answer = answer.with_headers(("Original-Request", request.id))
        return answer

    def _call(self, con: sqlite3.Connection, asked: Asked, now: float) -> Call:
        """Validate: a connected account that is ours, parameters that are declared."""
        owner, rule = asked.request.account, asked.rule
        if owner and not is_connected(store.find(con, "account", owner)):
            raise no_access(owner[:100], remembered=False)
        fields = declared.checked(forms.nested(asked.flat), asked.route.declaration)
        own = self.own_call(con)
        return replace(
            own,
            fields=fields,
            ids=asked.ids,
            owner=owner,
            now=now,
            request_id=asked.request.id,
            idempotency_key=asked.key,
            list_lag_s=rule.lag_s if rule is not None and rule.kind is Kind.LIST_LAG else 0.0,
        )

    def own_call(self, con: sqlite3.Connection) -> Call:
        """A call that no API request made: the control endpoints and the pages act by it."""
        return Call(
            con=con,
            fields={},
            ids=(),
            owner=store.PLATFORM,
            now=store.now(con),
            request_id=None,
            idempotency_key=None,
            base_url=self.base_url,
            platform_country=self.platform_country,
            platform_account=self.platform_account,
        )


def _run(call: Call, asked: Asked) -> Answer:
    """Run the endpoint; a refusal takes its half-done work back and is itself the answer."""
    rule, request_id = asked.rule, asked.request.id
    call.con.execute("SAVEPOINT work")
    try:
        if rule is not None and rule.kind is Kind.REFUSE_500:
            raise internal_error()
        answer = json_answer(200, asked.route.endpoint(call))
        if rule is not None and rule.kind is Kind.ACCEPT_500 and rule.saves_500:
            answer = internal_error().answer(request_id)
    except ApiError as refusal:
        call.con.execute("ROLLBACK TO work")
        if not refusal.remembered:
            raise
        answer = refusal.answer(request_id)
    call.con.execute("RELEASE work")
    return answer


def _spoilt(answer: Answer, rule: Rule | None, request: Request) -> Answer:
    """The accepting faults that lie about the outcome; those of the socket come later."""
    if rule is None or answer.status != 200:
        return answer
    if rule.kind is Kind.ACCEPT_500:
        return internal_error().answer(request.id)
    if rule.kind is Kind.ACCEPT_HTML:
        return html_502()
    return answer


def _parameters(request: Request) -> list[tuple[str, str]]:
    if request.method == "GET":
        return forms.pairs(request.query)
    media_type = request.headers.get("content-type", FORM_TYPE).split(";")[0].strip().lower()
    if request.body and media_type != FORM_TYPE:
        raise ApiError(
            400,
            "Invalid request (check that your POST content type is "
            f"{FORM_TYPE}). If you have any questions, we can help at "
            "https://support.stripe.com/.",
        )
    try:
        text = request.body.decode()
    except UnicodeDecodeError as cause:
        raise ApiError(400, "The request body is not UTF-8.") from cause
    return forms.pairs(text)


def _api_key(authorization: str) -> str:
    scheme, _, word = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return word.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(word, validate=True).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""


def _common_headers(request: Request) -> tuple[tuple[str, str], ...]:
    headers = [
        ("Request-Id", request.id),
        ("Stripe-Version", request.headers.get("stripe-version", API_VERSION)),
        ("Cache-Control", "no-cache, no-store"),
    ]
    if request.idempotency_key and request.method == "POST":
        headers.append(("Idempotency-Key", request.idempotency_key))
    return tuple(headers)
