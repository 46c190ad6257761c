"""What an order's evidence asks of the database: one statement, or a half of another one.

It reads the customer, where the order names one, and every candidate with the state of its
link, its affiliate and its click; only what the evidence brings is asked for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from affiliate.core.db import rows
from affiliate.programs.terms import AttributionTerms, Evidence
from tracker.attribution.persons import BY_SIGHTING, NO_PERSONS, SEEN_WINDOW, persons
from tracker.attribution.rules import CLOCK_SKEW_MAX
from tracker.clicks.tokens import TOKENS_KEPT_MAX, BadToken, ClickToken, read
from tracker.orders.keys import Keys

TOKENS_MAX: Final = TOKENS_KEPT_MAX
VISITOR_CLICKS_MAX: Final = 200
BUYER: Final = "buyer"
"""Kind of the rows that are no candidates but say when the buyer bought first."""

# The link's row decides, not the token: whose it is, whether it was switched off. Whoever
# declined new rules is credited until their notice period ends, whenever the order comes in.
_STATUS: Final = """
    CASE WHEN {of}.closes_at IS NULL OR {of}.status NOT IN ('active', 'closed') THEN {of}.status
         WHEN {of}.closes_at > %(placed_at)s THEN 'active' ELSE 'closed' END"""
# One look-up of affiliates for the candidates of every kind: PostgreSQL takes as long to set up a
# join as to do it.
_WITH_OWNERS: Final = f"""
    SELECT c.kind, c.click_id, c.clicked_at, c.program_id, c.disabled_at, c.valid_until, c.loaded,
           c.reason, e.id, {_STATUS.format(of="e")}, r.id, u.email, g.name, NULL::bytea,
           c.referrer, c.deep_link, {{persons}}
    FROM ({{candidates}}) AS c (
        kind, click_id, clicked_at, program_id, disabled_at, valid_until, loaded, reason,
        referrer, deep_link, enrollment_id)
    LEFT JOIN enrollments e ON e.id = c.enrollment_id
    LEFT JOIN enrollments r ON r.id = e.recruiter_id AND {_STATUS.format(of="r")} = 'active'
    LEFT JOIN affiliate_groups g ON g.id = e.group_id
    LEFT JOIN affiliates a ON a.id = e.affiliate_id
    LEFT JOIN users u ON u.id = a.user_id
    LEFT JOIN affiliates ra ON ra.id = r.affiliate_id
    LEFT JOIN users ru ON ru.id = ra.user_id
"""  # noqa: S608 -- the parts are constants of this module, every value is bound
_BY_TOKEN: Final = """
    SELECT 'click_token', CAST(t.click_id AS text), t.clicked_at, l.program_id, l.disabled_at,
           NULL::timestamptz, c.click_id IS NOT NULL, c.reason, c.referrer, c.deep_link,
           l.enrollment_id
    FROM {tokens}
    LEFT JOIN links l ON l.id = t.link_id
    LEFT JOIN clicks c ON c.clicked_at = t.clicked_at AND c.click_id = t.click_id {within_c}
"""  # noqa: S105 -- a statement, no password
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
           NULL::timestamptz, true, v.reason, v.referrer, v.deep_link, l.enrollment_id
    FROM (
        SELECT click_id, clicked_at, program_id, link_id, reason, referrer, deep_link
        FROM clicks c
        WHERE visitor_id = ANY(CAST(%(visitors)s AS uuid[]))
          AND program_id = CAST(%(program_id)s AS bigint)
          AND clicked_at BETWEEN %(oldest)s AND %(latest)s {{within_c}}
        ORDER BY clicked_at DESC LIMIT {VISITOR_CLICKS_MAX}
    ) v
    LEFT JOIN links l ON l.id = v.link_id
"""  # noqa: S608 -- as above
_BY_COUPON: Final = """
    SELECT 'coupon', NULL::text, NULL::timestamptz, k.program_id, k.disabled_at, k.valid_until,
           true, NULL::text, NULL::text, NULL::text, k.enrollment_id
    FROM coupons k
    WHERE k.program_id = CAST(%(program_id)s AS bigint) AND k.code = %(coupon)s
"""
_BUYER: Final = f"""
    SELECT '{BUYER}', NULL::text, least(first_ordered_at, imported_at), NULL::bigint,
           NULL::timestamptz, NULL::timestamptz, true, NULL::text, NULL::bigint, NULL::text,
           NULL::bigint, NULL::text, NULL::text, email_hash, NULL::text, NULL::text,
           {NO_PERSONS.format(customer_id="shop_id")}
    FROM customers WHERE program_id = CAST(%(program_id)s AS bigint) AND {{known_by}}
"""  # noqa: S608 -- as above
_BY_BINDING: Final = """
    SELECT 'bound_customer', NULL::text, b.bound_at, b.program_id, NULL::timestamptz, b.ends_at,
           true, NULL::text, NULL::text, NULL::text, b.enrollment_id
    FROM customer_bindings b
    WHERE b.voided_at IS NULL AND b.customer_id IN (
        SELECT id FROM customers
        WHERE program_id = CAST(%(program_id)s AS bigint)
          AND (shop_id = %(shop_id)s OR email_hash = %(email_hash)s))
"""
# An address is known by orders that a click or a coupon brought: what it brought itself would
# prolong the credit for ever.
_BY_EMAIL: Final = """
    SELECT 'customer_email', NULL::text, s.placed_at, s.program_id, NULL::timestamptz,
           NULL::timestamptz, true, NULL::text, NULL::text, NULL::text, s.enrollment_id
    FROM (
        SELECT DISTINCT ON (t.enrollment_id) t.enrollment_id, o.placed_at, o.program_id
        FROM customers k
        JOIN orders o ON o.customer_id = k.id AND o.status = 'confirmed'
        JOIN decisions d ON d.order_id = o.id AND d.voided_at IS NULL
        CROSS JOIN LATERAL jsonb_to_recordset(d.shares) AS t (enrollment_id bigint, evidence text)
        WHERE k.program_id = CAST(%(program_id)s AS bigint) AND k.email_hash = %(email_hash)s
          AND o.placed_at >= %(oldest)s AND o.placed_at < %(placed_at)s
          AND t.evidence NOT IN ('customer_email', 'bound_customer')
        ORDER BY t.enrollment_id, o.placed_at DESC
    ) s
"""
_TYPES: Final = {
    "link_id": "bigint", "click_id": "uuid", "clicked_at": "timestamptz", "link_ids": "bigint[]",
    "click_ids": "uuid[]", "clicked_ats": "timestamptz[]", "visitors": "uuid[]",
    "marks": "uuid[]", "seen_since": "timestamptz", "payment": "text", "program_id": "bigint",
    "placed_at": "timestamptz", "oldest": "timestamptz", "latest": "timestamptz",
    "coupon": "text", "shop_id": "text", "email_hash": "bytea",
}  # fmt: skip
"""What a statement binds, and as what PostgreSQL reads it out of a document."""
_WITHIN_ALL: Final = "AND c.clicked_at BETWEEN %(first_at)s AND %(last_at)s"


class Row(NamedTuple):
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
    group_name: str | None
    email_hash: bytes | None
    referrer: str | None
    deep_link: str | None
    affiliate_id: int | None
    customer_id: str | None
    """The shop's: of the affiliate, or of the buyer."""
    accounts: Sequence[str] | None
    """Where the affiliate is or was paid to; read where the order says what paid for it."""
    paid_before: bool
    """What paid for the order paid for an earlier own purchase of theirs."""
    recruiter_affiliate_id: int | None
    recruiter_customer_id: str | None
    recruiter_accounts: Sequence[str] | None
    recruiter_paid_before: bool
    recruiter_email: str | None


class Shape(NamedTuple):
    """Which halves a question has: those that there is something to ask for."""

    tokens: int
    """Two stands for several."""
    visitors: bool
    coupon: bool
    shop_id: bool
    email_hash: bool
    bound: bool
    known_email: bool
    seen: bool
    payment: bool


@cache
def _statement(shape: Shape, *, jointly: bool = False) -> str:
    """What asks a question of this shape; empty when there is nothing to ask.

    `jointly` binds also between which moments all clicks are that the questions can mean:
    PostgreSQL opens the partitions that a bound value names, not those that a row names.
    """
    candidates = (
        (shape.tokens == 1, _BY_TOKEN.replace("{tokens}", _ONE)),
        (shape.tokens > 1, _BY_TOKEN.replace("{tokens}", _MANY)),
        (shape.visitors, _BY_VISITOR),
        (shape.coupon, _BY_COUPON),
        (shape.bound, _BY_BINDING),
        (shape.known_email, _BY_EMAIL),
    )
    owned = " UNION ALL ".join(part for wanted, part in candidates if wanted)
    asked = (
        (bool(owned), _WITH_OWNERS.replace("{candidates}", owned)),
        (shape.shop_id, _BUYER.replace("{known_by}", "shop_id = %(shop_id)s")),
        (shape.email_hash, _BUYER.replace("{known_by}", "email_hash = %(email_hash)s")),
        (shape.seen, BY_SIGHTING),
    )
    statement = " UNION ALL ".join(part for wanted, part in asked if wanted)
    return statement.format(
        persons=persons(payment=shape.payment), within_c=_WITHIN_ALL if jointly else ""
    )


class Reach(NamedTuple):
    """What the rules of a program make its orders ask for."""

    window: timedelta
    """How far back a visitor's clicks are looked for."""
    bound: bool = False
    """Whether buyers stay with an affiliate."""
    known_email: bool = False
    """Whether a buyer's address names an affiliate."""


def reach_of(terms: AttributionTerms) -> Reach:
    """What orders under these terms ask for. Bindings count while the rules have any."""
    steps = {kind for step in terms.evidence for kind in step}
    return Reach(
        window=terms.window_max,
        bound=terms.binding is not None and Evidence.BOUND_CUSTOMER in steps,
        known_email=Evidence.CUSTOMER_EMAIL in steps,
    )


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for an order, and the part of its evidence that needs no asking."""

    program_id: int
    placed_at: datetime
    reach: Reach
    coupon: str | None
    customer: Mapping[str, Any]
    tokens: tuple[ClickToken | BadToken, ...]
    shape: Shape
    values: Mapping[str, Any]

    @property
    def statement(self) -> str:
        """Empty: there is nothing to ask."""
        return _statement(self.shape)

    @property
    def believed(self) -> list[ClickToken]:
        return [token for token in self.tokens if isinstance(token, ClickToken)]

    @property
    def names_buyer(self) -> bool:
        """Whether our record would know the buyer by what the order says."""
        return bool(self.values["shop_id"] or self.values["email_hash"])

    @property
    def email_hash(self) -> bytes | None:
        email_hash: bytes | None = self.values["email_hash"]
        return email_hash


@dataclass(frozen=True, slots=True)
class Answer:
    """A question and what the database said to it."""

    question: Question
    found: Sequence[Row]


def ask(
    *,
    program_id: int,
    placed_at: datetime,
    evidence: Mapping[str, Any],
    reach: Reach,
    keys: Keys,
) -> Question:
    """Put the question of an order; `evidence` is what its reports brought, merged."""
    evidence = effective(evidence)
    customer, coupon = evidence.get("customer") or {}, evidence.get("coupon")
    payment = customer.get("payment")
    tokens = tuple(read(t, keys.clicks) for t in (evidence.get("clicks") or ())[-TOKENS_MAX:])
    believed = [token for token in tokens if isinstance(token, ClickToken)]
    visitors = _visitors(believed, evidence.get("visitor"))
    values = {
        **_token_values(believed),
        "visitors": visitors,
        "marks": _marks(visitors, evidence.get("network"), keys),
        "seen_since": placed_at - SEEN_WINDOW,
        "payment": payment,
        "program_id": program_id,
        "placed_at": placed_at,
        "oldest": placed_at - reach.window,
        "latest": placed_at + CLOCK_SKEW_MAX,
        "coupon": fold_coupon(coupon),
        "shop_id": customer.get("id"),
        "email_hash": bytes.fromhex(customer["email"]) if customer.get("email") else None,
    }
    shape = Shape(
        tokens=min(len(believed), 2),
        visitors=bool(values["visitors"]),
        coupon=bool(values["coupon"]),
        shop_id=bool(values["shop_id"]),
        email_hash=bool(values["email_hash"]),
        bound=reach.bound and bool(values["shop_id"] or values["email_hash"]),
        known_email=reach.known_email and bool(values["email_hash"]),
        seen=bool(values["marks"]),
        payment=payment is not None,
    )
    return Question(program_id, placed_at, reach, coupon, customer, tokens, shape, values)


class Joint(NamedTuple):
    """Questions of one shape as one: for each row of `asked` what is asked of it."""

    statement: str
    """Of columns of a row `asked`; empty: there is nothing to ask."""
    columns: Mapping[str, str]
    """Type of each column of `asked`."""


@cache
def joint(shape: Shape) -> Joint:
    """A shape's statement over a set of questions, beside which `joint_bounds` are bound."""
    statement = _statement(shape, jointly=True)
    columns = {name: type_ for name, type_ in _TYPES.items() if f"%({name})s" in statement}
    for name in columns:
        statement = statement.replace(f"%({name})s", f"asked.{name}")
    return Joint(statement, columns)


def joint_bounds(questions: Sequence[Question]) -> dict[str, datetime]:
    """Between which moments all clicks are that these questions can mean."""
    moments = [
        moment
        for question in questions
        for moment in (
            question.values["oldest"],
            question.values["latest"],
            *(token.clicked_at for token in question.believed),
        )
    ]
    return {"first_at": min(moments), "last_at": max(moments)}


def answer(session: Session, question: Question) -> Answer:
    """Ask it, in one statement."""
    if not question.statement:
        return Answer(question, ())
    found = rows(session, question.statement, question.values)
    return Answer(question, [Row(*row) for row in found])


def _token_values(tokens: Sequence[ClickToken]) -> dict[str, Any]:
    if len(tokens) == 1:
        [token] = tokens
        return {
            "link_id": token.link_id,
            "click_id": token.click_id,
            "clicked_at": token.clicked_at,
        }
    return {
        "link_ids": [token.link_id for token in tokens],
        "click_ids": [token.click_id for token in tokens],
        "clicked_ats": [token.clicked_at for token in tokens],
    }


def effective(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """What counts of a server's and the browsers' evidence.

    A server's word stands; browsers fill in only what no server said. So a stranger who
    reports an order cannot put a click of their own behind those that the shop's server sent.
    """
    browser = evidence.get("browser") or {}
    if not evidence.get("server"):
        return {"network": None, **browser}
    server = evidence["server"]
    return {
        "clicks": server.get("clicks") or browser.get("clicks") or [],
        "visitor": server.get("visitor") or browser.get("visitor"),
        "network": server.get("network") or browser.get("network"),
        # A coupon and a customer that the shop's server does not name were not there.
        "coupon": server.get("coupon"),
        "customer": server.get("customer"),
        # Browsers contradict each other over clicks alone that no server has sent.
        "contested": bool(browser.get("contested")) and not server.get("clicks"),
    }


def is_contested(evidence: Mapping[str, Any]) -> bool:
    """Whether browsers contradict each other over the clicks that count."""
    return bool(evidence.get("browser")) and bool(effective(evidence).get("contested"))


def fold_coupon(text: str | None) -> str | None:
    """A coupon as it is looked up: what buyers type, without case and outer spaces."""
    return text.strip().upper() if text else None


def visitor_of(evidence: Mapping[str, Any]) -> UUID | None:
    """Kopeck's own visitor id that the reports name; None: none, or one of the shop's own."""
    named = effective(evidence).get("visitor")
    with contextlib.suppress(ValueError, TypeError):
        return UUID(named) if named else None
    return None


def _visitors(tokens: Sequence[ClickToken], visitor: str | None) -> list[UUID]:
    """Kopeck's own visitor ids: those that tokens carry, and the shop's if it is one."""
    found = {token.visitor_id for token in tokens if token.visitor_id is not None}
    if visitor:
        with contextlib.suppress(ValueError):
            found.add(UUID(visitor))
    return sorted(found)


def _marks(visitors: Sequence[UUID], network: str | None, keys: Keys) -> list[UUID]:
    """The buyer's browser and network as they would be kept of an affiliate."""
    marks = [mark for visitor in visitors for mark in keys.device_marks(visitor)]
    return [*marks, UUID(network)] if network else marks
