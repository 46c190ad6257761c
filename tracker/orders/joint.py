"""Plain orders of several callers, asked for in one trip and written by one statement.

What PostgreSQL takes to set up such a statement, to flush its commit and to switch to it and
back is most of what an order costs it; here all that wait share it. What is asked and written
is `tracker.orders.records`'.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

from affiliate.core.straight import PLANNED_ONCE, Statement
from affiliate.core.strict_json import dumps
from affiliate.people import sent_keys
from affiliate.programs.rule_versions import (
    VERSION,
    VERSION_AT,
    RuleVersionInForce,
    version_of,
)
from payouts.commissions.earn import ACCOUNTS_MISSING, Earning
from payouts.ledger.posting import LINES
from tracker.attribution.asking import Answer, Question, Shape, joint, joint_bounds
from tracker.orders.records import (
    ORDERS,
    PARKED,
    PROGRAM_COLUMNS,
    VERSION_COLUMNS,
    ProgramFacts,
    answer_of,
    as_bytea,
    beside,
    order_row,
    told_of,
)
from tracker.orders.rules import OrderReportIn, Source

# What `records` asks under an order id's lock, asked without it for orders of several programs and
# moments, with the key that calls and how far the demo clock runs ahead.
_PLAIN_QUESTIONS: Final = f"""
    SELECT asked.n, {sent_keys.KEY}, {{clock}}, p.slug, p.currency, p.status, p.closes_at,
           p.time_zone, {VERSION} {{columns}}
    FROM jsonb_to_recordset(CAST(%(questions)s AS jsonb)) AS asked (
        n bigint, prefix text, at timestamptz, {{types}})
    JOIN api_keys k ON k.prefix = asked.prefix AND k.program_id = asked.program_id
    JOIN programs p ON p.id = k.program_id {VERSION_AT.replace("%(at)s", "asked.at")} {{evidence}}
"""  # noqa: S608 -- the parts are constants, every value is bound
# Columns of a joint trip's first statement. Whatever is joined to rows that come in a document is
# looked up row by row: the planner takes them for a hundred, for which it would read whole tables.
_JOINT: Final = (
    f"{PLANNED_ONCE}, set_config('enable_hashjoin', 'off', true), "
    "set_config('enable_mergejoin', 'off', true), set_config('enable_material', 'off', true)"
)
_BEGIN_JOINT: Final[Statement] = (f"SELECT {_JOINT}", {})
JOINT_WAIT_MS: Final = 100
"""For how long orders that are written together wait for a lock."""
# Of plain orders alone (tracker.orders.plain): nothing is written of one, and no row is answered,
# where the id is taken, where calls are parked for it, or where an account is missing.
_PLAIN: Final = f"""
    WHERE NOT {PARKED.format(of="s")} AND NOT {ACCOUNTS_MISSING.format(n="told.n")}"""
_INSERT_PLAIN: Final = f"""
    WITH told AS MATERIALIZED (
        SELECT n, document
        FROM jsonb_array_elements(CAST(%(documents)s AS jsonb))
             WITH ORDINALITY AS each (document, n)
    ), {LINES}, {ORDERS.format(only=_PLAIN, parked="false")}
    SELECT n FROM new
"""  # noqa: S608 -- as above
# Locks in the order of their keys, so that two such statements never wait in a circle. Where one
# lasts, the statement fails and each order goes its own way: none shall hold up the others.
_LOCK_ALL: Final = f"""
    SELECT {_JOINT}, set_config('lock_timeout', '{JOINT_WAIT_MS}ms', true), (
        SELECT count(pg_advisory_xact_lock(key)) FROM (
            SELECT DISTINCT hashtextextended(id.order_id, id.program_id) AS key
            FROM jsonb_to_recordset(CAST(%(ids)s AS jsonb)) AS id (
                order_id text, program_id bigint)
            ORDER BY key) sorted)
"""  # noqa: S608 -- as above


@dataclass(frozen=True, slots=True)
class PlainQuestion:
    """What is asked for a plain order: by which key, under which rules, and its evidence."""

    question: Question
    prefix: str
    """Of the key that was sent."""


def plain_questions(asked: Sequence[PlainQuestion], *, production: bool) -> Iterator[Statement]:
    """The statements that read what these ask, of one transaction; one for each shape.

    Of each row the first column says which of them it answers, by its place from 0; the rest is
    `plain_answer`'s. The evidence of `lock_for_report` is from before the lock as well. What the
    lock guards, whether the order is new and no calls wait for it, `plain_inserts` asks under it.
    """
    yield _BEGIN_JOINT
    shapes: dict[Shape, list[tuple[int, PlainQuestion]]] = defaultdict(list)
    for n, each in enumerate(asked):
        shapes[each.question.shape].append((n, each))
    for shape, alike in shapes.items():
        columns = joint(shape).columns
        documents = [
            {
                **{name: each.question.values[name] for name in columns},
                "n": n,
                "prefix": each.prefix,
                "at": each.question.placed_at,
                "program_id": each.question.program_id,
            }
            for n, each in alike
        ]
        bounds = joint_bounds([each.question for _, each in alike])
        values = {**bounds, "questions": dumps(documents, as_bytea)}
        yield _plain_questions(shape, production=production), values


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


def plain_answer(question: Question, found: Sequence[Sequence[Any]]) -> PlainAnswer | None:
    """What the database said, rows without their number; None: no such key or program."""
    start = sent_keys.KEY_COLUMNS
    if not found or found[0][start + PROGRAM_COLUMNS] is None:
        return None
    first = found[0]
    seconds, *program = first[start : start + PROGRAM_COLUMNS]
    known = start + PROGRAM_COLUMNS + VERSION_COLUMNS
    return PlainAnswer(
        key=first[:start],
        ahead=timedelta(seconds=seconds or 0),
        program=ProgramFacts(question.program_id, *program),
        version=version_of(*first[start + PROGRAM_COLUMNS : known]),
        known=answer_of(question, found, known),
    )


@dataclass(frozen=True, slots=True, eq=False)
class PlainInsert:
    """A new order to which nothing belongs that was there before, ready to be written."""

    program_id: int
    order_id: str
    order: Mapping[str, Any]
    """The row's columns."""
    told: str
    """All that is written of it."""


def names_of(program_id: int, report: OrderReportIn) -> Iterator[tuple[str, int, str]]:
    """What no two orders that are written by one statement may share."""
    yield "order", program_id, report.order_id
    if report.customer is not None and report.customer.id is not None:
        yield "buyer", program_id, report.customer.id


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
    """As `insert_order` for an order that its server confirms; see `plain_inserts`."""
    order = order_row(
        report, document, program_id, source, source.value, evidence, content_hash, now
    )
    return PlainInsert(
        program_id=program_id,
        order_id=report.order_id,
        order=order,
        told=told_of(order, document, buyer, decision, reported_by, earning),
    )


def plain_inserts(inserts: Sequence[PlainInsert]) -> tuple[Statement, Statement]:
    """The statements that write these orders, of one transaction.

    Two, as the second one's snapshot has to be taken under the ids' locks, or calls that are being
    parked meanwhile would not be seen. The second answers the number, from 1, of each order that
    it wrote; of the others nothing is written, and `report_order` has to. No two may share one of
    their `names_of`.
    """
    ids = [{"order_id": each.order_id, "program_id": each.program_id} for each in inserts]
    documents = ",".join(each.told for each in inserts)
    return (_LOCK_ALL, {"ids": dumps(ids)}), (_INSERT_PLAIN, {"documents": f"[{documents}]"})


@cache
def _plain_questions(shape: Shape, *, production: bool) -> str:
    evidence = joint(shape)
    types = {"program_id": "bigint", **evidence.columns}
    return _PLAIN_QUESTIONS.format(
        # In production the demo clock's row counts for nothing.
        clock="NULL" if production else "(SELECT seconds FROM clock_offset WHERE id = 1)",
        types=", ".join(f"{name} {type_}" for name, type_ in types.items()),
        **beside(evidence.statement, lateral=True),
    )
