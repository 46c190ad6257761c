"""What PostgreSQL says about links and programs, as the click front wants it.

One statement shape for all: whoever reads a link, by whatever way, gets the same tuple of
whole numbers and texts, so that rows from the database and from the snapshot can be compared.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

import psycopg

ROWS_PER_READ: Final = 500
"""So few that turning them into Python objects, which no other thread can interrupt, stays
around a millisecond: a click waits for it."""
MANY_ROWS_PER_READ: Final = 2_000
"""For a process that answers no clicks."""


PAUSE_S: Final = 0.001
"""Between two reads, for the clicks of the same process."""
OVERLAP_US: Final = 2_000_000
"""A change is read again for this long, because a transaction that wrote its time early may
commit late."""
LONG_OVERLAP_US: Final = 30_000_000
"""The same for slow transactions; looked for less often, since it may be many rows."""
LONG_OVERLAP_INTERVAL_S: Final = 10.0


class LinkRow(NamedTuple):
    """A link as PostgreSQL and the snapshot have it."""

    link_id: int
    code: str
    vanity: int
    """1: the code is found in any case of letters."""
    program_id: int
    destination: str
    s1: str | None
    s2: str | None
    s3: str | None
    s4: str | None
    s5: str | None
    disabled: int
    active: int
    """1: the affiliate's enrollment is active."""
    updated_us: int
    """Microseconds since the epoch, by the database's real clock."""


class Moment(NamedTuple):
    """What the database says of now, in microseconds since the epoch."""

    now_us: int
    newest_us: int
    """When a link was last changed; 0 where there is none. An index answers it."""


@dataclass(slots=True)
class LinkProgram:
    """What the front knows of a program. Shared by all its links, changed in place."""

    program_id: int
    slug: str
    status: str
    landing_url: str
    allowed_sites: tuple[str, ...]
    closes_ms: int | None
    """The first millisecond that no longer credits; None: none is set."""


class Overlap:
    """From when on changes are read again: mostly for seconds, now and then for longer."""

    def __init__(self) -> None:
        self._long_at = 0.0

    def since_us(self, watermark_us: int) -> int:
        """Where to begin reading when changes were last read at ``watermark_us``."""
        now = time.monotonic()
        if now < self._long_at:
            return watermark_us - OVERLAP_US
        self._long_at = now + LONG_OVERLAP_INTERVAL_S
        return watermark_us - LONG_OVERLAP_US


LINKS: Final = """
    SELECT links.id, links.code, links.vanity::int, links.program_id, links.destination,
           links.s1, links.s2, links.s3, links.s4, links.s5,
           (links.disabled_at IS NOT NULL)::int, (enrollments.status = 'active')::int,
           (extract(epoch FROM links.updated_at) * 1000000)::bigint
      FROM links JOIN enrollments ON enrollments.id = links.enrollment_id
"""
SINCE: Final = "timestamptz 'epoch' + %(since_us)s * interval '1 microsecond'"
CHANGED_LINKS: Final = LINKS + f" WHERE links.updated_at > {SINCE}"
LINKS_AFTER: Final = LINKS + " WHERE links.id > %(after)s ORDER BY links.id LIMIT %(limit)s"
ONE_LINK: Final = (
    LINKS + " WHERE links.code = %(code)s OR (vanity AND lower(links.code) = %(folded)s)"
)
MOMENT: Final = """
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
           coalesce((extract(epoch FROM max(updated_at)) * 1000000)::bigint, 0)
      FROM links
"""
PROGRAMS: Final = "SELECT id, slug, status, landing_url, allowed_sites, closes_at FROM programs"
CLOCK: Final = "SELECT seconds FROM clock_offset WHERE id = 1"


def changed_links(
    connection: psycopg.Connection, since_us: int, rows_max: int = ROWS_PER_READ
) -> Iterator[list[LinkRow]]:
    """Links changed after an instant, a few at a time: a million must not pile up."""
    with connection.transaction(), connection.cursor("links") as cursor:
        cursor.execute(CHANGED_LINKS, {"since_us": since_us})
        while rows := cursor.fetchmany(rows_max):
            yield [LinkRow._make(row) for row in rows]


def links_after(connection: psycopg.Connection, link_id: int, rows_max: int) -> list[LinkRow]:
    """The next links by id; fewer than ``rows_max`` are the last."""
    values = {"after": link_id, "limit": rows_max}
    return [LinkRow._make(row) for row in connection.execute(LINKS_AFTER, values)]


def links_of_code(connection: psycopg.Connection, code: str) -> list[LinkRow]:
    """The link of a code, and one whose vanity code differs from it by case only."""
    values = {"code": code, "folded": code.lower()}
    return [LinkRow._make(row) for row in connection.execute(ONE_LINK, values)]


def moment(connection: psycopg.Connection) -> Moment:
    """Ask for it before changes are read: what is committed later is later than this."""
    row = connection.execute(MOMENT).fetchone()
    assert row is not None
    return Moment(*row)


def clock_offset_ms(connection: psycopg.Connection) -> int:
    """How far the demo's clock was moved."""
    row = connection.execute(CLOCK).fetchone()
    return 0 if row is None else int(row[0]) * 1000


def programs(connection: psycopg.Connection) -> list[LinkProgram]:
    """All programs."""
    return [_program(*row) for row in connection.execute(PROGRAMS)]


def _program(
    program_id: int,
    slug: str,
    status: str,
    landing_url: str,
    allowed_sites: list[str],
    closes_at: datetime | None,
) -> LinkProgram:
    closes_ms = None if closes_at is None else int(closes_at.timestamp() * 1000)
    return LinkProgram(program_id, slug, status, landing_url, tuple(allowed_sites), closes_ms)
