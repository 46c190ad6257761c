"""One batch of journal records into PostgreSQL, in the caller's transaction.

Rows, visitors' marks, counters and quarantine come together or not at all; with the
segment's offset in the same transaction each record is loaded exactly once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import psycopg

from tracker.clicks.compiled import Steps, loader_steps
from tracker.clicks.floods import FloodWatch
from tracker.clicks.judging import Candidate, LinkFacts
from tracker.clicks.marks import lock_programs, read_marks, write_marks
from tracker.clicks.records import ClickRecord, Reject, RejectReason, collector_paused
from tracker.clicks.rollups import Counting, write
from tracker.clicks.rows import BEGIN, COPY_CLICKS, END, in_parts
from tracker.clicks.tokens import clicked_ms_of

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
QUARANTINE = """
    INSERT INTO click_quarantine (segment, segment_offset, reason, size, content, found_at)
    VALUES (%s, %s, %s, %s, %s, %s)
    ON CONFLICT (segment, segment_offset) DO NOTHING
"""


@collector_paused()
def load_records(
    connection: psycopg.Connection,
    records: Sequence[ClickRecord],
    facts: dict[int, LinkFacts],
    *,
    check_present: bool = False,
    floods: FloodWatch | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> list[ClickRecord]:
    """Write the batch; returns the records whose link the database does not have.

    ``floods`` judges the clicks too; the caller lets it keep them once they are committed.
    ``meanwhile`` is called again and again while PostgreSQL works, for a few milliseconds of
    something else.

    ``facts`` is the caller's memory of links and is added to. A record that the table has
    already makes psycopg.errors.UniqueViolation; the caller then rolls back and comes again
    with ``check_present``, which leaves such records out (a click that was written to the
    journal and, because the disk did not confirm it, to the spill table as well).
    """
    steps = loader_steps()
    distinct = {record.click_id: record for record in records}
    if check_present:
        for click_id in _present(connection, list(distinct)):
            del distinct[click_id]
    _learn(connection, {record.link_id for record in distinct.values()} - facts.keys(), facts)
    homeless = [record for record in distinct.values() if record.link_id not in facts]
    if homeless:
        distinct = {key: one for key, one in distinct.items() if one.link_id in facts}
    clicks = steps.candidates(distinct.values(), facts)
    if floods is not None:
        # Without any click too: what a batch that failed had counted must not be kept.
        floods.judge(clicks)
    if clicks:
        _write(connection, clicks, steps, meanwhile or _nothing)
    return homeless


def _write(
    connection: psycopg.Connection,
    clicks: list[Candidate],
    steps: Steps,
    meanwhile: Callable[[], None],
) -> None:
    """Judge the clicks against what is there, then write rows, marks and counters."""
    open_clicks = steps.leave_marks(clicks)
    lock_programs(connection, {click.facts.program_id for click in clicks})
    seen = read_marks(connection, open_clicks, steps.asked)
    touched = steps.judge(open_clicks, seen.latest)
    counting = Counting(steps.sorts, steps.values)
    with connection.cursor() as cursor, cursor.copy(COPY_CLICKS) as copy:
        copy.write(BEGIN)
        for part in in_parts(clicks):
            # What the socket holds keeps PostgreSQL busy for longer than the rest takes.
            copy.write(steps.packed(part))
            counting.add(part)
            meanwhile()
        copy.write(END)
        counted = counting.whole()
    write_marks(connection, open_clicks, seen, touched)
    write(connection, counted, meanwhile)


def _nothing() -> None:
    """PostgreSQL is waited for."""


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
