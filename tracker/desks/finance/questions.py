"""What the finance desk asks of batches: lists, one batch, what changed since the last."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from affiliate.core import ids
from affiliate.core.errors import NotFound
from affiliate.core.money import Money
from affiliate.people import ids as people_ids
from affiliate.people.models import Affiliate, Enrollment, User
from affiliate.programs.models import Program
from payouts.batches.models import (
    BatchAbsence,
    BatchMaker,
    PayoutBatch,
    PayoutHold,
    PayoutItem,
    PayoutPeriod,
    Withdrawal,
)
from payouts.batches.rules import NotDue
from payouts.policies.rules import JUMP_TIMES
from tracker.desks.finance.blueprint import BATCH, ITEM, WITHDRAWAL

ITEMS_SHOWN_MAX = 200
CHANGES_SHOWN_MAX = 50
"""Of each kind of change; all are counted."""
STUCK_SHOWN_MAX = 50
ABSENT_SHOWN_MAX = 50
WITHDRAWALS_SHOWN_MAX = 50
WAITING = ("queued",)
UNDER_WAY = ("sending", "unknown")


@dataclass(frozen=True)
class BatchLine:
    """A batch in a list: what it is and how far it has come."""

    batch: PayoutBatch
    program: Program
    period: str | None
    total: Money
    """Of what is in it: items that were taken out do not count."""
    counts: dict[str, int]
    """Items by status."""

    @property
    def public(self) -> str:
        return ids.public_id(BATCH, self.batch.id)

    @property
    def count(self) -> int:
        return sum(n for status, n in self.counts.items() if status != "cancelled")

    def money(self, micros: int) -> Money:
        """A sum of the batch's currency."""
        return Money(micros, self.batch.currency)

    @property
    def approved_total(self) -> Money | None:
        """What was approved; items held since then have left it."""
        micros = self.batch.approved_total_micros
        return None if micros is None else Money(micros, self.batch.currency)

    @property
    def progress(self) -> dict[str, int]:
        """Paid, on the way, waiting, for a person; failed beside them."""
        get = self.counts.get
        return {
            "paid": get("paid", 0),
            "sent": sum(get(status, 0) for status in UNDER_WAY),
            "waiting": sum(get(status, 0) for status in WAITING),
            "review": get("needs_review", 0),
            "failed": get("failed", 0) + get("reversed", 0),
        }


STATUSES = (
    "queued", "sending", "unknown", "paid", "failed", "needs_review", "cancelled", "reversed",
)  # fmt: skip


def batch_lines(
    session: Session,
    *,
    programs: dict[int, Program],
    condition: sa.ColumnElement[bool] | None = None,
    rows_max: int,
) -> list[BatchLine]:
    """Batches of these programs, newest first, with the sums of their items, in one query."""
    counted = [
        sa.func.count(PayoutItem.id).filter(PayoutItem.status == status) for status in STATUSES
    ]
    query = (
        sa.select(
            PayoutBatch,
            PayoutPeriod.key,
            sa.func.coalesce(
                sa.func.sum(PayoutItem.amount_micros).filter(PayoutItem.status != "cancelled"), 0
            ),
            *counted,
        )
        .outerjoin(PayoutPeriod, PayoutPeriod.id == PayoutBatch.period_id)
        .outerjoin(PayoutItem, PayoutItem.batch_id == PayoutBatch.id)
        .where(PayoutBatch.program_id.in_(programs))
        .group_by(PayoutBatch.id, PayoutPeriod.key)
        .order_by(PayoutBatch.id.desc())
        .limit(rows_max)
    )
    if condition is not None:
        query = query.where(condition)
    return [
        BatchLine(
            batch,
            programs[batch.program_id],
            period,
            Money(int(micros), batch.currency),
            dict(zip(STATUSES, counts, strict=True)),
        )
        for batch, period, micros, *counts in session.execute(query)
    ]


def batch_line(session: Session, *, programs: dict[int, Program], batch_id: int) -> BatchLine:
    """One batch; another program's is not there."""
    found = batch_lines(
        session, programs=programs, condition=PayoutBatch.id == batch_id, rows_max=1
    )
    if not found:
        raise NotFound
    return found[0]


def batch_before(session: Session, *, line: BatchLine) -> Money | None:
    """The total of the program's batch of the same kind before this one; none at the first."""
    before = (
        sa.select(PayoutBatch.id)
        .where(
            PayoutBatch.program_id == line.batch.program_id,
            PayoutBatch.kind == line.batch.kind,
            PayoutBatch.id < line.batch.id,
            PayoutBatch.status != "cancelled",
        )
        .order_by(PayoutBatch.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    micros = session.scalar(
        sa.select(sa.func.sum(PayoutItem.amount_micros)).where(
            PayoutItem.batch_id == before, PayoutItem.status != "cancelled"
        )
    )
    return None if micros is None else Money(int(micros), line.batch.currency)


@dataclass(frozen=True)
class ItemLine:
    """An item with what is different about it."""

    item: PayoutItem
    affiliate: str
    enrollment_status: str
    last_amount: Money | None
    """What the payout before it paid to the same enrollment; none: this is the first."""
    last_destination: str | None
    held: bool = False
    """Whether all payouts of the affiliate are held back: approved or not, this one waits."""

    @property
    def public(self) -> str:
        return ids.public_id(ITEM, self.item.id)

    @property
    def amount(self) -> Money:
        return Money(self.item.amount_micros, self.item.currency)

    @property
    def first(self) -> bool:
        return self.last_amount is None

    @property
    def moved(self) -> bool:
        return self.last_destination not in (None, self.item.destination)

    @property
    def jumped(self) -> bool:
        last = self.last_amount
        return last is not None and self.amount.micros > JUMP_TIMES * last.micros

    @property
    def changed(self) -> bool:
        return self.item.status != "cancelled" and (self.first or self.moved or self.jumped)


def item_lines(session: Session, *, batch_id: int, rows_max: int) -> list[ItemLine]:
    """The largest items of a batch beside the same affiliate's last paid one."""
    before = aliased(PayoutItem)
    last = (
        sa.select(before.amount_micros, before.destination)
        .where(
            before.enrollment_id == PayoutItem.enrollment_id,
            before.id < PayoutItem.id,
            before.status == "paid",
        )
        .order_by(before.id.desc())
        .limit(1)
        .lateral("last")
    )
    shown = (
        sa.select(PayoutItem.id)
        .where(PayoutItem.batch_id == batch_id)
        .order_by(PayoutItem.amount_micros.desc(), PayoutItem.id)
        .limit(rows_max)
    )
    held = sa.exists().where(
        PayoutHold.enrollment_id == PayoutItem.enrollment_id, PayoutHold.lifted_at.is_(None)
    )
    rows = session.execute(
        sa.select(
            PayoutItem,
            Affiliate.name,
            Enrollment.status,
            last.c.amount_micros,
            last.c.destination,
            held.label("held"),
        )
        .join(Enrollment, Enrollment.id == PayoutItem.enrollment_id)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .outerjoin(last, sa.true())
        .where(PayoutItem.id.in_(shown))
        .order_by(PayoutItem.amount_micros.desc(), PayoutItem.id)
        .execution_options(populate_existing=True)
    )
    return [
        ItemLine(
            item, name, status, None if micros is None else Money(micros, item.currency), place, on
        )
        for item, name, status, micros, place, on in rows
    ]


@dataclass(frozen=True)
class AbsentLine:
    """Somebody with a balance who is not in a weekly batch."""

    public: str
    affiliate: str
    why: NotDue
    available: Money


@dataclass(frozen=True)
class Absences:
    """Who is not in a batch: how many for each reason, and the largest balances."""

    counts: dict[NotDue, int]
    lines: list[AbsentLine]
    nothing: int
    """Members without any balance."""

    @property
    def hidden(self) -> int:
        return sum(self.counts.values()) - len(self.lines)


def absences(session: Session, *, batch: PayoutBatch) -> Absences:
    """Why each affiliate of the program is not in this weekly batch, as it was when drafted."""
    counts = session.execute(
        sa.select(BatchAbsence.reason, sa.func.count())
        .where(BatchAbsence.batch_id == batch.id)
        .group_by(BatchAbsence.reason)
    ).all()
    rows = session.execute(
        sa.select(BatchAbsence, Affiliate.name)
        .join(Enrollment, Enrollment.id == BatchAbsence.enrollment_id)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .where(BatchAbsence.batch_id == batch.id)
        .order_by(sa.func.abs(BatchAbsence.available_micros).desc(), BatchAbsence.enrollment_id)
        .limit(ABSENT_SHOWN_MAX)
    )
    members = session.scalar(
        sa.select(sa.func.count()).where(
            Enrollment.program_id == batch.program_id,
            Enrollment.status == "active",
            Enrollment.applied_at <= batch.created_at,
        )
    )
    inside = session.scalar(sa.select(sa.func.count()).where(PayoutItem.batch_id == batch.id))
    told = {NotDue(reason): count for reason, count in counts}
    return Absences(
        counts=told,
        lines=[
            AbsentLine(
                people_ids.public(row.enrollment_id),
                name,
                NotDue(row.reason),
                Money(row.available_micros, batch.currency),
            )
            for row, name in rows
        ],
        nothing=max(0, (members or 0) - (inside or 0) - sum(told.values())),
    )


def recovered(session: Session, *, batch: PayoutBatch) -> list[str]:
    """Who was below zero in the weekly batch before and is paid again: a negative carry."""
    before = (
        sa.select(PayoutBatch.id)
        .where(
            PayoutBatch.program_id == batch.program_id,
            PayoutBatch.kind == "weekly",
            PayoutBatch.id < batch.id,
        )
        .order_by(PayoutBatch.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    return list(
        session.scalars(
            sa.select(Affiliate.name)
            .join(Enrollment, Enrollment.affiliate_id == Affiliate.id)
            .join(BatchAbsence, BatchAbsence.enrollment_id == Enrollment.id)
            .join(PayoutItem, PayoutItem.enrollment_id == Enrollment.id)
            .where(
                BatchAbsence.batch_id == before,
                BatchAbsence.reason == NotDue.NEGATIVE_BALANCE.value,
                PayoutItem.batch_id == batch.id,
                PayoutItem.status != "cancelled",
            )
            .order_by(Affiliate.name)
        )
    )


def whose(session: Session, *, programs: dict[int, Program], public: str) -> tuple[int, str]:
    """The enrollment behind an affiliate's id, and the name; another program's is not there."""
    enrollment_id = people_ids.enrollment_of(public)
    name = session.scalar(
        sa.select(Affiliate.name)
        .join(Enrollment, Enrollment.affiliate_id == Affiliate.id)
        .where(Enrollment.id == enrollment_id, Enrollment.program_id.in_(programs))
    )
    if name is None:
        raise NotFound
    return enrollment_id, name


@dataclass(frozen=True)
class Maker:
    """Somebody who had a hand in a batch."""

    user_id: int
    name: str
    did: str
    at: datetime


def makers_of(session: Session, *, batch: PayoutBatch) -> list[Maker]:
    """Who made the batch, changed it, approved or cancelled it, in order; one query."""
    roles: list[tuple[int | None, str, datetime | None]] = [
        (batch.created_by, "create", batch.created_at),
        (batch.approved_by, "approve", batch.approved_at),
        (batch.cancelled_by, "cancel", batch.cancelled_at),
    ]
    wanted = [user_id for user_id, _did, _at in roles if user_id is not None]
    rows = session.execute(
        sa.select(User.id, User.name, User.email, BatchMaker.did, BatchMaker.at)
        .outerjoin(
            BatchMaker, sa.and_(BatchMaker.user_id == User.id, BatchMaker.batch_id == batch.id)
        )
        .where(sa.or_(User.id.in_(wanted), BatchMaker.batch_id.is_not(None)))
    ).all()
    names = {row.id: row.name or row.email for row in rows}
    found = [Maker(row.id, names[row.id], row.did, row.at) for row in rows if row.did]
    found += [
        Maker(user_id, names[user_id], did, at)
        for user_id, did, at in roles
        if user_id is not None and at is not None
    ]
    return sorted(found, key=lambda maker: maker.at)


@dataclass(frozen=True)
class Waiting:
    """A withdrawal whose clock runs."""

    withdrawal: Withdrawal
    affiliate: str
    program: Program
    batch_id: int | None
    batch_number: int | None
    batch_status: str | None
    item_reason: str | None

    @property
    def public(self) -> str:
        return ids.public_id(WITHDRAWAL, self.withdrawal.id)

    @property
    def amount(self) -> Money:
        return Money(self.withdrawal.amount_micros, self.withdrawal.currency)

    @property
    def batch(self) -> str | None:
        return None if self.batch_id is None else ids.public_id(BATCH, self.batch_id)

    def left(self, now: datetime) -> timedelta:
        """Until the deadline; negative when it has passed. A paused clock stands still."""
        return self.withdrawal.deadline_at - (self.withdrawal.paused_at or now)

    def overdue(self, now: datetime) -> bool:
        """Beyond its deadline, and not because the clock was stopped."""
        return self.withdrawal.paused_at is None and self.withdrawal.deadline_at < now


def withdrawals(
    session: Session,
    *,
    programs: dict[int, Program],
    closed: bool = False,
    before: int | None = None,
    rows_max: int = WITHDRAWALS_SHOWN_MAX,
) -> list[Waiting]:
    """Withdrawals of these programs: open ones by deadline; or closed ones, the newest first.

    `before`: only those that were asked for before that one.
    """
    query = (
        sa.select(Withdrawal, Affiliate.name, Enrollment.program_id, PayoutBatch, PayoutItem.reason)
        .join(Enrollment, Enrollment.id == Withdrawal.enrollment_id)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .outerjoin(PayoutItem, PayoutItem.id == Withdrawal.item_id)
        .outerjoin(PayoutBatch, PayoutBatch.id == PayoutItem.batch_id)
        .where(Enrollment.program_id.in_(programs))
        .limit(rows_max)
    )
    if closed:
        query = query.where(Withdrawal.closed_at.is_not(None)).order_by(Withdrawal.id.desc())
    else:
        query = query.where(Withdrawal.closed_at.is_(None)).order_by(Withdrawal.deadline_at)
    if before is not None:
        query = query.where(Withdrawal.id < before)
    return [
        Waiting(
            withdrawal,
            name,
            programs[program_id],
            None if batch is None else batch.id,
            None if batch is None else batch.number,
            None if batch is None else batch.status,
            reason,
        )
        for withdrawal, name, program_id, batch, reason in session.execute(query)
    ]


@dataclass(frozen=True)
class Stuck:
    """A payout that a person should look at."""

    item: PayoutItem
    affiliate: str
    batch_id: int
    batch_number: int

    @property
    def public(self) -> str:
        return ids.public_id(ITEM, self.item.id)

    @property
    def amount(self) -> Money:
        return Money(self.item.amount_micros, self.item.currency)


def stuck_items(session: Session, *, program_ids: Collection[int]) -> Sequence[Stuck]:
    """What needs review first, then what waits with a reason, of approved batches."""
    rows = session.execute(
        sa.select(PayoutItem, Affiliate.name, PayoutBatch.id, PayoutBatch.number)
        .join(PayoutBatch, PayoutBatch.id == PayoutItem.batch_id)
        .join(Enrollment, Enrollment.id == PayoutItem.enrollment_id)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .where(
            PayoutBatch.program_id.in_(program_ids),
            PayoutBatch.status.in_(("approved", "paying")),
            sa.or_(
                PayoutItem.status.in_(("needs_review", "unknown")),
                sa.and_(PayoutItem.status == "queued", PayoutItem.reason.is_not(None)),
            ),
        )
        .order_by(PayoutItem.status != "needs_review", PayoutItem.id)
        .limit(STUCK_SHOWN_MAX)
    )
    return [Stuck(*row) for row in rows]


@dataclass(frozen=True)
class Changed:
    """An item that finance looks at first."""

    affiliate: str
    amount: Money
    destination: str
    last_amount: Money | None
    last_destination: str | None


@dataclass
class Changes:
    """Who is paid for the first time, elsewhere, or far more: all counted, the largest named."""

    first: list[Changed] = field(default_factory=list)
    moved: list[Changed] = field(default_factory=list)
    jumped: list[Changed] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def known(self) -> int:
        """Payouts of which nothing is new."""
        return self.counts.get("known", 0)

    def more(self, kind: str, shown: int) -> int:
        """How many of a kind are not among so many that are named."""
        return max(0, self.counts.get(kind, 0) - shown)


# An item can be of two kinds: to another place, and far more than the last.
_CHANGES: Final = sa.text(
    """
    WITH beside AS (
        SELECT i.id, i.enrollment_id, i.amount_micros, i.destination,
               last.amount_micros AS last_micros, last.destination AS last_destination
        FROM payout_items i
        LEFT JOIN LATERAL (
            SELECT p.amount_micros, p.destination FROM payout_items p
            WHERE p.enrollment_id = i.enrollment_id AND p.id < i.id AND p.status = 'paid'
            ORDER BY p.id DESC LIMIT 1) last ON true
        WHERE i.batch_id = :batch_id AND i.status <> 'cancelled'
    ), kinds AS (
        SELECT *, last_micros IS NULL AS first, last_destination <> destination AS moved,
               amount_micros > :jump_times * last_micros AS jumped
        FROM beside
    ), placed AS (
        SELECT kinds.*, k.kind, count(*) OVER (PARTITION BY k.kind) AS of_kind,
               row_number() OVER (PARTITION BY k.kind ORDER BY amount_micros DESC, id) AS place
        FROM kinds CROSS JOIN LATERAL (VALUES ('first', first), ('moved', moved),
            ('jumped', jumped), ('known', NOT (first OR moved OR jumped))) AS k(kind, so)
        WHERE k.so
    )
    SELECT placed.*, a.name FROM placed
    JOIN enrollments n ON n.id = placed.enrollment_id JOIN affiliates a ON a.id = n.affiliate_id
    WHERE place <= :shown ORDER BY kind, place
    """
)


def changes_of(session: Session, *, batch: PayoutBatch) -> Changes:
    """What finance looks at first, counted by the database."""
    found = Changes()
    rows = session.execute(
        _CHANGES,
        {"batch_id": batch.id, "jump_times": JUMP_TIMES, "shown": CHANGES_SHOWN_MAX},
    )
    for row in rows:
        found.counts[row.kind] = row.of_kind
        if row.kind == "known":
            continue
        last = None if row.last_micros is None else Money(row.last_micros, batch.currency)
        one = Changed(
            row.name, Money(row.amount_micros, batch.currency), row.destination, last,
            row.last_destination,
        )  # fmt: skip
        listed: list[Changed] = getattr(found, row.kind)
        listed.append(one)
    return found
