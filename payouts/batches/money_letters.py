"""Letters to affiliates about their money: sent, refused, back again, or waiting for an account.

What is owed is asked of the rows, so a job that ran twice, or not at all for a while, writes
each letter once. What is older than `OLD_AFTER` is no news any more and stands in the account.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from affiliate.core.ids import public_id
from affiliate.core.money import Money
from affiliate.letters.rules import Kind
from affiliate.letters.write import READER, Reader, about_row, unwritten, write
from affiliate.people.models import Affiliate, Enrollment, User
from affiliate.programs.models import Program
from payouts.batches.candidates import JUDGED, asked
from payouts.batches.models import PayoutBatch, PayoutItem, PayoutPeriod, PayoutReversal
from payouts.batches.rules import ItemReason, NotDue
from payouts.rails.registry import Rails, rails

OLD_AFTER: Final = timedelta(days=7)
ACCOUNT_WITHIN: Final = timedelta(days=2)
"""Of a payout day: after that the next one tells of it."""
LETTERS_MAX: Final = 200
"""Of one transaction."""
ITEM: Final = "pay"
_ACCOUNTLESS: Final = (NotDue.NO_PAYEE_ACCOUNT, NotDue.PAYEE_NOT_READY)

# Who would be paid if they had an account, and was not written to about it this month.
_OWED: Final = sa.text(
    f"""
    WITH {JUDGED}
    SELECT judged.enrollment_id, judged.why_not, judged.available FROM judged
    WHERE why_not = ANY(CAST(:accountless AS text[]))
      AND NOT EXISTS (SELECT FROM letters l WHERE l.kind = '{Kind.ACCOUNT_NEEDED}'
                      AND l.about = 'enrollment:' || judged.enrollment_id || ':' || :month)
      AND EXISTS (SELECT FROM enrollments e JOIN affiliates a ON a.id = e.affiliate_id
                  JOIN users u ON u.id = a.user_id AND u.active WHERE e.id = judged.enrollment_id)
    ORDER BY judged.enrollment_id LIMIT :letters_max
    """  # noqa: S608 -- constants of ours
)


def tell_of_payouts(session: Session, *, settings: Settings, now: datetime) -> int:
    """Write the letters about payouts that came to their end; how many."""
    written = 0
    for kind, moment in ((Kind.MONEY_SENT, PayoutItem.paid_at),
                         (Kind.PAYOUT_FAILED, PayoutItem.finished_at)):  # fmt: skip
        # As a literal: only then the partial index of such items can be used.
        status = "paid" if kind is Kind.MONEY_SENT else "failed"
        due = _about_items().where(
            PayoutItem.status == sa.literal_column(f"'{status}'"),
            moment > now - OLD_AFTER,
            unwritten(kind, about_row("item", PayoutItem.id), User.id),
        )
        for item, batch, program, *reader in session.execute(due.order_by(moment, PayoutItem.id)):
            written += write(
                session, kind=kind, about=f"item:{item.id}", reader=Reader.of(reader),
                program=program, settings=settings, now=now,
                **_facts(item, batch, program, settings),
            )  # fmt: skip
    return written + _tell_of_returns(session, settings, now)


def tell_of_accounts(session: Session, *, settings: Settings, now: datetime) -> int:
    """Write to those whose money waits for an account that it can be paid to; how many.

    Once a payout day has come they are told, at most once a calendar month and program; of a
    payout that was approved already, once.
    """
    known = rails(settings)
    written = _tell_of_parked(session, settings, now)
    periods = session.scalars(
        sa.select(PayoutPeriod)
        .where(PayoutPeriod.drafted_at > now - ACCOUNT_WITHIN)
        .order_by(PayoutPeriod.id)
    ).all()
    for period in periods:
        if period.rail in known:
            written += _tell_the_accountless(session, period, known, settings, now)
    return written


def _about_items() -> sa.Select[PayoutItem, PayoutBatch, Program, int, str, str, str]:
    """Items with their batch, program and reader, some at a time."""
    return (
        sa.select(PayoutItem, PayoutBatch, Program, *_AFFILIATE)
        .join(PayoutBatch, PayoutBatch.id == PayoutItem.batch_id)
        .join(Program, Program.id == PayoutBatch.program_id)
        .join(Enrollment, Enrollment.id == PayoutItem.enrollment_id)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .join(User, User.id == Affiliate.user_id)
        .where(User.active)
        .limit(LETTERS_MAX)
    )


_AFFILIATE: Final = (READER[0], READER[1], Affiliate.name, READER[3])
"""A reader by the name that the program knows them by."""


def _facts(
    item: PayoutItem, batch: PayoutBatch, program: Program, settings: Settings
) -> dict[str, Any]:
    rail = rails(settings).get(batch.rail)
    return {
        "amount": Money(item.amount_micros, item.currency),
        "destination": rail.account_masked(item.destination) if rail else "",
        "rail": batch.rail,
        "url": url_of_payout(settings, program, item.id),
    }


def url_of_payout(settings: Settings, program: Program, item_id: int) -> str:
    """Where an affiliate finds a payout."""
    path = f"/account/money?program={program.slug}#{public_id(ITEM, item_id)}"
    return settings.public_url + path


def _tell_of_returns(session: Session, settings: Settings, now: datetime) -> int:
    due = (
        _about_items()
        .join(PayoutReversal, PayoutReversal.item_id == PayoutItem.id)
        .add_columns(PayoutReversal.id, PayoutReversal.amount_micros)
        .where(
            PayoutReversal.at > now - OLD_AFTER,
            unwritten(Kind.MONEY_BACK, about_row("reversal", PayoutReversal.id), User.id),
        )
        .order_by(PayoutReversal.id)
    )
    written = 0
    for item, batch, program, *reader, reversal_id, back in session.execute(due):
        facts = _facts(item, batch, program, settings)
        facts |= {"amount": Money(back, item.currency), "whole": back == item.amount_micros}
        written += write(
            session, kind=Kind.MONEY_BACK, about=f"reversal:{reversal_id}",
            reader=Reader.of(reader), program=program, settings=settings, now=now, **facts,
        )  # fmt: skip
    return written


def _tell_of_parked(session: Session, settings: Settings, now: datetime) -> int:
    due = _about_items().where(
        PayoutItem.status == "queued",
        PayoutItem.reason == ItemReason.PAYEE_NOT_READY.value,
        PayoutBatch.status.in_(("approved", "paying")),
        unwritten(Kind.ACCOUNT_NEEDED, about_row("item", PayoutItem.id), User.id),
    )
    written = 0
    for item, _batch, program, *reader in session.execute(due.order_by(PayoutItem.id)):
        written += _write_account(
            session, f"item:{item.id}", Reader.of(reader), program, settings, now,
            amount=Money(item.amount_micros, item.currency), named=True,
        )  # fmt: skip
    return written


def _tell_the_accountless(
    session: Session, period: PayoutPeriod, known: Rails, settings: Settings, now: datetime
) -> int:
    program = session.get_one(Program, period.program_id)
    # Of today, not of the payout day: several may have been caught up at once.
    month = f"{now.astimezone(ZoneInfo(program.time_zone)):%Y-%m}"
    values = asked(program, period.rail, known, now) | {
        "accountless": [each.value for each in _ACCOUNTLESS],
        "month": month,
        "letters_max": LETTERS_MAX,
    }
    written = 0
    for enrollment_id, why_not, available in session.execute(_OWED, values).all():
        reader = session.execute(
            sa.select(*_AFFILIATE)
            .join(Affiliate, Affiliate.user_id == User.id)
            .join(Enrollment, Enrollment.affiliate_id == Affiliate.id)
            .where(Enrollment.id == enrollment_id)
        ).one()
        written += _write_account(
            session, f"enrollment:{enrollment_id}:{month}", Reader.of(reader), program, settings,
            now, amount=Money(int(available), program.currency),
            named=why_not == NotDue.PAYEE_NOT_READY,
        )  # fmt: skip
    return written


def _write_account(
    session: Session, about: str, reader: Reader, program: Program, settings: Settings,
    now: datetime, *, amount: Money, named: bool,
) -> int:  # fmt: skip
    """`named`: there is an account, and it cannot receive yet."""
    return write(
        session, kind=Kind.ACCOUNT_NEEDED, about=about, reader=reader, program=program,
        settings=settings, now=now, amount=amount, named=named,
        url=f"{settings.public_url}/account/money?program={program.slug}#payee",
    )  # fmt: skip
