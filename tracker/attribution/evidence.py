"""Read what may credit somebody: click tokens, the visitor's clicks, coupon, customer (pure).

What the database said to an order's question (`tracker.attribution.asking`) as values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

from tracker.attribution.asking import BUYER, Answer, Row
from tracker.attribution.rules import BuyerBy, Candidate, Kind, OrderFacts
from tracker.clicks.rules import DropReason
from tracker.clicks.tokens import BadToken, ClickToken, is_click_id
from tracker.orders.keys import Keys

PAID_SEARCH_MARKS: Final = frozenset(("gclid", "gbraid", "wbraid", "msclkid", "yclid"))
"""What Google, Microsoft and Yandex add to the address of an advertisement's target."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """Everything that attribution reads, and the recruiters of whom it may credit."""

    facts: OrderFacts
    candidates: tuple[Candidate, ...]
    recruiters: Mapping[int, int | None]
    groups: Mapping[int, str | None]
    names_buyer: bool
    """Whether the order says who bought."""


@dataclass(frozen=True, slots=True)
class Buyer:
    """What we know of the buyer besides this order."""

    since: datetime | None = None
    email_hashes: frozenset[bytes] = frozenset()


def gather(
    answer: Answer, *, program_closed: bool, keys: Keys, review_declined: bool = False
) -> Gathered:
    """The candidates of an order out of what was read for it."""
    question, found = answer.question, answer.found
    buyer = _buyer([row for row in found if row.kind == BUYER], question.email_hash)
    owned = [row for row in found if row.kind != BUYER]
    candidates = [_candidate(row, question.program_id, buyer, keys) for row in owned]
    believed = question.believed
    candidates = [_unrecorded(found, believed) for found in candidates]
    candidates += [
        Candidate(kind=Kind.CLICK_TOKEN, genuine=False)
        for token in question.tokens
        if isinstance(token, BadToken)
    ]
    if question.coupon and not any(found.kind is Kind.COUPON for found in candidates):
        candidates.append(Candidate(kind=Kind.COUPON, in_program=False))
    facts = OrderFacts(
        placed_at=question.placed_at,
        customer_since=buyer.since,
        says_new=question.customer.get("is_new"),
        program_closed=program_closed,
        review_declined=review_declined,
    )
    recruiters = {row.enrollment_id: row.recruiter_id for row in owned if row.enrollment_id}
    groups = {row.enrollment_id: row.group_name for row in owned if row.enrollment_id}
    return Gathered(facts, tuple(candidates), recruiters, groups, question.names_buyer)


def _buyer(known_as: Sequence[Row], email_hash: bytes | None) -> Buyer:
    """The buyer by what the order says and by the customers that it fits."""
    known = {row.email_hash for row in known_as if row.email_hash is not None}
    return Buyer(
        since=min((row.clicked_at for row in known_as if row.clicked_at), default=None),
        email_hashes=frozenset(known | {email_hash} if email_hash else known),
    )


def _candidate(row: Row, program_id: int, buyer: Buyer, keys: Keys) -> Candidate:
    own = (
        bool(buyer.email_hashes)
        and row.email is not None
        and not buyer.email_hashes.isdisjoint(keys.email_hashes_of(row.email))
    )
    here = row.program_id == program_id
    return Candidate(
        kind=Kind(row.kind),
        # Another program's affiliates are none of this program's business.
        enrollment_id=row.enrollment_id if here else None,
        click_id=row.click_id,
        at=row.clicked_at,
        in_program=here,
        disabled_at=row.disabled_at if here else None,
        valid_until=row.valid_until,
        active=row.status == "active" if here else False,
        buyer_by=BuyerBy.EMAIL if own and here else None,
        drop=DropReason(row.reason) if row.reason else None,
        loaded=row.loaded,
        group=row.group_name if here else None,
        referrer_host=host_of(row.referrer),
        paid_search=is_paid_search(row.deep_link),
    )


def host_of(referrer: str | None) -> str | None:
    """The host of a referring page, in lower case; None where the browser told none."""
    if not referrer:
        return None
    try:
        return urlsplit(referrer).hostname or None
    except ValueError:
        return None


def is_paid_search(deep_link: str | None) -> bool:
    """Whether the address that a click asked for carries the mark of a paid search result."""
    if not deep_link or "?" not in deep_link:
        return False
    query = deep_link.partition("?")[2].partition("#")[0]
    names = {pair.partition("=")[0].lower() for pair in query.split("&")}
    return not names.isdisjoint(PAID_SEARCH_MARKS)


def _unrecorded(found: Candidate, tokens: Sequence[ClickToken]) -> Candidate:
    if found.kind is not Kind.CLICK_TOKEN or found.loaded:
        return found
    stands_alone = any(
        token.unrecorded or not is_click_id(token.click_id)
        for token in tokens
        if str(token.click_id) == found.click_id
    )
    return replace(found, unrecorded=True) if stands_alone else found
