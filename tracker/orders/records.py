"""Rows of orders: found under lock, inserted once, told to attribution as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.db import rows
from affiliate.core.errors import NotFound
from affiliate.core.money import Money
from affiliate.core.strict_json import dumps
from affiliate.programs.rule_versions import (
    VERSION,
    VERSION_AT,
    RuleVersionInForce,
    version_of,
)
from payouts.commissions.earn import ACCOUNTS_MISSING, EARNED, EARNED_IDS, Earning
from payouts.commissions.rows import CommissionRow
from tracker.attribution.asking import Answer, Question, Row
from tracker.attribution.decide import REFERENCE, Subject, reference_of
from tracker.orders.customers import MERGED
from tracker.orders.keys import order_keys
from tracker.orders.models import Order, OrderReport
from tracker.orders.rules import OrderReportIn, Outcome, Source, net_of, report_document

# The lock is taken before the order's row exists, so it cannot be a row lock: without it a
# refund that finds no order and an order that finds no refund could pass each other.
_LOCK: Final = (
    "pg_advisory_xact_lock(hashtextextended(%(order_id)s, CAST(%(program_id)s AS bigint)))"
)
_PROGRAM: Final = f"""
    SELECT {_LOCK}::text, slug, currency, status, closes_at
    FROM programs WHERE id = CAST(%(program_id)s AS bigint)
"""  # noqa: S608 -- the parts are constants, every value is bound
_PROGRAM_AND_RULES: Final = f"""
    SELECT {_LOCK}::text, p.slug, p.currency, p.status, p.closes_at, {VERSION} {{columns}}
    FROM programs p {VERSION_AT} {{evidence}} WHERE p.id = CAST(%(program_id)s AS bigint)
"""  # noqa: S608 -- as above
_PROGRAM_COLUMNS, _VERSION_COLUMNS = 5, VERSION.count(",") + 1
_COLUMNS: Final = (
    "program_id", "order_id", "source", "status", "placed_at", "received_at", "confirmed_at",
    "confirmed_by", "currency", "total_micros", "discount_micros", "tax_micros", "tax_included",
    "shipping_micros", "fees_micros", "credits_micros", "net_micros", "items", "coupon",
    "subscription", "details", "content_hash", "evidence",
)  # fmt: skip
_DECISION: Final = (
    "number", "rule_version_id", "outcome", "reason", "shares", "trace", "snapshot",
    "decided_at", "click_check_due_at", "review_reason",
)  # fmt: skip
# Order, buyer, report and decision, and the question for parked calls. Rows come as JSON
# documents, because then the types of the parameters never vary (an amount is now an int4,
# now an int8) and PostgreSQL plans the statement once a connection. The buyer of a report
# that comes to nothing is left alone: the lock of the id lets us see its order.
_ORDER: Final = f"""
    said AS MATERIALIZED (
        SELECT * FROM jsonb_populate_record(NULL::orders, CAST(%(order)s AS jsonb))
    ), buyer AS (
        INSERT INTO customers (program_id, shop_id, email_hash, first_ordered_at)
        SELECT program_id, CAST(%(shop_id)s AS text), CAST(%(email_hash)s AS bytea), placed_at
        FROM said
        WHERE CAST(%(shop_id)s AS text) IS NOT NULL AND NOT EXISTS (
            SELECT FROM orders o
            WHERE o.program_id = said.program_id AND o.order_id = said.order_id)
        {MERGED}
    ), made AS (
        INSERT INTO orders ({", ".join(_COLUMNS)}, customer_id)
        SELECT {", ".join(_COLUMNS)}, (SELECT id FROM buyer) FROM said
        ON CONFLICT (program_id, order_id) DO NOTHING RETURNING id
    ), report AS (
        INSERT INTO order_reports
            (order_id, source, reported_by, body, content_hash, received_at, outcome)
        SELECT made.id, source, %(reported_by)s, CAST(%(body)s AS jsonb), content_hash,
               received_at, 'created'
        FROM made, said
    ), decided AS (
        INSERT INTO decisions (order_id, {", ".join(_DECISION)})
        SELECT made.id, {", ".join("d." + name for name in _DECISION)}
        FROM made, jsonb_populate_record(NULL::decisions, CAST(%(decision)s AS jsonb)) d
    )"""  # noqa: S608 -- column names are constants of this module, every value is bound
_PARKED: Final = """
    EXISTS (
        SELECT FROM parked_calls p
        WHERE p.program_id = said.program_id AND p.order_id = said.order_id
          AND p.applied_at IS NULL
    )"""
_INSERT: Final = f"WITH {_ORDER} SELECT made.id, {_PARKED} FROM made, said"  # noqa: S608
# The same and what it earns: one round trip for all of an order.
_INSERT_AND_EARN: Final = f"""
    WITH {_ORDER}, sale AS (SELECT '{REFERENCE}' || id AS reference FROM made), {EARNED}
    SELECT made.id, {_PARKED}, {ACCOUNTS_MISSING}, {EARNED_IDS} FROM made, said
"""  # noqa: S608 -- as above


@dataclass(frozen=True, slots=True)
class ProgramFacts:
    """What the intake reads of a program."""

    id: int
    slug: str
    currency: str
    status: str
    closes_at: datetime | None

    def closed_at(self, moment: datetime) -> bool:
        """Whether an order placed then credits nobody: the notice period was over."""
        if self.closes_at is not None:
            return moment >= self.closes_at
        return self.status == "closed"


@dataclass(frozen=True, slots=True)
class Inserted:
    id: int
    has_parked: bool
    order: Mapping[str, Any]
    """The row's columns, as they were written."""
    earned: tuple[CommissionRow, ...] | None
    """What was earned with it; None: nothing was, `let_earn` has yet to be called."""


def lock_order_id(session: Session, *, program_id: int, order_id: str) -> ProgramFacts:
    """Let nobody else work on this order id until the commit; the program's facts ride along."""
    found = rows(session, _PROGRAM, {"program_id": program_id, "order_id": order_id})
    if not found:
        raise NotFound("There is no such program.")
    return ProgramFacts(program_id, *found[0][1:])


def lock_for_report(
    session: Session, *, program_id: int, order_id: str, placed_at: datetime, question: Question
) -> tuple[ProgramFacts, RuleVersionInForce, Answer]:
    """The same, the rules that an order placed then is under, and what was asked besides.

    One statement, so the evidence is read as it was just before the lock: nothing of it is
    written under the lock of an order's id but with that order, which then is not new.
    """
    values = {**question.values, "program_id": program_id, "order_id": order_id, "at": placed_at}
    found = rows(session, _locking(question.statement), values)
    if not found or found[0][_PROGRAM_COLUMNS] is None:
        raise NotFound("There is no such program.")
    _, slug, currency, status, closes_at = found[0][:_PROGRAM_COLUMNS]
    known = _PROGRAM_COLUMNS + _VERSION_COLUMNS
    return (
        ProgramFacts(program_id, slug, currency, status, closes_at),
        version_of(*found[0][_PROGRAM_COLUMNS:known]),
        # Where nothing was found the outer join leaves a row without a kind.
        Answer(question, [Row(*row[known:]) for row in found if row[known:] and row[known]]),
    )


@cache
def _locking(evidence: str) -> str:
    """The statement of the lock, beside a question that may be empty."""
    if not evidence:
        return _PROGRAM_AND_RULES.format(columns="", evidence="")
    return _PROGRAM_AND_RULES.format(
        columns=", x.*", evidence=f"LEFT JOIN ({evidence}) AS x({', '.join(Row._fields)}) ON true"
    )


def find_order(
    session: Session, *, program_id: int, order_id: str, lock: bool = True
) -> Order | None:
    """The order's row as it is now, locked so that its refunds and decisions come one by one."""
    query = (
        sa.select(Order)
        .where(Order.program_id == program_id, Order.order_id == order_id)
        .execution_options(populate_existing=True)
    )
    return session.scalar(query.with_for_update() if lock else query)


def insert_order(
    session: Session,
    *,
    program_id: int,
    report: OrderReportIn,
    source: Source,
    reported_by: str,
    confirmed_by: str | None,
    evidence: Mapping[str, Any],
    decision: Mapping[str, Any],
    earning: Earning | None,
    content_hash: bytes,
    now: datetime,
) -> Inserted | None:
    """Write the order, its report, its first decision and what that earns; None: the id is taken.

    A confirmed order is tied to its buyer here if the shop gave their id; a guest with an
    address alone is `remember_customer`'s.
    """
    document = report_document(report)
    order = {
        **order_values(report, document),
        "program_id": program_id,
        "order_id": report.order_id,
        "source": source.value,
        "status": "confirmed" if confirmed_by else "unconfirmed",
        "received_at": now,
        "confirmed_at": now if confirmed_by else None,
        "confirmed_by": confirmed_by,
        "content_hash": content_hash,
        "evidence": dict(evidence),
    }
    body = {**document, "customer": customer_evidence(report)}
    buyer = (body["customer"] or {}) if confirmed_by else {}
    values = {
        "order": dumps(order, _bytea),
        "body": dumps(body),
        "decision": dumps(decision),
        "reported_by": reported_by,
        "shop_id": buyer.get("id"),
        "email_hash": bytes.fromhex(buyer["email"]) if buyer.get("email") else None,
    }
    if earning is None:
        found = rows(session, _INSERT, values)
        return Inserted(found[0][0], found[0][1], order, None) if found else None
    found = rows(session, _INSERT_AND_EARN, {**values, **earning.values()})
    if not found:
        return None
    id_, parked, accounts_missing, ids = found[0]
    written = None if accounts_missing else earning.written(ids or (), reference=reference_of(id_))
    return Inserted(id_, parked, order, written)


def _bytea(value: Any) -> str:
    """Bytes as jsonb_populate_record reads them: bytea's own hex form."""
    return f"\\x{bytes(value).hex()}"


def order_values(report: OrderReportIn, document: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that a report decides; `document` is its `report_document`."""
    amounts = ("total", "discount", "tax", "shipping", "fees", "credits")
    return {
        **{f"{name}_micros": document[f"{name}_micros"] for name in amounts},
        "placed_at": report.placed_at,
        "currency": report.currency,
        "tax_included": report.tax_included,
        "net_micros": net_of(report).micros,
        "items": document["items"],
        "coupon": report.coupon,
        "subscription": document["subscription"],
        "details": document["metadata"],
    }


def add_report(
    session: Session,
    *,
    order_row_id: int,
    report: OrderReportIn,
    source: Source,
    reported_by: str,
    content_hash: bytes,
    outcome: Outcome,
    now: datetime,
) -> None:
    """Keep what one more reporter said of the order."""
    session.execute(
        sa.insert(OrderReport).values(
            order_id=order_row_id,
            source=source.value,
            reported_by=reported_by,
            # The buyer's address is kept only as our own keyed hash.
            body={**report_document(report), "customer": customer_evidence(report)},
            content_hash=content_hash,
            received_at=now,
            outcome=outcome.value,
        )
    )


def customer_evidence(report: OrderReportIn) -> dict[str, Any] | None:
    """The buyer as evidence keeps them."""
    customer = report.customer
    if customer is None:
        return None
    email = customer.email_sha256
    return {
        "id": customer.id,
        "email": order_keys().email_hash(email).hex() if email else None,
        "is_new": customer.is_new,
    }


def evidence_of(report: OrderReportIn) -> dict[str, Any]:
    """What one report brings for attribution."""
    return {
        "clicks": list(report.clicks),
        "visitor": report.visitor,
        "coupon": report.coupon,
        "customer": customer_evidence(report),
    }


def subject_of(order: Order, program: ProgramFacts) -> Subject:
    """The order as attribution reads it."""
    return Subject(
        id=order.id,
        program_id=order.program_id,
        placed_at=order.placed_at,
        net=Money(order.net_micros, order.currency),
        confirmed=order.status != "unconfirmed",
        evidence=order.evidence,
        program_closed=program.closed_at(order.placed_at),
        refunded_net=Money(order.refunded_net_micros, order.currency),
        review_outcome=order.review_outcome,
    )
