"""Rows of orders: found under lock, inserted once, told to attribution as a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.db import rows
from affiliate.core.errors import NotFound
from affiliate.core.strict_json import dumps
from affiliate.programs.rule_versions import (
    VERSION,
    VERSION_AT,
    RuleVersionInForce,
    version_of,
)
from payouts.commissions.earn import ACCOUNTS_MISSING, EARNED, EARNED_IDS, Earning
from payouts.commissions.rows import CommissionRow
from payouts.ledger.posting import LINES
from tracker.attribution.asking import Answer, Question, Row
from tracker.attribution.subject import REFERENCE, Subject, reference_of
from tracker.orders.converting import Exchange, refunded_net_of, sale_net_of
from tracker.orders.customers import MERGED
from tracker.orders.keys import Keys, order_keys
from tracker.orders.models import Order, OrderReport
from tracker.orders.rules import Brings, OrderReportIn, Outcome, Source, net_of, report_document

# The lock is taken before the order's row exists, so it cannot be a row lock: without it a
# refund that finds no order and an order that finds no refund could pass each other.
_LOCK: Final = (
    "pg_advisory_xact_lock(hashtextextended(%(order_id)s, CAST(%(program_id)s AS bigint)))"
)
_PROGRAM: Final = f"""
    SELECT {_LOCK}::text, slug, currency, status, closes_at, time_zone
    FROM programs WHERE id = CAST(%(program_id)s AS bigint)
"""  # noqa: S608 -- the parts are constants, every value is bound
_PROGRAM_AND_RULES: Final = f"""
    SELECT {_LOCK}::text, p.slug, p.currency, p.status, p.closes_at, p.time_zone,
           {VERSION} {{columns}}
    FROM programs p {VERSION_AT} {{evidence}} WHERE p.id = CAST(%(program_id)s AS bigint)
"""  # noqa: S608 -- as above
PROGRAM_COLUMNS, VERSION_COLUMNS = 6, VERSION.count(",") + 1
_COLUMNS: Final = (
    "program_id", "order_id", "source", "status", "placed_at", "received_at", "confirmed_at",
    "confirmed_by", "currency", "total_micros", "discount_micros", "tax_micros", "tax_included",
    "shipping_micros", "fees_micros", "credits_micros", "net_micros", "items", "coupon",
    "subscription", "details", "content_hash", "evidence", "converted_to", "exchange_rate_id",
    "rate_scaled", "converted_net_micros",
)  # fmt: skip
_DECISION: Final = (
    "number", "rule_version_id", "outcome", "reason", "shares", "trace", "snapshot",
    "decided_at", "click_check_due_at", "review_reason",
)  # fmt: skip
# Orders with buyer, report, decision and what each earns, in one statement for all of them: to
# set it up takes PostgreSQL as long as an order. It stands behind a step `told(n, document)` and
# the ledger's LINES. Orders come as JSON documents (`told_of`), because then the types of the
# parameters never vary (an amount is now an int4, now an int8) and PostgreSQL plans the statement
# once a connection. No two may have one id or one buyer. The buyer of a report that comes to
# nothing is left alone: the lock of the id lets us see its order. So is the row of a buyer of whom
# this order says nothing new; who changes or forgets them meanwhile is waited for.
ORDERS: Final = f"""
    said AS MATERIALIZED (
        SELECT s.*, told.n, told.document
        FROM told
        CROSS JOIN LATERAL jsonb_populate_record(NULL::orders, told.document -> 'order') s
        {{only}}
    ), buyer AS (
        INSERT INTO customers (program_id, shop_id, email_hash, first_ordered_at)
        SELECT program_id, document ->> 'shop_id', CAST(document ->> 'email_hash' AS bytea),
               placed_at
        FROM said
        WHERE document ->> 'shop_id' IS NOT NULL AND NOT EXISTS (
            SELECT FROM orders o
            WHERE o.program_id = said.program_id AND o.order_id = said.order_id)
          AND NOT EXISTS (
            SELECT FROM customers c
            WHERE c.program_id = said.program_id AND c.shop_id = document ->> 'shop_id'
              AND c.first_ordered_at <= said.placed_at
              AND (document ->> 'email_hash' IS NULL
                   OR c.email_hash = CAST(document ->> 'email_hash' AS bytea))
            FOR SHARE)
        ORDER BY program_id, document ->> 'shop_id'
        {MERGED} RETURNING id, program_id, shop_id
    ), made AS (
        INSERT INTO orders ({", ".join(_COLUMNS)}, customer_id)
        SELECT {", ".join("said." + name for name in _COLUMNS)}, coalesce(buyer.id, (
            SELECT c.id FROM customers c
            WHERE c.program_id = said.program_id AND c.shop_id = document ->> 'shop_id'))
        FROM said LEFT JOIN buyer
          ON buyer.program_id = said.program_id AND buyer.shop_id = said.document ->> 'shop_id'
        ON CONFLICT (program_id, order_id) DO NOTHING RETURNING id, program_id, order_id
    ), new AS MATERIALIZED (
        SELECT made.id, said.n, said.document, said.source, said.content_hash, said.received_at,
               {{parked}} AS has_parked
        FROM made JOIN said USING (program_id, order_id)
    ), report AS (
        INSERT INTO order_reports
            (order_id, source, reported_by, body, content_hash, received_at, outcome)
        SELECT id, source, document ->> 'reported_by', document -> 'body', content_hash,
               received_at, 'created'
        FROM new
    ), decided AS (
        INSERT INTO decisions (order_id, {", ".join(_DECISION)})
        SELECT new.id, {", ".join("d." + name for name in _DECISION)}
        FROM new
        CROSS JOIN LATERAL
            jsonb_populate_record(NULL::decisions, new.document -> 'decision') d
    ), sale AS (SELECT n, '{REFERENCE}' || id AS reference FROM new), {EARNED}
"""  # noqa: S608 -- column names are constants of this module, every value is bound
PARKED: Final = """
    EXISTS (
        SELECT FROM parked_calls p
        WHERE p.program_id = {of}.program_id AND p.order_id = {of}.order_id
          AND p.applied_at IS NULL
    )"""
_INSERT: Final = f"""
    WITH told AS (SELECT CAST(1 AS bigint) AS n, CAST(%(document)s AS jsonb) AS document), {LINES},
     {ORDERS.format(only="", parked=PARKED.format(of="said"))}
    SELECT id, has_parked, {ACCOUNTS_MISSING.format(n="new.n")}, {EARNED_IDS.format(n="new.n")}
    FROM new
"""  # noqa: S608 -- as above


@dataclass(frozen=True, slots=True)
class ProgramFacts:
    """What the intake reads of a program."""

    id: int
    slug: str
    currency: str
    status: str
    closes_at: datetime | None
    time_zone: str

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


def program_facts(session: Session, program_id: int) -> ProgramFacts:
    """The same without a lock, for whoever holds the order's row."""
    columns = "slug, currency, status, closes_at, time_zone"
    statement = f"SELECT {columns} FROM programs WHERE id = CAST(%(id)s AS bigint)"  # noqa: S608
    [found] = rows(session, statement, {"id": program_id})
    return ProgramFacts(program_id, *found)


def lock_for_report(
    session: Session, *, program_id: int, order_id: str, placed_at: datetime, question: Question
) -> tuple[ProgramFacts, RuleVersionInForce, Answer]:
    """The same, the rules that an order placed then is under, and what was asked besides.

    One statement, so the evidence is read as it was just before the lock: nothing of it is
    written under the lock of an order's id but with that order, which then is not new.
    """
    values = {**question.values, "program_id": program_id, "order_id": order_id, "at": placed_at}
    found = rows(session, _locking(question.statement), values)
    if not found or found[0][PROGRAM_COLUMNS] is None:
        raise NotFound("There is no such program.")
    known = PROGRAM_COLUMNS + VERSION_COLUMNS
    return (
        ProgramFacts(program_id, *found[0][1:PROGRAM_COLUMNS]),
        version_of(*found[0][PROGRAM_COLUMNS:known]),
        answer_of(question, found, known),
    )


@cache
def _locking(evidence: str) -> str:
    """The statement of the lock, beside a question that may be empty."""
    return _PROGRAM_AND_RULES.format(**beside(evidence))


def beside(evidence: str, *, lateral: bool = False) -> dict[str, str]:
    """A question as further columns of each row."""
    if not evidence:
        return {"columns": "", "evidence": ""}
    return {
        "columns": ", x.*",
        "evidence": f"LEFT JOIN {'LATERAL' if lateral else ''} ({evidence}) "
        f"AS x({', '.join(Row._fields)}) ON true",
    }


def answer_of(question: Question, found: Sequence[Sequence[Any]], start: int) -> Answer:
    """The rows of evidence; where nothing was found the outer join leaves one without a kind."""
    return Answer(question, [Row(*row[start:]) for row in found if row[start:] and row[start]])


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
    exchange: Exchange | None,
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
    order = order_row(
        report, document, program_id, source, confirmed_by, evidence, content_hash, now
    )
    if exchange is not None:
        order |= exchange.columns(net_of(report))
    buyer = customer_evidence(report)
    told = told_of(order, document, buyer, decision, reported_by, earning)
    found = rows(session, _INSERT, {"document": told})
    if not found:
        return None
    id_, parked, accounts_missing, ids = found[0]
    written = None
    if earning is not None and not accounts_missing:
        written = earning.written(ids or (), reference=reference_of(id_))
    return Inserted(id_, parked, order, written)


def order_row(
    report: OrderReportIn,
    document: Mapping[str, Any],
    program_id: int,
    source: Source,
    confirmed_by: str | None,
    evidence: Mapping[str, Any],
    content_hash: bytes,
    now: datetime,
) -> dict[str, Any]:
    return {
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


def told_of(
    order: Mapping[str, Any],
    document: Mapping[str, Any],
    buyer: Mapping[str, Any] | None,
    decision: Mapping[str, Any],
    reported_by: str,
    earning: Earning | None,
) -> str:
    """The document of `ORDERS`; only a confirmed order makes its buyer a customer."""
    customer = (buyer or {}) if order["confirmed_at"] else {}
    email = customer.get("email")
    told = {
        "order": order,
        # The buyer's address is kept only as our own keyed hash.
        "body": {**document, "customer": buyer},
        "decision": decision,
        "reported_by": reported_by,
        "shop_id": customer.get("id"),
        "email_hash": bytes.fromhex(email) if email else None,
    }
    return dumps(told if earning is None else told | earning.document(), as_bytea)


def as_bytea(value: Any) -> str:
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


def customer_evidence(report: Brings, keys: Keys | None = None) -> dict[str, Any] | None:
    """The buyer as evidence keeps them."""
    customer = report.customer
    if customer is None:
        return None
    email, payment = customer.email_sha256, customer.payment_sha256
    found: dict[str, Any] = {
        "id": customer.id,
        "email": (keys or order_keys()).email_hash(email).hex() if email else None,
        "is_new": customer.is_new,
    }
    if payment is not None:
        found["payment"] = (keys or order_keys()).payment_hash(payment)
    return found


def evidence_of(report: Brings, keys: Keys | None = None) -> dict[str, Any]:
    """What one report brings for attribution; `keys` are those of the application around us."""
    found = {
        "clicks": list(report.clicks),
        "visitor": report.visitor,
        "coupon": report.coupon,
        "customer": customer_evidence(report, keys),
    }
    if isinstance(report, OrderReportIn) and report.ip is not None:
        found["network"] = (keys or order_keys()).network_mark(report.ip, report.placed_at).hex
    return found


def subject_of(order: Order, program: ProgramFacts) -> Subject:
    """The order as attribution reads it."""
    sale = sale_net_of(order)
    return Subject(
        id=order.id,
        program_id=order.program_id,
        placed_at=order.placed_at,
        net=sale.net,
        confirmed=order.status != "unconfirmed",
        evidence=order.evidence,
        program_closed=program.closed_at(order.placed_at),
        refunded_net=refunded_net_of(order),
        review_outcome=order.review_outcome,
        lines=order.items,
        subscription=order.subscription,
        zone=program.time_zone,
        converted=sale.converted,
        unconverted=sale.unconverted,
        disputed=bool(order.open_disputes),
    )
