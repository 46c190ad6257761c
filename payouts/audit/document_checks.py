"""What must hold of corrections by hand and of invoices."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from payouts.audit.run import Check, Severity
from payouts.invoices.models import Invoice
from payouts.invoices.rules import fingerprint, read

FETCH_ROWS = 500


def changed_documents(session: Session, _real_now: datetime) -> Iterator[dict[str, Any]]:
    """Documents that are not what was issued: another hash, or other amounts beside it."""
    rows = session.execute(
        sa.select(
            Invoice.id, Invoice.name, Invoice.document, Invoice.hash, Invoice.kind,
            Invoice.net_micros, Invoice.vat_micros, Invoice.gross_micros, Invoice.currency,
        ).execution_options(yield_per=FETCH_ROWS)
    )  # fmt: skip
    for row in rows:
        document = read(row.document)
        kept = [_micros(text) for text in (document.net, document.vat, document.gross)]
        same = kept == [row.net_micros, row.vat_micros, row.gross_micros]
        said = (document.number, document.kind, document.currency)
        if (
            fingerprint(row.document) != row.hash
            or not same
            or said != (row.name, row.kind, row.currency)
        ):
            yield {"invoice_id": row.id, "number": row.name}


def _micros(text: str) -> int:
    whole, _point, fraction = text.lstrip("-").partition(".")
    micros = int(whole) * 1_000_000 + int(fraction.ljust(6, "0") or 0)
    return -micros if text.startswith("-") else micros


DOCUMENTS = (
    Check(
        "J1",
        Severity.INTEGRITY,
        "a confirmed correction is booked once, with its amount, by two people",
        """
        SELECT j.id AS adjustment_id, j.amount_micros AS amount, sum(e.amount_micros) AS booked
        FROM ledger_adjustments j
        LEFT JOIN ledger_transactions t ON t.id = j.transaction_id AND t.kind = j.kind
             AND t.reference = j.kind || ':adjustment:' || j.id
        LEFT JOIN ledger_accounts a ON a.enrollment_id = j.enrollment_id
             AND a.currency = j.currency AND a.kind = 'available'
        LEFT JOIN ledger_entries e ON e.transaction_id = t.id AND e.account_id = a.id
        WHERE j.status = 'confirmed'
        GROUP BY j.id
        HAVING coalesce(sum(e.amount_micros), 0) <> j.amount_micros
            OR j.decided_by IS NOT DISTINCT FROM j.proposed_by
        """,
    ),
    Check(
        "J2",
        Severity.INTEGRITY,
        "nothing is corrected or written off without a confirmed proposal",
        """
        SELECT t.id AS transaction_id, t.reference FROM ledger_transactions t
        WHERE t.kind IN ('adjust', 'write_off') AND NOT EXISTS (
            SELECT 1 FROM ledger_adjustments j
            WHERE j.transaction_id = t.id AND j.status = 'confirmed')
        """,
    ),
    Check(
        "I1",
        Severity.INTEGRITY,
        "an issued invoice is what was issued",
        changed_documents,
    ),
    Check(
        "I2",
        Severity.INTEGRITY,
        "the numbers of a program and year have no gap, up to the last one given",
        """
        SELECT c.program_id, c.year, c.last, count(v.id) AS documents, max(v.number) AS highest
        FROM invoice_counters c
        FULL JOIN invoices v ON v.program_id = c.program_id AND v.year = c.year
        GROUP BY c.program_id, c.year, c.last
        HAVING count(v.id) <> coalesce(c.last, -1) OR coalesce(max(v.number), 0) <> count(v.id)
        """,
    ),
    Check(
        "I3",
        Severity.LIVENESS,
        "an invoice that stands says what was paid in its month; else it wants a credit",
        """
        WITH paid AS (
            SELECT a.enrollment_id, -sum(e.amount_micros) AS micros,
                   CAST(date_trunc('month', t.occurred_at AT TIME ZONE p.time_zone) AS date)
                       AS period
            FROM payout_items i
            JOIN ledger_transactions t ON t.id = i.settle_transaction_id
            JOIN ledger_entries e ON e.transaction_id = t.id
            JOIN ledger_accounts a ON a.id = e.account_id AND a.kind = 'in_payout'
            JOIN programs p ON p.id = a.program_id
            WHERE EXISTS (SELECT 1 FROM invoices v WHERE v.enrollment_id = i.enrollment_id)
              AND NOT EXISTS (SELECT 1 FROM ledger_transactions r WHERE r.reverses_id = t.id)
            GROUP BY 1, 3)
        SELECT v.id AS invoice_id, v.name AS number, v.document ->> 'paid' AS invoiced,
               paid.micros AS paid
        FROM invoices v
        LEFT JOIN paid ON paid.enrollment_id = v.enrollment_id AND paid.period = v.period
        WHERE v.kind = 'invoice'
          AND NOT EXISTS (SELECT 1 FROM invoices c WHERE c.corrects_id = v.id)
          AND coalesce(paid.micros, 0) <> CAST(v.document ->> 'paid' AS numeric) * 1000000
        """,
    ),
)
