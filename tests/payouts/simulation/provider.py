"""Stripe's rules in memory: what the payout protocol leans on, and every way it fails.

The rules are those of the Stripe double (`sandbox/stripe`), without wire, files and threads;
`test_provider_rules.py` runs the same calls through both and compares the answers as the rail
classifies them. Idempotency: docs.stripe.com/api/idempotent_requests.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar

from affiliate.core.errors import Phrase
from affiliate.core.money import minor_unit_micros
from payouts.rails.one_line import OneLine, one_line
from payouts.rails.protocol import (
    AccountField,
    Answer,
    Found,
    LookUp,
    LookUpFailed,
    NotFound,
    NotReady,
    Order,
    Postponed,
    RailAway,
    Refused,
    Succeeded,
    Unknown,
)
from payouts.rails.rehearsal import Planned, Rehearsed

KEY_LIFE = timedelta(hours=24)
READ_TIMEOUT = timedelta(seconds=20)
SECRET_KEY = "sk_of_the_simulation"


class Fault(StrEnum):
    """What goes wrong with one call, by the double's names."""

    ACCEPT_DROP = "accept-then-drop"
    ACCEPT_HANG = "accept-then-hang"
    ACCEPT_500 = "accept-then-500"
    ACCEPT_HTML = "accept-then-html-502"
    HALF_BODY = "half-body"
    REFUSE_500 = "refuse-500"
    STICKY_500 = "refuse-500, remembered"
    REFUSE_DROP = "refuse-drop"
    RATE_LIMIT = "429"
    LOCK_TIMEOUT = "409"
    HTML_502 = "html-502"


AT_THE_DOOR: dict[Fault, Answer] = {
    Fault.RATE_LIMIT: Postponed("rate_limit", "429"),
    Fault.LOCK_TIMEOUT: Unknown("lock_timeout", "409"),
    Fault.REFUSE_500: Unknown("apierror_500", "500"),
    Fault.HTML_502: Unknown("apierror_502", "502"),
    Fault.REFUSE_DROP: Unknown("apiconnectionerror", "cut"),
}
"""Nothing is saved under the key: the idempotency layer has not been reached."""
LOST: dict[Fault, Answer] = {
    Fault.ACCEPT_DROP: Unknown("apiconnectionerror", "cut"),
    Fault.ACCEPT_HANG: Unknown("apiconnectionerror", "timed out"),
    Fault.HALF_BODY: Unknown("apiconnectionerror", "half a body"),
}
"""Whatever the answer was, it does not arrive."""
SPOILT: dict[Fault, Answer] = {
    Fault.ACCEPT_500: Unknown("apierror_500", "500"),
    Fault.ACCEPT_HTML: Unknown("apierror_502", "502"),
}
"""What arrives in place of a success."""


@dataclass
class Account:
    """A connected account."""

    transfers: str = "active"
    payouts_enabled: bool = True
    closed: bool = False


@dataclass(frozen=True)
class Transfer:
    id: str
    order: Order
    created: datetime


@dataclass(frozen=True)
class Saved:
    """What a key remembers of its first request."""

    order: Order
    answer: Answer
    at: datetime


@dataclass
class Request:
    """A call on its way: accepted when it is executed, whoever waits for the answer or not."""

    order: Order
    key: str
    began: datetime
    fault: Fault | None
    answer: Answer | None = None
    """What the provider answers; None while it is in flight."""
    final: bool = False
    """The answer is on its way: no fault touches it any more."""


@dataclass
class Provider:
    """One Stripe."""

    now: Callable[[], datetime]
    balance_minor: Counter[str] = field(default_factory=Counter)
    accounts: dict[str, Account] = field(default_factory=dict)
    api_key: str = SECRET_KEY
    draw: Callable[[], Fault | None] = lambda: None
    """The fault of the next call."""
    list_lag: timedelta = timedelta()
    list_away: bool = False
    forgets_keys: bool = False
    """Switch of the guards' scenarios: a key is forgotten as soon as it was answered."""
    transfers: list[Transfer] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    """What webhooks are delivered from: as events of Stripe, as far as payouts read them."""
    flying: list[Request] = field(default_factory=list)
    posts: list[tuple[datetime, str]] = field(default_factory=list)
    """Every key that reached the provider, and when."""
    _saved: dict[str, Saved] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def receive(self, order: Order, key: str, *, api_key: str) -> Request:
        """A request arrives: refused at the door, answered by its key, or in flight."""
        request = Request(order, key, self.now(), None)
        self.posts.append((request.began, key))
        if api_key != self.api_key:
            request.answer = Postponed("authenticationerror_401", "401", halts=True)
        else:
            request.fault = self.draw()
            request.answer = AT_THE_DOOR.get(request.fault) if request.fault else None
        if request.answer is None and any(other.key == key for other in self.flying):
            request.answer = Unknown("idempotency_key_in_use", "409")
        if request.answer is not None:
            request.final = True
        else:
            self.flying.append(request)
        return request

    def execute(self, request: Request) -> None:
        """Do what is asked, or replay; saved under its key together with the effect."""
        if request.answer is not None:
            return
        self.flying.remove(request)
        saved = self._saved.get(request.key)
        if saved is not None and self.now() - saved.at < KEY_LIFE and not self.forgets_keys:
            same = saved.order == request.order
            request.answer = saved.answer if same else Unknown("idempotencyerror_400", "400")
        else:
            request.answer, remembered = self._run(request)
            if remembered:
                self._saved[request.key] = Saved(request.order, request.answer, self.now())
        if request.fault in LOST:
            request.answer = LOST[request.fault]
        elif isinstance(request.answer, Succeeded) and request.fault in SPOILT:
            request.answer = SPOILT[request.fault]

    def drop(self, request: Request) -> None:
        """The request never reaches the endpoint; whoever sent it hears nothing."""
        if request.answer is None:
            self.flying.remove(request)
            request.answer = Unknown("apiconnectionerror", "cut")

    def by_item(self) -> dict[int, list[Transfer]]:
        """The oracle: accepted transfers of each item."""
        found: dict[int, list[Transfer]] = {}
        for transfer in self.transfers:
            found.setdefault(transfer.order.item_id, []).append(transfer)
        return found

    def listed(self, order: Order) -> Transfer | None:
        """The newest that the list shows of an item by now, by metadata, amount, destination."""
        for transfer in reversed(self.transfers):
            seen = transfer.created + self.list_lag <= self.now()
            if seen and _same_payment(transfer.order, order):
                return transfer
        return None

    def _run(self, request: Request) -> tuple[Answer, bool]:
        """The endpoint: its answer, and whether the key remembers it."""
        if request.fault is Fault.STICKY_500:
            return Unknown("apierror_500", "500"), True
        order, account = request.order, self.accounts.get(request.order.destination)
        minor = order.amount.micros // minor_unit_micros(order.amount.currency)
        currency = order.amount.currency
        if minor < 1:
            return Refused("parameter_invalid_integer", "400"), False
        if account is None:
            return Refused("resource_missing", "400"), True
        if account.closed:
            return Refused("account_closed", "400"), True
        if account.transfers != "active":
            return NotReady("insufficient_capabilities_for_transfer", "400"), True
        if self.balance_minor[currency] < minor:
            return Refused("balance_insufficient", "400", again=True), True
        self.balance_minor[currency] -= minor
        transfer = Transfer(f"tr_{next(self._numbers)}", order, self.now())
        self.transfers.append(transfer)
        self._tell(transfer, request.key)
        if request.fault is Fault.ACCEPT_500:
            return Unknown("apierror_500", "500"), True
        return Succeeded(transfer.id), True

    def _tell(self, transfer: Transfer, key: str) -> None:
        order = transfer.order
        self.events.append(
            {
                "id": f"evt_{len(self.events) + 1}",
                "object": "event",
                "type": "transfer.created",
                "created": int(transfer.created.timestamp()),
                "data": {
                    "object": {
                        "id": transfer.id,
                        "object": "transfer",
                        "amount": order.amount.micros // minor_unit_micros(order.amount.currency),
                        "currency": order.amount.currency.lower(),
                        "destination": order.destination,
                        "transfer_group": order.group,
                        "metadata": {
                            "item_id": str(order.item_id),
                            "attempt": str(order.attempt),
                            "env": order.installation,
                        },
                    }
                },
                "request": {"idempotency_key": key},
            }
        )


def _same_payment(one: Order, other: Order) -> bool:
    return (one.item_id, one.installation, one.amount, one.destination, one.group) == (
        other.item_id, other.installation, other.amount, other.destination, other.group
    )  # fmt: skip


class SimulatedRail(OneLine):
    """The rail by which payouts reach the provider; `point` stands between the two ends."""

    name: ClassVar[str] = "stripe"
    title: ClassVar[Phrase] = Phrase("Simulated")
    by_hand: ClassVar[bool] = False
    account_fields: ClassVar[tuple[AccountField, ...]] = one_line(
        Phrase("Account"), Phrase("Its id.")
    )

    def __init__(self, provider: Provider, point: Callable[[str], None] = lambda _: None) -> None:
        self.provider = provider
        self.point = point

    def pays(self, currency: str) -> bool:
        return True

    def granularity(self, currency: str) -> int:
        return 1

    def configured(self) -> bool:
        return True

    def send(self, order: Order, *, key: str) -> Answer:
        request = self.provider.receive(order, key, api_key=SECRET_KEY)
        if not request.final:
            self.point("request in flight")
            self.provider.execute(request)
        self.point("answer on its way")
        assert request.answer is not None
        if self.provider.now() - request.began > READ_TIMEOUT:
            return Unknown("apiconnectionerror", "timed out")
        return request.answer

    def find(self, order: Order) -> LookUp:
        self.point("look-up")
        if self.provider.list_away:
            return LookUpFailed("apiconnectionerror")
        if self.provider.api_key != SECRET_KEY:
            return LookUpFailed("authenticationerror_401")
        found = self.provider.listed(order)
        return Found(found.id) if found else NotFound()

    def payee_ready(self, destination: str) -> bool:
        self.point("account asked for")
        if self.provider.list_away or self.provider.api_key != SECRET_KEY:
            raise RailAway("apiconnectionerror")
        account = self.provider.accounts.get(destination)
        if account is None:
            return False
        return account.transfers == "active" and account.payouts_enabled

    def rehearse(
        self, currency: str, payouts: Sequence[Planned], *, may_ask: Callable[[], bool]
    ) -> Rehearsed:
        return Rehearsed(len(payouts))
