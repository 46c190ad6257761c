"""Questions about batches, items and an affiliate's money, for desks and the API."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.errors import NotFound
from affiliate.core.money import Money
from affiliate.people.models import Affiliate, Enrollment
from affiliate.programs.models import Program
from payouts.batches.draft import schedule_of
from payouts.batches.models import (
    BatchMaker,
    PayoutAttempt,
    PayoutBatch,
    PayoutItem,
    PayoutPeriod,
    Withdrawal,
)
from payouts.batches.payees import Payee, payee_of
from payouts.batches.rules import ItemReason, next_due
from payouts.commissions.rows import next_release
from payouts.ledger.balances import Balances, balances
from payouts.rails.registry import BY_HAND

OPEN_STATUSES = ("draft", "frozen", "approved", "paying")
ROWS_MAX = 500


@dataclass(frozen=True, slots=True)
class Maker:
    """Who changed a batch or asked for it, and so may not approve it."""

    user_id: int
    did: str
    at: datetime


@dataclass(frozen=True, slots=True)
class BatchView:
    """A batch as desks show it."""

    id: int
    program_id: int
    program_slug: str
    number: int
    kind: str
    """weekly or on_demand."""
    rail: str
    status: str
    total: Money
    """Of all items that are not taken out."""
    count: int
    paid: Money
    created_at: datetime
    created_by: int | None
    due_at: datetime | None
    """The payout day of a weekly batch, the deadline of a withdrawal."""
    frozen_at: datetime | None
    hash: str | None
    approved_at: datetime | None
    approved_by: int | None
    approval_policy: str | None
    approved_total: Money | None
    approved_count: int | None
    cancelled_at: datetime | None
    cancel_reason: str | None
    done_at: datetime | None
    waits_for_person: int
    """Items that need a person: by hand, or without an answer."""
    makers: tuple[Maker, ...] = ()


@dataclass(frozen=True, slots=True)
class AttemptView:
    number: int
    status: str
    first_sent_at: datetime
    tries: int
    transfer_id: str | None
    reference: str | None
    """What a person typed, of a rail by hand."""
    error_code: str | None
    error_text: str | None


@dataclass(frozen=True, slots=True)
class ItemView:
    """A payout of a batch."""

    id: int
    batch_id: int
    enrollment_id: int
    affiliate_name: str
    amount: Money
    destination: str
    status: str
    reason: ItemReason | None
    next_try_at: datetime | None
    paid_at: datetime | None
    finished_at: datetime | None
    attempts: tuple[AttemptView, ...] = ()


def batch_view(session: Session, *, batch_id: int) -> BatchView:
    """One batch with its makers; NotFound."""
    found = _views(session, PayoutBatch.id == batch_id, 1)
    if not found:
        raise NotFound
    return found[0]


def batches_to_do(session: Session, *, program_ids: Collection[int]) -> list[BatchView]:
    """Batches that finance has something to do with, oldest first: approval or open items."""
    return _views(
        session,
        sa.and_(
            PayoutBatch.program_id.in_(list(program_ids)), PayoutBatch.status.in_(OPEN_STATUSES)
        ),
        ROWS_MAX,
    )


def batches_of(
    session: Session, *, program_ids: Collection[int], rows_max: int, before_id: int | None = None
) -> list[BatchView]:
    """Every batch, newest first; `before_id` continues a list."""
    condition: sa.ColumnElement[bool] = PayoutBatch.program_id.in_(list(program_ids))
    if before_id is not None:
        condition = sa.and_(condition, PayoutBatch.id < before_id)
    return _views(session, condition, rows_max, newest_first=True)


def items_of(
    session: Session, *, batch_id: int, rows_max: int = ROWS_MAX, after_id: int = 0
) -> list[ItemView]:
    """The items of a batch with their attempts, in order; `after_id` continues a list."""
    rows = session.execute(
        sa.select(PayoutItem, Affiliate.name)
        .join(Enrollment, Enrollment.id == PayoutItem.enrollment_id)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .where(PayoutItem.batch_id == batch_id, PayoutItem.id > after_id)
        .order_by(PayoutItem.id)
        .limit(rows_max)
        .execution_options(populate_existing=True)
    ).all()
    attempts = _attempts(session, [item.id for item, _ in rows])
    return [
        ItemView(
            id=item.id,
            batch_id=item.batch_id,
            enrollment_id=item.enrollment_id,
            affiliate_name=name,
            amount=Money(item.amount_micros, item.currency),
            destination=item.destination,
            status=item.status,
            reason=ItemReason(item.reason) if item.reason else None,
            next_try_at=item.next_try_at,
            paid_at=item.paid_at,
            finished_at=item.finished_at,
            attempts=tuple(attempts.get(item.id, ())),
        )
        for item, name in rows
    ]


@dataclass(frozen=True, slots=True)
class PayoutRow:
    """One payout to an affiliate, as they see it."""

    item_id: int
    batch_id: int
    batch_number: int
    kind: str
    amount: Money
    status: str
    reason: ItemReason | None
    asked_at: datetime
    paid_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class OpenWithdrawal:
    """A withdrawal that is under way."""

    id: int
    item_id: int | None
    amount: Money
    requested_at: datetime
    deadline_at: datetime


@dataclass(frozen=True, slots=True)
class MoneyOf:
    """Everything about the money of one enrollment in one currency."""

    enrollment_id: int
    balances: Balances
    next_release_at: datetime | None
    """When the next of the pending commissions may become available."""
    next_payout_at: datetime
    """The next weekly payout day."""
    open_withdrawal: OpenWithdrawal | None
    payee: Payee | None
    rail: str
    payouts: tuple[PayoutRow, ...]
    """Newest first."""


def money_of(
    session: Session, *, enrollment_id: int, currency: str, now: datetime, payouts_max: int = 50
) -> MoneyOf:
    """Balances, next release, the open withdrawal with its deadline, and the payouts so far."""
    enrollment = session.get(Enrollment, enrollment_id)
    if enrollment is None:
        raise NotFound
    program = session.get_one(Program, enrollment.program_id)
    return MoneyOf(
        enrollment_id=enrollment_id,
        balances=balances(session, enrollment_id=enrollment_id, currency=currency),
        next_release_at=next_release(session, enrollment_id=enrollment_id, currency=currency),
        next_payout_at=next_due(schedule_of(program), after=now),
        open_withdrawal=open_withdrawal(session, enrollment_id=enrollment_id, currency=currency),
        payee=payee_of(session, affiliate_id=enrollment.affiliate_id, rail=program.rail),
        rail=program.rail,
        payouts=tuple(
            payouts_of(session, enrollment_id=enrollment_id, currency=currency,
                       rows_max=payouts_max)
        ),
    )  # fmt: skip


def open_withdrawal(
    session: Session, *, enrollment_id: int, currency: str
) -> OpenWithdrawal | None:
    """The one withdrawal that is under way, if any."""
    row = session.scalars(
        sa.select(Withdrawal)
        .where(
            Withdrawal.enrollment_id == enrollment_id,
            Withdrawal.currency == currency,
            Withdrawal.closed_at.is_(None),
        )
        .execution_options(populate_existing=True)
    ).one_or_none()
    if row is None:
        return None
    amount = Money(row.amount_micros, currency)
    return OpenWithdrawal(row.id, row.item_id, amount, row.requested_at, row.deadline_at)


def payouts_of(
    session: Session, *, enrollment_id: int, currency: str, rows_max: int
) -> list[PayoutRow]:
    """An enrollment's payouts, newest first."""
    rows = session.execute(
        sa.select(PayoutItem, PayoutBatch.number, PayoutBatch.kind, PayoutBatch.created_at)
        .join(PayoutBatch, PayoutBatch.id == PayoutItem.batch_id)
        .where(PayoutItem.enrollment_id == enrollment_id, PayoutItem.currency == currency)
        .order_by(PayoutItem.id.desc())
        .limit(rows_max)
        .execution_options(populate_existing=True)
    )
    return [
        PayoutRow(
            item_id=item.id,
            batch_id=item.batch_id,
            batch_number=number,
            kind=kind,
            amount=Money(item.amount_micros, item.currency),
            status=item.status,
            reason=ItemReason(item.reason) if item.reason else None,
            asked_at=created_at,
            paid_at=item.paid_at,
            finished_at=item.finished_at,
        )
        for item, number, kind, created_at in rows
    ]


def _views(
    session: Session,
    condition: sa.ColumnElement[bool],
    rows_max: int,
    *,
    newest_first: bool = False,
) -> list[BatchView]:
    order = PayoutBatch.id.desc() if newest_first else PayoutBatch.id
    rows = session.execute(
        sa.select(PayoutBatch, Program.slug, PayoutPeriod.due_at)
        .join(Program, Program.id == PayoutBatch.program_id)
        .outerjoin(PayoutPeriod, PayoutPeriod.id == PayoutBatch.period_id)
        .where(condition)
        .order_by(order)
        .limit(rows_max)
        .execution_options(populate_existing=True)
    ).all()
    ids = [batch.id for batch, _, _ in rows]
    sums, makers, deadlines = _sums(session, ids), _makers(session, ids), _deadlines(session, ids)
    return [
        _view(batch, slug, due_at or deadlines.get(batch.id), sums.get(batch.id),
              makers.get(batch.id, ()))
        for batch, slug, due_at in rows
    ]  # fmt: skip


def _view(
    batch: PayoutBatch, slug: str, due_at: datetime | None, sums: Any, makers: tuple[Maker, ...]
) -> BatchView:
    total, count, paid, waiting = sums or (0, 0, 0, (0, 0))
    by_hand = batch.rail in BY_HAND and batch.status in ("approved", "paying")
    approved = batch.approved_total_micros
    return BatchView(
        id=batch.id,
        program_id=batch.program_id,
        program_slug=slug,
        number=batch.number,
        kind=batch.kind,
        rail=batch.rail,
        status=batch.status,
        total=Money(int(total), batch.currency),
        count=count,
        paid=Money(int(paid), batch.currency),
        created_at=batch.created_at,
        created_by=batch.created_by,
        due_at=due_at,
        frozen_at=batch.frozen_at,
        hash=batch.hash,
        approved_at=batch.approved_at,
        approved_by=batch.approved_by,
        approval_policy=batch.approval_policy,
        approved_total=None if approved is None else Money(approved, batch.currency),
        approved_count=batch.approved_count,
        cancelled_at=batch.cancelled_at,
        cancel_reason=batch.cancel_reason,
        done_at=batch.done_at,
        waits_for_person=waiting[1] if by_hand else waiting[0],
        makers=makers,
    )


def _sums(session: Session, batch_ids: list[int]) -> dict[int, Any]:
    amount, status = PayoutItem.amount_micros, PayoutItem.status
    rows = session.execute(
        sa.select(
            PayoutItem.batch_id,
            sa.func.coalesce(sa.func.sum(amount).filter(status != "cancelled"), 0),
            sa.func.count().filter(status != "cancelled"),
            sa.func.coalesce(sa.func.sum(amount).filter(status == "paid"), 0),
            sa.func.count().filter(status == "needs_review"),
            sa.func.count().filter(status.in_(("needs_review", "queued"))),
        )
        .where(PayoutItem.batch_id.in_(batch_ids))
        .group_by(PayoutItem.batch_id)
    )
    return {
        batch_id: (total, count, paid, (review, by_hand))
        for batch_id, total, count, paid, review, by_hand in rows
    }


def _makers(session: Session, batch_ids: list[int]) -> dict[int, tuple[Maker, ...]]:
    rows = session.scalars(
        sa.select(BatchMaker).where(BatchMaker.batch_id.in_(batch_ids)).order_by(BatchMaker.at)
    )
    found: dict[int, tuple[Maker, ...]] = {}
    for row in rows:
        maker = Maker(row.user_id, row.did, row.at)
        found[row.batch_id] = (*found.get(row.batch_id, ()), maker)
    return found


def _deadlines(session: Session, batch_ids: list[int]) -> dict[int, datetime]:
    rows = session.execute(
        sa.select(PayoutItem.batch_id, Withdrawal.deadline_at)
        .join(Withdrawal, Withdrawal.item_id == PayoutItem.id)
        .where(PayoutItem.batch_id.in_(batch_ids))
    )
    return dict(rows.all())


def _attempts(session: Session, item_ids: list[int]) -> dict[int, list[AttemptView]]:
    rows = session.scalars(
        sa.select(PayoutAttempt)
        .where(PayoutAttempt.item_id.in_(item_ids))
        .order_by(PayoutAttempt.item_id, PayoutAttempt.number)
        .execution_options(populate_existing=True)
    )
    found: dict[int, list[AttemptView]] = {}
    for row in rows:
        found.setdefault(row.item_id, []).append(
            AttemptView(
                number=row.number,
                status=row.status,
                first_sent_at=row.first_sent_at,
                tries=row.tries,
                transfer_id=row.transfer_id,
                reference=row.params.get("reference"),
                error_code=row.error_code,
                error_text=row.error_text,
            )
        )
    return found
