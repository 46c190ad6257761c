"""Orders of the past as they were decided, with all that was read of them then, in batches.

Whatever the length of the history, one batch of it is in memory: the server keeps the order of
the rest. Nothing is written; the caller holds one snapshot of the database (`read_once`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate, pairwise
from typing import Any, Final, NamedTuple

import orjson
from sqlalchemy.orm import Session

from affiliate.core.db import rows
from affiliate.core.money import Money
from tracker.attribution.subject import REFERENCE, Subject
from tracker.orders.converting import in_program, refunded_net_of, sale_net_of

BATCH: Final = 1_000

# A cancelled order counted for volumes until it was; its last decision says how.
_WHICH: Final = """
    FROM decisions d JOIN orders o ON o.id = d.order_id
    WHERE o.program_id = %(program_id)s AND o.placed_at >= %(begins)s AND o.placed_at < %(ends)s
      AND (d.voided_at IS NULL OR o.cancelled_at IS NOT NULL AND d.void_reason = 'order_cancelled')
"""
_COUNT: Final = f"SELECT count(*) {_WHICH}"
_KEYS: Final = f"SELECT d.id {_WHICH} ORDER BY d.decided_at, d.id"
_LATEST: Final = """
    SELECT d.id FROM decisions d JOIN orders o ON o.id = d.order_id
    WHERE o.program_id = %(program_id)s AND d.voided_at IS NULL
      AND (d.decided_at >= %(since)s OR d.id %% %(slices)s = %(slice)s)
    ORDER BY d.id
"""
_ORDERS: Final = """
    SELECT d.id, d.number, d.rule_version_id, d.decided_at, d.snapshot::text, d.shares::text,
           d.trace::text, o.id, o.order_id, o.placed_at, o.currency, o.net_micros,
           o.refunded_net_micros, o.converted_to, o.rate_scaled, o.status, o.cancelled_at,
           nullif(o.items, '[]')::text, o.subscription::text,
           CASE WHEN o.subscription IS NOT NULL THEN (
               SELECT min(f.placed_at) FROM orders f
               WHERE f.program_id = o.program_id AND f.status <> 'cancelled'
                 AND f.subscription ->> 'id' = o.subscription ->> 'id') END,
           CASE WHEN o.refunded_net_micros > 0 THEN (
               SELECT array_agg(r.received_at ORDER BY r.id) FROM refunds r
               WHERE r.order_id = o.id) END,
           CASE WHEN o.refunded_net_micros > 0 THEN (
               SELECT array_agg(r.net_micros ORDER BY r.id) FROM refunds r
               WHERE r.order_id = o.id) END
    FROM decisions d JOIN orders o ON o.id = d.order_id
    WHERE d.id = ANY(CAST(%(ids)s AS bigint[]))
"""
_BOOKED: Final = """
    SELECT reference, level, enrollment_id, via_enrollment_id, rule_version_id, decision,
           base_micros, rate_ppm, amount_micros, reversed_micros, refunded_base_micros, rule
    FROM commissions
    WHERE reference = ANY(CAST(%(references)s AS text[])) AND voided_at IS NULL
    ORDER BY id
"""


@dataclass(frozen=True, slots=True)
class Booked:
    """A live commission of an order, as the books have it."""

    level: int
    enrollment_id: int
    via_enrollment_id: int | None
    rule_version_id: int
    decision: int
    base_micros: int
    rate_ppm: int | None
    amount_micros: int
    reversed_micros: int
    refunded_base_micros: int
    rule: str

    @property
    def kept_micros(self) -> int:
        """What refunds have left of it."""
        return self.amount_micros - self.reversed_micros


@dataclass(frozen=True, slots=True)
class PastOrder:
    """An order, its last decision and what it earned."""

    subject: Subject
    """As the commission rules see it; its evidence is in the snapshot."""
    order_id: str
    """The shop's."""
    number: int
    """Of the decision."""
    rule_version_id: int
    """The program's, by whose attribution terms it was decided."""
    decided_at: datetime
    snapshot: dict[str, Any]
    shares: list[dict[str, Any]]
    trace_text: str
    """JSON of the decision's trace; most orders are never asked for it."""
    first_paid_at: datetime | None
    """placed_at of the first payment of its subscription that is known by now."""
    refunds: tuple[tuple[datetime, int], ...]
    """When each was received, and how many micros of the net it gave back (program's currency)."""
    cancelled_at: datetime | None
    booked: tuple[Booked, ...]

    @property
    def trace(self) -> list[dict[str, Any]]:
        """Every candidate and check of the decision, in order."""
        found: list[dict[str, Any]] = orjson.loads(self.trace_text)
        return found

    @property
    def refunded_net(self) -> Money:
        """Of the net by all refunds so far."""
        return self.subject.refunded_net or Money.zero(self.subject.net.currency)


@dataclass(frozen=True, slots=True)
class Span:
    """Orders of a program that were placed in [begins, ends)."""

    program_id: int
    currency: str
    zone: str
    begins: datetime
    ends: datetime

    def values(self) -> dict[str, Any]:
        return {"program_id": self.program_id, "begins": self.begins, "ends": self.ends}


def count(session: Session, span: Span) -> int:
    """How many orders `orders` will give."""
    [(found,)] = rows(session, _COUNT, span.values())
    return int(found)


def orders(session: Session, span: Span) -> Iterator[list[PastOrder]]:
    """The orders of a span in batches, in the order in which they were decided."""
    yield from _batches(session, _KEYS, span.values(), span)


def latest(
    session: Session, span: Span, *, since: datetime, slices: int, slice_: int
) -> Iterator[list[PastOrder]]:
    """Live decisions of `since` and later, and one of so many slices of all the others."""
    values = {
        "program_id": span.program_id, "since": since, "slices": slices, "slice": slice_,
    }  # fmt: skip
    yield from _batches(session, _LATEST, values, span)


def _batches(
    session: Session, keys: str, values: dict[str, Any], span: Span
) -> Iterator[list[PastOrder]]:
    connection = session.connection().connection.driver_connection
    assert connection is not None, "a session that reads is connected"
    with connection.cursor(name="kopeck_history") as cursor:
        cursor.execute(keys, values)
        while found := cursor.fetchmany(BATCH):
            yield _read(session, [id_ for (id_,) in found], span)


def _read(session: Session, ids: Sequence[int], span: Span) -> list[PastOrder]:
    found = {row[0]: row for row in rows(session, _ORDERS, {"ids": list(ids)})}
    references = {row[7]: f"{REFERENCE}{row[7]}" for row in found.values()}
    booked: dict[str, list[Booked]] = {}
    for reference, *values in rows(session, _BOOKED, {"references": list(references.values())}):
        booked.setdefault(reference, []).append(Booked(*values))
    return [
        _past(found[id_], tuple(booked.get(references[found[id_][7]], ())), span) for id_ in ids
    ]


class _Amounts(NamedTuple):
    """As the order's row has them."""

    currency: str
    net_micros: int
    refunded_net_micros: int
    converted_to: str | None
    rate_scaled: int | None


def _past(row: Any, booked: tuple[Booked, ...], span: Span) -> PastOrder:
    (
        _, number, version_id, decided_at, snapshot, shares, trace, row_id, order_id, placed_at,
        *amounts, status, cancelled_at, items, subscription, first_paid_at, refunded_at, refunds,
    ) = row  # fmt: skip
    order = _Amounts(*amounts)
    sale = sale_net_of(order)
    return PastOrder(
        subject=Subject(
            id=row_id,
            program_id=span.program_id,
            placed_at=placed_at.astimezone(UTC),
            net=sale.net,
            confirmed=status == "confirmed",
            evidence={},
            program_closed=False,  # Attribution reads it in the snapshot.
            refunded_net=refunded_net_of(order) if order.refunded_net_micros else None,
            lines=orjson.loads(items) if items else (),
            subscription=orjson.loads(subscription) if subscription else None,
            zone=span.zone,
            converted=sale.converted,
            unconverted=sale.unconverted,
        ),
        order_id=order_id,
        number=number,
        rule_version_id=version_id,
        decided_at=decided_at.astimezone(UTC),
        snapshot=orjson.loads(snapshot),
        shares=orjson.loads(shares),
        trace_text=trace,
        first_paid_at=first_paid_at and first_paid_at.astimezone(UTC),
        refunds=_refunds(order, refunded_at or (), refunds or ()),
        cancelled_at=cancelled_at,
        booked=booked,
    )


def _refunds(
    order: _Amounts, refunded_at: Sequence[datetime], nets: Sequence[int]
) -> tuple[tuple[datetime, int], ...]:
    """Each in the program's currency, so that all so far are what their sum converts to."""
    sums = [in_program(order, net).micros for net in (0, *accumulate(nets))]
    parts = [after - before for before, after in pairwise(sums)]
    return tuple(zip(refunded_at, parts, strict=True))
