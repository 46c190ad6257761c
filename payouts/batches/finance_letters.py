"""Letters to those who approve payouts: a batch waits, a withdrawal runs against its deadline.

Each person is told of each batch once, and reminded once. Withdrawals of a program that are
news to somebody at the same moment stand in one letter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from affiliate.core.config import Settings
from affiliate.core.ids import public_id
from affiliate.core.money import Money
from affiliate.letters.choices import wants
from affiliate.letters.models import Letter
from affiliate.letters.rules import CHOSEN_BY, Choice, Kind
from affiliate.letters.write import READER, Reader, about_row, note, send, unwritten, write
from affiliate.people.models import Affiliate, Enrollment, Grant, User
from affiliate.programs.models import Program
from payouts.batches.approve import APPROVING_ROLES, sums_of
from payouts.batches.models import BatchMaker, BatchSignature, PayoutBatch, PayoutItem, Withdrawal
from payouts.batches.withdraw import DEADLINE_H
from payouts.policies.change import policy_of

OLD_AFTER: Final = timedelta(days=7)
REMIND_AFTER: Final = timedelta(days=1)
DUE_WITHIN: Final = timedelta(hours=4)
"""Before a withdrawal's deadline it is told of once more."""
UNDECIDED_FOR: Final = timedelta(minutes=10)
"""So long the program's rule for small withdrawals has the first word."""
BATCHES_MAX: Final = 200
WITHDRAWALS_MAX: Final = 200
"""Of a program that one sweep looks at: of whom nobody was told first."""
LISTED_MAX: Final = 20
"""Withdrawals that a letter names; the page has all of them."""
BATCH: Final = "bat"


def tell_of_batches(session: Session, *, settings: Settings, now: datetime) -> int:
    """Write about weekly batches that wait for approval; how many letters."""
    waiting = session.execute(
        sa.select(PayoutBatch, Program)
        .join(Program, Program.id == PayoutBatch.program_id)
        .where(
            PayoutBatch.status == "frozen",
            PayoutBatch.kind == "weekly",
            PayoutBatch.frozen_at > now - OLD_AFTER,
        )
        .order_by(PayoutBatch.id)
        .limit(BATCHES_MAX)
    ).all()
    written = 0
    for batch, program in waiting:
        told = [
            (kind, reader)
            for kind in (Kind.BATCH_WAITING, Kind.BATCH_STILL_WAITING)
            for reader in _approvers(session, kind, batch, now)
        ]
        if not told:
            continue
        total, count = sums_of(session, batch)
        for kind, reader in told:
            written += write(
                session, kind=kind, about=f"batch:{batch.id}", reader=reader, program=program,
                settings=settings, now=now, number=batch.number, total=total, count=count,
                since=batch.frozen_at,
                url=f"{settings.public_url}/finance/batches/{public_id(BATCH, batch.id)}",
            )  # fmt: skip
    return written


@dataclass(frozen=True, slots=True)
class Asked:
    """A withdrawal as a letter names it."""

    name: str
    amount: Money
    deadline_at: datetime


def tell_of_withdrawals(session: Session, *, settings: Settings, now: datetime) -> int:
    """Write about withdrawals whose clock runs and that nobody has approved; how many letters."""
    programs = session.scalars(
        sa.select(Program)
        .where(
            Program.id.in_(sa.select(PayoutBatch.program_id).where(PayoutBatch.status == "frozen"))
        )
        .order_by(Program.id)
    ).all()
    written = 0
    for program in programs:
        rows = session.execute(_waiting(program.id, now)).all()
        rows = [row for row in rows if _is_for_people(session, row[0], row[1], now)]
        rows.sort(key=lambda row: (row[0].deadline_at, row[0].id))
        for kind in (Kind.WITHDRAWALS_DUE, Kind.WITHDRAWALS_WAITING):
            urgent = kind is Kind.WITHDRAWALS_DUE
            some = [row for row in rows if (row[0].deadline_at <= now + DUE_WITHIN) == urgent]
            written += _tell(session, kind, some, program, settings, now)
    return written


def _waiting(program_id: int, now: datetime) -> sa.Select[Withdrawal, PayoutBatch, str]:
    """Withdrawals of a program whose clock runs, in batches that nobody has approved.

    What somebody was told of may be news to another approver, but it comes after what nobody was
    told of: else the first ones would stand before all others as long as they wait.
    """
    urgent = Withdrawal.deadline_at <= now + DUE_WITHIN
    told = sa.select(Letter.id).where(
        Letter.kind
        == sa.case(
            (urgent, Kind.WITHDRAWALS_DUE.value), else_=sa.literal(Kind.WITHDRAWALS_WAITING.value)
        ),
        Letter.about == about_row("batch", PayoutBatch.id),
    )
    return (
        sa.select(Withdrawal, PayoutBatch, Affiliate.name)
        .join(PayoutItem, PayoutItem.id == Withdrawal.item_id)
        .join(PayoutBatch, PayoutBatch.id == PayoutItem.batch_id)
        .join(Enrollment, Enrollment.id == Withdrawal.enrollment_id)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .where(
            PayoutBatch.program_id == program_id,
            Withdrawal.closed_at.is_(None),
            Withdrawal.paused_at.is_(None),
            Withdrawal.requested_at > now - OLD_AFTER,
            Withdrawal.deadline_at <= now + timedelta(hours=DEADLINE_H),
            PayoutBatch.status == "frozen",
        )
        .order_by(told.exists(), Withdrawal.deadline_at, Withdrawal.id)
        .limit(WITHDRAWALS_MAX)
    )


def _is_for_people(session: Session, row: Withdrawal, batch: PayoutBatch, now: datetime) -> bool:
    """Whether no rule of the program may still approve it by itself."""
    if batch.not_automatic is not None or row.requested_at <= now - UNDECIDED_FOR:
        return True
    return policy_of(session, program_id=batch.program_id).automatic is None


def _tell(
    session: Session,
    kind: Kind,
    rows: Sequence[Any],
    program: Program,
    settings: Settings,
    now: datetime,
) -> int:
    news: dict[Reader, list[Asked]] = {}
    for row, batch, name in rows:
        for reader in _approvers(session, kind, batch, now):
            if note(
                session, kind=kind, about=f"batch:{batch.id}", user_id=reader.user_id,
                program_id=program.id, now=now,
            ):  # fmt: skip
                asked = Asked(name, Money(row.amount_micros, row.currency), row.deadline_at)
                news.setdefault(reader, []).append(asked)
    for reader, asked_for in news.items():
        send(
            session, kind=kind, reader=reader, program=program, settings=settings, now=now,
            listed=asked_for[:LISTED_MAX], count=len(asked_for),
            first_due_at=asked_for[0].deadline_at,
            url=f"{settings.public_url}/finance/withdrawals?program={program.slug}",
        )  # fmt: skip
    return len(news)


def _approvers(session: Session, kind: Kind, batch: PayoutBatch, now: datetime) -> list[Reader]:
    """Who may approve the batch, wants to be told and was not told of it in this way.

    Not its makers, whose approval would be refused, and not who has signed it already.
    """
    choice: Choice = CHOSEN_BY[kind]
    about = f"batch:{batch.id}"
    query = sa.select(*READER).where(
        User.active,
        _may_approve(batch.program_id).exists(),
        wants(choice, User.id, batch.program_id),
        unwritten(kind, about, User.id),
        ~sa.select(BatchSignature.id)
        .where(
            BatchSignature.batch_id == batch.id,
            BatchSignature.user_id == User.id,
            BatchSignature.voided_at.is_(None),
        )
        .exists(),
    )
    if not policy_of(session, program_id=batch.program_id).one_person:
        made = sa.select(BatchMaker.user_id).where(
            BatchMaker.batch_id == batch.id, BatchMaker.user_id == User.id
        )
        query = query.where(~made.exists(), User.id.is_distinct_from(batch.created_by))
    if kind is Kind.BATCH_STILL_WAITING:
        first = aliased(Letter)
        query = query.where(
            sa.select(first.id)
            .where(
                first.kind == Kind.BATCH_WAITING.value,
                first.about == about,
                first.user_id == User.id,
                first.written_at <= now - REMIND_AFTER,
            )
            .exists()
        )
    return [Reader.of(row) for row in session.execute(query.order_by(User.id))]


def _may_approve(program_id: int) -> sa.Select[Any]:
    return sa.select(Grant.id).where(
        Grant.user_id == User.id,
        Grant.role.in_(APPROVING_ROLES),
        Grant.revoked_at.is_(None),
        sa.or_(Grant.program_id == program_id, Grant.program_id.is_(None)),
    )
