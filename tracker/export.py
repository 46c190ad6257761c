"""`kopeck export …`: orders, leads, commissions, clicks by day and the ledger's journal as CSV.

One statement a kind, read through a server-side cursor, so that a year fits into any
memory. Cells are written as everywhere (affiliate/core/tables.py).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, TextIO

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.exchange import ExchangeRate
from affiliate.core.money import Money
from affiliate.core.tables import Number, csv_rows
from affiliate.people import ids

ROWS_PER_FETCH: Final = 2_000

QUERIES: Final = {
    "orders": """
        SELECT o.order_id, o.placed_at, o.status, o.source, o.currency,
               o.total_micros, o.net_micros,
               o.refunded_micros, o.coupon, o.converted_to, o.rate_scaled,
               o.converted_net_micros
          FROM orders o
         WHERE o.program_id = :program_id AND o.placed_at >= :since AND o.placed_at < :until
         ORDER BY o.placed_at, o.id
    """,
    "leads": """
        SELECT l.lead_id, l.kind, l.placed_at, l.status, l.cancelled_at, l.cancel_reason
          FROM leads l
         WHERE l.program_id = :program_id AND l.placed_at >= :since AND l.placed_at < :until
         ORDER BY l.placed_at, l.id
    """,
    "commissions": """
        SELECT c.reference, c.level, c.enrollment_id AS affiliate,
               c.via_enrollment_id AS via, c.currency, c.base_micros, c.amount_micros,
               c.reversed_micros, c.earned_at, c.available_at, c.released_at, c.voided_at,
               c.waits_for
          FROM commissions c
         WHERE c.program_id = :program_id AND c.earned_at >= :since AND c.earned_at < :until
         ORDER BY c.earned_at, c.id
    """,
    "clicks": """
        SELECT d.day, d.enrollment_id AS affiliate, l.code AS link, d.clicks, d.uniques,
               d.duplicates, d.dropped
          FROM link_days d JOIN links l ON l.id = d.link_id
         WHERE d.program_id = :program_id AND d.day >= CAST(:since AS date)
           AND d.day < CAST(:until AS date)
         ORDER BY d.day, d.link_id
    """,
    "ledger": """
        SELECT t.id AS transaction, t.kind, t.reference, t.reason, t.occurred_at, a.kind AS account,
               a.enrollment_id AS affiliate, a.rail, a.currency, e.amount_micros
          FROM ledger_entries e
          JOIN ledger_transactions t ON t.id = e.transaction_id
          JOIN ledger_accounts a ON a.id = e.account_id
         WHERE a.program_id = :program_id AND t.occurred_at >= :since AND t.occurred_at < :until
         ORDER BY t.id, e.id
    """,
}
"""Kinds of export and where their rows come from; `since` counts, `until` does not."""


def export(
    session: Session,
    *,
    kind: str,
    program_id: int,
    since: datetime,
    until: datetime,
    to: TextIO,
) -> int:
    """Write the rows as CSV (RFC 4180) with a head line; returns how many.

    Money is a decimal string beside its currency; moments are in UTC; affiliates have the
    ids of the API.
    """
    given = {"program_id": program_id, "since": since, "until": until}
    result = session.execute(
        sa.text(QUERIES[kind]), given, execution_options={"yield_per": ROWS_PER_FETCH}
    )
    names = list(result.keys())
    writer = csv_rows(to)
    writer.writerow([name.removesuffix("_micros").removesuffix("_scaled") for name in names])
    count = 0
    for row in result.mappings():
        writer.writerow([_cell(name, row[name], row) for name in names])
        count += 1
    return count


def _cell(name: str, value: Any, row: Any) -> object:
    if value is None:
        return None
    if name == "rate_scaled":
        return Number(ExchangeRate(row["currency"], row["converted_to"], value).decimal)
    if name == "converted_net_micros":
        return Money(value, row["converted_to"])
    if name.endswith("_micros"):
        return Money(value, row["currency"])
    if name in ("affiliate", "via"):
        return ids.public(value)
    return value
