"""Read what may credit somebody: click tokens, the visitor's clicks, coupon, customer.

One statement reads the customer, where the order names one, and every candidate with the
state of its link, its affiliate and its click.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tracker.attribution.rules import CLOCK_SKEW_MAX, Candidate, Kind, OrderFacts
from tracker.clicks.rules import DropReason
from tracker.clicks.tokens import BadToken, ClickToken, is_click_id, read
from tracker.orders.keys import Keys

TOKENS_MAX: Final = 20
VISITOR_CLICKS_MAX: Final = 200
BUYER: Final = "buyer"
"""Kind of the rows that are no candidates but say when the buyer bought first."""

# The link's row decides, not the token: whose it is, whether it was switched off.
_OWNER = """
    e.id AS enrollment_id, e.status, r.id AS recruiter_id, u.email
"""
_OWNERS = """
    LEFT JOIN enrollments e ON e.id = {of}.enrollment_id
    LEFT JOIN enrollments r ON r.id = e.recruiter_id AND r.status = 'active'
    LEFT JOIN affiliates a ON a.id = e.affiliate_id
    LEFT JOIN users u ON u.id = a.user_id
"""
CANDIDATES: Final = sa.text(
    f"""
    SELECT 'click_token' AS kind, t.position, t.click_id, t.clicked_at,
           l.program_id, l.disabled_at, NULL::timestamptz AS valid_until,
           c.click_id IS NOT NULL AS loaded, c.reason, {_OWNER},
           NULL::bytea AS email_hash
    FROM unnest(CAST(:link_ids AS bigint[]), CAST(:click_ids AS uuid[]),
                CAST(:clicked_ats AS timestamptz[]))
         WITH ORDINALITY AS t(link_id, click_id, clicked_at, position)
    LEFT JOIN links l ON l.id = t.link_id
    LEFT JOIN clicks c ON c.clicked_at = t.clicked_at AND c.click_id = t.click_id
    {_OWNERS.format(of="l")}
    UNION ALL
    SELECT 'visitor_click', 0, v.click_id, v.clicked_at,
           v.program_id, l.disabled_at, NULL, true, v.reason, {_OWNER}, NULL
    FROM (
        SELECT click_id, clicked_at, program_id, link_id, reason FROM clicks
        WHERE visitor_id = ANY(CAST(:visitors AS uuid[])) AND program_id = :program_id
          AND clicked_at BETWEEN :oldest AND :latest
        ORDER BY clicked_at DESC LIMIT :visitor_clicks_max
    ) v
    LEFT JOIN links l ON l.id = v.link_id
    {_OWNERS.format(of="l")}
    UNION ALL
    SELECT 'coupon', 0, NULL, NULL,
           k.program_id, k.disabled_at, k.valid_until, true, NULL, {_OWNER}, NULL
    FROM coupons k
    {_OWNERS.format(of="k")}
    WHERE k.program_id = :program_id AND k.code = :coupon
    UNION ALL
    SELECT '{BUYER}', 0, NULL, least(first_ordered_at, imported_at), NULL, NULL, NULL, true, NULL,
           NULL, NULL, NULL, NULL, email_hash
    FROM customers WHERE program_id = :program_id AND shop_id = :shop_id
    UNION ALL
    SELECT '{BUYER}', 0, NULL, least(first_ordered_at, imported_at), NULL, NULL, NULL, true, NULL,
           NULL, NULL, NULL, NULL, email_hash
    FROM customers WHERE program_id = :program_id AND email_hash = :email_hash
    """  # noqa: S608 -- the parts are constants of this module, every value is bound
).columns(
    sa.column("kind", sa.Text),
    sa.column("position", sa.BigInteger),
    sa.column("click_id", sa.Uuid),
    sa.column("clicked_at", sa.DateTime(timezone=True)),
    sa.column("program_id", sa.BigInteger),
    sa.column("disabled_at", sa.DateTime(timezone=True)),
    sa.column("valid_until", sa.DateTime(timezone=True)),
    sa.column("loaded", sa.Boolean),
    sa.column("reason", sa.Text),
    sa.column("enrollment_id", sa.BigInteger),
    sa.column("status", sa.Text),
    sa.column("recruiter_id", sa.BigInteger),
    sa.column("email", sa.Text),
    sa.column("email_hash", sa.LargeBinary),
)


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
) -> Gathered:
    """Read the candidates of an order; `evidence` is what its reports brought, merged."""
    evidence = effective(evidence)
    customer = evidence.get("customer") or {}
    tokens = [read(token, keys.clicks) for token in (evidence.get("clicks") or ())[-TOKENS_MAX:]]
    believed = [token for token in tokens if isinstance(token, ClickToken)]
    coupon = evidence.get("coupon")
    email_hash = bytes.fromhex(customer["email"]) if customer.get("email") else None
    found: Sequence[Any] = ()
    if believed or coupon or evidence.get("visitor") or customer:
        values = {
            "link_ids": [token.link_id for token in believed],
            "click_ids": [token.click_id for token in believed],
            "clicked_ats": [token.clicked_at for token in believed],
            "visitors": _visitors(believed, evidence.get("visitor")),
            "program_id": program_id,
            "oldest": placed_at - window,
            "latest": placed_at + CLOCK_SKEW_MAX,
            "visitor_clicks_max": VISITOR_CLICKS_MAX,
            "coupon": fold_coupon(coupon),
            "shop_id": customer.get("id"),
            "email_hash": email_hash,
        }
        found = session.connection().execute(CANDIDATES, values).all()
    buyer = _buyer([row for row in found if row.kind == BUYER], email_hash)
    rows = [row for row in found if row.kind != BUYER]
    candidates = [_candidate(row, program_id, buyer, keys) for row in rows]
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
    )
    recruiters = {row.enrollment_id: row.recruiter_id for row in rows if row.enrollment_id}
    return Gathered(facts, tuple(candidates), recruiters)


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


def _buyer(rows: Sequence[Any], email_hash: bytes | None) -> Buyer:
    """The buyer by what the order says and by the customers that it fits."""
    known = {bytes(row.email_hash) for row in rows if row.email_hash is not None}
    return Buyer(
        since=min((row.clicked_at for row in rows if row.clicked_at is not None), default=None),
        email_hashes=frozenset(known | {email_hash} if email_hash else known),
    )


def _visitors(tokens: Sequence[ClickToken], visitor: str | None) -> list[UUID]:
    """Kopeck's own visitor ids: those that tokens carry, and the shop's if it is one."""
    found = {token.visitor_id for token in tokens if token.visitor_id is not None}
    if visitor:
        with contextlib.suppress(ValueError):
            found.add(UUID(visitor))
    return sorted(found)


def _candidate(row: Any, program_id: int, buyer: Buyer, keys: Keys) -> Candidate:
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
        click_id=str(row.click_id) if row.click_id else None,
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
