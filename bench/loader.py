"""The loader beside a bare COPY of the same rows: `python -m bench.loader`.

Both write the same clicks in batches of the same size into the same partitioned table with
the same indexes, each in a database of its own, in interleaved rounds. The bare COPY sends
rows that were made beforehand and knows every verdict already; the loader reads journal
segments, judges, writes rows and marks, keeps every counter and moves its offset. At the end
both tables must hold the same rows, and the counters must be what the rows say.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from affiliate.core.embedded.servers import create_database, drop_database, running
from affiliate.core.migrate import upgrade
from affiliate.programs.models import Program
from bench.measuring import cpu_s
from tracker.clicks import loader as loaders
from tracker.clicks.database import libpq_url
from tracker.clicks.devices import device_class
from tracker.clicks.filters import agent_reason
from tracker.clicks.floods import FloodLimits, FloodWatch
from tracker.clicks.journal import FOLDER, SUFFIX
from tracker.clicks.judging import (
    QUARTER_MS,
    Candidate,
    LinkFacts,
    candidates,
    device_mark,
    judge,
    leave_marks,
    salt_of,
    slot_of,
    visitor_mark,
)
from tracker.clicks.loader import Loader
from tracker.clicks.marks import keep_tables
from tracker.clicks.partitions import ensure_partitions
from tracker.clicks.rebuild import days_of, rebuild
from tracker.clicks.records import FLAG_KNOWN_VISITOR, encode, scan
from tracker.clicks.rows import BEGIN, COPY_CLICKS, END, in_parts, packed, values_of
from tracker.clicks.tokens import NO_VISITOR, clicked_at_of, new_click_id

LINKS_PER_AFFILIATE = 2
CLICKS_PER_S = 100
"""How close together the clicks lie by their own time: nine million a day."""
COUNTRIES = ("RU", "DE", "KZ", "US", "BY", "FR", "GB", "TR", "GE", "AM", "PL", "NL")
CAMPAIGNS = 40
"""Different values of a sub-id on a link."""
REFERRERS = 3_000
COOKIES_REMEMBERED = 200_000

PHONES = ("SM-S918B", "SM-A546E", "Pixel 8", "2201116SG", "M2101K6G", "CPH2449", "V2254", "K")
CRAWLERS = (
    "Mozilla/5.0 (compatible; SeznamBot/4.0; +http://napoveda.seznam.cz/seznambot-intro/)",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; DataForSeoBot/1.0; +https://dataforseo.com/dataforseo-bot)",
    "curl/8.5.0",
)

PEOPLE = """
    INSERT INTO users (email, fs_uniquifier, created_at)
    SELECT n || '@blog.example', 'bench' || n, now() FROM generate_series(1, :affiliates) AS n;
    INSERT INTO affiliates (user_id, name, created_at)
    SELECT id, email, now() FROM users;
    INSERT INTO enrollments (program_id, affiliate_id, status, answers, applied_at)
    SELECT :program, id, 'active', '{}', now() FROM affiliates;
    INSERT INTO links (program_id, enrollment_id, code, destination, created_at)
    SELECT :program, e.id, 'b' || e.id || 'x' || n, 'https://shop.example/', now()
      FROM enrollments e CROSS JOIN generate_series(1, :links) AS n;
    ANALYZE
"""
LINKS = "SELECT id, program_id, enrollment_id FROM links ORDER BY md5(id::text)"
# The n-th link has a n-th of the first one's clicks, as in `Traffic`; every visitor is new.
FILL = """
    INSERT INTO clicks (click_id, clicked_at, link_id, program_id, enrollment_id, visitor_id,
        visitor_known, is_unique, reason, deep_link_refused, address_hash, agent, referrer, s1,
        creative, device)
    SELECT CAST(lpad(to_hex(ms), 12, '0') || '7' || substr(noise, 2, 3) || '8'
                || substr(noise, 6, 15) AS uuid),
           to_timestamp(ms / 1000.0), links.id, links.program_id, links.enrollment_id,
           CAST(lpad(to_hex(ms), 12, '0') || '7' || substr(md5(noise), 2, 3) || '8'
                || substr(md5(noise), 6, 15) AS uuid), false, dropped >= 0.08,
           CASE WHEN dropped < 0.08 THEN 'bot' END,
           false, CAST(noise AS uuid), (%(agents)s::text[])[agent],
           CASE WHEN referred < 0.6
                THEN 'https://blog' || CAST(referred * 5000 AS int) || '.example/post' ELSE '' END,
           CASE WHEN said < 0.33 THEN 'campaign-' || CAST(said * 120 AS int) END,
           CASE WHEN said > 0.9 THEN 'banner-' || CAST((said - 0.9) * 40 AS int) END,
           (%(devices)s::text[])[agent]
      FROM (SELECT %(begin_ms)s::bigint + n * %(step_ms)s AS ms, random() AS dropped,
                   md5(random()::text || n) AS noise, random() AS referred, random() AS said,
                   1 + floor(random() * cardinality(%(agents)s::text[]))::int AS agent,
                   floor(exp(random() * ln(1 + cardinality(%(links)s::bigint[]))))::int AS place
              FROM generate_series(0::bigint, %(rows)s::bigint - 1) AS n) AS drawn
      JOIN unnest(%(links)s::bigint[]) WITH ORDINALITY AS ranked (link_id, place) USING (place)
      JOIN links ON links.id = ranked.link_id
     ORDER BY ms
"""
MARK_TABLES = r"SELECT tablename FROM pg_tables WHERE tablename LIKE 'clicks\_seen\_%'"
REMEMBERED = """
    SELECT link_id, visitor_id, address_hash, agent, clicked_at
      FROM clicks TABLESAMPLE BERNOULLI (%(remembered_percent)s) WHERE reason IS NULL
"""
TABLE_SIZE = "SELECT count(*) FROM clicks"
ROWS = """
    SELECT count(*), sum(hashtextextended(ROW(clicks.*)::text, 0)::numeric) FROM clicks
"""
COUNTED = """
    SELECT (SELECT sum(clicks) FROM link_days), (SELECT sum(uniques) FROM link_hours),
           (SELECT sum(duplicates) FROM program_days), (SELECT sum(clicks) FROM link_day_drops),
           (SELECT sum(clicks) FROM link_day_values)
"""
RECOUNTED = """
    SELECT count(*) FILTER (WHERE reason IS NULL), count(*) FILTER (WHERE is_unique),
           count(*) FILTER (WHERE reason = 'duplicate'),
           count(*) FILTER (WHERE reason <> 'duplicate'),
           sum(num_nonnulls(s1, s2, s3, s4, s5, creative, country)) FILTER (WHERE reason IS NULL)
      FROM clicks
"""


class Traffic:
    """Clicks as they come: few links have most of them, most visitors are new."""

    def __init__(self, links: Sequence[int], *, countries: bool, seed: int = 7) -> None:
        self._chance = random.Random(seed)
        self._links = links
        # Zipf's law with exponent 1: the n-th affiliate has a n-th of the first one's clicks.
        self._weights = list(itertools.accumulate(1 / n for n in range(1, len(links) + 1)))
        self._agents = list(_agents(self._chance))
        self._referrers = [f"https://blog{n}.example/{n * 7919:x}" for n in range(REFERRERS)]
        self._cookies: list[tuple[int, bytes, bytes, bytes]] = []
        self._last: tuple[int, bytes, bytes, bytes] | None = None
        self._countries = countries

    def links(self) -> list[int]:
        """The links, the most clicked first."""
        return list(self._links)

    def agents(self) -> list[str]:
        """The browsers among its visitors."""
        return self._agents

    def remember(self, link: int, visitor: bytes, address: bytes, agent: bytes) -> None:
        """Somebody who may come back."""
        self._last = (link, visitor, address, agent)
        if len(self._cookies) < COOKIES_REMEMBERED:
            self._cookies.append(self._last)
        else:
            self._cookies[self._chance.randrange(COOKIES_REMEMBERED)] = self._last

    def segment(self, clicks: int, begin_ms: int, end_ms: int) -> bytes:
        """A journal segment of so many clicks between two instants."""
        step = (end_ms - begin_ms) / clicks
        return b"".join(self._record(int(begin_ms + n * step)) for n in range(clicks))

    def _record(self, at_ms: int) -> bytes:
        chance = self._chance
        (link,) = chance.choices(self._links, cum_weights=self._weights)
        address, agent, visitor, flags = chance.randbytes(16), self._agent(), NO_VISITOR, 0
        kind = chance.random()
        if kind < 0.15 and self._cookies:
            # Somebody comes back, most often not at once.
            link, visitor, address, agent = chance.choice(self._cookies)
            flags = FLAG_KNOWN_VISITOR
        elif kind < 0.18 and self._last:
            # A second click within seconds, before the cookie has arrived.
            link, _, address, agent = self._last
            visitor = new_click_id(at_ms, chance.randbytes(10))
        else:
            # As the front makes them: of this millisecond, like a click's id.
            visitor = new_click_id(at_ms, chance.randbytes(10))
        reason = agent_reason(agent.decode())
        if reason is None and not flags:
            self.remember(link, visitor, address, agent)
        texts = b"\0".join((agent, self._referrer(), b"", *self._sub_ids(), *self._said()))
        click_id = new_click_id(at_ms, chance.randbytes(10))
        return encode(click_id, link, visitor, address, reason, flags, texts)

    def _agent(self) -> bytes:
        if self._chance.random() < 0.08:
            return self._chance.choice(CRAWLERS).encode()
        return self._chance.choice(self._agents).encode()

    def _referrer(self) -> bytes:
        if self._chance.random() < 0.4:
            return b""
        return self._chance.choice(self._referrers).encode()

    def _sub_ids(self) -> tuple[bytes, ...]:
        if self._chance.random() > 1 / 3:
            return (b"",) * 5
        campaign = int(self._chance.paretovariate(1)) % CAMPAIGNS
        return (b"campaign-%d" % campaign, b"", b"", b"", b"")

    def _said(self) -> tuple[bytes, bytes]:
        creative = b"banner-%d" % self._chance.randrange(5) if self._chance.random() < 0.1 else b""
        if not self._countries:
            return creative, b""
        place = min(int(self._chance.paretovariate(1)) - 1, len(COUNTRIES) - 1)
        return creative, COUNTRIES[place].encode()


def _agents(chance: random.Random) -> Iterator[str]:
    """Some two thousand different agents of browsers, as a day brings them."""
    for major in range(120, 142):
        for system in ("Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10_15_7"):
            chrome = f"Chrome/{major}.0.0.0 Safari/537.36"
            yield f"Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) {chrome}"
            yield f"Mozilla/5.0 ({system}; rv:{major}.0) Gecko/20100101 Firefox/{major}.0"
        for phone, android in itertools.product(PHONES, range(10, 15)):
            yield (
                f"Mozilla/5.0 (Linux; Android {android}; {phone}) AppleWebKit/537.36 (KHTML, like "
                f"Gecko) Chrome/{major}.0.{chance.randrange(6000, 7000)}.0 Mobile Safari/537.36"
            )
    for major, minor in itertools.product(range(15, 19), range(7)):
        for device, system in (("iPhone", "iPhone OS"), ("iPad", "OS")):
            yield (
                f"Mozilla/5.0 ({device}; CPU {system} {major}_{minor} like Mac OS X) "
                f"AppleWebKit/605.1.15 (KHTML, like Gecko) Version/{major}.{minor} "
                "Mobile/15E148 Safari/604.1"
            )


@dataclass
class Round:
    """What one round of one side took."""

    rows: int
    seconds: float
    python_cpu_s: float
    postgres_cpu_s: float

    @property
    def rate(self) -> float:
        return self.rows / self.seconds


@dataclass
class Side:
    """A way of loading and its rounds."""

    name: str
    rounds: list[Round] = field(default_factory=list)

    def median(self, of: Callable[[Round], float]) -> float:
        return statistics.median(of(each) for each in self.rounds)


class Judge:
    """Judges from memory what the loader judges from tables, so that the rows are the same."""

    def __init__(self, facts: dict[int, LinkFacts], batch: int) -> None:
        self._facts = facts
        self._batch = batch
        self._seen: dict[int, int] = {}
        self._floods = FloodWatch(FloodLimits())

    def judged(self, segment: bytes) -> list[list[Candidate]]:
        """The segment's clicks with their verdicts, in batches."""
        clicks = candidates(scan(segment, ended=True).records, self._facts)
        batches = [clicks[n : n + self._batch] for n in range(0, len(clicks), self._batch)]
        for batch in batches:
            self._floods.judge(batch)
            self._floods.keep()
            judge(leave_marks(batch), self._seen)
        return batches

    def remember(
        self, link_id: int, visitor: bytes, address: bytes, agent: bytes, at_ms: int
    ) -> None:
        """A click that is in the table already."""
        day = slot_of(self._facts[link_id].time_zone, at_ms // QUARTER_MS).day
        salt = salt_of(link_id, day)
        self._seen[device_mark(salt, address, agent)] = at_ms
        self._seen[visitor_mark(salt, visitor)] = at_ms


class Bare:
    """COPY and nothing else."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(libpq_url(url), autocommit=True)

    def copy_blocks(self, batches: list[list[bytes]]) -> None:
        """Rows in COPY's binary format, made beforehand."""
        for batch in batches:
            with (
                self._connection.transaction(),
                self._connection.cursor() as cursor,
                cursor.copy(COPY_CLICKS) as copy,
            ):
                for block in batch:
                    copy.write(block)

    def copy_rows(self, batches: list[list[tuple[Any, ...]]]) -> None:
        """Rows of Python's values, each through psycopg's write_row."""
        statement = COPY_CLICKS.replace("(FORMAT binary)", "")
        for batch in batches:
            with (
                self._connection.transaction(),
                self._connection.cursor() as cursor,
                cursor.copy(statement) as copy,
            ):
                for row in batch:
                    copy.write_row(row)

    def fetch(self, statement: str) -> tuple[Any, ...]:
        row = self._connection.execute(statement).fetchone()
        assert row is not None
        return tuple(row)

    def close(self) -> None:
        self._connection.close()


def main() -> None:
    arguments = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="kpk-bench-"))
    try:
        with running(folder / "servers", keep=False) as servers:
            _compare(servers.database_url, servers.pids["postgres"], folder, arguments)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _compare(server_url: str, postgres: int, folder: Path, arguments: argparse.Namespace) -> None:
    for stage, filled in enumerate([0, *([arguments.filled] if arguments.filled else [])]):
        stage_folder = folder / f"stage-{stage}"
        (stage_folder / FOLDER).mkdir(parents=True)
        _stage(server_url, postgres, stage_folder, filled, arguments)


def _stage(
    server_url: str, postgres: int, folder: Path, filled: int, arguments: argparse.Namespace
) -> None:
    """Three databases with so many rows each, and the rounds in them."""
    now = datetime.now(UTC)
    urls = [create_database(server_url, "bench_loader")]
    traffic, facts = _make_world(urls[0], arguments, now)
    # One day of the program, so that uniques are found among all that came before.
    day_ms = int(now.replace(hour=0, minute=0, second=0, microsecond=0).timestamp() * 1000)
    judge_beside = Judge(facts, arguments.batch)
    if filled:
        _fill(urls[0], traffic, judge_beside, filled, day_ms, now)
    urls += [create_database(server_url, f"bench_{n}", template="bench_loader") for n in range(2)]
    measured, bare, by_row = (Bare(url) for url in urls)
    environment = {
        "KOPECK_MODE": "test",
        "DATABASE_URL": urls[0],
        "REDIS_URL": "redis://127.0.0.1:1",
        "KOPECK_SECRET": "a-secret-for-the-benchmark-0123456789",
        "KOPECK_PUBLIC_URL": "http://127.0.0.1:8000",
        "KOPECK_DATA_DIR": str(folder),
        "KOPECK_LOG_LEVEL": "ERROR",
    }
    loader = Loader(Settings.from_environ(environment))
    journal = folder / FOLDER
    sides = [Side("bare COPY, write_row"), Side("bare COPY, rows made before"), Side("loader")]
    begin_ms = day_ms + filled * 1000 // CLICKS_PER_S
    step_ms = arguments.clicks * 1000 // CLICKS_PER_S
    for turn in range(arguments.rounds + 1):
        segment = traffic.segment(arguments.clicks, begin_ms, begin_ms + step_ms)
        begin_ms += step_ms
        batches = judge_beside.judged(segment)
        made = [[BEGIN, *map(packed, in_parts(batch)), END] for batch in batches]
        values = [[_values(click) for click in batch] for batch in batches]
        del batches
        _segment_file(journal, turn, segment)
        works: list[Callable[[], object]] = [
            lambda values=values: by_row.copy_rows(values),  # type: ignore[misc]
            lambda made=made: bare.copy_blocks(made),  # type: ignore[misc]
            loader.round,
        ]
        for place in [(turn + n) % 3 for n in range(3)]:
            found = _timed(works[place], arguments.clicks, postgres)
            # The first turn warms caches and prepared statements and is not counted.
            if turn:
                sides[place].rounds.append(found)
        for path in (journal / "loaded").glob("*"):
            path.unlink()
    _print(sides, filled, arguments)
    _check((bare, by_row), measured)
    for each in (measured, bare, by_row, loader):
        each.close()
    for url in urls:
        drop_database(url)


def _make_world(
    url: str, arguments: argparse.Namespace, now: datetime
) -> tuple[Traffic, dict[int, LinkFacts]]:
    upgrade(url)
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with Session(engine) as session:
        program = Program(
            slug="bench",
            name="Bench",
            currency="RUB",
            landing_url="https://shop.example/",
            allowed_sites=[],
            created_at=now,
        )
        session.add(program)
        session.flush()
        ensure_partitions(session, now=now)
        values = {
            "affiliates": arguments.affiliates,
            "program": program.id,
            "links": LINKS_PER_AFFILIATE,
        }
        for statement in PEOPLE.split(";"):
            names = [name for name in values if f":{name}" in statement]
            session.execute(sa.text(statement), {name: values[name] for name in names})
        facts = {
            row.id: LinkFacts(row.program_id, row.enrollment_id, program.time_zone)
            for row in session.execute(sa.text(LINKS))
        }
        session.commit()
    engine.dispose()
    return Traffic(list(facts), countries=arguments.countries), facts


def _fill(
    url: str, traffic: Traffic, judge_beside: Judge, rows: int, day_ms: int, now: datetime
) -> None:
    """Rows made inside PostgreSQL, with the marks and counters that the loader keeps of them.

    Marks and counters come from the product itself: tables of marks are filled from rows
    where they are made late, and counters are rebuilt where they differ.
    """
    agents = traffic.agents()
    values = {
        "rows": rows,
        "begin_ms": day_ms,
        "step_ms": 1000 // CLICKS_PER_S,
        "links": traffic.links(),
        "agents": agents,
        "devices": [device_class(agent.encode()).value for agent in agents],
        "remembered_percent": min(100, 100 * COOKIES_REMEMBERED / rows),
    }
    with psycopg.connect(libpq_url(url)) as connection:
        connection.execute(FILL, values)
        for (name,) in connection.execute(MARK_TABLES).fetchall():
            connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))
        keep_tables(connection, now=now)
        for day in days_of(connection)[0]:
            rebuild(connection, day)
        remembered = connection.execute(REMEMBERED, values)
        for link_id, visitor, address, agent, clicked_at in remembered:
            at_ms = round(clicked_at.timestamp() * 1000)
            cookie = (link_id, visitor.bytes, address.bytes, agent.encode())
            traffic.remember(*cookie)
            judge_beside.remember(*cookie, at_ms)
        connection.commit()
        connection.autocommit = True
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def _segment_file(journal: Path, number: int, segment: bytes) -> None:
    hidden = journal / f".{number:010x}"
    hidden.write_bytes(segment)
    hidden.rename(journal / f"{number:010x}{SUFFIX}")


def _values(click: Candidate) -> tuple[Any, ...]:
    record, facts = click.record, click.facts
    visitor = None if record.visitor_id == NO_VISITOR else UUID(bytes=record.visitor_id)
    click_id = UUID(bytes=record.click_id)
    return (
        *(click_id, clicked_at_of(click_id), record.link_id),
        *(facts.program_id, facts.enrollment_id, bool(record.flags & FLAG_KNOWN_VISITOR)),
        *(click.is_unique, False, UUID(bytes=record.address_hash), visitor, click.device),
        *(click.reason, record.agent.decode(), record.referrer.decode(), None),
        *values_of(record),
    )


def _timed(work: Callable[[], object], rows: int, postgres: int) -> Round:
    postgres_before, python_before = cpu_s(postgres), time.process_time()
    began = time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    return Round(
        rows, seconds, time.process_time() - python_before, cpu_s(postgres) - postgres_before
    )


def _print(sides: Sequence[Side], already: int, arguments: argparse.Namespace) -> None:
    print(
        f"\n{already:,} rows already there; rounds of {arguments.clicks:,} clicks in batches of "
        f"{arguments.batch:,}, {arguments.affiliates:,} affiliates by Zipf's law, "
        f"country {'known' if arguments.countries else 'unknown'}; medians of {arguments.rounds} "
        f"rounds; {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    )
    rows, packs = (side.median(lambda each: each.rate) for side in sides[:2])
    print(
        f"{'':30}{'rows/s':>10}{'spread':>20}{'/write_row':>12}{'/made':>8}{'python µs':>11}"
        f"{'postgres µs':>13}{'CPU/write_row':>15}"
    )
    cost = [
        side.median(lambda each: (each.python_cpu_s + each.postgres_cpu_s) / each.rows)
        for side in sides
    ]
    for side, whole in zip(sides, cost, strict=True):
        rates = sorted(each.rate for each in side.rounds)
        print(
            f"{side.name:30}{side.median(lambda each: each.rate):>10,.0f}"
            f"{f'{rates[0]:,.0f} … {rates[-1]:,.0f}':>20}"
            f"{side.median(lambda each: each.rate) / rows:>12.2f}"
            f"{side.median(lambda each: each.rate) / packs:>8.2f}"
            f"{side.median(lambda each: each.python_cpu_s / each.rows * 1e6):>11.1f}"
            f"{side.median(lambda each: each.postgres_cpu_s / each.rows * 1e6):>13.1f}"
            f"{cost[0] / whole:>15.2f}"
        )


def _check(bare: Sequence[Bare], measured: Bare) -> None:
    """The same rows on all sides, and counters that say what the rows say."""
    if len({side.fetch(ROWS) for side in (*bare, measured)}) != 1:
        raise SystemExit("the loader's rows are not those of the bare COPY")
    counted, recounted = measured.fetch(COUNTED), measured.fetch(RECOUNTED)
    if counted != recounted:
        raise SystemExit(f"the counters say {counted}, the rows {recounted}")
    print(
        f"\nthe same {measured.fetch(TABLE_SIZE)[0]:,} rows on all sides; counters and rows agree"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clicks", type=int, default=50_000, help="clicks in a round")
    parser.add_argument("--batch", type=int, default=loaders.BATCH_ROWS_MAX)
    parser.add_argument("--affiliates", type=int, default=5_000)
    parser.add_argument("--filled", type=int, default=2_000_000, help="rows there at first")
    parser.add_argument("--countries", action="store_true", help="every click has a country")
    arguments = parser.parse_args()
    loaders.BATCH_ROWS_MAX = arguments.batch  # type: ignore[misc]
    return arguments


if __name__ == "__main__":
    main()
