"""Issue the invoices of the month that is over, where the merchant lets a job do it."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import sqlalchemy as sa
import structlog
from rq.timeouts import BaseTimeoutException
from sqlalchemy.orm import Session

from affiliate.core import clock, queue
from affiliate.core.db import db
from affiliate.core.errors import Refusal
from affiliate.programs.models import Program
from payouts.batches.periods import Period, month_at
from payouts.invoices.issue import issue
from payouts.invoices.models import InvoiceIssuer
from payouts.invoices.reading import payable_in

log = structlog.get_logger(__name__)
AT_ONCE_MAX = 100
"""Issued while a person waits for the page; the rest goes to a job."""


@queue.job(queue.PAYOUTS)
def issue_invoices() -> None:
    """Last month's invoices of every program that has them issued by itself."""
    session = db.session()
    now = clock.now(session)
    programs = session.scalars(
        sa.select(Program)
        .join(InvoiceIssuer, InvoiceIssuer.program_id == Program.id)
        .where(InvoiceIssuer.automatic)
        .order_by(Program.id)
    ).all()
    for program in programs:
        issue_month(session, program=program, period=last_month(program, now), by=None, now=now)


@queue.job(queue.PAYOUTS)
def issue_rest(program_id: int, month: str, by: int) -> None:
    """What a person's press of the button left of a month."""
    session = db.session()
    program = session.get_one(Program, program_id)
    period = month_at(date.fromisoformat(month), program.time_zone)
    issue_month(session, program=program, period=period, by=by, now=clock.now(session))


def issue_month(
    session: Session,
    *,
    program: Program,
    period: Period,
    by: int | None,
    now: datetime,
    rows_max: int | None = None,
) -> tuple[int, int]:
    """Issue what of a month can be issued, each in a transaction of its own.

    How many were issued, and how many are left above `rows_max`. Commits. Whoever lacks tax
    data is left out, and gets theirs with the next round after they gave them; one that
    raises does not keep the others waiting.
    """
    waiting = [
        each.enrollment_id
        for each in payable_in(session, program=program, period=period)
        if each.invoice is None and each.has_tax_data and each.paid
    ]
    session.commit()
    now_due, made = waiting[:rows_max], 0
    for enrollment_id in now_due:
        try:
            issue(session, enrollment_id=enrollment_id, month=period.first, by_user_id=by, now=now)
            session.commit()
            made += 1
        except BaseTimeoutException:
            raise
        except Refusal as refusal:
            session.rollback()
            log.info("invoice.refused", enrollment=enrollment_id, code=refusal.code)
        except Exception:
            session.rollback()
            log.exception("invoice.failed", enrollment=enrollment_id)
    return made, len(waiting) - len(now_due)


def last_month(program: Program, now: datetime) -> Period:
    """The month before the present one in the program's zone."""
    first = now.astimezone(ZoneInfo(program.time_zone)).date().replace(day=1)
    return month_at(first - timedelta(days=1), program.time_zone)
