"""How punctually a program pays: the share on time, median and worst, and what is late now.

Three figures, each of what was paid in the last 30 days (docs/rules.md, "Payouts"):
withdrawals from the request, weekly payouts from their payout hour, orders from the purchase.
They read months of rows, so they are measured once an hour; what is late now is asked at once.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.programs.models import Program
from payouts.batches.models import PayoutBatch, PayoutItem, PayoutPunctuality, Withdrawal

MEASURED_DAYS = 30
PROMISE_H = 24
"""A weekly payout is on time within the same 24 hours, counted from its payout hour."""


class Measured(StrEnum):
    WITHDRAWAL = "withdrawal"
    """From asking to the money leaving; on time: by the deadline, pauses added."""
    WEEKLY = "weekly"
    """From the payout hour to the money leaving."""
    ORDER = "order"
    """From the purchase to the money leaving, the hold period included."""


@dataclass(frozen=True, slots=True)
class Punctuality:
    """How long payments of one kind took in a span of time."""

    kind: Measured
    since: datetime
    until: datetime
    count: int
    on_time: int | None
    """None where nothing was promised, as for orders."""
    median: timedelta | None
    worst: timedelta | None

    @property
    def share_ppm(self) -> int | None:
        """Parts per million on time, rounded down to a tenth of a percent."""
        if self.on_time is None or not self.count:
            return None
        return self.on_time * 1_000 // self.count * 1_000


WITHDRAWALS = """
    SELECT count(*) AS count,
           count(*) FILTER (WHERE w.closed_at <= w.deadline_at) AS on_time,
           percentile_cont(0.5) WITHIN GROUP (
               ORDER BY extract(epoch FROM w.closed_at - w.requested_at)
           ) FILTER (WHERE w.closed_at IS NOT NULL) AS median_s,
           max(extract(epoch FROM coalesce(w.closed_at, :until) - w.requested_at)) AS worst_s
    FROM withdrawals w JOIN enrollments e ON e.id = w.enrollment_id
    WHERE e.program_id = :program
      AND ((w.outcome = 'paid' AND w.closed_at >= :since AND w.closed_at < :until)
           OR (w.closed_at IS NULL AND w.paused_at IS NULL AND w.deadline_at < :until))
"""
"""One that is overdue and still open counts as late: waiting longer must not look better."""

WEEKLY = """
    SELECT count(*) AS count,
           count(*) FILTER (WHERE i.paid_at <= p.due_at + make_interval(hours => :promise_h))
               AS on_time,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM i.paid_at - p.due_at))
               AS median_s,
           max(extract(epoch FROM i.paid_at - p.due_at)) AS worst_s
    FROM payout_items i
    JOIN payout_batches b ON b.id = i.batch_id
    JOIN payout_periods p ON p.id = b.period_id
    WHERE b.program_id = :program AND i.status = 'paid'
      AND i.paid_at >= :since AND i.paid_at < :until
"""

ORDERS = """
    WITH paid AS (
        SELECT i.id, i.enrollment_id, i.currency, i.paid_at, t.occurred_at AS reserved_at
        FROM payout_items i
        JOIN payout_batches b ON b.id = i.batch_id
        JOIN ledger_transactions t ON t.id = i.reserve_transaction_id
        WHERE b.program_id = :program AND i.status = 'paid'
          AND i.paid_at >= :since AND i.paid_at < :until
    ), spans AS (
        SELECT paid.*, before.reserved_at AS since_at
        FROM paid LEFT JOIN LATERAL (
            SELECT t.occurred_at AS reserved_at
            FROM payout_items i JOIN ledger_transactions t ON t.id = i.reserve_transaction_id
            WHERE i.enrollment_id = paid.enrollment_id AND i.currency = paid.currency
              AND i.status = 'paid' AND i.id < paid.id
            ORDER BY i.id DESC LIMIT 1
        ) before ON true
    )
    SELECT count(*) AS count, NULL::bigint AS on_time,
           percentile_cont(0.5) WITHIN GROUP (
               ORDER BY extract(epoch FROM s.paid_at - coalesce(c.placed_at, c.earned_at))
           ) AS median_s,
           max(extract(epoch FROM s.paid_at - coalesce(c.placed_at, c.earned_at))) AS worst_s
    FROM spans s
    JOIN commissions c ON c.enrollment_id = s.enrollment_id AND c.currency = s.currency
    WHERE c.released_at <= s.reserved_at
      AND (s.since_at IS NULL OR c.released_at > s.since_at)
      AND c.voided_at IS NULL AND c.amount_micros > c.reversed_micros
"""
"""A commission came with the first paid payout that was frozen after its release."""

QUERIES = {Measured.WITHDRAWAL: WITHDRAWALS, Measured.WEEKLY: WEEKLY, Measured.ORDER: ORDERS}


def measure(session: Session, *, program_id: int, until: datetime) -> list[Punctuality]:
    """The figures of the 30 days before an instant, by reading the rows."""
    since = until - timedelta(days=MEASURED_DAYS)
    given = {
        "program": program_id, "since": since, "until": until, "promise_h": PROMISE_H,
    }  # fmt: skip
    found = []
    for kind, query in QUERIES.items():
        wanted = {name: value for name, value in given.items() if f":{name}" in query}
        row = session.execute(sa.text(query), wanted).mappings().one()
        found.append(
            Punctuality(
                kind=kind,
                since=since,
                until=until,
                count=row["count"],
                on_time=row["on_time"],
                median=_span(row["median_s"]),
                worst=_span(row["worst_s"]),
            )
        )
    return found


def measure_all(session: Session, *, now: datetime) -> None:
    """Keep the figures of every program."""
    for program_id in session.scalars(sa.select(Program.id).order_by(Program.id)).all():
        for each in measure(session, program_id=program_id, until=now):
            row = {
                "since": each.since,
                "until": each.until,
                "count": each.count,
                "on_time": each.on_time,
                "median_s": _seconds(each.median),
                "worst_s": _seconds(each.worst),
            }
            session.execute(
                insert(PayoutPunctuality)
                .values(program_id=program_id, kind=each.kind.value, **row)
                .on_conflict_do_update(index_elements=["program_id", "kind"], set_=row)
            )


def punctuality(
    session: Session, *, program_ids: Collection[int]
) -> dict[int, dict[Measured, Punctuality]]:
    """The kept figures by program and kind; a program that was never measured is missing."""
    rows = session.scalars(
        sa.select(PayoutPunctuality)
        .where(PayoutPunctuality.program_id.in_(list(program_ids)))
        .execution_options(populate_existing=True)
    )
    found: dict[int, dict[Measured, Punctuality]] = {}
    for row in rows:
        kind = Measured(row.kind)
        found.setdefault(row.program_id, {})[kind] = Punctuality(
            kind=kind,
            since=row.since,
            until=row.until,
            count=row.count,
            on_time=row.on_time,
            median=_span(row.median_s),
            worst=_span(row.worst_s),
        )
    return found


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits now, in the whole installation."""

    withdrawals: int
    """Open ones whose clock runs."""
    paused: int
    overdue: int
    longest: timedelta
    """How far the most overdue one is beyond its deadline; zero while none is."""
    batches: int
    """Frozen, not approved yet."""
    oldest_batch: timedelta
    """How long the oldest of them has waited."""
    review: int
    """Payouts whose outcome a person must find out."""


def waiting(session: Session, *, now: datetime) -> Waiting:
    """Counted anew, for alarms and /metrics."""
    open_, paused = Withdrawal.closed_at.is_(None), Withdrawal.paused_at.is_not(None)
    overdue = sa.and_(open_, ~paused, Withdrawal.deadline_at < now)
    running, standing, late, first = session.execute(
        sa.select(
            sa.func.count().filter(~paused),
            sa.func.count().filter(paused),
            sa.func.count().filter(overdue),
            sa.func.min(Withdrawal.deadline_at).filter(overdue),
        ).where(open_)
    ).one()
    batches, frozen_at = session.execute(
        sa.select(sa.func.count(), sa.func.min(PayoutBatch.frozen_at)).where(
            PayoutBatch.status == "frozen"
        )
    ).one()
    review = session.scalar(sa.select(sa.func.count()).where(PayoutItem.status == "needs_review"))
    return Waiting(
        withdrawals=running,
        paused=standing,
        overdue=late,
        longest=now - first if first else timedelta(),
        batches=batches,
        oldest_batch=max(now - frozen_at, timedelta()) if frozen_at else timedelta(),
        review=review or 0,
    )


def _span(seconds: object) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=round(float(str(seconds))))


def _seconds(span: timedelta | None) -> int | None:
    return None if span is None else round(span.total_seconds())
