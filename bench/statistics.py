"""`python -m bench.statistics`: database time of every dashboard question over many clicks.

Two sizes of the same traffic lie beside each other and are asked in turn, so that what grows
with the number of clicks is seen within one run. The plain scan of the raw clicks is asked in
the same rounds. docs/statistics.md says what the questions mean.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.embedded.servers import create_database, running
from affiliate.core.migrate import upgrade
from affiliate.programs.models import Program
from bench.statistics_rows import NOW, ZONE, add_up_all, check_counters, fill
from tracker.clicks.rules import CountedBy
from tracker.stats.figures import Period, Scope, today
from tracker.stats.questions import After, Asked, By, Filter, Sort
from tracker.stats.sql import statement

ROWS = 50
SCANS = 3
REPEATS = 3
"""A question of a millisecond is asked so often in a round."""
NEW_ORDERS = 200
CHANGED = 100
MONTH, QUARTER = "the biggest affiliate's month by day", "the program's quarter by day"
SCAN = "the quarter by day, plain scan of raw clicks"
BARS_MS = {MONTH: 10.0, QUARTER: 30.0}
GROWTH_MAX, SCAN_RATIO_MIN = 1.5, 100


@dataclass(frozen=True)
class Size:
    """One filled database."""

    clicks: int
    engine: sa.Engine
    questions: dict[str, sa.TextClause]


@click.command()
@click.option("--clicks", default="1000000,10000000", show_default=True, help="Sizes, by commas.")
@click.option("--orders", default=200_000, show_default=True)
@click.option("--affiliates", default=10_000, show_default=True)
@click.option("--days", default=90, show_default=True)
@click.option("--rounds", default=7, show_default=True)
def main(clicks: str, orders: int, affiliates: int, days: int, rounds: int) -> None:
    """Fill, add up, ask."""
    sizes = [int(size) for size in clicks.split(",")]
    folder = Path(tempfile.mkdtemp(prefix="kpk-bench-statistics-"))
    with running(folder, durable=False, keep=False) as servers:
        check = create_database(servers.database_url, "bench_check")
        upgrade(check)
        print(f"{check_counters(check):,} rows of counters are what the loader writes")
        filled = []
        for number in sizes:
            url = create_database(servers.database_url, f"bench_{number}")
            upgrade(url)
            began = time.monotonic()
            bought = min(orders, number // 5)
            fill(url, clicks=number, affiliates=affiliates, days=days, orders=bought)
            said = (
                f"{number:,} clicks and {bought:,} orders made in {time.monotonic() - began:.0f} s"
            )
            began = time.monotonic()
            runs = add_up_all(url)
            print(f"{said}, added up in {time.monotonic() - began:.0f} s by {runs} runs")
            filled.append(_size(url, number, days))
        report(filled, measure(filled, rounds), affiliates, days)
        for size in filled:
            size.engine.dispose()


def measure(sizes: list[Size], rounds: int) -> dict[tuple[int, str], tuple[float, float]]:
    """Medians of database time and of the client's, in ms, by size and question."""
    database: dict[tuple[int, str], list[float]] = defaultdict(list)
    client: dict[tuple[int, str], list[float]] = defaultdict(list)
    for turn in range(rounds + 1):
        for name in sizes[0].questions:
            if name == SCAN and turn > SCANS:
                continue
            # In turn, and each size first in every other round: a neighbour's noise falls on all.
            for _ in range(1 if name == SCAN else REPEATS):
                for size in sizes if turn % 2 else reversed(sizes):
                    spent, waited = _ask(size, size.questions[name])
                    if turn:
                        database[size.clicks, name].append(spent)
                        client[size.clicks, name].append(waited)
    return {
        key: (statistics.median(times), statistics.median(client[key]))
        for key, times in database.items()
    }


def report(
    sizes: list[Size], found: dict[tuple[int, str], tuple[float, float]], affiliates: int, days: int
) -> None:
    """The table and the bars."""
    print(f"\n{affiliates:,} affiliates, {days} days; medians in ms: database (client)\n")
    heads = [f"{size.clicks:,} clicks" for size in sizes]
    print(f"| question | {' | '.join(heads)} | grows |\n|---|{'---|' * (len(sizes) + 1)}")
    for name in sizes[0].questions:
        cells = [
            f"{found[size.clicks, name][0]:.2f} ({found[size.clicks, name][1]:.2f})"
            for size in sizes
        ]
        first, last = (found[size.clicks, name][0] for size in (sizes[0], sizes[-1]))
        grown = f"{last / first:.2f} ×" if len(sizes) > 1 else ""
        print(f"| {name} | {' | '.join(cells)} | {grown} |")
    last_size = sizes[-1].clicks
    print()
    for name, bar_ms in BARS_MS.items():
        spent = found[last_size, name][0]
        times = spent / found[sizes[0].clicks, name][0]
        said = "holds" if spent <= bar_ms and times <= GROWTH_MAX else "MISSED"
        print(f"{name}: {spent:.2f} ms of {bar_ms:.0f}, grows {times:.2f} × ({said})")
    ratio = found[last_size, SCAN][0] / found[last_size, QUARTER][0]
    said = "holds" if ratio >= SCAN_RATIO_MIN else "MISSED"
    print(f"the plain scan takes {ratio:,.0f} times the program's quarter ({said})")


def _size(url: str, clicks: int, days: int) -> Size:
    engine = sa.create_engine(
        url, pool_size=1, max_overflow=0, connect_args={"options": "-c jit=off"}
    )
    with Session(engine) as session:
        _disturb(session)
        session.commit()
        program = session.scalars(sa.select(Program)).one()
        return Size(clicks, engine, dict(_questions(session, program, days)))


def _disturb(session: Session) -> None:
    """What an installation that works always has: orders not added up, refunds just come."""
    session.execute(
        sa.text(
            "CREATE TEMP TABLE again AS SELECT * FROM commissions WHERE level = 1 "
            f"ORDER BY id DESC LIMIT {NEW_ORDERS}"
        )
    )
    session.execute(
        sa.text(
            "INSERT INTO orders (program_id, order_id, source, status, placed_at, received_at, "
            "currency, total_micros, discount_micros, tax_micros, tax_included, shipping_micros, "
            "fees_micros, credits_micros, net_micros, items, details, content_hash, evidence) "
            "SELECT program_id, 'new-' || id, source, status, :now - interval '1 hour', :now, "
            "currency, total_micros, 0, 0, true, 0, 0, 0, net_micros, items, details, "
            "content_hash, evidence FROM orders WHERE id IN "
            "(SELECT CAST(substr(reference, 7) AS bigint) FROM again)"
        ),
        {"now": NOW},
    )
    columns = (
        "program_id, decision, level, enrollment_id, rule_version_id, currency, base_micros, "
        "rate_ppm, amount_micros, rule, trace, earned_at, available_at"
    )
    session.execute(
        sa.text(
            f"INSERT INTO commissions (reference, {columns}) "
            f"SELECT 'order:' || o.id, {', '.join('a.' + name for name in columns.split(', '))} "
            "FROM again a JOIN orders old ON a.reference = 'order:' || old.id "
            "JOIN orders o ON o.order_id = 'new-' || old.id"
        )
    )
    session.execute(
        sa.text(
            "UPDATE commissions SET reversed_micros = amount_micros WHERE id IN (SELECT id FROM "
            f"commissions WHERE reversed_micros = 0 ORDER BY id LIMIT {CHANGED})"
        )
    )


def _questions(
    session: Session, program: Program, days: int
) -> Iterator[tuple[str, sa.TextClause]]:
    """Name and statement; the biggest affiliate is the first one, by how clicks are made."""
    on = today(NOW, ZONE)
    quarter, month = Period.ending(on, days), Period.ending(on, 30)
    median = session.scalar(
        sa.text(
            "SELECT enrollment_id FROM (SELECT enrollment_id, sum(clicks) AS n FROM link_days "
            "GROUP BY 1) AS each ORDER BY n OFFSET (SELECT count(DISTINCT enrollment_id) / 2 "
            "FROM link_days) LIMIT 1"
        )
    )
    whole, big = Scope.of(program), Scope.of(program, 1)
    ask: Callable[..., sa.TextClause] = lambda *parts, **more: statement(  # noqa: E731
        Asked(*parts), **more
    )
    page = {"sort": Sort.CLICKS, "rows_max": ROWS}
    yield MONTH, ask(big, month, By.DAY)
    yield "a median affiliate's month by day", ask(Scope.of(program, median), month, By.DAY)
    yield QUARTER, ask(whole, quarter, By.DAY)
    yield SCAN, _plain_scan(program, quarter)
    yield "the program's week by hour", ask(whole, Period.ending(on, 7), By.HOUR)
    yield "the program's month by country", ask(whole, month, By.COUNTRY, **page)
    yield "the program's month by device", ask(whole, month, By.DEVICE)
    yield "the program's quarter by drop reason", ask(whole, quarter, By.DROP_REASON)
    by_earned = {"sort": Sort.EARNED, "rows_max": ROWS}
    yield (
        "the program's month by affiliate, best first",
        ask(whole, month, By.AFFILIATE, **by_earned),
    )
    yield (
        "the program's quarter by affiliate, best first",
        ask(whole, quarter, By.AFFILIATE, **by_earned),
    )
    yield (
        "the same, a page in the middle by key",
        ask(whole, quarter, By.AFFILIATE, rows_max=ROWS, after=After(0, 5_000)),
    )
    yield "the biggest affiliate's week by hour", ask(big, Period.ending(on, 7), By.HOUR)
    yield "the biggest affiliate's month by link", ask(big, month, By.LINK, **page)
    yield "the biggest affiliate's month by s1", ask(big, month, By.S1, **page)
    yield "the biggest affiliate's month by country", ask(big, month, By.COUNTRY, **page)
    yield "the biggest affiliate's month by device", ask(big, month, By.DEVICE)
    yield "the biggest affiliate's month by drop reason", ask(big, month, By.DROP_REASON)
    only = Filter(kind=CountedBy.S1, value="place-7")
    yield "the biggest affiliate's month of one s1 by day", ask(big, month, By.DAY, only)


def _plain_scan(program: Program, period: Period) -> sa.TextClause:
    """The same clicks out of the rows themselves."""
    since, until = period.instants(ZONE)
    return sa.text(
        f"SELECT CAST(clicked_at AT TIME ZONE '{ZONE}' AS date) AS day, count(*), "
        "count(*) FILTER (WHERE is_unique) FROM clicks WHERE program_id = :program_id "
        "AND reason IS NULL AND clicked_at >= :since AND clicked_at < :until GROUP BY 1"
    ).bindparams(program_id=program.id, since=since - timedelta(0), until=until)


def _ask(size: Size, query: sa.TextClause) -> tuple[float, float]:
    """Planning and execution as PostgreSQL counts them, and the client's wall time."""
    bound = query.compile().params
    with size.engine.connect() as connection:
        explained = sa.text(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {query.text}")
        plan: Any = connection.execute(explained, bound).scalar_one()[0]
        began = time.perf_counter()
        connection.execute(sa.text(query.text), bound).all()
        waited_ms = (time.perf_counter() - began) * 1000
    return plan["Planning Time"] + plan["Execution Time"], waited_ms


if __name__ == "__main__":
    main()
