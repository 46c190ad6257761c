"""Book the unique clicks of each link and day, once the day is over and loaded.

One transaction books a part of one program's day: it locks the rows of the links and days,
counts, books the difference to what was booked before and writes the new count down. A
commission's reference and number are unique besides, so that a second worker, or the same one
after it was killed, books nothing twice. Rule: docs/rules.md, "Leads and clicks".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import sqlalchemy as sa
import structlog
from rq.timeouts import BaseTimeoutException
from sqlalchemy.orm import Session

from affiliate.core.db import rows
from affiliate.core.money import Money
from affiliate.programs.commission_versions import commission_version
from affiliate.programs.models import Program
from affiliate.programs.rule_versions import RuleVersionInForce, in_force
from payouts.commissions.counted import clicks_commission, clicks_reference
from payouts.commissions.earn import Earning, earn_decided, lock_live, wait_for
from payouts.commissions.rules import Sale, VoidReason
from payouts.commissions.standing import NOWHERE, standing_before
from payouts.commissions.void import void
from tracker.attribution.subject import ReviewOutcome, WaitsFor
from tracker.clicks.judging import day_bounds
from tracker.paid_clicks.models import PaidClickDay
from tracker.paid_clicks.rules import LATE_DAYS, change_of, settled_until

ROWS_MAX: Final = 500
"""So many links of a day in one transaction."""
_INSTANT: Final = timedelta(microseconds=1)

_NODES: Final = "SELECT loaded_until FROM click_nodes"
_SPILLED: Final = "SELECT EXISTS (SELECT FROM click_spill)"
_FIRST_PROMISED: Final = """
    SELECT min(least(announced_at, effective_at)) FROM rule_versions
    WHERE program_id = CAST(%(program_id)s AS bigint)
      AND terms #>> '{commission,per_click}' IS NOT NULL
"""
# Whoever is suspended is booked once they are let in again; whoever left keeps what counted
# while they were there. In the order in which enrollments are locked.
_DUE: Final = """
    SELECT d.link_id, d.enrollment_id
    FROM link_days d
    JOIN enrollments e ON e.id = d.enrollment_id AND e.status IN ('active', 'closed')
    LEFT JOIN paid_click_days b ON b.link_id = d.link_id AND b.day = d.day
    WHERE d.program_id = CAST(%(program_id)s AS bigint) AND d.day = CAST(%(day)s AS date)
      AND b.review_outcome IS DISTINCT FROM 'declined'
      AND (d.uniques <> coalesce(b.clicks, 0)
           OR NOT b.flooded AND b.clicks > 0 AND EXISTS (
              SELECT FROM link_day_drops f
              WHERE f.enrollment_id = d.enrollment_id AND f.day = d.day
                AND f.link_id = d.link_id AND f.reason = 'flood' AND f.clicks > 0))
    ORDER BY d.enrollment_id, d.link_id LIMIT %(rows_max)s
"""
_ADOPT: Final = """
    INSERT INTO paid_click_days (program_id, enrollment_id, link_id, day)
    SELECT CAST(%(program_id)s AS bigint), due.enrollment_id, due.link_id, CAST(%(day)s AS date)
    FROM unnest(CAST(%(enrollments)s AS bigint[]), CAST(%(links)s AS bigint[]))
         AS due(enrollment_id, link_id)
    ORDER BY due.link_id
    ON CONFLICT (link_id, day) DO NOTHING
"""
# Read after the rows are locked, in a statement of its own: what another worker has booked and
# what the loader has counted by then is in it.
_COUNTED: Final = """
    SELECT d.link_id, d.uniques, EXISTS (
               SELECT FROM link_day_drops f
               WHERE f.enrollment_id = d.enrollment_id AND f.day = d.day
                 AND f.link_id = d.link_id AND f.reason = 'flood' AND f.clicks > 0)
    FROM link_days d
    WHERE d.program_id = CAST(%(program_id)s AS bigint) AND d.day = CAST(%(day)s AS date)
      AND d.link_id = ANY(CAST(%(links)s AS bigint[]))
"""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Day:
    """A day of a program, as it is paid for."""

    program: Program
    day: date
    ends_at: datetime
    """The first instant after it."""
    version: RuleVersionInForce
    """The program's at the day's last instant."""

    @property
    def last_instant(self) -> datetime:
        return self.ends_at - _INSTANT


def book_due(session: Session, *, now: datetime, rows_max: int = ROWS_MAX) -> int:
    """Book a part of the first day that has something to book; returns of how many links.

    Zero: there is nothing to do. Whoever calls commits and goes on while it is not. Safe to
    run twice and by several workers.
    """
    for program in session.scalars(sa.select(Program).order_by(Program.id)).all():
        for day in _days(session, program, now):
            values = {"program_id": program.id, "day": day.day, "rows_max": rows_max}
            due = rows(session, _DUE, values)
            if due and (booked := _book_all(session, day, due, now)):
                return booked
    return 0


def _days(session: Session, program: Program, now: datetime) -> Iterator[Day]:
    """The days of the program that are over and loaded, and on which clicks may be paid."""
    [(promised,)] = rows(session, _FIRST_PROMISED, {"program_id": program.id})
    if promised is None:
        return
    zone = ZoneInfo(program.time_zone)
    until = settled_until(now, _loaded_until(session, now))
    # The local day in which everything is not settled yet is the first that is not paid.
    behind = until.astimezone(zone).date()
    day = max(
        promised.astimezone(zone).date(), now.astimezone(zone).date() - timedelta(days=LATE_DAYS)
    )
    while day < behind:
        ends_at = day_bounds(program.time_zone, day)[1]
        version = in_force(session, program_id=program.id, at=ends_at - _INSTANT)
        if version.versions_differ or version.terms.commission.per_click is not None:
            yield Day(program, day, ends_at, version)
        day += timedelta(days=1)


def _loaded_until(session: Session, now: datetime) -> list[datetime]:
    """What the nodes say; clicks that fronts wrote to the database are on nobody's list."""
    found = [loaded.astimezone(UTC) for (loaded,) in rows(session, _NODES, {})]
    [(spilled,)] = rows(session, _SPILLED, {})
    return [*found, now - timedelta(days=LATE_DAYS)] if spilled else found


def _book_all(session: Session, day: Day, due: Sequence[Any], now: datetime) -> int:
    links = [link_id for link_id, _ in due]
    values = {
        "program_id": day.program.id,
        "day": day.day,
        "links": links,
        "enrollments": [enrollment_id for _, enrollment_id in due],
    }
    rows(session, _ADOPT + " RETURNING id", values)
    # The row is what makes two workers, a review and a booking take turns; in the order in
    # which enrollments and balances are locked behind it.
    booked = session.scalars(
        sa.select(PaidClickDay)
        .where(PaidClickDay.link_id.in_(links), PaidClickDay.day == day.day)
        .order_by(PaidClickDay.enrollment_id, PaidClickDay.link_id)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()
    counted = {link_id: rest for link_id, *rest in rows(session, _COUNTED, values)}
    versions = _versions(session, day, {row.enrollment_id for row in booked})
    moved = 0
    for row in booked:
        uniques, flooded = counted[row.link_id]
        if row.review_outcome == ReviewOutcome.DECLINED:
            continue
        if uniques == row.clicks and flooded == row.flooded:
            continue
        try:
            with session.begin_nested():
                _book(session, day, row, versions, uniques, flooded, now)
        except BaseTimeoutException:
            raise
        except Exception:
            log.exception("clicks.not_booked", link_id=row.link_id, day=day.day.isoformat())
            session.expire(row)
            continue
        moved += 1
    return moved


def _versions(
    session: Session, day: Day, enrollment_ids: set[int]
) -> Mapping[int, RuleVersionInForce]:
    """Whose clicks are reckoned by another version than the program's."""
    if not day.version.versions_differ:
        return {}
    return commission_version(session, enrollment_ids=enrollment_ids, at=day.last_instant)


def _book(
    session: Session,
    day: Day,
    row: PaidClickDay,
    versions: Mapping[int, RuleVersionInForce],
    uniques: int,
    flooded: bool,
    now: datetime,
) -> None:
    version = versions.get(row.enrollment_id, day.version)
    reference = clicks_reference(row.link_id, row.day)
    change = change_of(counted=uniques, booked=row.clicks)
    if change.voids:
        for number in sorted({live.decision for live in lock_live(session, reference=reference)}):
            void(
                session, reference=reference, decision=number,
                reason=VoidReason.CLICKS_RECOUNTED, now=now,
            )  # fmt: skip
    row.flooded = flooded or row.flooded
    waits = WaitsFor.REVIEW.value if row.flooded and row.review_outcome is None else None
    if waits is not None:
        wait_for(session, reference=reference, waits_for=waits, now=now)
    if change.count and version.terms.commission.per_click is not None:
        row.bookings += 1
        _earn(session, day, row, version, change.count, change.before, waits, now)
    row.clicks, row.booked_at = uniques, now
    session.flush()


def _earn(
    session: Session,
    day: Day,
    row: PaidClickDay,
    version: RuleVersionInForce,
    count: int,
    before: int,
    waits: str | None,
    now: datetime,
) -> None:
    terms, currency = version.terms.commission, day.program.currency
    # Tiers and bonuses look at sales alone. What was booked of this very day before counts
    # into the cap, so that no reference is left out.
    standing = standing_before(
        session,
        terms={row.enrollment_id: replace(terms, tiers=None, bonus=None)},
        reference="",
        placed_at=day.last_instant,
        zone=day.program.time_zone,
        currency=currency,
    ).get(row.enrollment_id, NOWHERE)
    found = clicks_commission(
        terms.per_click,
        unique_clicks=count,
        enrollment_id=row.enrollment_id,
        rule_version_id=version.id,
        currency=currency,
        before=before,
        cap=terms.caps.per_period,
        earned_in_period=standing.earned_in_period,
    )
    sale = Sale(
        program_id=day.program.id,
        reference=clicks_reference(row.link_id, row.day),
        decision=row.bookings,
        net=Money.zero(currency),
        credits=(),
        placed_at=day.last_instant,
        hold=version.terms.payout.hold,
    )
    earn_decided(session, earning=Earning(sale, (found,), waits, now))
