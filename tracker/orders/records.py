"""Rows of orders: found under lock, inserted once, told to attribution as a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.db import rows
from affiliate.core.errors import NotFound
from affiliate.core.straight import PLANNED_ONCE, Statement
from affiliate.core.strict_json import dumps
from affiliate.people import sent_keys
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
_PROGRAM_COLUMNS, _VERSION_COLUMNS = 6, VERSION.count(",") + 1
# The same without the lock, with the key that calls and how far the demo clock runs ahead.
_PLAIN_QUESTION: Final = f"""
    SELECT {sent_keys.KEY}, {{clock}}, p.slug, p.currency, p.status, p.closes_at, p.time_zone,
           {VERSION} {{columns}}
    FROM api_keys k JOIN programs p ON p.id = k.program_id {VERSION_AT} {{evidence}}
    WHERE k.prefix = %(prefix)s AND k.program_id = CAST(%(program_id)s AS bigint)
"""  # noqa: S608 -- as above
_PLANNED_ONCE: Final[Statement] = (f"SELECT {PLANNED_ONCE}", {})
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
# Order, buyer, report and decision, and the question for parked calls. Rows come as JSON
# documents, because then the types of the parameters never vary (an amount is now an int4,
# now an int8) and PostgreSQL plans the statement once a connection. The buyer of a report
# that comes to nothing is left alone: the lock of the id lets us see its order.
_ORDER: Final = f"""
    said AS MATERIALIZED (
        SELECT * FROM jsonb_populate_record(NULL::orders, CAST(%(order)s AS jsonb)) s {{only}}
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
        WHERE p.program_id = {of}.program_id AND p.order_id = {of}.order_id
          AND p.applied_at IS NULL
    )"""
_ANY_ORDER: Final = _ORDER.format(only="")
_INSERT: Final = f"WITH {_ANY_ORDER} SELECT made.id, {_PARKED.format(of='said')} FROM made, said"  # noqa: S608
# The same and what it earns: one round trip for all of an order.
_SALE: Final = f"sale AS (SELECT '{REFERENCE}' || id AS reference FROM made)"  # noqa: S608
_INSERT_AND_EARN: Final = f"""
    WITH {_ANY_ORDER}, {_SALE}, {LINES}, {EARNED}
    SELECT made.id, {_PARKED.format(of="said")}, {ACCOUNTS_MISSING}, {EARNED_IDS} FROM made, said
"""  # noqa: S608 -- as above
# Of a plain order alone (tracker.orders.plain): nothing is written, and no row is answered,
# where the id is taken, where calls are parked for it, or where an account is missing.
_NOT_PARKED: Final = f"WHERE NOT {_PARKED.format(of='s')}"
_PLAIN_ORDER: Final = f"""
    WITH {_ORDER.format(only=_NOT_PARKED)} SELECT made.id, NULL::bigint[] FROM made
"""  # noqa: S608 -- as above
_PLAIN_AND_EARNED: Final = _ORDER.format(only=f"{_NOT_PARKED} AND NOT {ACCOUNTS_MISSING}")
_PLAIN_ORDER_AND_EARN: Final = f"""
    WITH {LINES}, {_PLAIN_AND_EARNED}, {_SALE}, {EARNED}
    SELECT made.id, {EARNED_IDS} FROM made
"""  # noqa: S608 -- as above
_LOCK_PLANNED_ONCE: Final = f"SELECT {_LOCK}::text, {PLANNED_ONCE}"


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
    if not found or found[0][_PROGRAM_COLUMNS] is None:
        raise NotFound("There is no such program.")
    known = _PROGRAM_COLUMNS + _VERSION_COLUMNS
    return (
        ProgramFacts(program_id, *found[0][1:_PROGRAM_COLUMNS]),
        version_of(*found[0][_PROGRAM_COLUMNS:known]),
        _answer(question, found, known),
    )


@cache
def _locking(evidence: str) -> str:
    """The statement of the lock, beside a question that may be empty."""
    return _PROGRAM_AND_RULES.format(**_beside(evidence))


def _beside(evidence: str) -> dict[str, str]:
    """A question as further columns of each row."""
    if not evidence:
        return {"columns": "", "evidence": ""}
    return {
        "columns": ", x.*",
        "evidence": f"LEFT JOIN ({evidence}) AS x({', '.join(Row._fields)}) ON true",
    }


@dataclass(frozen=True, slots=True)
class PlainAnswer:
    """All that a plain order needs to know before it is decided."""

    key: Sequence[Any]
    """What `sent_keys.identity_of` judges."""
    ahead: timedelta
    """How far the demo clock runs ahead."""
    program: ProgramFacts
    version: RuleVersionInForce
    known: Answer


def plain_question(
    question: Question, *, prefix: str, placed_at: datetime, production: bool
) -> tuple[Statement, Statement]:
    """What `plain_answer` reads: the key, the program, its rules and the evidence, unlocked.

    The evidence of `lock_for_report` is from before the lock as well. What the lock guards,
    whether the order is new and no calls wait for it, is asked under it by `plain_insert`.
    """
    values = {**question.values, "prefix": prefix, "at": placed_at}
    return _PLANNED_ONCE, (_plain_question(question.statement, production=production), values)


def plain_answer(question: Question, found: Sequence[Sequence[Any]]) -> PlainAnswer | None:
    """What the database said to `plain_question`; None: there is no such key or program."""
    start = sent_keys.KEY_COLUMNS
    if not found or found[0][start + _PROGRAM_COLUMNS] is None:
        return None
    first = found[0]
    seconds, *program = first[start : start + _PROGRAM_COLUMNS]
    known = start + _PROGRAM_COLUMNS + _VERSION_COLUMNS
    return PlainAnswer(
        key=first[:start],
        ahead=timedelta(seconds=seconds or 0),
        program=ProgramFacts(question.program_id, *program),
        version=version_of(*first[start + _PROGRAM_COLUMNS : known]),
        known=_answer(question, found, known),
    )


@cache
def _plain_question(evidence: str, *, production: bool) -> str:
    # In production the demo clock's row counts for nothing.
    clock = "NULL" if production else "(SELECT seconds FROM clock_offset WHERE id = 1)"
    return _PLAIN_QUESTION.format(clock=clock, **_beside(evidence))


def _answer(question: Question, found: Sequence[Sequence[Any]], start: int) -> Answer:
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
    order = _order_row(
        report, document, program_id, source, confirmed_by, evidence, content_hash, now
    )
    if exchange is not None:
        order |= exchange.columns(net_of(report))
    buyer = customer_evidence(report)
    values = _values(order, document, buyer, decision, reported_by)
    if earning is None:
        found = rows(session, _INSERT, values)
        return Inserted(found[0][0], found[0][1], order, None) if found else None
    found = rows(session, _INSERT_AND_EARN, {**values, **earning.values()})
    if not found:
        return None
    id_, parked, accounts_missing, ids = found[0]
    written = None if accounts_missing else earning.written(ids or (), reference=reference_of(id_))
    return Inserted(id_, parked, order, written)


@dataclass(frozen=True, slots=True)
class PlainInsert:
    """The statements of a new order to which nothing belongs that was there before."""

    statements: tuple[Statement, Statement]
    order: Mapping[str, Any]
    """The row's columns."""


def plain_insert(
    *,
    program_id: int,
    report: OrderReportIn,
    document: Mapping[str, Any],
    source: Source,
    reported_by: str,
    evidence: Mapping[str, Any],
    buyer: Mapping[str, Any] | None,
    decision: Mapping[str, Any],
    earning: Earning | None,
    content_hash: bytes,
    now: datetime,
) -> PlainInsert:
    """As `insert_order` for an order that its server confirms, with the id's lock before it.

    Two statements of one transaction: the second one's snapshot has to be taken under the
    lock, or calls that are being parked meanwhile would not be seen. The second answers one
    row (id, ids of the commissions); none: it has written nothing, `report_order` has to.
    """
    order = _order_row(
        report, document, program_id, source, source.value, evidence, content_hash, now
    )
    values = _values(order, document, buyer, decision, reported_by)
    lock = {"program_id": program_id, "order_id": report.order_id}
    insert: Statement = (_PLAIN_ORDER, values)
    if earning is not None:
        insert = (_PLAIN_ORDER_AND_EARN, {**values, **earning.values()})
    return PlainInsert(((_LOCK_PLANNED_ONCE, lock), insert), order)


def _order_row(
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


def _values(
    order: Mapping[str, Any],
    document: Mapping[str, Any],
    buyer: Mapping[str, Any] | None,
    decision: Mapping[str, Any],
    reported_by: str,
) -> dict[str, Any]:
    """What `_ORDER` binds; only a confirmed order makes its buyer a customer."""
    customer = (buyer or {}) if order["confirmed_at"] else {}
    return {
        "order": dumps(order, _bytea),
        # The buyer's address is kept only as our own keyed hash.
        "body": dumps({**document, "customer": buyer}),
        "decision": dumps(decision),
        "reported_by": reported_by,
        "shop_id": customer.get("id"),
        "email_hash": bytes.fromhex(customer["email"]) if customer.get("email") else None,
    }


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
