"""Columns of a batch as PostgreSQL's binary arrays, packed at once.

psycopg looks at every element of a list by itself, which for a batch of clicks costs more
than all their counting. Format: the number of dimensions, whether there are NULLs, the
element's type, length and first index, then each element behind its own length (array_send
in PostgreSQL's arrayfuncs.c).
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from functools import lru_cache
from struct import Struct, pack
from typing import Any, Final

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

_HEAD: Final = Struct(">iiIii")
_DAY_0: Final = date(2000, 1, 1).toordinal()
_TIME_0: Final = datetime.fromisoformat("2000-01-01T00:00:00+00:00")
_MICROSECOND: Final = timedelta(microseconds=1)
_BIGINT, _TEXT, _DATE, _TIMESTAMPTZ, _UUID = 20, 25, 1082, 1184, 2950
"""Numbers of the types in pg_type, which never change."""


class Packed:
    """An array that is packed already."""

    __slots__ = ("raw",)

    def __init__(self, raw: bytes) -> None:
        self.raw = raw


class _PackedDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Packed) -> bytes:
        return obj.raw


psycopg.adapters.register_dumper(Packed, _PackedDumper)


def teach(connection: psycopg.Connection[Any]) -> None:
    """Have a connection of an engine take packed columns.

    SQLAlchemy gives its connections a copy of what psycopg could take when the engine was made,
    and in the web it is made before anything of clicks is imported.
    """
    connection.adapters.register_dumper(Packed, _PackedDumper)


def bigints(numbers: Sequence[int]) -> Packed:
    """A bigint[]."""
    return _packed(_BIGINT, "q", 8, numbers)


def column(kind: str, values: Sequence[Any]) -> Packed:
    """One column of a batch by the name of its type, for a parameter `%b::<kind>[]`.

    A uuid is given as its sixteen bytes.
    """
    if kind == "bigint":
        return bigints(values)
    if kind == "date":
        return _packed(_DATE, "i", 4, [day.toordinal() - _DAY_0 for day in values])
    if kind == "timestamptz":
        return _packed(_TIMESTAMPTZ, "q", 8, [(at - _TIME_0) // _MICROSECOND for at in values])
    if kind == "uuid":
        return _joined(_UUID, [b"\0\0\0\x10" + each for each in values])
    if kind == "text":
        return _joined(_TEXT, [_text(each) for each in values])
    raise ValueError(f"no array of {kind} is packed here")


def _joined(oid: int, elements: Sequence[bytes]) -> Packed:
    """An array of elements that have their lengths before them."""
    if not elements:
        return Packed(pack(">iiI", 0, 0, oid))
    return Packed(_HEAD.pack(1, 0, oid, len(elements), 1) + b"".join(elements))


@lru_cache(maxsize=20_000)
def _text(value: str) -> bytes:
    raw = value.encode()
    return pack(">i", len(raw)) + raw


def copy_rows(*columns: Sequence[int]) -> bytes:
    """Rows of bigints as COPY takes them in its binary form, between its head and its end."""
    width = 2 + 12 * len(columns)
    rows = bytearray(width * len(columns[0]))
    rows[1::width] = bytes((len(columns),)) * len(columns[0])
    for number, values in enumerate(columns):
        _put(rows, 2 + 12 * number, width, "q", values)
    return bytes(rows)


def _packed(oid: int, letter: str, size: int, values: Sequence[int]) -> Packed:
    number = len(values)
    if not number:
        return Packed(pack(">iiI", 0, 0, oid))
    elements = bytearray((4 + size) * number)
    _put(elements, 0, 4 + size, letter, values)
    return Packed(_HEAD.pack(1, 0, oid, number, 1) + elements)


def _put(rows: bytearray, begin: int, width: int, letter: str, values: Sequence[int]) -> None:
    """A number behind its length, at the same place of every row.

    Byte by byte of all rows at once: a format of `struct` for so many is taken apart each time,
    and those of the latest hundred lengths would stay in memory.
    """
    numbers = array(letter, values)
    size = numbers.itemsize
    if sys.byteorder == "little":
        numbers.byteswap()
    raw = numbers.tobytes()
    rows[begin + 3 :: width] = bytes((size,)) * len(numbers)
    for place in range(size):
        rows[begin + 4 + place :: width] = raw[place::size]
