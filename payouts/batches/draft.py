"""The weekly batch: period rows make it exactly once, however many schedulers run."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core.money import Money
from affiliate.people.models import Enrollment
from affiliate.programs.models import Program
from payouts.batches.freeze import freeze, new_batch
from payouts.batches.models import PayeeAccount, PayoutPeriod
from payouts.batches.payee_guard import stopped
from payouts.batches.payee_rules import not_due
from payouts.batches.rules import Candidate, Due, Schedule, due, periods_due
from payouts.ledger.accounts import AccountKind, of_enrollment
from payouts.ledger.balances import lock_available
from payouts.ledger.models import LedgerAccount, LedgerBalance
from payouts.rails.registry import Rails, rail_named


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
    dues = who_is_due(session, program=program, rail=period.rail, rails=rails, now=now)
    period.drafted_at = now
    if not dues:
        session.flush()
        return None
    batch = new_batch(
        session, program=program, rail=period.rail, kind="weekly", period_id=period.id,
        created_by=None, now=now,
    )  # fmt: skip
    freeze(session, batch=batch, dues=dues, now=now)
    return batch.id


def who_is_due(
    session: Session, *, program: Program, rail: str, rails: Rails, now: datetime
) -> list[Due]:
    """Everybody whose balance can be paid now; their balances stay locked."""
    granularity = rail_named(rails, rail).granularity(program.currency)
    found = _candidates(session, program, rail, now)
    possible = [each for each in found if isinstance(due(each, granularity), Due)]
    keys = {
        of_enrollment(AccountKind.AVAILABLE, program.id, c.enrollment_id, program.currency): c
        for c in possible
    }
    locked = lock_available(session, keys=keys)
    decided = [due(replace(c, available=locked[key]), granularity) for key, c in keys.items()]
    return [each for each in decided if isinstance(each, Due)]


def schedule_of(program: Program) -> Schedule:
    """The program's payout day as a value."""
    return Schedule(program.payout_weekday, program.payout_hour, program.time_zone)


def _candidates(session: Session, program: Program, rail: str, now: datetime) -> list[Candidate]:
    rows = session.execute(
        sa.select(
            Enrollment.id,
            Enrollment.status,
            LedgerBalance.amount_micros,
            PayeeAccount.destination,
            PayeeAccount.ready_at,
            PayeeAccount.pays_from,
            stopped(Enrollment.affiliate_id),
        )
        .join(LedgerAccount, LedgerAccount.enrollment_id == Enrollment.id)
        .join(LedgerBalance, LedgerBalance.account_id == LedgerAccount.id)
        .outerjoin(
            PayeeAccount,
            sa.and_(
                PayeeAccount.affiliate_id == Enrollment.affiliate_id,
                PayeeAccount.rail == rail,
                PayeeAccount.replaced_at.is_(None),
            ),
        )
        .where(
            Enrollment.program_id == program.id,
            LedgerAccount.kind == AccountKind.AVAILABLE.value,
            LedgerAccount.currency == program.currency,
            LedgerBalance.amount_micros > 0,
        )
        .order_by(Enrollment.id)
    )
    return [
        Candidate(
            row_id,
            status,
            Money(micros, program.currency),
            destination,
            bool(ready_at),
            not_due(stopped=is_stopped, pays_from=pays_from, now=now),
        )
        for row_id, status, micros, destination, ready_at, pays_from, is_stopped in rows
    ]
