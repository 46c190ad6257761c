"""What every rail answers: the way by which a payout leaves.

A rail sends once and says what it knows. It keeps nothing, retries nothing and decides
nothing: the attempt row, its key and every later try are payouts.batches' own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from affiliate.core.money import Money


@dataclass(frozen=True, slots=True)
class Order:
    """What is sent, stored with the attempt so that a retry is the same to the byte."""

    amount: Money
    destination: str
    group: str
    """The batch, in the provider's words: what a list look-up filters by."""
    item_id: int
    attempt: int
    installation: str


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The money left."""

    transfer_id: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A definite no: this attempt has moved nothing and never will."""

    code: str
    text: str
    again: bool = False
    """True: the reason passes by itself (no funds yet); a new attempt may be made later."""


@dataclass(frozen=True, slots=True)
class NotReady:
    """A definite no, because the payee's account cannot receive now."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Postponed:
    """This call had no effect, and says nothing of an earlier one with the same key."""

    code: str
    text: str
    halts: bool = False
    """True: no other item will fare better now (the key is refused)."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The money may have left. The same key again, or a look-up, will tell."""

    code: str
    text: str


Answer = Succeeded | Refused | NotReady | Postponed | Unknown


@dataclass(frozen=True, slots=True)
class Found:
    """A transfer of ours that the provider has."""

    transfer_id: str


@dataclass(frozen=True, slots=True)
class NotFound:
    """The list was read to its end and holds none. Proves nothing."""


@dataclass(frozen=True, slots=True)
class LookUpFailed:
    """The list could not be read."""

    code: str


LookUp = Found | NotFound | LookUpFailed


class Rail(Protocol):
    """One way of paying."""

    @property
    def name(self) -> str: ...

    @property
    def by_hand(self) -> bool:
        """True: a person pays and types the reference; nothing is ever sent."""
        ...

    def granularity(self, currency: str) -> int:
        """Minor units that an amount must be a multiple of; 1 nearly everywhere."""
        ...

    def configured(self) -> bool:
        """Whether batches on it can be approved."""
        ...

    def send(self, order: Order, *, key: str) -> Answer:
        """Send once with this key; never raises for what the provider or network does."""
        ...

    def find(self, order: Order) -> LookUp:
        """Look for a transfer of this item among what the provider lists."""
        ...

    def payee_ready(self, destination: str) -> bool:
        """Whether the account can receive now; raises RailAway when nobody answers."""
        ...


class RailAway(Exception):
    """The provider did not answer a question that moves no money."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """A transfer as the provider shows it."""

    id: str
    amount: Money
    reversed: Money
    """What has come back of it so far."""
    destination: str
    group: str
    installation: str
    """Who made it, by its metadata; empty for one that is none of Kopeck's."""
    item_id: int | None
    attempt: int | None
    created_at: datetime
    """By the provider's clock."""


@dataclass(frozen=True, slots=True)
class Account:
    """A payee's account as the provider shows it."""

    id: str
    ready: bool
    """Transfers are active and payouts to its bank enabled."""
    disabled_reason: str
    """Why not, in the provider's code; empty while nothing is wrong."""
    due: tuple[str, ...]
    """What the provider still wants to know of the payee."""


@dataclass(frozen=True, slots=True)
class BankPayout:
    """What a payee's account sent on to their bank: information, never our money's last step."""

    id: str
    account: str
    amount: Money
    status: str
    """pending → in_transit → paid; failed or canceled, also after paid."""
    failure: str
    """The bank's reason in the provider's code; empty while none."""
    arrives_at: datetime
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Event:
    """That something happened to an object. What it is now must be asked of the provider."""

    id: str
    type: str
    account: str
    """The connected account that it is of; empty for the platform's own."""
    object_id: str
    idempotency_key: str
    """Of the request that caused it; empty where none did."""
    live: bool
    created_at: datetime


@runtime_checkable
class Provider(Protocol):
    """What a rail offers whose provider keeps books of its own that can be asked.

    Each method raises RailAway when nobody answers, and None or nothing means: not there.
    """

    @property
    def name(self) -> str: ...

    def configured(self) -> bool: ...

    def account(self) -> str:
        """Whose money it is: the merchant's account that the API key belongs to."""
        ...

    def pin(self, account: str) -> None:
        """Use no key of another account than this from now on."""
        ...

    def funds(self, currency: str) -> Money | None:
        """What can be sent now; None when nobody knows. A look before a batch, no promise."""
        ...

    def transfers_since(self, since: datetime) -> Iterator[Transfer]:
        """Every transfer made at or after an instant, newest first, those of others too."""
        ...

    def transfer(self, transfer_id: str) -> Transfer | None: ...

    def payee(self, destination: str) -> Account | None:
        """The payee's account; None when it is gone or closed to us."""
        ...

    def bank_payout(self, payout_id: str, *, account: str) -> BankPayout | None: ...

    def events_since(self, since: datetime, *, account: str = "") -> Iterator[Event]:
        """Events of the merchant's account, or of a payee's, newest first; 30 days at most."""
        ...


def provider(rail: Rail) -> Provider | None:
    """The rail as something whose provider can be asked; None where there is none, or no key."""
    return rail if isinstance(rail, Provider) and rail.configured() else None


def funds(rail: Rail, currency: str) -> Money | None:
    """What the rail could send now; None when it is unknown, as it is for a rail by hand.

    A look before a batch: whether it still covers the batch, only sending tells.
    """
    asked = provider(rail)
    if asked is None:
        return None
    try:
        return asked.funds(currency)
    except RailAway:
        return None
