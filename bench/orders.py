"""Order intake over HTTP beside a no-op Flask POST: `python -m bench.orders`.

Both on the same server (granian) with the same options, with one worker and with two, in
interleaved rounds. An order is complete: key, validation, click token, attribution, two
commissions, their ledger entries, one commit on a PostgreSQL that syncs. At the end the
books are counted: what was answered 201 must be there, with all that belongs to it.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import itertools
import json
import os
import platform
import re
import secrets
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import sqlalchemy as sa
from flask import Flask, Response, jsonify, request
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from affiliate.core.embedded.servers import Servers, create_database, running
from affiliate.core.migrate import upgrade
from affiliate.people import api_keys
from affiliate.people.models import Affiliate, Enrollment, User
from affiliate.programs.models import Program
from affiliate.programs.programs import create_program
from bench.measuring import cpu_s, free_port, granian
from tracker.clicks import tokens
from tracker.clicks.models import Click
from tracker.clicks.partitions import ensure_partitions

AFFILIATES = 200
PATH = "/api/v1/orders"
TERMS = {
    "attribution": {
        "model": "last_click",
        "window_days": 30,
        "coupon": "loses",
        "existing_customer": "pays",
        "self_purchase": "refuses",
    },
    "commission": {
        "level_1": {"kind": "percent", "rate_ppm": 100_000},
        "level_2": {"of": "sale", "rate_ppm": 20_000},
    },
    "payout": {"hold_days": 14},
}
ENTRIES_PER_ORDER = 4
"""Two commissions, each from expense to pending."""
DISTINCT, ONE = "distinct recruiters", "one recruiter"
_runs = itertools.count(1)

flask = Flask(__name__)


@flask.post(PATH)
def nothing() -> tuple[Response, int]:
    """What a Flask application does for a POST at the very least: read it, answer."""
    return jsonify(order_id=request.get_json()["order_id"]), 201


@dataclass
class Shop:
    """What the load needs to know: the key, the body, tokens by the kind of recruiter."""

    environment: dict[str, str]
    database_url: str
    key: str
    body: str
    tokens: dict[str, list[str]]


@dataclass
class Measured:
    """One round of one variant."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    server_cpu_s: float = 0.0
    postgres_cpu_s: float = 0.0

    @property
    def rps(self) -> float:
        return self.requests / self.seconds


@dataclass
class Variant:
    """A server under one kind of load, and its rounds."""

    name: str
    workers: int
    port: int
    pid: int
    recruiters: str
    noop: bool = False
    rounds: list[Measured] = field(default_factory=list)

    def median(self, name: str) -> float:
        return statistics.median(getattr(measured, name) for measured in self.rounds)

    def cpu_us(self, name: str) -> float:
        return statistics.median(getattr(m, name) / m.requests * 1e6 for m in self.rounds)


def main() -> None:
    arguments = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="kpk-bench-"))
    try:
        with running(folder / "servers", keep=False) as servers, ExitStack() as stack:
            shop = _shop(servers, folder)
            variants = list(_variants(stack, shop, arguments))
            for variant in variants:
                _wait_for(variant, shop)
                _load(variant, shop, arguments, arguments.warm_up)
            _read_rows(shop)
            for number in range(arguments.rounds):
                start = number % len(variants)
                for variant in variants[start:] + variants[:start]:
                    variant.rounds.append(
                        _round(variant, shop, arguments, servers.pids["postgres"])
                    )
            _print(variants, arguments)
            _check(variants, shop)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _variants(stack: ExitStack, shop: Shop, arguments: argparse.Namespace) -> Iterator[Variant]:
    """Two servers for each number of workers."""
    for workers in (1, 2):
        for noop in (True, False):
            port = free_port()
            target = ("bench.orders:flask",) if noop else ("wsgi:make_application", "--factory")
            pid = stack.enter_context(
                granian(
                    *target,
                    port=port,
                    workers=workers,
                    threads=arguments.threads,
                    environment=shop.environment,
                )
            )
            if noop:
                yield Variant("no-op Flask POST", workers, port, pid, DISTINCT, noop=True)
                continue
            for recruiters in (DISTINCT, ONE):
                yield Variant(f"orders, {recruiters}", workers, port, pid, recruiters)


def _round(variant: Variant, shop: Shop, arguments: argparse.Namespace, postgres: int) -> Measured:
    before, postgres_before = cpu_s(variant.pid), cpu_s(postgres)
    measured = _load(variant, shop, arguments, arguments.seconds)
    measured.server_cpu_s = cpu_s(variant.pid) - before
    measured.postgres_cpu_s = cpu_s(postgres) - postgres_before
    return measured


def _load(variant: Variant, shop: Shop, arguments: argparse.Namespace, seconds: float) -> Measured:
    run = f"R{next(_runs)}"
    if shutil.which("wrk"):
        return _load_by_wrk(variant, shop, arguments, run, seconds)
    return asyncio.run(_load_by_ourselves(variant, shop, arguments, run, seconds))


def _load_by_wrk(
    variant: Variant, shop: Shop, arguments: argparse.Namespace, run: str, seconds: float
) -> Measured:
    with tempfile.TemporaryDirectory(prefix="kpk-bench-") as folder:
        token_file, body_file = Path(folder, "tokens"), Path(folder, "body")
        token_file.write_text("\n".join(shop.tokens[variant.recruiters]) + "\n")
        body_file.write_text(shop.body)
        said = subprocess.run(
            [
                *("wrk", "-t1", f"-c{arguments.connections}", f"-d{seconds}s", "--latency"),
                *("-s", str(Path(__file__).with_suffix(".lua"))),
                f"http://127.0.0.1:{variant.port}{PATH}",
            ],
            env={
                **os.environ,
                "BENCH_TOKENS": str(token_file),
                "BENCH_BODY": str(body_file),
                "BENCH_RUN": run,
                "BENCH_KEY": shop.key,
            },
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(f"{variant.name}: not every request was answered with success\n{said}")
    counted = re.search(r"(\d+) requests in ([\d.]+)(m?s),", said)
    if counted is None:
        raise SystemExit(f"wrk said something else:\n{said}")
    taken = float(counted[2]) / (1000 if counted[3] == "ms" else 1)
    return Measured(int(counted[1]), taken, _latency(said, 50), _latency(said, 99))


def _latency(text: str, percentile: int) -> float:
    said = re.search(rf"^\s*{percentile}%\s+([\d.]+)(us|ms|s)$", text, re.MULTILINE)
    if said is None:
        raise SystemExit(f"wrk did not say its latency:\n{text}")
    return float(said[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[said[2]]


async def _load_by_ourselves(
    variant: Variant, shop: Shop, arguments: argparse.Namespace, run: str, seconds: float
) -> Measured:
    """Keep-alive connections that each send the next order as soon as they are answered."""
    times: list[float] = []
    numbers = itertools.count(1)
    end = time.perf_counter() + seconds

    async def send() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", variant.port)
        while (began := time.perf_counter()) < end:
            writer.write(_request(variant, shop, run, next(numbers)))
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 201"):
                raise SystemExit(f"{variant.name}: {head.decode()}")
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            await reader.readexactly(int(length[1]) if length else 0)
            times.append(time.perf_counter() - began)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(send() for _ in range(arguments.connections)))
    taken = time.perf_counter() - began
    hundredths = statistics.quantiles(times, n=100)
    return Measured(len(times), taken, hundredths[49] * 1000, hundredths[98] * 1000)


def _request(variant: Variant, shop: Shop, run: str, number: int) -> bytes:
    known = shop.tokens[variant.recruiters]
    body = shop.body % (f"{run}-{number}", f"C-{number % 5000}", known[number % len(known)])
    return (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{variant.port}\r\n"
        f"Authorization: Bearer {shop.key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def _wait_for(variant: Variant, shop: Shop) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", variant.port, timeout=10)
        try:
            head, _, body = _request(variant, shop, f"R{next(_runs)}", 1).partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
            connection.request("POST", PATH, body=body, headers=headers)
            answer = connection.getresponse()
            if answer.status == 201:
                return
            raise SystemExit(f"{variant.name}: {answer.status} {answer.read().decode()}")
        except OSError:
            time.sleep(0.1)
        finally:
            connection.close()
    raise SystemExit(f"nothing answers on port {variant.port}")


def _shop(servers: Servers, folder: Path) -> Shop:
    """A program with 200 affiliates of 200 recruiters and 200 of one, their clicks, a key."""
    url = create_database(servers.database_url, "bench_orders")
    upgrade(url)
    environment = {
        **os.environ,
        # As an installation runs: in demo and test mode each request also reads the demo clock.
        "KOPECK_MODE": "production",
        "DATABASE_URL": url,
        "REDIS_URL": servers.redis_url,
        "KOPECK_SECRET": "a-secret-for-the-benchmark-0123456789",
        "KOPECK_PUBLIC_URL": "https://kopeck.example",
        "KOPECK_TRUSTED_HOSTS": "127.0.0.1",
        "KOPECK_DATA_DIR": str(folder / "data"),
        "KOPECK_LOG_LEVEL": "ERROR",
    }
    settings = Settings.from_environ(environment)
    now = datetime.now(UTC).replace(microsecond=0)
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with Session(engine) as session:
        program = _program(session, now)
        ensure_partitions(session, now=now)
        _, key = api_keys.create_key(
            session, program_id=program, scopes=["orders:write"], name="shop", by=None, now=now
        )
        signing = tokens.signing_keys(settings.keys("click-token"))[0]
        sides = {
            DISTINCT: _enrollments(session, program, "d", now, AFFILIATES),
            ONE: _enrollments(session, program, "o", now, 1),
        }
        minted = {name: _clicks(session, program, e, signing, now) for name, e in sides.items()}
        session.commit()
    return Shop(environment, url, key, _body(now), minted)


def _program(session: Session, now: datetime) -> int:
    program: Program = create_program(
        session,
        slug="bench",
        name="Bench",
        currency="RUB",
        landing_url="https://shop.example/",
        allowed_sites=["shop.example"],
        rail="manual",
        time_zone="UTC",
        terms_document=TERMS,
        by=None,
        now=now - timedelta(days=90),
    )
    session.flush()
    return program.id


def _enrollments(
    session: Session, program: int, name: str, now: datetime, recruiters: int
) -> list[int]:
    """200 active affiliates, spread over this many recruiters."""

    def enroll(who: str, recruiter: int | None) -> int:
        user = User(email=f"{who}@blog.example", fs_uniquifier=who, created_at=now)
        session.add(user)
        session.flush()
        affiliate = Affiliate(user_id=user.id, name=who, created_at=now)
        session.add(affiliate)
        session.flush()
        enrollment = Enrollment(
            program_id=program,
            affiliate_id=affiliate.id,
            recruiter_id=recruiter,
            status="active",
            answers={},
            applied_at=now,
        )
        session.add(enrollment)
        session.flush()
        return enrollment.id

    above = [enroll(f"{name}-recruiter-{i}", None) for i in range(recruiters)]
    return [enroll(f"{name}-{i}", above[i % recruiters]) for i in range(AFFILIATES)]


def _clicks(
    session: Session,
    program: int,
    enrollments: Sequence[int],
    signing: tokens.SigningKey,
    now: datetime,
) -> list[str]:
    """A link and a loaded click of each affiliate; the tokens that buyers bring."""
    minted = []
    for enrollment in enrollments:
        link = session.execute(
            sa.text(
                "INSERT INTO links (program_id, enrollment_id, code, destination, created_at) "
                "VALUES (:program, :enrollment, :code, 'https://shop.example/', :now) RETURNING id"
            ),
            {
                "program": program,
                "enrollment": enrollment,
                "code": secrets.token_hex(6),
                "now": now - timedelta(days=80),
            },
        ).scalar_one()
        at_ms = int((now - timedelta(days=1)).timestamp() * 1000)
        visitor = secrets.token_bytes(16)
        token = tokens.mint(
            signing, tokens.new_click_id(at_ms, secrets.token_bytes(10)), link, visitor
        )
        click = tokens.read(token, [signing])
        if not isinstance(click, tokens.ClickToken):
            raise SystemExit("the benchmark's own token is not believed")
        session.execute(
            sa.insert(Click).values(
                click_id=click.click_id,
                clicked_at=click.clicked_at,
                link_id=link,
                program_id=program,
                enrollment_id=enrollment,
                visitor_id=click.visitor_id,
                visitor_known=False,
                is_unique=False,
                deep_link_refused=False,
                address_hash=click.click_id,
                agent="Firefox",
                referrer="",
            )
        )
        minted.append(token)
    return minted


def _body(now: datetime) -> str:
    """An order with holes for its id, the buyer's id and the click token."""

    def rub(amount: str) -> dict[str, str]:
        return {"amount": amount, "currency": "RUB"}

    lamp = {"sku": "LAMP-1", "name": "Desk lamp", "category": "lighting", "quantity": 1}
    return json.dumps(
        {
            "order_id": "%s",
            "placed_at": now.isoformat(),
            "total": rub("4490.00"),
            "discount": rub("500.00"),
            "tax": rub("700.00"),
            "tax_included": True,
            "shipping": rub("290.00"),
            "items": [{**lamp, "price": rub("4700.00")}],
            "customer": {"id": "%s", "is_new": True},
            "clicks": ["%s"],
        }
    )


def _read_rows(shop: Shop) -> None:
    """As a database in use has them: without statistics the planner guesses."""
    with psycopg.connect(_libpq(shop), autocommit=True) as connection:
        connection.execute("ANALYZE")


def _print(variants: Sequence[Variant], arguments: argparse.Namespace) -> None:
    load = "wrk" if shutil.which("wrk") else "our own load generator (slower than the servers)"
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {load}"
        f"; {arguments.rounds} rounds of {arguments.seconds} s, {arguments.connections} "
        f"connections, {arguments.threads} threads; medians"
    )
    print(
        f"{'':28}{'workers':>8}{'req/s':>8}{'min-max':>16}{'/no-op':>8}{'p50 ms':>8}{'p99 ms':>8}"
        f"{'server us':>11}{'postgres us':>13}"
    )
    noop = {v.workers: v.median("rps") for v in variants if v.noop}
    for variant in variants:
        rates = sorted(measured.rps for measured in variant.rounds)
        rps = variant.median("rps")
        postgres = "" if variant.noop else f"{variant.cpu_us('postgres_cpu_s'):13,.0f}"
        print(
            f"{variant.name:28}{variant.workers:8}{rps:8,.0f}"
            f"{f'{rates[0]:,.0f}-{rates[-1]:,.0f}':>16}{rps / noop[variant.workers]:8.3f}"
            f"{variant.median('p50_ms'):8.2f}{variant.median('p99_ms'):8.2f}"
            f"{variant.cpu_us('server_cpu_s'):11,.0f}{postgres}"
        )


def _check(variants: Sequence[Variant], shop: Shop) -> None:
    """Every order that was answered is there, with two commissions and a ledger in balance."""
    answered = sum(m.requests for v in variants if not v.noop for m in v.rounds)
    with psycopg.connect(_libpq(shop)) as connection:
        row = connection.execute(
            """
            SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM decisions),
                   (SELECT count(*) FROM commissions WHERE amount_micros > 0),
                   (SELECT count(*) FROM ledger_entries),
                   (SELECT coalesce(sum(amount_micros), 0) FROM ledger_entries)
            """
        ).fetchone()
    assert row is not None
    orders, decisions, commissions, entries, balance = map(int, row)
    print(f"orders answered {answered:,} (and those of the warm-up), stored {orders:,}")
    if orders < answered:
        raise SystemExit(f"{answered - orders} orders are missing")
    if (decisions, commissions, entries, balance) != (
        orders, 2 * orders, ENTRIES_PER_ORDER * orders, 0,
    ):  # fmt: skip
        raise SystemExit(
            f"{orders} orders have {decisions} decisions, {commissions} commissions and "
            f"{entries} entries that sum to {balance}"
        )


def _libpq(shop: Shop) -> str:
    return shop.database_url.replace("+psycopg", "")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=1)
    parser.add_argument("--warm-up", type=int, default=1, help="seconds before the first round")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--threads", type=int, default=4, help="granian's blocking threads")
    return parser.parse_args()


if __name__ == "__main__":
    main()
