"""The weekly batch: period rows make it exactly once, however many schedulers run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core.money import Money
from affiliate.people.models import Enrollment
from affiliate.programs.models import Program
from payouts.batches.freeze import freeze, new_batch
from payouts.batches.models import (
    BatchAbsence,
    PayeeAccount,
    PayoutChoice,
    PayoutHold,
    PayoutPeriod,
)
from payouts.batches.rules import Candidate, Due, NotDue, Schedule, due, periods_due
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
    dues, absent = who_is_due(session, program=program, rail=period.rail, rails=rails)
    period.drafted_at = now
    if not dues:
        session.flush()
        return None
    batch = new_batch(
        session, program=program, rail=period.rail, kind="weekly", period_id=period.id,
        created_by=None, now=now,
    )  # fmt: skip
    freeze(session, batch=batch, dues=dues, now=now)
    _write_absences(session, batch.id, absent)
    return batch.id


@dataclass(frozen=True, slots=True)
class Absent:
    """Somebody with a balance who is not paid now."""

    enrollment_id: int
    available: Money
    why: NotDue


def who_is_due(
    session: Session, *, program: Program, rail: str, rails: Rails
) -> tuple[list[Due], list[Absent]]:
    """Everybody whose balance can be paid now, locked; and who has one and cannot."""
    granularity = rail_named(rails, rail).granularity(program.currency)
    found = _candidates(session, program, rail)
    possible = [each for each in found if isinstance(due(each, granularity), Due)]
    keys = {
        of_enrollment(AccountKind.AVAILABLE, program.id, c.enrollment_id, program.currency): c
        for c in possible
    }
    locked = lock_available(session, keys=keys)
    final = {c.enrollment_id: replace(c, available=locked[key]) for key, c in keys.items()}
    dues, absent = [], []
    for each in (final.get(c.enrollment_id, c) for c in found):
        decided = due(each, granularity)
        if isinstance(decided, Due):
            dues.append(decided)
        else:
            absent.append(Absent(each.enrollment_id, each.available, decided))
    return dues, absent


def schedule_of(program: Program) -> Schedule:
    """The program's payout day as a value."""
    return Schedule(program.payout_weekday, program.payout_hour, program.time_zone)


def _candidates(session: Session, program: Program, rail: str) -> list[Candidate]:
    rows = session.execute(
        sa.select(
            Enrollment.id,
            Enrollment.status,
            LedgerBalance.amount_micros,
            PayeeAccount.destination,
            PayeeAccount.ready_at,
            PayoutHold.id,
            sa.func.coalesce(PayoutChoice.on_request, False),
            sa.func.coalesce(PayoutChoice.minimum_micros, 0),
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
        .outerjoin(
            PayoutHold,
            sa.and_(PayoutHold.enrollment_id == Enrollment.id, PayoutHold.lifted_at.is_(None)),
        )
        .outerjoin(PayoutChoice, PayoutChoice.enrollment_id == Enrollment.id)
        .where(
            Enrollment.program_id == program.id,
            LedgerAccount.kind == AccountKind.AVAILABLE.value,
            LedgerAccount.currency == program.currency,
            LedgerBalance.amount_micros != 0,
        )
        .order_by(Enrollment.id)
    )
    return [
        Candidate(
            enrollment_id=row_id,
            status=status,
            available=Money(micros, program.currency),
            destination=destination,
            ready=ready_at is not None,
            held=hold_id is not None,
            on_request=on_request,
            minimum_micros=minimum,
        )
        for row_id, status, micros, destination, ready_at, hold_id, on_request, minimum in rows
    ]


def _write_absences(session: Session, batch_id: int, absent: Sequence[Absent]) -> None:
    if absent:
        session.execute(
            insert(BatchAbsence),
            [
                {
                    "batch_id": batch_id,
                    "enrollment_id": each.enrollment_id,
                    "reason": each.why.value,
                    "available_micros": each.available.micros,
                }
                for each in absent
            ],
        )
