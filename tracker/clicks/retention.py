"""How long raw clicks are kept: old months are taken out of the table, and their counters stay.

A month is detached, not dropped: its table goes on existing under its name, and whoever
needs its rows can attach it again. A click that is loaded later still lies in the default
partition and counts. Dropping is a person's decision (`kopeck partitions drop-detached`).

DETACH … CONCURRENTLY is refused where there is a default partition, so the short lock of the
plain form it is; it waits at most LOCK_TIMEOUT for it, because everybody who asks for clicks
waits behind it, and tries again at the loader's next upkeep. It is one transaction: killed
anywhere, it has happened with its note or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Final

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from affiliate.core import audit
from affiliate.core.config import Settings
from affiliate.core.errors import NotFound, Refusal
from tracker.clicks.models import DetachedMonth
from tracker.clicks.partitions import LOCK_KEY, LOCK_TIMEOUT, make_month, month_at

MONTHS_AT_ONCE: Final = 3
"""An upkeep takes so many months out at most; the rest waits for the next."""

ATTACHED = sa.text(
    r"""
    SELECT child.relname AS name, pg_total_relation_size(child.oid) AS size,
           greatest(child.reltuples, 0)::bigint AS rows
      FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
     WHERE inhparent = 'clicks'::regclass AND child.relname ~ '^clicks_\d{4}_\d{2}$'
     ORDER BY 1
    """
)
SIZE = sa.text(
    "SELECT pg_total_relation_size(to_regclass(:name)), "
    "greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = to_regclass(:name)"
)
IN_DEFAULT = sa.text(
    """
    SELECT DISTINCT date_trunc('month', clicked_at, 'UTC') FROM clicks_default
     WHERE clicked_at < :cut
    """
)
# A version is needed for as long after its successor as its own orders may still be credited
# and held; of versions that are in force now there is no end yet.
EVIDENCE_DAYS = sa.text(
    """
    SELECT coalesce(max(days), 0) FROM (
        SELECT (terms #>> '{attribution,window_days}')::int
               + (terms #>> '{payout,hold_days}')::int AS days,
               lead(effective_at) OVER (PARTITION BY program_id ORDER BY effective_at, number)
                   AS replaced_at
          FROM rule_versions) AS versions
     WHERE replaced_at IS NULL OR replaced_at > :now - make_interval(days => days)
    """
)


class MonthStatus(StrEnum):
    """Where the rows of a month are."""

    ATTACHED = "attached"
    DETACHED = "detached"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Month:
    """A month of raw clicks."""

    begin: date
    status: MonthStatus
    size: int = 0
    """Bytes, indexes included."""
    rows: int = 0
    """By PostgreSQL's estimate."""

    @property
    def name(self) -> str:
        return f"clicks_{self.begin:%Y_%m}"


class NoSuchMonth(NotFound):
    code = "no_such_month"
    title = "There is no such month of clicks."


class MonthIsNeeded(Refusal):
    code = "month_is_needed"
    title = "Orders may still be credited to clicks of this month."


def evidence_days(session: Session, *, now: datetime) -> int:
    """The longest time for which an order may need a click: attribution window and hold."""
    return int(session.scalar(EVIDENCE_DAYS, {"now": now}) or 0)


def kept_since(session: Session, *, settings: Settings, now: datetime) -> datetime | None:
    """The first instant whose clicks are kept in the table; None: all are."""
    if not settings.clicks_keep_days:
        return None
    days = max(settings.clicks_keep_days, evidence_days(session, now=now))
    try:
        return now - timedelta(days=days)
    except OverflowError:
        # So many days that no date lies so far back: for ever.
        return None


def months(session: Session) -> list[Month]:
    """Every month that has or had a partition of its own, oldest first."""
    found = [
        Month(_begin_of(row.name), MonthStatus.ATTACHED, row.size, row.rows)
        for row in session.execute(ATTACHED)
    ]
    for each in session.scalars(sa.select(DetachedMonth)):
        gone = Month(each.month, MonthStatus.DROPPED)
        if each.dropped_at is None:
            size, rows = session.execute(SIZE, {"name": gone.name}).one()
            gone = Month(each.month, MonthStatus.DETACHED, size, rows)
        found.append(gone)
    return sorted(found, key=lambda month: month.begin)


def detach_old(session: Session, *, settings: Settings, now: datetime) -> list[str]:
    """Take out the months that are old enough; returns their names.

    A month whose lock cannot be had at once is left for the next time.
    """
    cut = kept_since(session, settings=settings, now=now)
    if cut is None:
        return []
    done: list[str] = []
    try:
        with session.begin_nested():
            _file_default(session, cut=cut)
            old = [month for month in months(session) if month.status is MonthStatus.ATTACHED]
            for month in [each for each in old if _end_of(each.begin) <= cut][:MONTHS_AT_ONCE]:
                _detach(session, month, now=now)
                done.append(month.name)
    except OperationalError as error:
        if not _is_lock_timeout(error):
            raise
        return []
    return done


def detach(session: Session, *, begin: date, by: str, now: datetime) -> Month:
    """Take one month out because a person says so.

    Raises NoSuchMonth, MonthIsNeeded while orders may still be credited to its clicks, and
    OperationalError when somebody reads clicks for longer than LOCK_TIMEOUT.
    """
    month = _the(session, begin, MonthStatus.ATTACHED)
    needed = now - timedelta(days=evidence_days(session, now=now))
    if _end_of(begin) > needed:
        raise MonthIsNeeded(
            f"Orders may be credited to clicks since {needed:%Y-%m-%d}; detach older months."
        )
    _detach(session, month, now=now)
    audit.record(session, actor=by, action="partition.detach", subject=month.name, now=now)
    return month


def drop_detached(session: Session, *, begin: date, by: str, now: datetime) -> Month:
    """Give up the rows of a detached month for good; the audit log keeps who did.

    Raises NoSuchMonth for any other month.
    """
    month = _the(session, begin, MonthStatus.DETACHED)
    session.execute(sa.text(f"DROP TABLE {month.name}"))
    note = session.get_one(DetachedMonth, begin)
    note.dropped_at = now
    audit.record(
        session,
        actor=by,
        action="partition.drop",
        subject=month.name,
        now=now,
        old={"rows": month.rows, "size": month.size},
    )
    session.flush()
    return month


def _the(session: Session, begin: date, status: MonthStatus) -> Month:
    for month in months(session):
        if month.begin == begin and month.status is status:
            return month
    raise NoSuchMonth(f"No month {begin:%Y-%m} is {status.value}.")


def _detach(session: Session, month: Month, *, now: datetime) -> None:
    session.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
    session.execute(LOCK_TIMEOUT)
    session.execute(sa.text(f"ALTER TABLE clicks DETACH PARTITION {month.name}"))
    session.add(DetachedMonth(month=month.begin, detached_at=now))
    session.flush()


def _file_default(session: Session, *, cut: datetime) -> None:
    """Old rows in the default partition (imports, a demo's year) get months of their own."""
    gone = set(session.scalars(sa.select(DetachedMonth.month)))
    for begin in session.scalars(IN_DEFAULT, {"cut": cut}).all():
        first = begin.astimezone(UTC).date()
        if first not in gone and _end_of(first) <= cut:
            session.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
            session.execute(LOCK_TIMEOUT)
            make_month(session, _instant(first))


def _begin_of(name: str) -> date:
    return datetime.strptime(name, "clicks_%Y_%m").replace(tzinfo=UTC).date()


def _end_of(begin: date) -> datetime:
    return month_at(_instant(begin), 1)


def _instant(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _is_lock_timeout(error: OperationalError) -> bool:
    return getattr(error.orig, "sqlstate", None) == "55P03"
