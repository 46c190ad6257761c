"""The end of the hold period: pending → available, as far as a program's budget goes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.money import Money
from affiliate.programs.models import Program
from affiliate.programs.rule_versions import in_force
from affiliate.programs.terms import Budget
from payouts.commissions import booking
from payouts.commissions.budgets import Due, within_budget
from payouts.commissions.models import Commission
from payouts.commissions.periods import stretch_of
from payouts.commissions.rows import CommissionRow, as_row
from payouts.commissions.rules import ReleaseWait
from payouts.ledger.posting import post_many

RELEASE_ROWS_MAX = 500

_BUDGET = ReleaseWait.BUDGET.value


def release_due(session: Session, *, now: datetime, rows_max: int = RELEASE_ROWS_MAX) -> int:
    """Release up to `rows_max` commissions whose hold is over and that wait for nothing.

    Rows that another session holds are skipped: it is their refund or their release, and
    the next run sees what became of them. What a program's budget has no room for waits with
    the code `budget`. Returns how many rows it looked at, so that a caller goes on while the
    answer is `rows_max`.
    """
    due = _due(session, Commission.waits_for.is_(None), now, rows_max)
    going = list(due)
    for program_id in sorted({row.program_id for row in due}):
        going = _within(session, program_id, going, now)
    _release(session, going, now)
    return len(due)


def release_budgeted(session: Session, *, now: datetime, rows_max: int = RELEASE_ROWS_MAX) -> int:
    """Release what waited for a budget that has room again; returns how many went.

    A new period, a larger budget, or a refund that frees a part of it.
    """
    waiting = sa.select(Commission.program_id).where(Commission.waits_for == _BUDGET).distinct()
    released = 0
    for program_id in sorted(session.scalars(waiting)):
        held = _due(
            session,
            sa.and_(Commission.waits_for == _BUDGET, Commission.program_id == program_id),
            now,
            rows_max,
        )
        going = _within(session, program_id, held, now)
        _release(session, going, now)
        released += len(going)
    return released


def _due(
    session: Session, condition: sa.ColumnElement[bool], now: datetime, rows_max: int
) -> list[CommissionRow]:
    found = session.scalars(
        sa.select(Commission)
        .where(
            Commission.released_at.is_(None),
            Commission.voided_at.is_(None),
            Commission.available_at <= now,
            condition,
        )
        .order_by(Commission.available_at, Commission.id)
        .limit(rows_max)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    return [as_row(commission) for commission in found]


def _within(
    session: Session, program_id: int, rows: Sequence[CommissionRow], now: datetime
) -> list[CommissionRow]:
    """Rows without those of the program that its budget has no room for; they begin to wait."""
    budget = in_force(session, program_id=program_id, at=now).terms.commission.budget
    if budget is None:
        return list(rows)
    # Two releases at once would each find the same room: the program's row lets one by one.
    # NO KEY UPDATE, as rows that refer to the program go on.
    program = session.get(
        Program, program_id, with_for_update={"key_share": True}, populate_existing=True
    )
    assert program is not None, "commissions refer to their program"
    here = [row for row in rows if row.program_id == program_id]
    verdict = within_budget(
        [Due(row.id, row.available_at, row.left) for row in here],
        budget=budget.amount,
        released=_released(session, program, budget, now),
    )
    waiting = set(verdict.waiting)
    if _others_wait(session, program_id, here, budget.amount):
        # Nobody is overtaken by those who came later.
        waiting |= {row.id for row in here if row.left and row.waits_for is None}
    session.execute(
        sa.update(Commission)
        .where(Commission.id.in_(waiting))
        .values(waits_for=_BUDGET)
        .execution_options(synchronize_session=False)
    )
    return [row for row in rows if row.id not in waiting]


def _others_wait(
    session: Session, program_id: int, rows: Sequence[CommissionRow], budget: Money
) -> bool:
    """Whether something besides the rows waits already that a whole budget could pay."""
    left = Commission.amount_micros - Commission.reversed_micros
    waiting = sa.select(Commission.id).where(
        Commission.program_id == program_id,
        Commission.waits_for == _BUDGET,
        Commission.voided_at.is_(None),
        Commission.id.not_in({row.id for row in rows}),
        left.between(1, budget.micros),
    )
    return session.scalar(waiting.limit(1)) is not None


def _released(session: Session, program: Program, budget: Budget, now: datetime) -> Money:
    """What the program has released in the budget's period, less what came back."""
    sums = sa.select(
        sa.func.coalesce(sa.func.sum(Commission.amount_micros - Commission.reversed_micros), 0)
    ).where(
        Commission.program_id == program.id,
        Commission.released_at.is_not(None),
        Commission.voided_at.is_(None),
    )
    if budget.period is not None:
        stretch = stretch_of(budget.period, now, program.time_zone)
        sums = sums.where(
            Commission.released_at >= stretch.begins, Commission.released_at < stretch.ends
        )
    return Money(int(session.scalar(sums) or 0), program.currency)


def _release(session: Session, rows: Sequence[CommissionRow], now: datetime) -> None:
    post_many(session, postings=[booking.released(row) for row in rows if row.left], now=now)
    session.execute(
        sa.update(Commission)
        .where(Commission.id.in_([row.id for row in rows]))
        .values(released_at=now, waits_for=None)
        .execution_options(synchronize_session=False)
    )
