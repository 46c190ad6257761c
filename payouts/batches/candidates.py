"""Who may be paid and who may not, as statements: `payouts.batches.rules.due` in SQL.

The rule is the definition; tests/payouts/batches/test_large_batches.py compares the two over
generated cases. One query knows candidates and refusals alike, so that a batch and the list of
those who are not in it cannot disagree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.money import Money, minor_unit_micros
from affiliate.programs.models import Program
from payouts.batches.rules import PAYABLE_STATUSES, NotDue
from payouts.rails.registry import Rails, rail_named

ABSENT_SHOWN_MAX: Final = 50
"""Rows shown of each reason; the count is of all."""

# A step `candidate`, one row for each balance of the program, and a step `judged` with the
# reason why not, empty for who is due. Binds :program_id, :currency, :rail, :unit_micros and
# :payable_statuses.
JUDGED: Final = f"""
    candidate AS (
        SELECT a.id AS account_id, n.id AS enrollment_id, n.status, b.amount_micros AS available,
               p.destination, p.ready_at IS NOT NULL AS ready
        FROM ledger_accounts a
        JOIN ledger_balances b ON b.account_id = a.id
        JOIN enrollments n ON n.id = a.enrollment_id
        LEFT JOIN payee_accounts p ON p.affiliate_id = n.affiliate_id
             AND p.rail = :rail AND p.replaced_at IS NULL
        WHERE a.program_id = :program_id AND a.kind = 'available' AND a.currency = :currency
    ), judged AS (
        SELECT candidate.*, CASE
            WHEN status <> ALL (CAST(:payable_statuses AS text[])) THEN '{NotDue.NOT_ACTIVE}'
            WHEN available < 0 THEN '{NotDue.NEGATIVE_BALANCE}'
            WHEN available < :unit_micros THEN '{NotDue.NOTHING_PAYABLE}'
            WHEN destination IS NULL THEN '{NotDue.NO_PAYEE_ACCOUNT}'
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

_ABSENT: Final = sa.text(
    f"""
    WITH {JUDGED}, absent AS (
        SELECT j.why_not, j.enrollment_id, j.available,
               count(*) OVER (PARTITION BY j.why_not) AS of_reason,
               sum(j.available) OVER (PARTITION BY j.why_not) AS together,
               row_number() OVER (PARTITION BY j.why_not
                                  ORDER BY abs(j.available) DESC, j.enrollment_id) AS place
        FROM judged j WHERE j.why_not IS NOT NULL
    )
    SELECT absent.*, affiliates.name FROM absent
    JOIN enrollments n ON n.id = absent.enrollment_id
    JOIN affiliates ON affiliates.id = n.affiliate_id
    WHERE place <= :shown
    ORDER BY why_not, place
    """  # noqa: S608 -- a constant of ours
)


@dataclass(frozen=True, slots=True)
class AbsentRow:
    """An enrollment that is not in a batch."""

    enrollment_id: int
    affiliate_name: str
    available: Money


@dataclass(frozen=True, slots=True)
class Absent:
    """All whom one reason keeps out."""

    reason: NotDue
    count: int
    available: Money
    """Of all of them together; below zero where balances are."""
    rows: tuple[AbsentRow, ...]
    """Those with the largest balances."""


def asked(program: Program, rail: str, rails: Rails) -> dict[str, Any]:
    """What the statements bind. Raises NoSuchRail."""
    granularity = rail_named(rails, rail).granularity(program.currency)
    return {
        "program_id": program.id,
        "currency": program.currency,
        "rail": rail,
        "unit_micros": minor_unit_micros(program.currency) * granularity,
        "payable_statuses": list(PAYABLE_STATUSES),
    }


def lock_due(session: Session, values: Mapping[str, Any]) -> int:
    """Lock the balance of everybody who is due, to the end of the transaction; how many."""
    return int(session.scalars(_LOCK, dict(values)).one())


def who_is_not(
    session: Session, *, program: Program, rail: str, rails: Rails, shown: int = ABSENT_SHOWN_MAX
) -> list[Absent]:
    """Whom a batch drafted now would leave out, by reason, with the largest balances of each.

    Those who have never had an available balance are not candidates. Reads alone.
    """
    rows = session.execute(_ABSENT, {**asked(program, rail, rails), "shown": shown}).all()
    found: dict[str, Absent] = {}
    for row in rows:
        known = found.get(row.why_not)
        one = AbsentRow(row.enrollment_id, row.name, Money(row.available, program.currency))
        found[row.why_not] = Absent(
            NotDue(row.why_not),
            row.of_reason,
            Money(int(row.together), program.currency),
            (*(known.rows if known else ()), one),
        )
    return list(found.values())
