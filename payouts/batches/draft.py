"""The weekly batch: period rows make it exactly once, however many schedulers run."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core.db import be_patient
from affiliate.programs.models import Program
from payouts.batches.candidates import DUE, asked, lock_due, write_absences
from payouts.batches.freeze import STATEMENT_S, freeze, new_batch
from payouts.batches.models import PayoutPeriod
from payouts.batches.rules import Schedule, periods_due
from payouts.rails.registry import Rails


def open_periods(session: Session, *, now: datetime) -> None:
    """Write the row of every payout day that has come, also of those missed while down."""
    programs = session.scalars(sa.select(Program).order_by(Program.id)).all()
    for program in programs:
        last = session.scalar(
            sa.select(sa.func.max(PayoutPeriod.due_at)).where(PayoutPeriod.program_id == program.id)
        )
        found = periods_due(schedule_of(program), after=last or program.created_at, until=now)
        if found:
            session.execute(
                insert(PayoutPeriod)
                .values(
                    [
                        {
                            "program_id": program.id,
                            "currency": program.currency,
                            "rail": program.rail,
                            "key": period.key,
                            "due_at": period.due_at,
                        }
                        for period in found
                    ]
                )
                .on_conflict_do_nothing()
            )


def undrafted(session: Session) -> list[int]:
    """Periods whose batch is not drafted yet, oldest first."""
    return list(
        session.scalars(
            sa.select(PayoutPeriod.id)
            .where(PayoutPeriod.drafted_at.is_(None))
            .order_by(PayoutPeriod.due_at, PayoutPeriod.id)
        )
    )


def draft_weekly(session: Session, *, period_id: int, rails: Rails, now: datetime) -> int | None:
    """Draft and freeze the batch of a period: whoever has something to be paid is in it.

    Returns the batch's id; None when nobody is due, the period is drafted already or
    another session is drafting it. Batch and reserve are one transaction.
    """
    period = session.scalars(
        sa.select(PayoutPeriod)
        .where(PayoutPeriod.id == period_id, PayoutPeriod.drafted_at.is_(None))
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).one_or_none()
    if period is None:
        return None
    program = session.get_one(Program, period.program_id)
    values = asked(program, period.rail, rails, now)
    period.drafted_at = now
    be_patient(session, statement_s=STATEMENT_S)
    # Balances before the program's row, as a withdrawal locks them: in the other order a draft
    # and a withdrawal would wait for each other.
    if not lock_due(session, values):
        session.flush()
        return None
    savepoint = session.begin_nested()
    batch = new_batch(
        session, program=program, rail=period.rail, kind="weekly", period_id=period.id,
        created_by=None, now=now,
    )  # fmt: skip
    if not freeze(session, batch=batch, due=DUE, values=values, now=now):
        # Whoever was due lost their account or their standing this very moment: no empty batch.
        savepoint.rollback()
        return None
    write_absences(session, batch_id=batch.id, values=values)
    savepoint.commit()
    return batch.id


def schedule_of(program: Program) -> Schedule:
    """The program's payout day as a value."""
    return Schedule(program.payout_weekday, program.payout_hour, program.time_zone)
