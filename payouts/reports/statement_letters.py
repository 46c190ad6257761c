"""Last month's statement by mail, with a head of the seals that its receiver can keep.

Once a month, program and affiliate: a month is listed once, a listed letter is written once,
whichever of several workers does it. A head in a mailbox of theirs is out of our reach: no
entry that was sealed by then can be changed any more without their noticing (design, section 8).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core import outbox
from affiliate.people.models import Affiliate, Enrollment, User
from affiliate.programs.models import Program
from payouts.batches import statements
from payouts.batches.periods import Period, month_at
from payouts.batches.statements import EARNED, PAID, TAKEN_BACK
from payouts.ledger.models import LedgerAccount, LedgerEntry, LedgerTransaction
from payouts.ledger.seals.sealing import newest, unsealed
from payouts.reports.models import StatementLetter, StatementMonth

AFTER: Final = timedelta(hours=24)
"""From the month's end in the program's zone: what it held is booked and sealed by then."""
UNTIL: Final = timedelta(days=10)
"""Who was not told by then reads it in their account: an old letter is noise."""
SEALED_WITHIN: Final = timedelta(hours=1)
LETTERS_MAX: Final = 200
"""Of one transaction."""


def list_months(session: Session, *, now: datetime) -> int:
    """Note to whom each program owes a letter about its last month; how many came to be owed.

    Whoever had something booked in it gets one, also when it came to nothing.
    """
    owed = 0
    for program in session.scalars(sa.select(Program).order_by(Program.id)).all():
        month = last_month(program, now)
        if not month.ends_at + AFTER <= now < month.ends_at + UNTIL:
            continue
        values = {"program_id": program.id, "month": month.first, "listed_at": now}
        listed = insert(StatementMonth).values(values).on_conflict_do_nothing()
        if session.execute(listed.returning(StatementMonth.month)).one_or_none() is not None:
            owed += len(session.execute(_list(program, month)).all())
    return owed


def write_letters(session: Session, *, public_url: str, now: datetime, real_now: datetime) -> int:
    """Write some of the letters that are owed, in the caller's transaction; how many.

    None while the sealer is behind: the head is what they are for, and it must hold the month.
    """
    seal = newest(session)
    behind = unsealed(session, rows_max=1, recorded_before=real_now - SEALED_WITHIN)
    if seal is None or behind:
        return 0
    rows = session.execute(
        sa.select(StatementLetter, Program, Affiliate.name, User.email, User.locale)
        .join(Enrollment, Enrollment.id == StatementLetter.enrollment_id)
        .join(Program, Program.id == Enrollment.program_id)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .join(User, User.id == Affiliate.user_id)
        .where(StatementLetter.written_at.is_(None))
        .order_by(StatementLetter.month, StatementLetter.enrollment_id)
        .limit(LETTERS_MAX)
        .with_for_update(of=StatementLetter, skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()
    for letter, program, name, email, locale in rows:
        period = month_at(letter.month, program.time_zone)
        found = statements.summary(
            session,
            enrollment_id=letter.enrollment_id,
            currency=program.currency,
            period=period,
        )
        outbox.send(
            session,
            to=email,
            template="statement",
            locale=locale,
            scope=program.id,
            name=name,
            program=program,
            period=period,
            opening=found.opening.owed,
            earned=found.sum_of(EARNED),
            taken_back=found.sum_of(TAKEN_BACK),
            paid=found.sum_of(PAID),
            closing=found.closing.owed,
            head=f"{seal.number}:{seal.head.hex()}",
            public_url=public_url,
            now=now,
        )
        letter.written_at = now
    session.flush()
    return len(rows)


def last_month(program: Program, now: datetime) -> Period:
    """The newest month that is over in the program's zone."""
    running = month_at(now.astimezone(ZoneInfo(program.time_zone)).date(), program.time_zone)
    return month_at(running.first - timedelta(days=1), program.time_zone)


def _list(program: Program, month: Period) -> Any:
    """Everybody with an entry in the month."""
    t = LedgerTransaction
    those = (
        sa.select(LedgerAccount.enrollment_id, sa.literal(month.first, sa.Date))
        .join(Enrollment, Enrollment.id == LedgerAccount.enrollment_id)
        .join(LedgerEntry, LedgerEntry.account_id == LedgerAccount.id)
        .join(t, t.id == LedgerEntry.transaction_id)
        .where(
            Enrollment.program_id == program.id,
            LedgerAccount.currency == program.currency,
            t.occurred_at >= month.starts_at,
            t.occurred_at < month.ends_at,
        )
        .distinct()
    )
    return (
        insert(StatementLetter)
        .from_select(["enrollment_id", "month"], those)
        .on_conflict_do_nothing()
        .returning(StatementLetter.enrollment_id)
    )
