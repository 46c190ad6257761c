"""One batch of journal records into PostgreSQL, in the caller's transaction.

Rows, visitors' marks, counters and quarantine come together or not at all; with the
segment's offset in the same transaction each record is loaded exactly once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from uuid import UUID

import psycopg

from tracker.clicks.judging import (
    Candidate,
    LinkFacts,
    Mark,
    candidate,
    count_days,
    judge,
    latest_marks,
)
from tracker.clicks.records import (
    FLAG_DEEP_LINK_REFUSED,
    FLAG_KNOWN_VISITOR,
    ClickRecord,
    Reject,
    RejectReason,
)
from tracker.clicks.tokens import NO_VISITOR, clicked_ms_of

QUARANTINE_BYTES_MAX: Final = 65_536

FACTS = """
    SELECT links.id, links.program_id, links.enrollment_id, programs.time_zone
      FROM links JOIN programs ON programs.id = links.program_id
     WHERE links.id = ANY(%s)
"""
PRESENT = """
    SELECT click_id FROM clicks
     WHERE click_id = ANY(%(ids)s) AND clicked_at BETWEEN %(first)s AND %(last)s
"""
# Rows are locked in the order of the key, so that the loaders of two nodes cannot deadlock.
LEAVE_MARKS = """
    WITH left_marks AS (
        INSERT INTO link_day_visitors AS marks (link_id, day, visitor_key, last_ms)
        SELECT * FROM unnest(%s::bigint[], %s::date[], %s::uuid[], %s::bigint[]) AS batch
         ORDER BY 1, 2, 3
        ON CONFLICT (link_id, day, visitor_key) DO UPDATE
           SET previous_ms = marks.last_ms, last_ms = greatest(marks.last_ms, excluded.last_ms)
        RETURNING link_id, day, visitor_key, previous_ms
    )
    SELECT link_id, day, visitor_key, previous_ms FROM left_marks WHERE previous_ms IS NOT NULL
"""
COPY_CLICKS = """
    COPY clicks (click_id, clicked_at, link_id, program_id, enrollment_id, visitor_id,
                 visitor_known, is_unique, reason, deep_link_refused, address_hash, agent,
                 referrer, deep_link, s1, s2, s3, s4, s5) FROM STDIN
"""
ADD_DAYS = """
    INSERT INTO link_days AS days
           (link_id, day, program_id, enrollment_id, clicks, uniques, duplicates)
    SELECT * FROM unnest(%s::bigint[], %s::date[], %s::bigint[], %s::bigint[],
                         %s::bigint[], %s::bigint[], %s::bigint[]) AS batch
     ORDER BY 1, 2
    ON CONFLICT (enrollment_id, day, link_id) DO UPDATE
       SET clicks = days.clicks + excluded.clicks,
           uniques = days.uniques + excluded.uniques,
           duplicates = days.duplicates + excluded.duplicates
"""
ADD_DROPS = """
    INSERT INTO link_day_drops AS drops
           (link_id, day, reason, enrollment_id, clicks)
    SELECT * FROM unnest(%s::bigint[], %s::date[], %s::text[], %s::bigint[],
                         %s::bigint[]) AS batch
     ORDER BY 1, 2, 3
    ON CONFLICT (enrollment_id, day, link_id, reason)
    DO UPDATE SET clicks = drops.clicks + excluded.clicks
"""
QUARANTINE = """
    INSERT INTO click_quarantine (segment, segment_offset, reason, size, content, found_at)
    VALUES (%s, %s, %s, %s, %s, %s)
    ON CONFLICT (segment, segment_offset) DO NOTHING
"""


def load_records(
    connection: psycopg.Connection,
    records: Sequence[ClickRecord],
    facts: dict[int, LinkFacts],
    *,
    check_present: bool = False,
) -> list[ClickRecord]:
    """Write the batch; returns the records whose link the database does not have.

    ``facts`` is the caller's memory of links and is added to. A record that the table has
    already makes psycopg.errors.UniqueViolation; the caller then rolls back and comes again
    with ``check_present``, which leaves such records out (a click that was written to the
    journal and, because the disk did not confirm it, to the spill table as well).
    """
    distinct = {record.click_id: record for record in records}
    if check_present:
        for click_id in _present(connection, list(distinct)):
            del distinct[click_id]
    _learn(connection, {record.link_id for record in distinct.values()} - facts.keys(), facts)
    homeless = [record for record in distinct.values() if record.link_id not in facts]
    clicks = [
        candidate(record, facts[record.link_id])
        for record in distinct.values()
        if record.link_id in facts
    ]
    if clicks:
        judge(clicks, _leave_marks(connection, latest_marks(clicks)))
        with connection.cursor() as cursor, cursor.copy(COPY_CLICKS) as copy:
            copy.write("".join(_line(click) for click in clicks))
        _count(connection, clicks)
    return homeless


def quarantine(
    connection: psycopg.Connection, segment: str, rejects: Iterable[Reject], *, found_at: datetime
) -> None:
    """Keep what is no click, for a person to look at."""
    rows = [
        (segment, entry.offset, entry.reason, len(entry.raw), _cut(entry.raw), found_at)
        for entry in rejects
    ]
    if rows:
        with connection.cursor() as cursor:
            cursor.executemany(QUARANTINE, rows)


def rejected(records: Iterable[ClickRecord], offset: int, reason: RejectReason) -> list[Reject]:
    """Records as rejects, placed in the source whose batch began at ``offset``."""
    return [Reject(offset + record.offset, record.raw, reason) for record in records]


def _cut(raw: bytes) -> bytes:
    return raw[:QUARANTINE_BYTES_MAX]


def _present(connection: psycopg.Connection, click_ids: list[bytes]) -> list[bytes]:
    times = [clicked_ms_of(click_id) for click_id in click_ids]
    rows = connection.execute(
        PRESENT,
        {
            "ids": [UUID(bytes=click_id) for click_id in click_ids],
            "first": datetime.fromtimestamp(min(times) / 1000, UTC),
            "last": datetime.fromtimestamp(max(times) / 1000 + 1, UTC),
        },
    )
    return [row[0].bytes for row in rows]


def _learn(connection: psycopg.Connection, unknown: set[int], facts: dict[int, LinkFacts]) -> None:
    if unknown:
        for link_id, program_id, enrollment_id, zone in connection.execute(FACTS, (list(unknown),)):
            facts[link_id] = LinkFacts(program_id, enrollment_id, zone)


def _leave_marks(connection: psycopg.Connection, latest: dict[Mark, int]) -> dict[Mark, int]:
    """Write the marks; returns the instants of those that stood there before."""
    if not latest:
        return {}
    marks = list(latest)
    rows = connection.execute(
        LEAVE_MARKS,
        (
            [mark[0] for mark in marks],
            [mark[1] for mark in marks],
            [mark[2].hex() for mark in marks],
            list(latest.values()),
        ),
    )
    return {(link_id, day, key.bytes): before for link_id, day, key, before in rows}


def _count(connection: psycopg.Connection, clicks: Sequence[Candidate]) -> None:
    days = count_days(clicks)
    connection.execute(
        ADD_DAYS,
        (
            [key[0] for key in days],
            [key[1] for key in days],
            [count.facts.program_id for count in days.values()],
            [count.facts.enrollment_id for count in days.values()],
            [count.clicks for count in days.values()],
            [count.uniques for count in days.values()],
            [count.duplicates for count in days.values()],
        ),
    )
    drops = [
        (*key, reason, count.facts.enrollment_id, number)
        for key, count in days.items()
        for reason, number in count.drops.items()
    ]
    if drops:
        connection.execute(ADD_DROPS, tuple(map(list, zip(*drops, strict=True))))


def _line(click: Candidate) -> str:
    """One row in COPY's text format (PostgreSQL's documentation, COPY, "Text Format")."""
    record = click.record
    flags = record.flags
    visitor = r"\N" if record.visitor_id == NO_VISITOR else record.visitor_id.hex()
    seconds, milliseconds = divmod(click.clicked_ms, 1000)
    given = any(record.sub_ids)
    sub_ids = "\t".join(map(_text_or_null, record.sub_ids)) if given else _NO_SUB_IDS
    return (
        f"{record.click_id.hex()}\t{_second(seconds)}.{milliseconds:03d}+00\t{record.link_id}\t"
        f"{click.facts.program_id}\t{click.facts.enrollment_id}\t{visitor}\t"
        f"{'t' if flags & FLAG_KNOWN_VISITOR else 'f'}\t{'t' if click.is_unique else 'f'}\t"
        f"{click.reason or _NULL}\t{'t' if flags & FLAG_DEEP_LINK_REFUSED else 'f'}\t"
        f"{record.address_hash.hex()}\t{_text(record.agent)}\t{_text(record.referrer)}\t"
        f"{_text_or_null(record.deep_link)}\t{sub_ids}\n"
    )


_NULL = r"\N"
_NO_SUB_IDS = "\t".join([_NULL] * 5)
_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


@lru_cache(maxsize=20_000)
def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace").translate(_ESCAPES)


def _text_or_null(raw: bytes) -> str:
    return _text(raw) if raw else _NULL


@lru_cache(maxsize=10_000)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
