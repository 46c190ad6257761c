"""What every rail answers: the way by which a payout leaves.

A rail sends once and says what it knows. It keeps nothing, retries nothing and decides
nothing: the attempt row, its key and every later try are payouts.batches' own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from affiliate.core.errors import Phrase
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


@dataclass(frozen=True, slots=True)
class AccountField:
    """One field of the form in which a payee names their account."""

    name: str
    """As in the errors of `account`."""
    label: Phrase
    help: Phrase | None = None
    optional: bool = False
    chars_max: int = 100


class Rail(Protocol):
    """One way of paying.

    A new one is one file that says all of this, and one entry in the registry: forms, pages
    and settings are drawn from what stands here.
    """

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> Phrase:
        """What people call it."""
        ...

    @property
    def by_hand(self) -> bool:
        """True: no worker ever sends. A person pays, and types references or hands the bank a
        file (`payouts.rails.bank.BankRail`)."""
        ...

    @property
    def account_fields(self) -> tuple[AccountField, ...]:
        """What a payee is asked for."""
        ...

    def account(self, typed: Mapping[str, str]) -> str:
        """The destination out of those fields, in its one canonical form. Raises Invalid, which
        names the field."""
        ...

    def account_in_words(self, destination: str) -> str:
        """The account as finance reads it, in full."""
        ...

    def account_for_payee(self, destination: str) -> str:
        """The account as its owner reads it on a page that others may look at."""
        ...

    def account_masked(self, destination: str) -> str:
        """What the account is known by, and no more: `•••• 3000`."""
        ...

    def pays(self, currency: str) -> bool:
        """Whether money of this currency can leave by it at all."""
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
