"""The rules in memory are those of the Stripe double: the same calls, the same answers.

A seed makes a sequence of calls with everything that may come between them; both providers go
through it, the double over a real socket and the `stripe` package, and each answer is compared
as the rail classifies it.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from stripe_double import KEY, Double, until

from affiliate.core import clock
from affiliate.core.config import Settings
from affiliate.core.money import Money
from payouts.rails.protocol import Answer, Found, Order, RailAway, Refused, Succeeded, Unknown
from payouts.rails.stripe import StripeRail
from tests.payouts.simulation.provider import SECRET_KEY, Account, Fault, Provider, SimulatedRail

CALLS = 60
_runs = itertools.count(1)
SOCKET_FAULTS_THAT_TAKE_LONG = (Fault.ACCEPT_HANG,)
"""The double keeps its silence until the rail's own time-out: the same class, much later."""


@dataclass
class Both:
    """The double and the rules in memory, side by side."""

    double: Double
    wire: StripeRail
    rules: Provider = field(init=False)
    memory: SimulatedRail = field(init=False)
    later: timedelta = timedelta()
    ids: dict[str, str] = field(default_factory=dict)
    """The double's transfer by that of the rules."""

    def __post_init__(self) -> None:
        self.rules = Provider(now=self.now)
        self.memory = SimulatedRail(self.rules)
        self.run = next(_runs)
        self.double.control("DELETE", "/faults")
        self.fund(1_000)
        self.destinations = [self.account() for _ in range(3)]

    def now(self) -> datetime:
        return clock.real_now() + self.later

    def account(self) -> str:
        made = self.double.account()
        self.rules.accounts[made] = Account()
        return made

    def fund(self, minor: int) -> None:
        self.double.control("POST", "/balance", {"currency": "eur", "amount": minor})
        self.rules.balance_minor = Counter({"EUR": minor})

    def states(self, destination: str, **states: Any) -> None:
        self.double.control("POST", "/accounts", {"id": destination, **states})
        account = self.rules.accounts[destination]
        self.rules.accounts[destination] = replace(account, **states)

    def wait(self, **delta: float) -> None:
        by = timedelta(**delta)
        self.double.control("POST", "/clock", {"advance_s": by.total_seconds()})
        self.later += by

    def fault(self, fault: Fault) -> None:
        """The next transfer meets it, here and there."""
        kind, switches = (fault.value, {})
        if fault is Fault.STICKY_500:
            kind, switches = "refuse-500", {"sticky": True}
        self.double.fault(kind, **switches)

        def draw() -> Fault:
            self.rules.draw = lambda: None  # type: ignore[assignment]
            return fault

        self.rules.draw = draw

    def no_fault(self) -> None:
        self.double.control("DELETE", "/faults")
        self.rules.draw = lambda: None

    def send(self, order: Order, key: str) -> Answer:
        told, expected = self.wire.send(order, key=key), self.memory.send(order, key=key)
        self.no_fault()
        assert same(told) == same(expected), (order, key, told, expected)
        if isinstance(told, Succeeded) and isinstance(expected, Succeeded):
            assert self.ids.setdefault(expected.transfer_id, told.transfer_id) == told.transfer_id
        return told

    def find(self, order: Order) -> None:
        told, expected = self.wire.find(order), self.memory.find(order)
        assert same(told) == same(expected), (order, told, expected)
        if isinstance(told, Found) and isinstance(expected, Found):
            known = self.ids.setdefault(expected.transfer_id, told.transfer_id)
            assert known == told.transfer_id

    def agree(self) -> None:
        """The two books at the end."""
        state = self.double.control("GET", "/state")
        assert state["balances"]["eur"] == self.rules.balance_minor["EUR"]
        mine = [
            transfer
            for transfer in self.double.control("GET", "/transfers")["transfers"]
            if transfer["metadata"].get("env") == f"run{self.run}"
        ]
        assert Counter(t["metadata"]["item_id"] for t in mine) == Counter(
            str(t.order.item_id) for t in self.rules.transfers
        )


def same(answer: Any) -> tuple[Any, ...]:
    """What the protocol acts on: the class, and of a refusal how it is taken."""
    code = getattr(answer, "code", "") if isinstance(answer, Refused) else ""
    return type(answer), code, getattr(answer, "again", None), getattr(answer, "halts", None)


@pytest.fixture
def both(double: Double, settings: Settings) -> Both:
    rail = StripeRail(replace(settings, stripe_api_key=KEY, stripe_api_base=double.url))
    return Both(double, rail)


@pytest.fixture
def order_of(both: Both) -> Callable[..., Order]:
    def make(item_id: int, minor: int = 100, attempt: int = 1, at: int = 0) -> Order:
        return Order(
            Money.of_minor_units(minor, "EUR"), both.destinations[at], f"batch of {both.run}",
            item_id, attempt, f"run{both.run}",
        )  # fmt: skip

    return make


@pytest.mark.parametrize("seed", range(8))
def test_both_answer_a_random_sequence_of_calls_alike(
    both: Both, order_of: Callable[..., Order], seed: int
) -> None:
    chance = random.Random(seed)
    orders = [
        order_of(item_id, minor=chance.choice((1, 100, 400)), attempt=attempt, at=item_id % 3)
        for item_id in range(1, 6)
        for attempt in (1, 2)
    ]
    faults = [each for each in Fault if each not in SOCKET_FAULTS_THAT_TAKE_LONG]
    for _ in range(CALLS):
        order = chance.choice(orders)
        what = chance.choices(
            ("send", "other", "find", "ready", "fund", "account", "wait", "key"),
            (12, 1, 3, 1, 1, 2, 1, 1),
        )[0]
        key = f"key of {both.run}:{order.item_id}:{order.attempt}"
        if what == "send":
            if chance.random() < 0.4:
                both.fault(chance.choice(faults))
            both.send(order, key)
        elif what == "other":
            both.send(replace(order, amount=Money.of_minor_units(77, "EUR")), key)
        elif what == "find":
            both.find(order)
        elif what == "ready":
            told = both.wire.payee_ready(order.destination)
            assert told == both.memory.payee_ready(order.destination)
        elif what == "fund":
            both.fund(chance.choice((0, 50, 1_000)))
        elif what == "account":
            ready = chance.choice(("active", "active", "inactive"))
            both.states(order.destination, transfers=ready, payouts_enabled=chance.random() < 0.8)
        elif what == "wait":
            both.wait(hours=chance.choice((1, 12, 23.5, 24.5)))
        else:
            rolled(both, order, key)
    both.agree()


def rolled(both: Both, order: Order, key: str) -> None:
    """The key of the API is rolled, and comes back."""
    both.double.control("POST", "/keys", {"keys": ["sk_test_rolled_away_from_us"]})
    both.rules.api_key = "sk_test_rolled_away_from_us"
    both.send(order, key)
    both.find(order)
    for rail in (both.wire, both.memory):
        with pytest.raises(RailAway):
            rail.payee_ready(order.destination)
    both.double.control("POST", "/keys", {"keys": [KEY]})
    both.rules.api_key = SECRET_KEY


@pytest.mark.parametrize("fault", [f for f in Fault if f not in SOCKET_FAULTS_THAT_TAKE_LONG])
def test_both_answer_a_retry_after_each_fault_alike(
    both: Both, order_of: Callable[..., Order], fault: Fault
) -> None:
    order = order_of(1)
    both.fault(fault)
    both.send(order, f"key {both.run}")
    both.send(order, f"key {both.run}")
    both.wait(hours=25)
    both.send(order, f"key {both.run}")
    both.agree()


def test_a_closed_and_an_unknown_account_are_refused_alike(
    both: Both, order_of: Callable[..., Order]
) -> None:
    both.states(both.destinations[0], closed=True)
    assert both.send(order_of(1), f"closed {both.run}") == Refused(
        "account_closed", "The destination account has been closed."
    )
    unknown = replace(order_of(2), destination="acct_nobody")
    assert isinstance(both.send(unknown, f"unknown {both.run}"), Refused)


def test_a_list_that_lags_shows_neither(both: Both, order_of: Callable[..., Order]) -> None:
    order = order_of(1)
    both.send(order, f"lag {both.run}")
    both.double.fault("list-lag", lag_s=600.0)
    both.rules.list_lag = timedelta(seconds=600)
    both.find(order)
    both.wait(minutes=11)
    both.find(order)
    assert isinstance(both.wire.find(order), Found)


def test_a_key_in_flight_is_refused_alike(both: Both, order_of: Callable[..., Order]) -> None:
    order, key = order_of(1), f"flight {both.run}"
    both.double.fault("delay", delay_s=5.0)
    first: list[Answer] = []
    sender = threading.Thread(target=lambda: first.append(both.wire.send(order, key=key)))
    sender.start()
    until(lambda: both.double.control("GET", "/state")["in_flight"] == 1)
    flying = both.rules.receive(order, key, api_key=SECRET_KEY)
    told, expected = both.wire.send(order, key=key), both.memory.send(order, key=key)
    assert same(told) == same(expected)
    assert isinstance(told, Unknown)
    both.double.control("DELETE", "/faults")
    both.rules.execute(flying)
    sender.join(timeout=20)
    assert [same(each) for each in first] == [same(flying.answer)]
    both.agree()
