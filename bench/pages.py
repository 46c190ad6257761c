"""`python -m bench.pages`: what a page of the account and of the desks costs the server.

A year of demo data in two sizes, the second ten times the first. Every kind of page that links
lead to is asked, as the affiliate who earned most, finance, a manager and an owner. Both sizes
and a bare Flask page that renders a template are served by granian, one worker each, and take
turns; what is measured is how long a browser waits for the whole answer, compressed as browsers
ask for it.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import platform
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import click
import psycopg
import sqlalchemy as sa
from flask import Flask, render_template
from flask.testing import FlaskClient
from jinja2 import DictLoader
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.embedded.servers import Servers, create_database, running
from affiliate.core.migrate import upgrade
from affiliate.people import users
from bench.measuring import free_port, granian
from bench.statistics_rows import add_up_all
from bench.walk import BASE, Visit, signed_in, walk
from tracker.clicks.database import libpq_url
from tracker.demo.plan import Sizes
from tracker.demo.year import load_year

RATIO_MAX, QUERIES_MAX, GROWTH_MAX, AIM_MS = 20.0, 12, 1.5, 100.0
"""Of the median page."""
TIMES = 10
SLUG = "year"
STARTS = {
    "affiliate": [f"/account/?program={SLUG}", "/profile"],
    "finance": ["/finance/", "/profile"],
    "manager": [f"/manage/?program={SLUG}", "/profile"],
    "owner": [f"/manage/?program={SLUG}", "/finance/"],
}
BEST = """
    SELECT a.user_id FROM commissions c JOIN enrollments e ON e.id = c.enrollment_id
    JOIN affiliates a ON a.id = e.affiliate_id JOIN programs p ON p.id = c.program_id
    WHERE p.slug = :slug AND c.level = 1 GROUP BY a.user_id ORDER BY count(*) DESC LIMIT 1
"""
BARE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title>
<link rel="stylesheet" href="/static/kopeck.css"></head><body><h1>{{ title }}</h1><table>
{% for row in rows %}<tr><td>{{ row.day }}</td><td>{{ row.clicks }}</td><td>{{ row.earned }}</td>
</tr>{% endfor %}</table></body></html>"""
ROWS = 30
HEADERS = {
    "Host": BASE.partition("://")[2],
    "Accept": "text/html",
    "Accept-Encoding": "gzip, deflate, br, zstd",
}
WAIT_S = 30

bare = Flask("bare")
bare.jinja_loader = DictLoader({"bare.html": BARE})


@bare.get("/")
def bare_page() -> str:
    """A Flask page that renders a template and does nothing else."""
    rows = [{"day": f"2026-01-{n + 1:02}", "clicks": n, "earned": n / 10} for n in range(ROWS)]
    return render_template("bare.html", title="A page", rows=rows)


@dataclass
class Page:
    """One kind of page of one reader, in both sizes."""

    who: str
    small: Visit
    large: Visit
    small_ms: list[float] = field(default_factory=list)
    large_ms: list[float] = field(default_factory=list)

    @property
    def ms(self) -> float:
        return statistics.median(self.large_ms)

    @property
    def grown(self) -> float:
        return self.ms / statistics.median(self.small_ms)


@dataclass(frozen=True)
class Book:
    """An application on a year of demo data, with a browser of each reader."""

    app: Flask
    clients: dict[str, FlaskClient]
    environment: dict[str, str]


@click.command()
@click.option("--affiliates", default=3_000, show_default=True)
@click.option("--clicks", default=1_000_000, show_default=True)
@click.option("--orders", default=30_000, show_default=True)
@click.option("--rounds", default=7, show_default=True)
@click.option("--shown", default=20, show_default=True, help="how many pages are listed")
def main(affiliates: int, clicks: int, orders: int, rounds: int, shown: int) -> None:
    """Load, walk, measure. The sizes are those of the larger year."""
    folder = Path(tempfile.mkdtemp(prefix="kpk-bench-pages-"))
    with running(folder, durable=False, keep=False) as servers:
        large = Sizes(affiliates=affiliates, clicks=clicks, orders=orders, days=365)
        small = Sizes(
            affiliates=affiliates // TIMES, clicks=clicks // TIMES, orders=orders // TIMES, days=365
        )
        books = [book(servers, folder, name, size) for name, size in (("s", small), ("l", large))]
        pages = list(_pages(*books))
        bare = _measure(pages, books, rounds)
        print(
            f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; "
            f"{rounds} rounds; medians; served by granian, one worker"
        )
        report(pages, bare, shown)


def report(pages: list[Page], bare_ms: float, shown: int) -> None:
    """The slowest pages, and the bars."""
    print(f"a bare Flask page with a table of {ROWS} rows: {bare_ms:.2f} ms\n")
    print("who         page                                     ms  /Flask  grows  queries  KB")
    for page in sorted(pages, key=lambda page: -page.ms)[:shown]:
        print(
            f"{page.who:11} {page.large.kind:36} {page.ms:6.1f} {page.ms / bare_ms:7.1f} "
            f"{page.grown:6.2f} {len(page.large.statements):8} {len(page.large.html) / 1e3:4.0f}"
        )
    middle = statistics.median(page.ms for page in pages)
    grown = statistics.median(page.grown for page in pages)
    queries = statistics.median(len(page.large.statements) for page in pages)
    print(f"\n{len(pages)} pages; the median page takes {middle:.1f} ms (aim {AIM_MS:.0f})")
    _bar("the median page, as a multiple of the bare one", middle / bare_ms, RATIO_MAX)
    _bar(f"the median page with {TIMES} times the data", grown, GROWTH_MAX)
    _bar("queries of the median page", queries, QUERIES_MAX)


def _bar(what: str, value: float, most: float) -> None:
    print(f"{what}: {value:.3g}, bar {most:g} ({'holds' if value <= most else 'MISSED'})")


def book(servers: Servers, folder: Path, name: str, sizes: Sizes) -> Book:
    """Load a year into a database of its own, as its jobs and autovacuum would leave it."""
    from wsgi import create_app

    began = time.monotonic()
    url = create_database(servers.database_url, f"bench_pages_{name}")
    upgrade(url)
    data_dir = folder / f"data-{name}"
    data_dir.mkdir()
    environment = {
        "KOPECK_MODE": "test",
        "DATABASE_URL": url,
        "REDIS_URL": servers.redis_url,
        "KOPECK_SECRET": "a-secret-for-the-benchmark-0123456789",
        "KOPECK_PUBLIC_URL": BASE,
        "KOPECK_DATA_DIR": str(data_dir),
        "KOPECK_LOG_LEVEL": "ERROR",
    }
    settings = Settings.from_environ(environment)
    app = create_app(settings)
    with app.app_context():
        session = db.session()
        load_year(session, settings=settings, sizes=sizes, slug=SLUG, now=clock.now(session))
        session.commit()
    add_up_all(url)
    with psycopg.connect(libpq_url(url), autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")
    with app.app_context():
        readers = readers_of(db.session())
    print(
        f"{sizes.affiliates:,} affiliates, {sizes.clicks:,} clicks and {sizes.orders:,} orders "
        f"in {time.monotonic() - began:.0f} s",
        flush=True,
    )
    clients = {who: signed_in(app, user_id) for who, (user_id, _) in readers.items()}
    return Book(app, clients, environment)


def readers_of(session: Session) -> dict[str, tuple[int, list[str]]]:
    """Who reads: the user and where they start. The affiliate is the year's best."""
    best = session.execute(sa.text(BEST), {"slug": SLUG}).scalar_one()
    readers = {"affiliate": (best, STARTS["affiliate"])}
    for who in ("finance", "manager", "owner"):
        user = users.find(session, email=f"{who}@demo.example")
        assert user is not None
        readers[who] = (user.id, STARTS[who])
    return readers


def _pages(small: Book, large: Book) -> Iterable[Page]:
    """Every kind of page that both years have."""
    for who, starts in STARTS.items():
        first = {visit.kind: visit for visit in walk(small.app, small.clients[who], starts)}
        for visit in walk(large.app, large.clients[who], starts):
            if visit.kind in first:
                yield Page(who, first[visit.kind], visit)


def _measure(pages: list[Page], books: list[Book], rounds: int) -> float:
    """Fill in each page's times; the median of the bare page, asked as often."""
    with ExitStack() as stack:
        ask_bare = _served(stack, ("bench.pages:bare",), {})
        small, large = (
            _served(stack, ("wsgi:make_application", "--factory"), book.environment)
            for book in books
        )
        bare_ms = []
        asked = [
            (page, _header(books[0].clients[page.who]), _header(books[1].clients[page.who]))
            for page in pages
        ]
        for turn in range(rounds + 1):
            for page, small_cookies, large_cookies in asked:
                spent = (
                    ask_bare("/", ""),
                    small(page.small.path, small_cookies),
                    large(page.large.path, large_cookies),
                )
                if turn:
                    bare_ms.append(spent[0])
                    page.small_ms.append(spent[1])
                    page.large_ms.append(spent[2])
    return statistics.median(bare_ms)


Ask = Callable[[str, str], float]


def _served(stack: ExitStack, target: tuple[str, ...], environment: dict[str, str]) -> Ask:
    """Serve an application; how to ask it for a path with a cookie header, in milliseconds."""
    port = free_port()
    stack.enter_context(
        granian(*target, port=port, workers=1, threads=1, environment={**os.environ, **environment})
    )
    _wait_for(port)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
    stack.callback(connection.close)

    def ask(path: str, cookies: str) -> float:
        began = time.perf_counter()
        connection.request("GET", path, headers=HEADERS | {"Cookie": cookies})
        answer = connection.getresponse()
        size = len(answer.read())
        spent = time.perf_counter() - began
        if answer.status != HTTPStatus.OK or not size:
            sys.exit(f"{path} answered {answer.status}")
        return spent * 1e3

    return ask


def _wait_for(port: int) -> None:
    """Until somebody listens. SystemExit where nobody does in time."""
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    sys.exit("the server does not listen")


def cookies_of(client: FlaskClient) -> dict[str, str]:
    """What the browser would send, by name."""
    return {each.key: each.value for each in client._cookies.values()}


def _header(client: FlaskClient) -> str:
    return "; ".join(f"{name}={value}" for name, value in cookies_of(client).items())


if __name__ == "__main__":
    main()
