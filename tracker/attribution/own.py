"""By what the buyer of an order is known to be an affiliate (pure).

Rule: docs/rules.md, "Own purchases".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from tracker.attribution.facts import BuyerBy
from tracker.orders.keys import Keys


@dataclass(frozen=True, slots=True)
class Buyer:
    """What we know of the buyer, out of this order and our record of their earlier ones."""

    since: datetime | None = None
    """placed_at of their earliest confirmed order."""
    email_hashes: frozenset[bytes] = frozenset()
    customer_ids: frozenset[str] = frozenset()
    """The shop's own."""
    payment: str | None = None
    """Keyed hash of the account that paid."""


class Person(NamedTuple):
    """What we know of an affiliate, or of their recruiter, to be compared with the buyer."""

    email: str | None
    customer_id: str | None
    """Under which the shop knows them, as a manager or the shop said."""
    accounts: Sequence[str] | None
    """Where they are or were paid to; read only for an order that says what paid for it."""
    paid_before: bool
    """What paid for the order paid for an earlier own purchase of theirs."""
    seen_by: BuyerBy | None
    """Where their account was open: in the buyer's browser, or in their network alone."""


class Sighting(NamedTuple):
    """An affiliate's account was open where the buyer is."""

    affiliate_id: int
    mark: str
    by: BuyerBy


def seen_of(sightings: Iterable[Sighting]) -> dict[int, BuyerBy]:
    """By what each affiliate was seen where the buyer is, the browser before the network.

    A network in which several affiliates were seen says nothing of any of them.
    """
    found = list(sightings)
    shared = Counter(each.mark for each in found)
    return {
        each.affiliate_id: each.by
        for by in (BuyerBy.ADDRESS, BuyerBy.DEVICE)
        for each in found
        if each.by is by and (by.is_sure or shared[each.mark] <= NETWORK_SHARED_MAX)
    }


def known_by(person: Person, buyer: Buyer, keys: Keys) -> BuyerBy | None:
    """By what the buyer is this person: the surest of all; None: not known to be."""
    email, customer_id, accounts, paid_before, seen_by = person
    if customer_id is not None and customer_id in buyer.customer_ids:
        return BuyerBy.CUSTOMER_ID
    emails = buyer.email_hashes
    if emails and email is not None and not emails.isdisjoint(keys.email_hashes_of(email)):
        return BuyerBy.EMAIL
    if paid_before or (
        buyer.payment is not None
        and any(buyer.payment in keys.payment_hashes_of(account) for account in accounts or ())
    ):
        return BuyerBy.PAYMENT_ACCOUNT
    return seen_by


NETWORK_SHARED_MAX: Final = 2
"""Affiliates of one network on one day; more of them, and it says nothing of any."""
LASTING: Final = frozenset({BuyerBy.CUSTOMER_ID, BuyerBy.EMAIL})
"""Facts that stay and that a person may correct; the others are forgotten after some weeks."""
