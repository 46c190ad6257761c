"""Counters against a recount of the rows: named where they differ, and made anew.

The recount goes through the loader's own arithmetic (`rollups.add_sort`), fed with groups of
rows instead of records. Values that a group has admitted stay admitted. Days whose raw rows
were detached cannot be recounted and are left alone. Rule: docs/statistics.md, "How counters
are kept".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import psycopg

from tracker.clicks import rollups
from tracker.clicks.judging import LinkFacts, day_bounds, slot_of
from tracker.clicks.marks import lock_programs
from tracker.clicks.rollups import Batch, Counts, Key, Table
from tracker.clicks.rules import OTHER_VALUES, VALUES_PER_LINK_DAY_MAX

PROGRAMS = "SELECT id, slug, time_zone FROM programs ORDER BY id"
# The counters know the days that they have; clicks without any counter are looked for too.
SPAN = """
    SELECT least((SELECT min(day) FROM program_days WHERE program_id = %(program)s),
                 (SELECT min(clicked_at AT TIME ZONE %(zone)s)::date
                    FROM clicks WHERE program_id = %(program)s)),
           greatest((SELECT max(day) FROM program_days WHERE program_id = %(program)s),
                    (SELECT max(clicked_at AT TIME ZONE %(zone)s)::date
                       FROM clicks WHERE program_id = %(program)s))
"""
DETACHED = "SELECT month FROM detached_months"
# A click's id begins with its millisecond, so the primary key finds a day without a scan.
_OF_DAY: Final = """
    program_id = %(program)s AND clicked_at >= %(begin)s AND clicked_at < %(end)s
    AND click_id >= %(first_id)s AND click_id < %(end_id)s
"""
SORTS = f"""
    SELECT link_id, enrollment_id, floor(extract(epoch FROM clicked_at) / 900)::bigint AS quarter,
           reason, is_unique, device, count(*)
      FROM clicks WHERE {_OF_DAY}
     GROUP BY 1, 2, 3, 4, 5, 6
"""  # noqa: S608
VALUES = f"""
    SELECT enrollment_id, link_id, kind, value, count(*), count(*) FILTER (WHERE is_unique)
      FROM clicks
     CROSS JOIN LATERAL (VALUES ('s1', s1), ('s2', s2), ('s3', s3), ('s4', s4), ('s5', s5),
                                ('creative', creative), ('country', country)) AS v (kind, value)
     WHERE {_OF_DAY} AND reason IS NULL AND value IS NOT NULL
     GROUP BY 1, 2, 3, 4
     ORDER BY min(clicked_at), 3, 4
"""  # noqa: S608

# Hours of links know no program; an hour belongs to the day in which it begins.
_OF_LINKS: Final = "enrollment_id IN (SELECT id FROM enrollments WHERE program_id = %(program)s)"
STORED_WHERE: Final = {
    "link_days": "program_id = %(program)s AND day = %(day)s",
    "link_hours": f"{_OF_LINKS} AND hour >= %(begin)s AND hour < %(end)s",
    "link_day_drops": f"{_OF_LINKS} AND day = %(day)s",
    "link_day_values": f"{_OF_LINKS} AND day = %(day)s",
    "program_days": "program_id = %(program)s AND day = %(day)s",
    "program_hours": "program_id = %(program)s AND hour >= %(begin)s AND hour < %(end)s",
    "program_day_drops": "program_id = %(program)s AND day = %(day)s",
    "program_day_values": "program_id = %(program)s AND day = %(day)s",
}


@dataclass(frozen=True, slots=True)
class ProgramDay:
    """What is recounted at once."""

    program_id: int
    slug: str
    time_zone: str
    day: date

    @property
    def bounds(self) -> tuple[datetime, datetime]:
        return day_bounds(self.time_zone, self.day)


@dataclass(frozen=True, slots=True)
class Difference:
    """A counter that does not say what the rows say."""

    table: str
    key: Key
    stored: tuple[int, ...]
    recounted: tuple[int, ...]

    def __str__(self) -> str:
        table = next(each for each in rollups.TABLES if each.name == self.table)
        where = ", ".join(
            f"{name} {value}" for name, value in zip(table.key, self.key, strict=True)
        )
        wrong = ", ".join(
            f"{name} {stored} instead of {recounted}"
            for name, stored, recounted in zip(
                table.counts, self.stored, self.recounted, strict=True
            )
            if stored != recounted
        )
        return f"{self.table} ({where}): {wrong}"


def days_of(
    connection: psycopg.Connection, *, first: date | None = None, last: date | None = None
) -> tuple[list[ProgramDay], list[ProgramDay]]:
    """The days that have clicks or counters, and those of them whose rows are detached."""
    whole: list[ProgramDay] = []
    gone: list[ProgramDay] = []
    detached = {row[0] for row in connection.execute(DETACHED)}
    for program_id, slug, zone in connection.execute(PROGRAMS).fetchall():
        row = connection.execute(SPAN, {"program": program_id, "zone": zone}).fetchone()
        assert row is not None
        if row[0] is None:
            continue
        day, end = max(row[0], first or row[0]), min(row[1], last or row[1])
        while day <= end:
            one = ProgramDay(program_id, slug, zone, day)
            (gone if _months(one) & detached else whole).append(one)
            day += timedelta(days=1)
    return whole, gone


def differences(connection: psycopg.Connection, one: ProgramDay) -> list[Difference]:
    """Compare every counter of a day; the caller's transaction must see one instant.

    In REPEATABLE READ, or with the program locked: rows and counters are written together.
    """
    return _compare(connection, one)[0]


def rebuild(connection: psycopg.Connection, one: ProgramDay) -> list[Difference]:
    """Write the counters of a day anew where they differ; returns what differed.

    In the caller's transaction, in READ COMMITTED. The loader waits with clicks of this
    program until it ends.
    """
    lock_programs(connection, [one.program_id])
    found, recounted = _compare(connection, one)
    wrong = {difference.table for difference in found}
    for table in rollups.TABLES:
        if table.name in wrong:
            statement = f"DELETE FROM {table.name} WHERE {STORED_WHERE[table.name]}"  # noqa: S608
            connection.execute(statement, _values(one))
            rollups.upsert(connection, table, recounted.of(table), recounted.program_of)
    return found


def _compare(connection: psycopg.Connection, one: ProgramDay) -> tuple[list[Difference], Batch]:
    stored = {table.name: _stored(connection, table, one) for table in rollups.TABLES}
    recounted = _recount(connection, one, stored)
    found = []
    for table in rollups.TABLES:
        there, said = stored[table.name], recounted.of(table)
        none = (0,) * len(table.counts)
        for key in sorted(there.keys() | said.keys()):
            was, shall = tuple(there.get(key, none)), tuple(said.get(key, none))
            if was != shall:
                found.append(Difference(table.name, key, was, shall))
    return found, recounted


def _stored(connection: psycopg.Connection, table: Table, one: ProgramDay) -> Counts:
    columns = ", ".join((*table.key, *table.counts))
    statement = f"SELECT {columns} FROM {table.name} WHERE {STORED_WHERE[table.name]}"  # noqa: S608
    width = len(table.key)
    return {
        tuple(row[:width]): list(row[width:]) for row in connection.execute(statement, _values(one))
    }


def _recount(connection: psycopg.Connection, one: ProgramDay, stored: dict[str, Counts]) -> Batch:
    batch, values = Batch(), _values(one)
    for link_id, enrollment_id, quarter, reason, unique, device, number in connection.execute(
        SORTS, values
    ):
        facts = LinkFacts(one.program_id, enrollment_id, one.time_zone)
        slot = slot_of(one.time_zone, quarter)
        outcome = unique if reason is None else reason
        rollups.add_sort(batch, link_id, facts, slot, outcome, device, number)
    rollups.sum_programs(batch)
    links: Counts = {}
    programs: Counts = {}
    for enrollment_id, link_id, kind, value, clicks, uniques in connection.execute(VALUES, values):
        rollups.add(links, (enrollment_id, one.day, link_id, kind, value), clicks, uniques)
        if kind in rollups.PROGRAM_KINDS:
            rollups.add(programs, (one.program_id, one.day, kind, value), clicks, uniques)
    batch.link_values = _capped(links, stored["link_day_values"])
    batch.program_values = _capped(programs, stored["program_day_values"])
    return batch


def _capped(counted: Counts, stored: Counts) -> Counts:
    """Values that were admitted keep their places; the free ones go to the first that came."""
    taken: dict[Key, int] = {}
    for key in counted:
        if key in stored and key[-1] != OTHER_VALUES:
            taken[key[:-1]] = taken.get(key[:-1], 0) + 1
    found: Counts = {}
    for key, numbers in counted.items():
        group = key[:-1]
        admitted = key in stored
        if key[-1] != OTHER_VALUES and not admitted:
            admitted = taken.get(group, 0) < VALUES_PER_LINK_DAY_MAX
            taken[group] = taken.get(group, 0) + admitted
        rollups.add(found, key if admitted else (*group, OTHER_VALUES), *numbers)
    return found


def _values(one: ProgramDay) -> dict[str, Any]:
    begin, end = one.bounds
    return {
        "program": one.program_id,
        "day": one.day,
        "begin": begin,
        "end": end,
        "first_id": _first_id(begin),
        "end_id": _first_id(end),
    }


def _first_id(at: datetime) -> UUID:
    """Not later than the id of any click from this instant on."""
    return UUID(int=(int(at.timestamp() * 1000)) << 80)


def _months(one: ProgramDay) -> set[date]:
    """The UTC months in which a day of the program lies."""
    begin, end = one.bounds
    last = end - timedelta(microseconds=1)
    return {each.astimezone(UTC).date().replace(day=1) for each in (begin, last)}
