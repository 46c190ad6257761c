"""Visitors' marks in PostgreSQL: what makes uniques exact, also between nodes and batches.

Each day has a table of its own, `clicks_seen_<day>`, made ahead and dropped when nobody
clicks on that day any more, so that old marks cost nothing. A row is 64 bits of hash and an
instant. The callers hold their programs' lock (`lock_programs`), so that nobody else writes
marks of the same links meanwhile, and the tables' lock shared, so that none comes or goes.

A click that is loaded when its day has no table yet or no longer is compared with the rows
of its link and day instead: slower and as exact.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from uuid import UUID

import psycopg
from psycopg import sql

from tracker.clicks.arrays import bigints, column, copy_rows
from tracker.clicks.judging import (
    QUARTER_MS,
    Candidate,
    Mark,
    day_bounds,
    device_mark,
    known_days,
    salt_of,
    slot_of,
    visitor_mark,
)
from tracker.clicks.records import FLAG_KNOWN_VISITOR
from tracker.clicks.rows import BEGIN, END
from tracker.clicks.tokens import NO_VISITOR

DAYS_BEHIND: Final = 1
DAYS_AHEAD: Final = 2
DAYS_KEPT: Final = 8
"""As long as loaded journals are kept, and a day more: what is loaded late comes in this time."""
TABLES_LOCK: Final = 0x6B706B73
PROGRAM_LOCKS: Final = 0x6B70 << 40
ROWS_AT_ONCE: Final = 10_000

LOCK_TABLES = "SELECT pg_advisory_xact_lock_shared(%s)"
LOCK_TABLES_ALONE = "SELECT pg_advisory_xact_lock(%s)"
LOCK_PROGRAMS = "SELECT pg_advisory_xact_lock(key) FROM unnest(%s::bigint[]) AS key"
TABLES = r"""
    SELECT tablename FROM pg_tables
     WHERE tablename LIKE 'clicks\_seen\_%' AND schemaname = current_schema()
"""
HAVE_TABLES = """
    SELECT day FROM unnest(%s::date[]) AS day
     WHERE to_regclass('clicks_seen_' || to_char(day, 'YYYY_MM_DD')) IS NOT NULL
"""
CREATE = "CREATE TABLE {} (mark bigint PRIMARY KEY, last_ms bigint NOT NULL) WITH (fillfactor = 90)"
READ = "SELECT mark, last_ms FROM {} WHERE mark = ANY(%b::bigint[])"
MOVE = """
    UPDATE {} AS seen SET last_ms = batch.last_ms
      FROM unnest(%b::bigint[], %b::bigint[]) AS batch (mark, last_ms)
     WHERE seen.mark = batch.mark
"""
# The cookie's first click stands in the table of clicks, under its index of visitors. The
# addition keeps the planner from the index of links, in which it may have to go through a
# whole day of a link.
HANDED_OUT = """
    SELECT batch.number, clicks.at
      FROM unnest(%b::bigint[], %b::uuid[], %b::bigint[], %b::timestamptz[], %b::timestamptz[])
           AS batch (number, visitor_id, link_id, day_begin, day_end)
     CROSS JOIN LATERAL (
        SELECT clicked_at AS at FROM clicks
         WHERE visitor_id = batch.visitor_id AND link_id + 0 = batch.link_id
           AND clicked_at >= batch.day_begin AND clicked_at < batch.day_end
           AND (reason IS NULL OR reason = 'duplicate')
         ORDER BY clicked_at DESC LIMIT 1) AS clicks
"""
ROWS_OF_LINKS = """
    SELECT clicks.link_id, batch.day, visitor_known, visitor_id, address_hash, agent, clicked_at
      FROM unnest(%b::bigint[], %b::date[], %b::timestamptz[], %b::timestamptz[])
           AS batch (link_id, day, day_begin, day_end)
      JOIN clicks ON clicks.link_id = batch.link_id
       AND clicked_at >= batch.day_begin AND clicked_at < batch.day_end
     WHERE reason IS NULL OR reason = 'duplicate'
"""
ROWS_OF_DAY = """
    SELECT link_id, time_zone, visitor_known, visitor_id, address_hash, agent, clicked_at
      FROM clicks JOIN programs ON programs.id = clicks.program_id
     WHERE clicked_at >= %s AND clicked_at < %s AND (reason IS NULL OR reason = 'duplicate')
"""


def lock_programs(connection: psycopg.Connection, program_ids: Collection[int]) -> None:
    """Be the only one who judges and counts clicks of these programs until the commit.

    It makes uniques and the cap on values exact. Taken in the order of the ids, so that two
    loaders cannot wait for each other in a circle.
    """
    connection.execute(LOCK_TABLES, (TABLES_LOCK,))
    connection.execute(LOCK_PROGRAMS, ([PROGRAM_LOCKS + each for each in sorted(program_ids)],))


@dataclass(frozen=True, slots=True)
class Seen:
    """What a batch's visitors left before it."""

    latest: dict[Mark, int]
    """The latest instant (ms) of each that was seen; the judge adds to it."""
    stored: frozenset[Mark]
    """Those of them that have a row."""
    days: frozenset[date]
    """The batch's days that have a table."""


def asked(clicks: list[Candidate]) -> set[Mark]:
    """The marks that the judge has to know of these clicks.

    Those that they came with, and of the first click of each, which may be a new visitor's, that
    of the cookie which was handed out with it.
    """
    found: set[Mark] = set()
    for click in clicks:
        if click.mark not in found:
            found.add(click.mark)
            if click.handed_out is not None:
                found.add(click.handed_out)
    return found


def read_marks(
    connection: psycopg.Connection,
    open_clicks: list[Candidate],
    asked: Callable[[list[Candidate]], set[Mark]] = asked,
) -> Seen:
    """Look up the visitors of clicks that nothing speaks against so far."""
    days = known_days(open_clicks)
    if not days:
        return Seen({}, frozenset(), frozenset())
    kept = frozenset(row[0] for row in connection.execute(HAVE_TABLES, (list(days),)))
    latest: dict[Mark, int] = {}
    for day in sorted(kept):
        here = _on(day, open_clicks, days)
        # All at once: neighbours in the order of the marks lie on the same pages.
        _read(connection, day, asked(here), latest)
    stored = frozenset(latest)
    for day in sorted(kept):
        _add_handed_out(connection, _on(day, open_clicks, days), latest)
    if days - kept:
        _add_rows(
            connection, [click for click in open_clicks if click.slot.day not in kept], latest
        )
    return Seen(latest, stored, kept)


def write_marks(
    connection: psycopg.Connection,
    open_clicks: list[Candidate],
    seen: Seen,
    touched: Mapping[Mark, int],
) -> None:
    """Write the marks that are new or have moved, of the days that have a table."""
    days = known_days(open_clicks)
    for day in sorted(seen.days):
        here = {click.mark for click in _on(day, open_clicks, days)}
        new = sorted(here - seen.stored)
        moved = sorted(here & seen.stored)
        if new:
            _copy(connection, day, new, [touched[mark] for mark in new])
        if moved:
            instants = bigints([touched[mark] for mark in moved])
            connection.execute(_of_day(MOVE, day), (bigints(moved), instants))


def keep_tables(
    connection: psycopg.Connection, *, now: datetime, since: datetime | None = None
) -> list[str]:
    """Make the tables of the days around now, drop old ones; returns the names of the new.

    ``since`` is the age of the oldest clicks that wait: their days get tables too, as far
    back as tables are kept. Without one each batch of such a day reads all its rows anew.
    """
    connection.execute(LOCK_TABLES_ALONE, (TABLES_LOCK,))
    there = {name for (name,) in connection.execute(TABLES)}
    today = now.astimezone(UTC).date()
    oldest = _name(today - timedelta(days=DAYS_KEPT))
    for name in sorted(there):
        if name < oldest:
            connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))
    waited_days = 0 if since is None else (today - since.astimezone(UTC).date()).days
    behind = max(DAYS_BEHIND, min(waited_days + DAYS_BEHIND, DAYS_KEPT - 1))
    made = []
    for distance in range(-behind, DAYS_AHEAD + 1):
        day = today + timedelta(days=distance)
        if _name(day) not in there:
            connection.execute(_of_day(CREATE, day))
            _fill(connection, day)
            made.append(_name(day))
    return made


def _on(day: date, clicks: list[Candidate], days: set[date]) -> list[Candidate]:
    return clicks if days == {day} else [click for click in clicks if click.slot.day == day]


def _read(
    connection: psycopg.Connection, day: date, wanted: set[Mark], latest: dict[Mark, int]
) -> None:
    """Add those that the day's table has."""
    if wanted:
        latest.update(connection.execute(_of_day(READ, day), (bigints(sorted(wanted)),)))


def _add_handed_out(
    connection: psycopg.Connection, clicks: Sequence[Candidate], seen: dict[Mark, int]
) -> None:
    """Cookies that came back and have no mark may have been handed out earlier that day."""
    asked: dict[Mark, Candidate] = {}
    for click in clicks:
        if click.record.flags & FLAG_KNOWN_VISITOR and click.mark not in seen:
            asked.setdefault(click.mark, click)
    if not asked:
        return
    back = list(asked.values())
    bounds = [day_bounds(click.facts.time_zone, click.slot.day) for click in back]
    rows = connection.execute(
        HANDED_OUT,
        (
            bigints(range(len(back))),
            column("uuid", [click.record.visitor_id for click in back]),
            bigints([click.record.link_id for click in back]),
            column("timestamptz", [begin for begin, _ in bounds]),
            column("timestamptz", [end for _, end in bounds]),
        ),
    )
    for number, at in rows:
        seen[back[number].mark] = _ms(at)


def _add_rows(
    connection: psycopg.Connection, clicks: Sequence[Candidate], seen: dict[Mark, int]
) -> None:
    """The marks that rows of the same links and days would have left."""
    asked = {(click.record.link_id, click.slot.day): click.facts.time_zone for click in clicks}
    bounds = [day_bounds(zone, day) for (_, day), zone in asked.items()]
    rows = connection.execute(
        ROWS_OF_LINKS,
        (
            [link_id for link_id, _ in asked],
            [day for _, day in asked],
            [begin for begin, _ in bounds],
            [end for _, end in bounds],
        ),
    )
    for mark, at, _ in _marks_of(rows):
        seen[mark] = max(at, seen.get(mark, at))


def _fill(connection: psycopg.Connection, day: date) -> None:
    """Marks of clicks that were loaded before their day had a table."""
    midnight = datetime.combine(day, time(0), tzinfo=UTC)
    # A day begins 14 hours before that of UTC at the earliest and ends 12 behind it.
    within = (midnight - timedelta(hours=15), midnight + timedelta(hours=37))
    left: dict[Mark, int] = {}
    rows = (
        (link_id, slot_of(zone, _ms(at) // QUARTER_MS).day, *rest, at)
        for link_id, zone, *rest, at in connection.execute(ROWS_OF_DAY, within)
    )
    for mark, at, own in _marks_of(row for row in rows if row[1] == day):
        if own:
            left[mark] = max(at, left.get(mark, at))
    if left:
        marks = sorted(left)
        _copy(connection, day, marks, [left[mark] for mark in marks])


def _marks_of(rows: Iterable[Sequence[object]]) -> Iterator[tuple[Mark, int, bool]]:
    """Mark, instant, and whether it is the click's own and not that of a cookie handed out."""
    for link_id, day, known, visitor, address, agent, clicked_at in rows:
        assert isinstance(link_id, int) and isinstance(day, date)
        assert isinstance(address, UUID) and isinstance(agent, str)
        assert isinstance(clicked_at, datetime)
        salt, at = salt_of(link_id, day), _ms(clicked_at)
        visitor_id = visitor.bytes if isinstance(visitor, UUID) else NO_VISITOR
        if known:
            yield visitor_mark(salt, visitor_id), at, True
            continue
        yield device_mark(salt, address.bytes, agent.encode()), at, True
        if visitor_id != NO_VISITOR:
            yield visitor_mark(salt, visitor_id), at, False


def _copy(
    connection: psycopg.Connection, day: date, marks: Sequence[Mark], instants: Sequence[int]
) -> None:
    statement = _of_day("COPY {} (mark, last_ms) FROM STDIN (FORMAT binary)", day)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(BEGIN)
        copy.write(copy_rows(marks, instants))
        copy.write(END)


def _of_day(statement: str, day: date) -> sql.Composed:
    return sql.SQL(statement).format(sql.Identifier(_name(day)))


def _name(day: date) -> str:
    return f"clicks_seen_{day:%Y_%m_%d}"


def _ms(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(milliseconds=1)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
