"""Read what may credit somebody: click tokens, the visitor's clicks, coupon, customer.

One statement reads the customer, where the order names one, and every candidate with the
state of its link, its affiliate and its click.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from affiliate.core.db import rows
from tracker.attribution.rules import CLOCK_SKEW_MAX, Candidate, Kind, OrderFacts
from tracker.clicks.rules import DropReason
from tracker.clicks.tokens import BadToken, ClickToken, is_click_id, read
from tracker.orders.keys import Keys

TOKENS_MAX: Final = 20
VISITOR_CLICKS_MAX: Final = 200
BUYER: Final = "buyer"
"""Kind of the rows that are no candidates but say when the buyer bought first."""

# The link's row decides, not the token: whose it is, whether it was switched off.
_OWNER: Final = "e.id, e.status, r.id, u.email"
_OWNERS: Final = """
    LEFT JOIN enrollments e ON e.id = {of}.enrollment_id
    LEFT JOIN enrollments r ON r.id = e.recruiter_id AND r.status = 'active'
    LEFT JOIN affiliates a ON a.id = e.affiliate_id
    LEFT JOIN users u ON u.id = a.user_id
"""
_BY_TOKEN: Final = f"""
    SELECT 'click_token', CAST(t.click_id AS text), t.clicked_at, l.program_id, l.disabled_at,
           NULL::timestamptz, c.click_id IS NOT NULL, c.reason, {_OWNER}, NULL::bytea
    FROM {{tokens}}
    LEFT JOIN links l ON l.id = t.link_id
    LEFT JOIN clicks c ON c.clicked_at = t.clicked_at AND c.click_id = t.click_id
    {_OWNERS.format(of="l")}
"""  # noqa: S608 -- the parts are constants of this module, every value is bound
# With one token, as nearly every order has, only the partition of its click is opened.
_ONE: Final = """
    (SELECT CAST(%(link_id)s AS bigint) AS link_id, CAST(%(click_id)s AS uuid) AS click_id,
            CAST(%(clicked_at)s AS timestamptz) AS clicked_at) t
"""
_MANY: Final = """
    unnest(CAST(%(link_ids)s AS bigint[]), CAST(%(click_ids)s AS uuid[]),
           CAST(%(clicked_ats)s AS timestamptz[])) AS t(link_id, click_id, clicked_at)
"""
_BY_VISITOR: Final = f"""
    SELECT 'visitor_click', CAST(v.click_id AS text), v.clicked_at, v.program_id, l.disabled_at,
           NULL::timestamptz, true, v.reason, {_OWNER}, NULL::bytea
    FROM (
        SELECT click_id, clicked_at, program_id, link_id, reason FROM clicks
        WHERE visitor_id = ANY(CAST(%(visitors)s AS uuid[]))
          AND program_id = CAST(%(program_id)s AS bigint)
          AND clicked_at BETWEEN %(oldest)s AND %(latest)s
        ORDER BY clicked_at DESC LIMIT {VISITOR_CLICKS_MAX}
    ) v
    LEFT JOIN links l ON l.id = v.link_id
    {_OWNERS.format(of="l")}
"""  # noqa: S608 -- as above
_BY_COUPON: Final = f"""
    SELECT 'coupon', NULL::text, NULL::timestamptz, k.program_id, k.disabled_at, k.valid_until,
           true, NULL::text, {_OWNER}, NULL::bytea
    FROM coupons k
    {_OWNERS.format(of="k")}
    WHERE k.program_id = CAST(%(program_id)s AS bigint) AND k.code = %(coupon)s
"""  # noqa: S608 -- as above
_BUYER: Final = f"""
    SELECT '{BUYER}', NULL::text, least(first_ordered_at, imported_at), NULL::bigint,
           NULL::timestamptz, NULL::timestamptz, true, NULL::text, NULL::bigint, NULL::text,
           NULL::bigint, NULL::text, email_hash
    FROM customers WHERE program_id = CAST(%(program_id)s AS bigint) AND {{known_by}}
"""  # noqa: S608 -- as above


class _Row(NamedTuple):
    """What the statement reads, of whichever kind."""

    kind: str
    click_id: str | None
    clicked_at: datetime | None
    program_id: int | None
    disabled_at: datetime | None
    valid_until: datetime | None
    loaded: bool
    reason: str | None
    enrollment_id: int | None
    status: str | None
    recruiter_id: int | None
    email: str | None
    email_hash: bytes | None


@cache
def _statement(
    tokens: int, *, visitors: bool, coupon: bool, shop_id: bool, email_hash: bool
) -> str:
    """The halves that there is something to ask for; empty when there is nothing."""
    asked = (
        (tokens == 1, _BY_TOKEN.format(tokens=_ONE)),
        (tokens > 1, _BY_TOKEN.format(tokens=_MANY)),
        (visitors, _BY_VISITOR),
        (coupon, _BY_COUPON),
        (shop_id, _BUYER.format(known_by="shop_id = %(shop_id)s")),
        (email_hash, _BUYER.format(known_by="email_hash = %(email_hash)s")),
    )
    return " UNION ALL ".join(part for wanted, part in asked if wanted)


@dataclass(frozen=True, slots=True)
class Gathered:
    """Everything that attribution reads, and the recruiters of whom it may credit."""

    facts: OrderFacts
    candidates: tuple[Candidate, ...]
    recruiters: Mapping[int, int | None]


@dataclass(frozen=True, slots=True)
class Buyer:
    """What we know of the buyer besides this order."""

    since: datetime | None = None
    email_hashes: frozenset[bytes] = frozenset()


def gather(
    session: Session,
    *,
    program_id: int,
    placed_at: datetime,
    evidence: Mapping[str, Any],
    window: timedelta,
    program_closed: bool,
    keys: Keys,
    review_declined: bool = False,
) -> Gathered:
    """Read the candidates of an order; `evidence` is what its reports brought, merged."""
    evidence = effective(evidence)
    customer = evidence.get("customer") or {}
    tokens = [read(token, keys.clicks) for token in (evidence.get("clicks") or ())[-TOKENS_MAX:]]
    believed = [token for token in tokens if isinstance(token, ClickToken)]
    coupon = evidence.get("coupon")
    email_hash = bytes.fromhex(customer["email"]) if customer.get("email") else None
    found = _read(
        session,
        believed,
        visitors=_visitors(believed, evidence.get("visitor")),
        program_id=program_id,
        oldest=placed_at - window,
        latest=placed_at + CLOCK_SKEW_MAX,
        coupon=fold_coupon(coupon),
        shop_id=customer.get("id"),
        email_hash=email_hash,
    )
    buyer = _buyer([row for row in found if row.kind == BUYER], email_hash)
    owned = [row for row in found if row.kind != BUYER]
    candidates = [_candidate(row, program_id, buyer, keys) for row in owned]
    candidates = [_unrecorded(found, believed) for found in candidates]
    candidates += [
        Candidate(kind=Kind.CLICK_TOKEN, genuine=False)
        for token in tokens
        if isinstance(token, BadToken)
    ]
    if coupon and not any(found.kind is Kind.COUPON for found in candidates):
        candidates.append(Candidate(kind=Kind.COUPON, in_program=False))
    facts = OrderFacts(
        placed_at=placed_at,
        customer_since=buyer.since,
        says_new=customer.get("is_new"),
        program_closed=program_closed,
        review_declined=review_declined,
    )
    recruiters = {row.enrollment_id: row.recruiter_id for row in owned if row.enrollment_id}
    return Gathered(facts, tuple(candidates), recruiters)


def _read(session: Session, tokens: Sequence[ClickToken], **values: Any) -> list[_Row]:
    """What the database knows of this evidence, in one statement."""
    statement = _statement(
        min(len(tokens), 2),
        visitors=bool(values["visitors"]),
        coupon=bool(values["coupon"]),
        shop_id=bool(values["shop_id"]),
        email_hash=bool(values["email_hash"]),
    )
    if not statement:
        return []
    if len(tokens) == 1:
        values.update(
            link_id=tokens[0].link_id,
            click_id=tokens[0].click_id,
            clicked_at=tokens[0].clicked_at,
        )
    else:
        values.update(
            link_ids=[token.link_id for token in tokens],
            click_ids=[token.click_id for token in tokens],
            clicked_ats=[token.clicked_at for token in tokens],
        )
    return [_Row(*row) for row in rows(session, statement, values)]


def effective(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """What counts of a server's and the browsers' evidence.

    A server's word stands; browsers fill in only what no server said. So a stranger who
    reports an order cannot put a click of their own behind those that the shop's server sent.
    """
    browser = evidence.get("browser") or {}
    if not evidence.get("server"):
        return dict(browser)
    server = evidence["server"]
    return {
        "clicks": server.get("clicks") or browser.get("clicks") or [],
        "visitor": server.get("visitor") or browser.get("visitor"),
        # A coupon and a customer that the shop's server does not name were not there.
        "coupon": server.get("coupon"),
        "customer": server.get("customer"),
    }


def fold_coupon(text: str | None) -> str | None:
    """A coupon as it is looked up: what buyers type, without case and outer spaces."""
    return text.strip().upper() if text else None


def visitor_of(evidence: Mapping[str, Any]) -> UUID | None:
    """Kopeck's own visitor id that the reports name; None: none, or one of the shop's own."""
    named = effective(evidence).get("visitor")
    with contextlib.suppress(ValueError, TypeError):
        return UUID(named) if named else None
    return None


def _buyer(known_as: Sequence[_Row], email_hash: bytes | None) -> Buyer:
    """The buyer by what the order says and by the customers that it fits."""
    known = {row.email_hash for row in known_as if row.email_hash is not None}
    return Buyer(
        since=min((row.clicked_at for row in known_as if row.clicked_at), default=None),
        email_hashes=frozenset(known | {email_hash} if email_hash else known),
    )


def _visitors(tokens: Sequence[ClickToken], visitor: str | None) -> list[UUID]:
    """Kopeck's own visitor ids: those that tokens carry, and the shop's if it is one."""
    found = {token.visitor_id for token in tokens if token.visitor_id is not None}
    if visitor:
        with contextlib.suppress(ValueError):
            found.add(UUID(visitor))
    return sorted(found)


def _candidate(row: _Row, program_id: int, buyer: Buyer, keys: Keys) -> Candidate:
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
        is_buyer=own and here,
        drop=DropReason(row.reason) if row.reason else None,
        loaded=row.loaded,
    )


def _unrecorded(found: Candidate, tokens: Sequence[ClickToken]) -> Candidate:
    if found.kind is not Kind.CLICK_TOKEN or found.loaded:
        return found
    stands_alone = any(
        token.unrecorded or not is_click_id(token.click_id)
        for token in tokens
        if str(token.click_id) == found.click_id
    )
    return replace(found, unrecorded=True) if stands_alone else found
