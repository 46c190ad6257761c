"""What a rail by bank file answers beside a rail: how files are written for the bank.

The rail writes bytes out of values and keeps nothing. Which payments go into which file, and
what the bank's answers mean for them, is payouts.batches' own (`bank_files`, `bank_answers`).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import ClassVar

from affiliate.core.errors import Phrase
from affiliate.core.money import Money
from payouts.rails.protocol import AccountField, Answer, LookUp, NotFound, Order, Postponed
from payouts.rails.rehearsal import MayAsk, Objected, Objection, Planned, Rehearsed

ITEMS_MAX = 1_000
"""Payments in one file: what banks' upload pages take without complaint."""
END_TO_END = re.compile(r"(?<![0-9A-Za-z])[0-9a-f]{18}-[0-9]{1,11}-[0-9]{1,3}(?![0-9A-Za-z])")
"""How an end-to-end id looks inside a longer text; 18 + 1 + 11 + 1 + 3 = 34 characters at most,
where ISO 20022 allows 35."""


@dataclass(frozen=True, slots=True)
class OwnAccount:
    """The account that a program pays from."""

    details: str
    """In the canonical form of a destination."""
    options: Mapping[str, str]
    """What else files need: the version of the format, the note about VAT."""


@dataclass(frozen=True, slots=True)
class Payment:
    """One payment of a file."""

    end_to_end_id: str
    """What the bank gives back of it in every message; at most 35 characters."""
    destination: str
    amount: Money
    document: int
    """Its running number among the program's payments by file."""


@dataclass(frozen=True, slots=True)
class FileOrder:
    """What a file is written from."""

    own: OwnAccount
    program: str
    number: int
    """Its running number in the program."""
    made_on: date
    """The day in the program's zone: of the documents, and of their execution."""
    payments: tuple[Payment, ...]


@dataclass(frozen=True, slots=True)
class Written:
    """A file as the bank gets it."""

    raw: bytes
    message_id: str
    """By which a bank speaks of the file as a whole."""
    format: str
    ending: str
    """Of the file's name."""


class BankRail(ABC):
    """A rail whose payments leave in a file that finance hands to the bank."""

    name: ClassVar[str]
    title: ClassVar[Phrase]
    by_hand: ClassVar[bool] = True
    currency: ClassVar[str]
    account_fields: ClassVar[tuple[AccountField, ...]]
    own_fields: ClassVar[tuple[AccountField, ...]]
    """What a manager is asked for, to name the account that the program pays from."""
    own_choices: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Fields of those in which one of a few values is chosen."""

    @abstractmethod
    def account(self, typed: Mapping[str, str]) -> str: ...

    @abstractmethod
    def account_in_words(self, destination: str) -> str: ...

    @abstractmethod
    def account_masked(self, destination: str) -> str: ...

    def account_for_payee(self, destination: str) -> str:
        return self.account_masked(destination)

    @abstractmethod
    def number_of(self, destination: str) -> str:
        """The bare account number, as statements have it. Raises NotAnAccount."""

    @abstractmethod
    def own_account(self, typed: Mapping[str, str]) -> OwnAccount:
        """The account to pay from out of what a person typed. Raises Invalid."""

    @abstractmethod
    def own_typed(self, own: OwnAccount) -> dict[str, str]:
        """The other way round: what stands in the form of an account that is known."""

    @abstractmethod
    def write(self, order: FileOrder) -> Written:
        """The file. Raises NotAnAccount for a destination that is none of this rail's."""

    def pays(self, currency: str) -> bool:
        return currency == self.currency

    def granularity(self, currency: str) -> int:
        return 1

    def configured(self) -> bool:
        """The rail itself needs nothing; the account to pay from is the program's."""
        return True

    def send(self, order: Order, *, key: str) -> Answer:
        """Nothing leaves by itself."""
        return Postponed("by_file", "It leaves in a file that finance hands to the bank.")

    def find(self, order: Order) -> LookUp:
        return NotFound()

    def payee_ready(self, destination: str) -> bool:
        """No bank says so beforehand: details that are sound are ready."""
        try:
            self.number_of(destination)
        except ValueError:
            return False
        return True

    def rehearse(self, currency: str, payouts: Sequence[Planned], *, may_ask: MayAsk) -> Rehearsed:
        """Whether each account is one that a file can carry; no bank says more beforehand."""
        unsound = (each for each in payouts if not self.payee_ready(each.destination))
        return Rehearsed(
            len(payouts), tuple(Objected(each.item_id, Objection.UNSOUND) for each in unsound)
        )


def end_to_end_id(installation: str, *, item_id: int, attempt: int) -> str:
    """What the bank knows a payment by: whose, which item, which attempt. Never used twice."""
    made = f"{installation}-{item_id}-{attempt}"
    if not END_TO_END.fullmatch(made):
        raise RuntimeError(f"{made} is no end-to-end id")
    return made
