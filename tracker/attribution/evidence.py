"""Read what may credit somebody: click tokens, the visitor's clicks, coupon, customer (pure).

What the database said to an order's question (`tracker.attribution.asking`) as values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import urlsplit

from tracker.attribution.asking import BUYER, Answer, Question, Row
from tracker.attribution.own import Buyer, Person, Sighting, known_by, seen_of
from tracker.attribution.persons import SIGHTING
from tracker.attribution.rules import BuyerBy, Candidate, Kind, OrderFacts
from tracker.clicks.rules import DropReason
from tracker.clicks.testing import TEST_LINK_ID
from tracker.clicks.tokens import BadToken, ClickToken, is_click_id
from tracker.orders.keys import Keys

PAID_SEARCH_MARKS: Final = frozenset(("gclid", "gbraid", "wbraid", "msclkid", "yclid"))
"""What Google, Microsoft and Yandex add to the address of an advertisement's target."""

NOBODY: Final[Mapping[int, BuyerBy]] = {}


@dataclass(frozen=True, slots=True)
class Gathered:
    """Everything that attribution reads, and the recruiters of whom it may credit."""

    facts: OrderFacts
    candidates: tuple[Candidate, ...]
    recruiters: Mapping[int, int | None]
    groups: Mapping[int, str | None]
    names_buyer: bool
    """Whether the order says who bought."""
    buying_recruiters: Mapping[int, BuyerBy] = field(default_factory=dict)
    """Recruiters who are known to be the buyer, by their enrollment."""


def gather(
    answer: Answer,
    *,
    program_closed: bool,
    keys: Keys,
    review_declined: bool = False,
    contested: bool = False,
    known_before: Mapping[int, BuyerBy] = NOBODY,
) -> Gathered:
    """The candidates of an order out of what was read for it.

    `known_before` are the enrollments that an earlier decision of the order knew to be the
    buyer, by what may be forgotten since.
    """
    question, found = answer.question, answer.found
    buyer = _buyer([row for row in found if row.kind == BUYER], question)
    seen = seen_of(
        Sighting(row.affiliate_id, row.click_id, BuyerBy(row.group_name))
        for row in found
        if row.kind == SIGHTING and row.affiliate_id and row.click_id and row.group_name
    )
    owned = [row for row in found if row.kind not in (BUYER, SIGHTING)]
    candidates = [_candidate(row, question.program_id, buyer, seen, keys) for row in owned]
    believed = question.believed
    candidates = [_as_its_token_says(found, believed) for found in candidates]
    if known_before:
        candidates = [
            replace(one, buyer_by=known_before.get(one.enrollment_id or 0))
            if one.buyer_by is None
            else one
            for one in candidates
        ]
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
        contested=contested,
    )
    recruiters = {row.enrollment_id: row.recruiter_id for row in owned if row.enrollment_id}
    groups = {row.enrollment_id: row.group_name for row in owned if row.enrollment_id}
    return Gathered(
        facts,
        tuple(candidates),
        recruiters,
        groups,
        question.names_buyer,
        _buying_recruiters(owned, buyer, seen, keys),
    )


def _buyer(known_as: Sequence[Row], question: Question) -> Buyer:
    """The buyer by what the order says and by the customers that it fits."""
    emails = {row.email_hash for row in known_as if row.email_hash is not None}
    ids = {row.customer_id for row in known_as if row.customer_id is not None}
    said = question.customer.get("id")
    return Buyer(
        since=min((row.clicked_at for row in known_as if row.clicked_at), default=None),
        email_hashes=frozenset(emails | {question.email_hash} if question.email_hash else emails),
        customer_ids=frozenset(ids | {said} if said else ids),
        payment=question.customer.get("payment"),
    )


def _buying_recruiters(
    owned: Sequence[Row], buyer: Buyer, seen: Mapping[int, BuyerBy], keys: Keys
) -> dict[int, BuyerBy]:
    found = {}
    for row in owned:
        if row.recruiter_id is not None:
            recruiter = Person(
                row.recruiter_email,
                row.recruiter_customer_id,
                row.recruiter_accounts,
                row.recruiter_paid_before,
                seen.get(row.recruiter_affiliate_id or 0),
            )
            by = known_by(recruiter, buyer, keys)
            if by is not None:
                found[row.recruiter_id] = by
    return found


def _candidate(
    row: Row, program_id: int, buyer: Buyer, seen: Mapping[int, BuyerBy], keys: Keys
) -> Candidate:
    person = Person(
        row.email,
        row.customer_id,
        row.accounts,
        row.paid_before,
        seen.get(row.affiliate_id or 0),
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
        buyer_by=known_by(person, buyer, keys) if here else None,
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


def _as_its_token_says(found: Candidate, tokens: Sequence[ClickToken]) -> Candidate:
    """The candidate with what its token alone says: no row will come, it is the test link's."""
    if found.kind is not Kind.CLICK_TOKEN or found.loaded:
        return found
    own = [token for token in tokens if str(token.click_id) == found.click_id]
    return replace(
        found,
        unrecorded=any(token.unrecorded or not is_click_id(token.click_id) for token in own),
        by_test_link=any(token.link_id == TEST_LINK_ID for token in own),
    )
