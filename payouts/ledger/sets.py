"""Postings of a whole batch: statements over rows that a query names, with nothing in memory.

What `payouts.ledger.posting` does for a handful of facts this does for a hundred thousand: the
same references, the same trigger over one statement's entries, the same order of locks.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from payouts.ledger.accounts import WITH_BALANCE, AccountKind

TRANSACTION_ID: Final = (
    "nextval((SELECT CAST(pg_get_serial_sequence('ledger_transactions', 'id') AS regclass)))"
)
"""Draws an id in SQL, so that a row can name the transaction that is booked beside it.

The sequence's name is looked up once a statement: a look-up a row costs more than the row.
"""

# Behind a step `fact(id, kind, reference, reason)` of the statement that also writes the rows
# which the facts are about: their ids were drawn, so that no reference can be booked already.
BOOKED: Final = """
    booked AS (
        INSERT INTO ledger_transactions (id, kind, reference, reason, occurred_at)
            OVERRIDING SYSTEM VALUE
        SELECT id, kind, reference, reason, CAST(:now AS timestamptz) FROM fact ORDER BY id
    )"""

_ACCOUNTS: Final = """
    INSERT INTO ledger_accounts (kind, program_id, enrollment_id, currency)
    SELECT k.kind, :program_id, m.enrollment_id, :currency
    FROM ({moves}) m CROSS JOIN unnest(CAST(:kinds AS text[])) AS k(kind)
    WHERE NOT EXISTS (
        SELECT 1 FROM ledger_accounts a
        WHERE a.program_id = :program_id AND a.enrollment_id = m.enrollment_id
          AND a.kind = k.kind AND a.rail IS NULL AND a.currency = :currency)
    ORDER BY m.enrollment_id, k.kind
    ON CONFLICT DO NOTHING
"""

# One statement for all entries: the trigger that checks the sums reads what a statement has
# added. Balances are touched in account id order, as every lock of them is taken. An account
# that were missing would leave its transaction with one entry, and the trigger would refuse.
_MOVED: Final = """
    , entered AS (
        INSERT INTO ledger_entries (transaction_id, account_id, currency, amount_micros)
        SELECT transaction_id, account_id, currency, amount_micros FROM moved
        ORDER BY transaction_id, account_id
    )
    INSERT INTO ledger_balances (account_id, amount_micros)
    SELECT account_id, sum(amount_micros) FROM moved
    WHERE kind = ANY (CAST(:with_balance AS text[]))
    GROUP BY account_id ORDER BY account_id
    ON CONFLICT (account_id) DO UPDATE
        SET amount_micros = ledger_balances.amount_micros + excluded.amount_micros
"""

_MOVE: Final = """
    WITH moved AS MATERIALIZED (
        SELECT m.transaction_id, a.id AS account_id, a.kind, a.currency,
               CASE a.kind WHEN :source THEN -m.amount_micros ELSE m.amount_micros END
                   AS amount_micros
        FROM ({moves}) m
        JOIN ledger_accounts a ON a.program_id = :program_id AND a.enrollment_id = m.enrollment_id
         AND a.kind = ANY (CAST(:kinds AS text[])) AND a.rail IS NULL AND a.currency = :currency
    )
"""

_MIRROR: Final = """
    WITH fact AS MATERIALIZED ({facts}), mirrored AS (
        INSERT INTO ledger_transactions (kind, reference, reason, occurred_at, reverses_id)
        SELECT kind, reference, reason, CAST(:now AS timestamptz), reverses_id FROM fact
        ORDER BY reverses_id
        RETURNING id, reverses_id
    ), moved AS MATERIALIZED (
        SELECT mirrored.id AS transaction_id, e.account_id, a.kind, e.currency,
               -e.amount_micros AS amount_micros
        FROM mirrored
        JOIN ledger_entries e ON e.transaction_id = mirrored.reverses_id
        JOIN ledger_accounts a ON a.id = e.account_id
    )
"""


def enter_moves(
    session: Session,
    *,
    moves: str,
    values: Mapping[str, Any],
    program_id: int,
    currency: str,
    source: AccountKind,
    target: AccountKind,
) -> None:
    """Write the entries of transactions that are booked: from one account to the other.

    `moves` is a query of (transaction_id, enrollment_id, amount_micros), one row for each
    transaction and enrollment. The caller holds the locks of the balances that it takes from.
    """
    bound = {
        **values,
        "program_id": program_id,
        "currency": currency,
        "source": source.value,
        "kinds": [source.value, target.value],
        "with_balance": [kind.value for kind in WITH_BALANCE],
    }
    for statement in (_ACCOUNTS, _MOVE + _MOVED):
        session.execute(sa.text(statement.format(moves=moves)), bound)


def mirror_all(session: Session, *, facts: str, values: Mapping[str, Any], now: datetime) -> None:
    """Book the exact mirror of every transaction that a query names.

    `facts` is a query of (kind, reference, reason, reverses_id). A transaction that has its
    mirror already breaks a unique index, and nothing is written.
    """
    text = sa.text((_MIRROR + _MOVED).format(facts=facts))
    session.execute(
        text, {**values, "now": now, "with_balance": [kind.value for kind in WITH_BALANCE]}
    )
