"""The counters of a batch of clicks, one upsert a table, in the transaction of their rows.

The caller holds the lock of the programs (`marks.lock_programs`): nobody else counts the
same links meanwhile, so that the cap on values is exact. What each table counts:
docs/statistics.md, "How counters are kept".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from weakref import WeakKeyDictionary

import psycopg

from tracker.clicks.arrays import bigints, column
from tracker.clicks.judging import Candidate, LinkFacts, Slot
from tracker.clicks.rows import values_of
from tracker.clicks.rules import (
    OTHER_VALUES,
    VALUES_PER_LINK_DAY_MAX,
    CountedBy,
    DeviceClass,
    DropReason,
)

FULL_REMEMBERED_MAX: Final = 100_000
PROGRAM_KINDS: Final = frozenset((CountedBy.CREATIVE, CountedBy.COUNTRY))
_KINDS: Final = tuple((kind.value, kind in PROGRAM_KINDS) for kind in CountedBy)
"""In the order of `rows.values_of`; plain, because an Enum costs more than the counting."""

CLICKS, UNIQUES, DUPLICATES, DROPPED = range(4)
DEVICE_PLACES: Final = {device.value: 4 + place for place, device in enumerate(DeviceClass)}
COUNTS: Final = ("clicks", "uniques", "duplicates", "dropped")
DEVICES: Final = tuple(device.value for device in DeviceClass)
_PLAIN_TEXTS: Final = (b"",) * 5

Key = tuple[Any, ...]
"""The values of a counter's primary key, in the order of its columns."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of counters: its key's columns and what is added up."""

    name: str
    key: Mapping[str, str]
    """Column and type, in the order of the primary key."""
    counts: tuple[str, ...]
    carried: Mapping[str, str] = field(default_factory=dict)
    """Columns that depend on the key and are written with it."""

    def upsert(self) -> str:
        """Adds a batch, whose rows come in the order of the key, to what is there."""
        columns = {**self.key, **self.carried, **dict.fromkeys(self.counts, "bigint")}
        added = ", ".join(f"{name} = counted.{name} + excluded.{name}" for name in self.counts)
        given = ", ".join(f"%b::{kind}[]" for kind in columns.values())
        return (
            f"INSERT INTO {self.name} AS counted ({', '.join(columns)}) "  # noqa: S608
            f"SELECT * FROM unnest({given}) AS batch "
            f"ON CONFLICT ({', '.join(self.key)}) DO UPDATE SET {added}"
        )


_LINK_DAY: Final = {"enrollment_id": "bigint", "day": "date", "link_id": "bigint"}
_PROGRAM_DAY: Final = {"program_id": "bigint", "day": "date"}
LINK_DAYS: Final = Table("link_days", _LINK_DAY, COUNTS + DEVICES, {"program_id": "bigint"})
LINK_HOURS: Final = Table(
    "link_hours", {"enrollment_id": "bigint", "hour": "timestamptz", "link_id": "bigint"}, COUNTS
)
LINK_DROPS: Final = Table("link_day_drops", {**_LINK_DAY, "reason": "text"}, ("clicks",))
LINK_VALUES: Final = Table(
    "link_day_values", {**_LINK_DAY, "kind": "text", "value": "text"}, ("clicks", "uniques")
)
PROGRAM_DAYS: Final = Table("program_days", _PROGRAM_DAY, COUNTS + DEVICES)
PROGRAM_HOURS: Final = Table(
    "program_hours", {"program_id": "bigint", "hour": "timestamptz"}, COUNTS
)
PROGRAM_DROPS: Final = Table("program_day_drops", {**_PROGRAM_DAY, "reason": "text"}, ("clicks",))
PROGRAM_VALUES: Final = Table(
    "program_day_values",
    {**_PROGRAM_DAY, "kind": "text", "value": "text"},
    ("clicks", "uniques"),
)
TABLES: Final = (
    LINK_DAYS,
    LINK_HOURS,
    LINK_DROPS,
    LINK_VALUES,
    PROGRAM_DAYS,
    PROGRAM_HOURS,
    PROGRAM_DROPS,
    PROGRAM_VALUES,
)
_PARTS: Final = {table.name: table.name.replace("_day_", "_") for table in TABLES}
_UPSERTS: Final = {table.name: table.upsert() for table in TABLES}

Counts = dict[Key, list[int]]


@dataclass
class Batch:
    """What a batch adds, by table; keys as the tables have them."""

    link_days: Counts = field(default_factory=dict)
    link_hours: Counts = field(default_factory=dict)
    link_drops: Counts = field(default_factory=dict)
    link_values: Counts = field(default_factory=dict)
    program_days: Counts = field(default_factory=dict)
    program_hours: Counts = field(default_factory=dict)
    program_drops: Counts = field(default_factory=dict)
    program_values: Counts = field(default_factory=dict)
    program_of: dict[Key, int] = field(default_factory=dict)
    """The program of each key of `link_days` and `link_hours`."""

    def of(self, table: Table) -> Counts:
        """What is to be added to a table."""
        counts: Counts = getattr(self, _PARTS[table.name])
        return counts


Sort = tuple[int, Slot, bool | str, str]
"""Link, quarter of an hour, whether unique or the reason against it, class of device."""


def sorts(clicks: list[Candidate], facts_of: dict[int, LinkFacts]) -> list[Sort]:
    """The sort of each click; their links' facts are added to ``facts_of``."""
    facts_of.update([(click.record.link_id, click.facts) for click in clicks])
    # A slot is one object for each quarter of an hour and hashed by its identity; reasons are
    # named by their values, because an Enum hashes in Python.
    return [
        (
            click.record.link_id,
            click.slot,
            click.is_unique if click.reason is None else click.reason.value,
            click.device,
        )
        for click in clicks
    ]


def values(clicks: list[Candidate], of_links: Counts, of_programs: Counts) -> None:
    """Add the values that came with counted clicks; most come without any."""
    for click in clicks:
        record = click.record
        if click.reason is not None or not (
            record.creative or record.country or record.sub_ids != _PLAIN_TEXTS
        ):
            continue
        day, facts, unique = click.slot.day, click.facts, int(click.is_unique)
        for (kind, of_program), value in zip(_KINDS, values_of(record), strict=True):
            if value is None:
                continue
            add(of_links, (facts.enrollment_id, day, record.link_id, kind, value), 1, unique)
            if of_program:
                add(of_programs, (facts.program_id, day, kind, value), 1, unique)


class Counting:
    """Adds up judged clicks, a part of a batch at a time (pure).

    They are counted by everything that tells them apart at once, in C; only the few
    different sorts that a batch has are then taken apart.
    """

    def __init__(
        self,
        sorts: Callable[[list[Candidate], dict[int, LinkFacts]], list[Sort]],
        values: Callable[[list[Candidate], Counts, Counts], None],
    ) -> None:
        """The functions of these names, or others that do the same."""
        self._sorts_of = sorts
        self._values_of = values
        self._sorts: Counter[Sort] = Counter()
        self._facts_of: dict[int, LinkFacts] = {}
        self._batch = Batch()

    def add(self, clicks: list[Candidate]) -> None:
        """Count these clicks too."""
        self._sorts.update(self._sorts_of(clicks, self._facts_of))
        self._values_of(clicks, self._batch.link_values, self._batch.program_values)

    def whole(self) -> Batch:
        """What all of them add; nothing is counted behind it."""
        batch = self._batch
        for (link_id, slot, outcome, device), number in self._sorts.items():
            add_sort(batch, link_id, self._facts_of[link_id], slot, outcome, device, number)
        sum_programs(batch)
        return batch


def add_sort(
    batch: Batch,
    link_id: int,
    facts: LinkFacts,
    slot: Slot,
    outcome: bool | str,
    device: str,
    number: int,
) -> None:
    """Clicks of one sort; ``outcome`` is whether they are unique, or the reason against them."""
    day_key = (facts.enrollment_id, slot.day, link_id)
    hour_key = (facts.enrollment_id, slot.hour, link_id)
    of_day, of_hour = batch.link_days.get(day_key), batch.link_hours.get(hour_key)
    if of_day is None:
        of_day = batch.link_days[day_key] = [0] * 8
        batch.program_of[day_key] = facts.program_id
    if of_hour is None:
        of_hour = batch.link_hours[hour_key] = [0] * 4
        batch.program_of[hour_key] = facts.program_id
    if isinstance(outcome, bool):
        place = CLICKS
        of_day[DEVICE_PLACES[device]] += number
        of_day[UNIQUES] += number * outcome
        of_hour[UNIQUES] += number * outcome
    elif outcome == DropReason.DUPLICATE:
        place = DUPLICATES
    else:
        place = DROPPED
        add(batch.link_drops, (*day_key, outcome), number)
        add(batch.program_drops, (facts.program_id, slot.day, outcome), number)
    of_day[place] += number
    of_hour[place] += number


def sum_programs(batch: Batch) -> None:
    """What the links have together."""
    for links, programs in (
        (batch.link_days, batch.program_days),
        (batch.link_hours, batch.program_hours),
    ):
        for key, counts in links.items():
            add(programs, (batch.program_of[key], key[1]), *counts)


def add(counts: Counts, key: Key, *numbers: int) -> None:
    """Add numbers to those of a key."""
    there = counts.get(key)
    if there is None:
        counts[key] = list(numbers)
    else:
        for place, number in enumerate(numbers):
            there[place] += number


def write(connection: psycopg.Connection, batch: Batch, meanwhile: Callable[[], None]) -> None:
    """Add a batch to every table that it touches; ``meanwhile`` as in `loading.load_records`."""
    # One behind the other without waiting: while PostgreSQL works, the next is packed.
    with connection.pipeline():
        upsert(connection, LINK_DAYS, batch.link_days, batch.program_of)
        upsert(connection, LINK_HOURS, batch.link_hours)
        meanwhile()
        added = [
            _add_known(connection, table, batch.of(table))
            for table in (LINK_VALUES, PROGRAM_VALUES)
        ]
        meanwhile()
        upsert(connection, LINK_DROPS, batch.link_drops)
        upsert(connection, PROGRAM_DAYS, batch.program_days)
        upsert(connection, PROGRAM_HOURS, batch.program_hours)
        upsert(connection, PROGRAM_DROPS, batch.program_drops)
    for known in added:
        if known is not None:
            _add_new(connection, known)


def upsert(
    connection: psycopg.Connection,
    table: Table,
    counts: Counts,
    carried: Mapping[Key, int] | None = None,
) -> None:
    """Add counts to a table; ``carried`` has the programs of `link_days`."""
    if not counts:
        return
    # In the order of the key: rows of neighbours lie on the same pages.
    keys = sorted(counts)
    columns = _columns(table, keys, [counts[key] for key in keys])
    if table.carried:
        assert carried is not None
        columns.insert(len(table.key), bigints([carried[key] for key in keys]))
    connection.execute(_UPSERTS[table.name], columns)


def _columns(table: Table, keys: Sequence[Key], numbers: Sequence[Sequence[int]]) -> list[Any]:
    kinds = table.key.values()
    # A group has one column less than a key: it is asked without the value.
    named = [column(kind, part) for kind, part in zip(kinds, zip(*keys, strict=True))]  # noqa: B905
    return [*named, *(bigints(part) for part in zip(*numbers, strict=True))]


_full: WeakKeyDictionary[psycopg.Connection, set[tuple[str, Key]]] = WeakKeyDictionary()
"""Groups that have all the values they may have, by the connection that saw it."""


@dataclass(frozen=True, slots=True)
class _Known:
    """Values of a batch, added where they have a row already."""

    table: Table
    counts: Counts
    keys: list[Key]
    updated: psycopg.Cursor[tuple[int]]
    """The numbers of the keys that have one."""

    def rest(self) -> Counts:
        """Those that have none, in the order of the clicks."""
        there = {self.keys[number] for (number,) in self.updated}
        return {key: numbers for key, numbers in self.counts.items() if key not in there}


def _add_known(connection: psycopg.Connection, table: Table, counts: Counts) -> _Known | None:
    """Add to the rows that are there, of values that may have no row yet."""
    if not counts:
        return None
    keys = sorted(counts)
    columns = _columns(table, keys, [counts[key] for key in keys])
    numbered = [bigints(range(len(keys))), *columns]
    return _Known(table, counts, keys, connection.execute(_ADD_KNOWN[table.name], numbered))


def _add_new(connection: psycopg.Connection, known: _Known) -> None:
    """Add the values that had no row; those beyond the cap of their group into OTHER_VALUES."""
    table, rest = known.table, known.rest()
    if not rest:
        return
    room = _room(connection, table, {key[:-1] for key in rest})
    new: Counts = {}
    # In the order of the clicks: the first values of a day are those that are admitted.
    for key, numbers in rest.items():
        group = key[:-1]
        if key[-1] != OTHER_VALUES and room[group] > 0:
            room[group] -= 1
            new[key] = numbers
        else:
            add(new, (*group, OTHER_VALUES), *numbers)
    upsert(connection, table, new)


def _add_known_sql(table: Table) -> str:
    columns = {**table.key, **dict.fromkeys(table.counts, "bigint")}
    given = ", ".join(f"%b::{kind}[]" for kind in columns.values())
    names = ", ".join(f"b_{name}" for name in columns)
    added = ", ".join(f"{name} = counted.{name} + b_{name}" for name in table.counts)
    same = " AND ".join(f"counted.{name} = b_{name}" for name in table.key)
    return (
        f"UPDATE {table.name} AS counted SET {added} "  # noqa: S608
        f"FROM unnest(%b::bigint[], {given}) AS batch (number, {names}) "
        f"WHERE {same} RETURNING number"
    )


_ADD_KNOWN: Final = {table.name: _add_known_sql(table) for table in (LINK_VALUES, PROGRAM_VALUES)}


def _room(connection: psycopg.Connection, table: Table, groups: set[Key]) -> dict[Key, int]:
    """How many new values each group may still take."""
    room = dict.fromkeys(groups, 0)
    full = _full.setdefault(connection, set())
    asked = sorted(group for group in groups if (table.name, group) not in full)
    if asked:
        columns = [bigints(range(len(asked))), *_columns(table, asked, [])]
        for number, values in connection.execute(_VALUES[table.name], columns):
            room[asked[number]] = VALUES_PER_LINK_DAY_MAX - values
            if values >= VALUES_PER_LINK_DAY_MAX:
                if len(full) >= FULL_REMEMBERED_MAX:
                    full.clear()
                full.add((table.name, asked[number]))
    return room


def _values_sql(table: Table) -> str:
    group = dict(list(table.key.items())[:-1])
    given = ", ".join(f"%b::{kind}[]" for kind in group.values())
    names = ", ".join(f"b_{name}" for name in group)
    same = " AND ".join(f"there.{name} = b_{name}" for name in group)
    return (
        f"SELECT number, (SELECT count(*) FROM {table.name} AS there "  # noqa: S608
        f"WHERE {same} AND value <> '{OTHER_VALUES}') "
        f"FROM unnest(%b::bigint[], {given}) AS batch (number, {names})"
    )


_VALUES: Final = {table.name: _values_sql(table) for table in (LINK_VALUES, PROGRAM_VALUES)}
