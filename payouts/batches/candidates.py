"""Who may be paid and who may not, as statements: `payouts.batches.rules.due` in SQL.

The rule is the definition; tests/payouts/batches/test_large_batches.py compares the two over
generated cases. One query knows candidates and refusals alike, so that a batch and the list of
those who are not in it cannot disagree.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.money import minor_unit_micros
from affiliate.programs.models import Program
from payouts.batches.rules import PAYABLE_STATUSES, NotDue
from payouts.rails.registry import Rails, rail_named

# A step `candidate`, one row for each balance of the program, and a step `judged` with the
# reason why not, empty for who is due. Binds :program_id, :currency, :rail, :unit_micros,
# :payable_statuses and :now.
JUDGED: Final = f"""
    candidate AS (
        SELECT a.id AS account_id, n.id AS enrollment_id, n.status, b.amount_micros AS available,
               p.destination, p.ready_at IS NOT NULL AS ready, h.id IS NOT NULL AS held,
               coalesce(c.on_request, false) AS on_request,
               coalesce(c.minimum_micros, 0) AS minimum,
               coalesce(p.pays_from > :now, false) AS cools_off,
               EXISTS (SELECT FROM payee_stops s
                       WHERE s.affiliate_id = n.affiliate_id AND s.lifted_at IS NULL) AS stopped
        FROM ledger_accounts a
        JOIN ledger_balances b ON b.account_id = a.id
        JOIN enrollments n ON n.id = a.enrollment_id
        LEFT JOIN payee_accounts p ON p.affiliate_id = n.affiliate_id
             AND p.rail = :rail AND p.replaced_at IS NULL
        LEFT JOIN payout_holds h ON h.enrollment_id = n.id AND h.lifted_at IS NULL
        LEFT JOIN payout_choices c ON c.enrollment_id = n.id
        WHERE a.program_id = :program_id AND a.kind = 'available' AND a.currency = :currency
    ), judged AS (
        SELECT candidate.*, CASE
            WHEN status <> ALL (CAST(:payable_statuses AS text[])) THEN '{NotDue.NOT_ACTIVE}'
            WHEN available < 0 THEN '{NotDue.NEGATIVE_BALANCE}'
            WHEN available < :unit_micros THEN '{NotDue.NOTHING_PAYABLE}'
            WHEN held THEN '{NotDue.ON_HOLD}'
            WHEN on_request THEN '{NotDue.ON_REQUEST}'
            WHEN available - available % :unit_micros < minimum
                THEN '{NotDue.BELOW_OWN_MINIMUM}'
            WHEN destination IS NULL THEN '{NotDue.NO_PAYEE_ACCOUNT}'
            WHEN stopped THEN '{NotDue.PAYEE_STOPPED}'
            WHEN cools_off THEN '{NotDue.COOLING_OFF}'
            WHEN NOT ready THEN '{NotDue.PAYEE_NOT_READY}'
        END AS why_not
        FROM candidate
    )"""  # noqa: S608 -- values of an enum of ours

# The balances of all who are due, locked in account id order as every lock of them is taken.
# What is read of them is what they are once locked, not what they were when the statement began.
_LOCK: Final = sa.text(
    f"""
    WITH {JUDGED}, locked AS MATERIALIZED (
        SELECT b.account_id, b.amount_micros FROM ledger_balances b
        WHERE b.account_id IN (SELECT account_id FROM judged WHERE why_not IS NULL)
        ORDER BY b.account_id FOR UPDATE
    )
    SELECT count(*) FROM locked WHERE amount_micros >= :unit_micros
    """  # noqa: S608 -- a constant of ours
)

# After `lock_due`, in the same transaction: its rows are ours and are not skipped. Whoever
# became due in between and is being paid or refunded this very moment is, and waits a week.
DUE: Final = f"""
    {JUDGED}, locked AS MATERIALIZED (
        SELECT b.account_id, b.amount_micros FROM ledger_balances b
        WHERE b.account_id IN (SELECT account_id FROM judged WHERE why_not IS NULL)
        ORDER BY b.account_id FOR UPDATE SKIP LOCKED
    ), due AS MATERIALIZED (
        SELECT judged.enrollment_id, judged.destination,
               locked.amount_micros - locked.amount_micros % :unit_micros AS amount_micros
        FROM judged JOIN locked USING (account_id)
        WHERE judged.why_not IS NULL AND locked.amount_micros >= :unit_micros
        ORDER BY judged.enrollment_id
    )"""  # noqa: S608 -- a constant of ours

# Who has a balance and is not paid, as the draft has judged it.
_WRITE_ABSENCES: Final = sa.text(
    f"""
    WITH {JUDGED}
    INSERT INTO batch_absences (batch_id, enrollment_id, reason, available_micros)
    SELECT :batch_id, enrollment_id, why_not, available FROM judged
    WHERE why_not IS NOT NULL AND available <> 0
      AND NOT EXISTS (SELECT FROM payout_items i
                      WHERE i.batch_id = :batch_id AND i.enrollment_id = judged.enrollment_id)
    """  # noqa: S608 -- a constant of ours
)


def asked(program: Program, rail: str, rails: Rails, now: datetime) -> dict[str, Any]:
    """What the statements bind. Raises NoSuchRail."""
    granularity = rail_named(rails, rail).granularity(program.currency)
    return {
        "program_id": program.id,
        "currency": program.currency,
        "rail": rail,
        "unit_micros": minor_unit_micros(program.currency) * granularity,
        "payable_statuses": list(PAYABLE_STATUSES),
        "now": now,
    }


def lock_due(session: Session, values: Mapping[str, Any]) -> int:
    """Lock the balance of everybody who is due, to the end of the transaction; how many."""
    return int(session.scalars(_LOCK, dict(values)).one())


def write_absences(session: Session, *, batch_id: int, values: Mapping[str, Any]) -> None:
    """Keep who has a balance and is not in the batch, each with the first reason against them.

    In the transaction that drafts it, after its items. Those who have never had an available
    balance are not candidates; who has none now is not written.
    """
    session.execute(_WRITE_ABSENCES, {**values, "batch_id": batch_id})
