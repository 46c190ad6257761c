"""What every rail answers: the way by which a payout leaves.

A rail sends once and says what it knows. It keeps nothing, retries nothing and decides
nothing: the attempt row, its key and every later try are payouts.batches' own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol, runtime_checkable

from affiliate.core.errors import Phrase
from affiliate.core.money import Money
from payouts.rails.rehearsal import MayAsk, Planned, Rehearsed


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

    def rehearse(self, currency: str, payouts: Sequence[Planned], *, may_ask: MayAsk) -> Rehearsed:
        """What would happen to these payouts if they were sent now; sends and keeps nothing.

        Never raises for what the provider or network does. Whoever asks a provider calls
        `may_ask` before each question and stops when it says no.
        """
        ...


class RailAway(Exception):
    """The provider did not answer a question that moves no money."""


class Standing(StrEnum):
    """How far an account is that a provider keeps for a payee."""

    DETAILS_MISSING = "details_missing"
    """The payee has to give something: `needs` says what."""
    IN_REVIEW = "in_review"
    """The provider checks what was given; nobody has to do anything."""
    READY = "ready"
    RESTRICTED = "restricted"
    """The provider stopped it for a reason of its own; only the payee and it can talk."""
    PAYOUTS_FAILING = "payouts_failing"
    """Money arrives at the provider and bounces at the payee's bank."""
    CLOSED = "closed"
    """Closed, or the payee has ended our access to it."""


class Need(StrEnum):
    """What a provider still wants of a payee, by class."""

    BANK_ACCOUNT = "bank_account"
    TERMS = "terms"
    DOCUMENT = "document"
    PERSON = "person"
    BUSINESS = "business"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class AccountState:
    """What a provider says of a payee's account, in no provider's words."""

    ready: bool
    """It can be paid to now."""
    standing: Standing
    needs: tuple[Need, ...] = ()
    disabled_reason: str | None = None
    """The provider's own code of why it is stopped."""
    needed_by: datetime | None = None
    """When a ready account stops being so unless the needs are met."""
    bank: str | None = None
    """Tells the bank account behind it from another, and nothing else; none: not said."""
    bank_masked: str | None = None
    """What that bank account is known by, and no more."""


@dataclass(frozen=True, slots=True)
class NewAccount:
    """What a payee's account is made with, stored so that a retry is the same to the byte."""

    affiliate: int
    installation: str
    country: str
    """ISO 3166-1 alpha-2."""
    cross_border: bool
    """Another region than the merchant's own: some providers have other terms for it."""


class AccountRefused(Exception):
    """A definite no: this account was not made and this request never makes it."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class PayeeAccounts(Protocol):
    """A provider where payees have accounts of their own, which it sets up with them."""

    def configured(self) -> bool: ...

    def countries(self) -> tuple[str, ...]:
        """Where payees may live."""
        ...

    def page_origins(self) -> tuple[str, ...]:
        """Where its own pages are, for the Content-Security-Policy of ours that lead there."""
        ...

    def crosses_border(self, country: str) -> bool:
        """Whether this country is not the merchant's region; raises RailAway."""
        ...

    def create(self, new: NewAccount, *, key: str) -> str:
        """Make the account once for this key; its id. Raises AccountRefused or RailAway."""
        ...

    def link(self, account: str, *, return_url: str, refresh_url: str) -> str:
        """A short-lived address of single use at which its owner goes on.

        It lets whoever opens it act for the payee: never stored, never logged. Raises
        AccountRefused for an account that is closed, RailAway when nobody answers.
        """
        ...

    def state(self, account: str) -> AccountState:
        """What the provider says now; raises RailAway when nobody answers."""
        ...


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
    """What the provider still wants to know of the payee, in its own names."""
    state: AccountState
    """The same in no provider's words."""


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

    def own_account(self) -> str:
        """Whose money it is: the merchant's account that the API key belongs to."""
        ...

    def pin(self, account: str) -> None:
        """Use no key of another account than this from now on."""
        ...

    def funds(self, currency: str) -> Money | None:
        """What can be sent now; None when nobody knows. A look before a batch, no promise."""
        ...

    def transfers_since(self, since: datetime, *, destination: str = "") -> Iterator[Transfer]:
        """Every transfer made at or after an instant, newest first, those of others too.

        With a destination those to this account alone.
        """
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
