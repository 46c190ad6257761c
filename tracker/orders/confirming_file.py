"""A file of orders that the shop confirms: order ids with their totals, out of its own books.

For shops whose server does not call. An order is confirmed where the total is the one that was
claimed; every other line is told and changes nothing. Docs: docs/integration.md, "Confirming".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.errors import Invalid, NotFound, Phrase
from affiliate.core.money import Money, MoneyError
from affiliate.imports.rules import Columns, Line, read_columns
from affiliate.programs.models import Program
from tracker.orders.confirmation import confirm_order
from tracker.orders.models import Order
from tracker.orders.refusals import OrderCancelled, TotalDiffers

COLUMNS: Final = Columns(("order_id", "total"), ("currency",))
SHOWN_MAX: Final = 20
"""Lines that differ, told one by one."""


@dataclass(frozen=True, slots=True)
class Confirmations:
    """What came of a file, or would."""

    confirmed: int = 0
    known: int = 0
    """Confirmed before, by the shop's server or a file."""
    unknown: int = 0
    """No browser reported them, and no server."""
    cancelled: int = 0
    differing: Sequence[tuple[int, str]] = ()
    """Line and order id of claims with another total; they are not confirmed."""


def confirm_file(
    session: Session, *, program_id: int, raw: bytes, by: int, now: datetime
) -> Confirmations:
    """Confirm what browsers claimed and the file names with the same total. Safe to repeat.

    `by` is the user who brings it. Raises NotFound, and Invalid (`file`): what cannot be read,
    an amount that is none, an order id that stands twice.
    """
    currency = session.scalar(sa.select(Program.currency).where(Program.id == program_id))
    if currency is None:
        raise NotFound
    lines = _by_order(read_columns(raw, COLUMNS))
    totals = {order_id: _total(line, currency) for order_id, line in lines.items()}
    statuses = _statuses(session, program_id, list(lines))
    confirmed, differing, actor = 0, [], f"user:{by}"
    # In the order of their ids, so that two files at once wait for each other in one order.
    for order_id in sorted(one for one, status in statuses.items() if status == "unconfirmed"):
        try:
            done = confirm_order(
                session, program_id=program_id, order_id=order_id, total=totals[order_id],
                by=actor, now=now,
            )  # fmt: skip
            confirmed += done is True
        except (TotalDiffers, OrderCancelled):
            differing.append((lines[order_id].number, order_id))
    if confirmed:
        audit.record(
            session, actor=actor, action="order.confirm_file", subject=f"program:{program_id}",
            scope=program_id, new={"confirmed": confirmed}, now=now,
        )  # fmt: skip
    found = list(statuses.values())
    return Confirmations(
        confirmed=confirmed,
        known=found.count("confirmed"),
        unknown=len(lines) - len(found),
        cancelled=found.count("cancelled"),
        differing=tuple(sorted(differing)),
    )


def _by_order(lines: Sequence[Line]) -> dict[str, Line]:
    found: dict[str, Line] = {}
    for line in lines:
        order_id = line.values["order_id"]
        if order_id in found:
            line.reject("order_id", "twice", Phrase("This order stands in the file twice."))
        found[order_id] = line
    return found


def _total(line: Line, currency: str) -> Money:
    named = line.values.get("currency") or currency
    try:
        return Money.parse(line.values["total"], named)
    except MoneyError as error:
        message = Phrase("Write an amount in %(currency)s with a point: 1234.50.", currency=named)
        raise Invalid(errors=[line.error("total", error.code, message)]) from None


def _statuses(session: Session, program_id: int, order_ids: Sequence[str]) -> Mapping[str, str]:
    """The status of each order that is known, by its id."""
    rows = session.execute(
        sa.select(Order.order_id, Order.status).where(
            Order.program_id == program_id, Order.order_id.in_(order_ids)
        )
    )
    return {row.order_id: row.status for row in rows}
