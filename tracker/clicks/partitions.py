"""Monthly partitions of the clicks table and daily tables of marks, made ahead of time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import psycopg
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tracker.clicks.marks import keep_tables

MONTHS_BEHIND: Final = 1
MONTHS_AHEAD: Final = 3
LOCK_KEY: Final = 0x6B706B70
"""Advisory lock: two loaders that start together make each partition once."""

LOCK_TIMEOUT = sa.text("SET LOCAL lock_timeout = '3s'")
"""Whoever wants clicks waits behind one who waits for the whole table: not for long, then."""
EXISTS = sa.text("SELECT to_regclass(:name) IS NOT NULL")
IN_DEFAULT = sa.text(
    "SELECT EXISTS (SELECT FROM clicks_default WHERE clicked_at >= :begin AND clicked_at < :end)"
)


def ensure_partitions(
    session: Session, *, now: datetime, since: datetime | None = None
) -> list[str]:
    """Make the month before `now`, its own and three ahead; returns the names of the new.

    Rows that already lie in the default partition (a jump of the demo clock, an old
    journal) are moved into their month in the same transaction. ``since``: see
    ``marks.keep_tables``. Raises sqlalchemy.exc.OperationalError when a long reader of the
    table is in the way: loaders must not queue up behind one who waits for it.
    """
    session.execute(LOCK_TIMEOUT)
    session.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
    # Before any lock on clicks, as the loaders do, so that nobody waits in a circle.
    made = keep_tables(driver(session), now=now, since=since)
    for distance in range(-MONTHS_BEHIND, MONTHS_AHEAD + 1):
        begin = month_at(now, distance)
        if make_month(session, begin):
            made.append(f"clicks_{begin:%Y_%m}")
    return made


def make_month(session: Session, begin: datetime) -> bool:
    """Make the partition of the month that begins there; False when its table exists.

    A month that was detached has its table still; its clicks lie in the default partition.
    """
    name = f"clicks_{begin:%Y_%m}"
    if session.scalar(EXISTS, {"name": name}):
        return False
    _make(session, name, begin, month_at(begin, 1))
    return True


def month_at(now: datetime, distance: int) -> datetime:
    """The first instant of the UTC month that lies `distance` months from now's."""
    months = now.astimezone(UTC).year * 12 + now.astimezone(UTC).month - 1 + distance
    return datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)


def _make(session: Session, name: str, begin: datetime, end: datetime) -> None:
    bounds = f"FROM ('{begin.isoformat()}') TO ('{end.isoformat()}')"
    if not session.scalar(IN_DEFAULT, {"begin": begin, "end": end}):
        session.execute(sa.text(f"CREATE TABLE {name} PARTITION OF clicks FOR VALUES {bounds}"))
        return
    # PostgreSQL refuses a partition whose rows lie in the default, so they move first.
    session.execute(sa.text("LOCK TABLE clicks IN ACCESS EXCLUSIVE MODE"))
    session.execute(
        sa.text(f"CREATE TABLE {name} (LIKE clicks INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
    )
    session.execute(
        sa.text(
            f"WITH moved AS (DELETE FROM clicks_default WHERE clicked_at >= :begin "  # noqa: S608
            f"AND clicked_at < :end RETURNING *) INSERT INTO {name} SELECT * FROM moved"
        ),
        {"begin": begin, "end": end},
    )
    session.execute(sa.text(f"ALTER TABLE clicks ATTACH PARTITION {name} FOR VALUES {bounds}"))


def driver(session: Session) -> psycopg.Connection:
    """psycopg's connection under the session, inside the session's transaction."""
    connection = session.connection().connection.driver_connection
    assert isinstance(connection, psycopg.Connection)
    return connection
