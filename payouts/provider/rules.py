"""What a provider's transfer means for our item, and what an event is about. Pure.

Rules: docs/reliability.md, "Reconciliation" and "Webhooks".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from affiliate.core.money import Money
from payouts.rails.protocol import Transfer

APPROVED_STATUSES = ("approved", "paying", "done")
"""Batches that money may have left from."""
RETURNED_STATUSES = ("cancelled", "failed")
"""Items whose reserve is back in the balance."""
LIVE_STATUSES = ("sent", "unknown")


class DifferenceKind(StrEnum):
    """How the provider's books and ours can contradict each other."""

    UNKNOWN_ITEM = "unknown_item"
    """A transfer of ours for an item that this database does not have."""
    OTHER_CONTENT = "other_content"
    """The transfer has another amount, currency or destination than its item."""
    SECOND_TRANSFER = "second_transfer"
    """The item was paid by another transfer already."""
    OTHER_ITEM = "other_item"
    """The transfer stands here as the payment of another item: somebody typed its id there."""
    NOT_APPROVED = "not_approved"
    """The item's batch is not approved here."""
    RETURNED = "returned"
    """The item ended without payment here, and its money is back in the balance."""
    CONTRADICTION = "contradiction"
    """The item stands as paid without an attempt that paid it."""
    MISSING_TRANSFER = "missing_transfer"
    """An item was paid by a transfer that the provider does not have."""
    OTHER_ACCOUNT = "other_account"
    """The API key belongs to another account of the provider than payouts were made from."""


@dataclass(frozen=True, slots=True)
class KnownAttempt:
    number: int
    status: str
    transfer_id: str | None


@dataclass(frozen=True, slots=True)
class Known:
    """What this database says of an item, read under its lock."""

    status: str
    batch_status: str
    rail: str
    amount: Money
    destination: str
    attempts: tuple[KnownAttempt, ...]
    transfer_of_other: bool = False
    """Whether the transfer is written down as the payment of another item."""


@dataclass(frozen=True, slots=True)
class Matched:
    """The item is paid by this very transfer."""


@dataclass(frozen=True, slots=True)
class Settles:
    """The attempt without an answer was this transfer."""

    number: int


@dataclass(frozen=True, slots=True)
class Adopted:
    """No attempt is under way, the item waits with its reserve, and it was paid: by this one."""

    number: int
    """The attempt's, as the transfer names it; it may be new to this database."""


Verdict = Matched | Settles | Adopted | DifferenceKind


def judge(seen: Transfer, known: Known | None, *, rail: str) -> Verdict:
    """What a transfer of this installation means for the item that it names.

    An attempt that waits for its answer is settled whichever attempt of the item the transfer
    names: the item was paid, and nothing must be sent for it any more.
    """
    if known is None or known.rail != rail:
        return DifferenceKind.UNKNOWN_ITEM
    if seen.amount != known.amount or seen.destination != known.destination:
        return DifferenceKind.OTHER_CONTENT
    if known.transfer_of_other:
        return DifferenceKind.OTHER_ITEM
    paid_by = [each.transfer_id for each in known.attempts if each.status == "succeeded"]
    if paid_by:
        return Matched() if seen.id in paid_by else DifferenceKind.SECOND_TRANSFER
    if known.batch_status not in APPROVED_STATUSES:
        return DifferenceKind.NOT_APPROVED
    if known.status in RETURNED_STATUSES:
        return DifferenceKind.RETURNED
    for attempt in known.attempts:
        if attempt.status in LIVE_STATUSES:
            return Settles(attempt.number)
    if known.status == "queued":
        last = max((attempt.number for attempt in known.attempts), default=0)
        return Adopted(seen.attempt or last + 1)
    return DifferenceKind.CONTRADICTION


class Subject(StrEnum):
    """What is asked of the provider when an event tells of it."""

    TRANSFER = "transfer"
    ACCOUNT = "account"
    BANK_PAYOUT = "bank_payout"
    FUNDS = "funds"
    NOTHING = "nothing"


SUBJECTS = {
    "transfer.created": Subject.TRANSFER,
    "transfer.updated": Subject.TRANSFER,
    "transfer.reversed": Subject.TRANSFER,
    "account.updated": Subject.ACCOUNT,
    "account.application.deauthorized": Subject.ACCOUNT,
    "account.external_account.created": Subject.ACCOUNT,
    "account.external_account.updated": Subject.ACCOUNT,
    "account.external_account.deleted": Subject.ACCOUNT,
    "capability.updated": Subject.ACCOUNT,
    "payout.created": Subject.BANK_PAYOUT,
    "payout.updated": Subject.BANK_PAYOUT,
    "payout.paid": Subject.BANK_PAYOUT,
    "payout.failed": Subject.BANK_PAYOUT,
    "payout.canceled": Subject.BANK_PAYOUT,
    "payout.reconciliation_completed": Subject.BANK_PAYOUT,
    "balance.available": Subject.FUNDS,
}


def subject_of(event_type: str, *, account: str) -> Subject:
    """What to ask for; NOTHING for types that Kopeck does not act on.

    Bank payouts and accounts are those of payees: the platform's own are the merchant's affair.
    """
    subject = SUBJECTS.get(event_type, Subject.NOTHING)
    of_payees = subject in (Subject.ACCOUNT, Subject.BANK_PAYOUT)
    if subject is not Subject.NOTHING and of_payees != bool(account):
        return Subject.NOTHING
    return subject


BANK_RANKS = {"pending": 0, "in_transit": 1, "paid": 2, "canceled": 3, "failed": 3}
"""A bank payout moves up alone: paid may still turn to failed, failed never to paid."""


def bank_rank(status: str) -> int:
    """How far a bank payout has come; a status that is new to us counts as on its way."""
    return BANK_RANKS.get(status, 1)
