"""A shop for the benchmarks of orders: a program, affiliates, clicks, a key, and its books."""

from __future__ import annotations

import itertools
import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from affiliate.core.embedded.servers import Servers, create_database
from affiliate.core.migrate import upgrade
from affiliate.people import api_keys
from affiliate.people.models import Affiliate, Enrollment, User
from affiliate.programs.models import Program
from affiliate.programs.programs import create_program
from bench.load import Request
from tracker.clicks import tokens
from tracker.clicks.database import libpq_url
from tracker.clicks.models import Click
from tracker.clicks.partitions import ensure_partitions
from tracker.demo.people import terms_document

AFFILIATES = 200
BUYERS = 5_000
PATH = "/api/v1/orders"
ENTRIES_PER_ORDER = 4
"""Two commissions, each from expense to pending."""
DISTINCT, ONE = "distinct recruiters", "one recruiter"
_runs = itertools.count(1)


@dataclass
class Shop:
    """What the load needs to know: the key, the body, tokens by the kind of recruiter."""

    environment: dict[str, str]
    database_url: str
    key: str
    body: str
    tokens: dict[str, list[str]]
    token_files: dict[str, Path]
    body_file: Path

    def orders(self, recruiters: str) -> Request:
        """New orders, one after another: each request has an id that no other run has."""
        run, known = f"R{next(_runs)}", self.tokens[recruiters]

        def body(number: int) -> str:
            token = known[number % len(known)]
            return self.body % (f"{run}-{number}", f"C-{number % BUYERS}", token)

        return Request(
            PATH,
            {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"},
            body,
            Path(__file__).with_name("orders.lua"),
            {
                "BENCH_TOKENS": str(self.token_files[recruiters]),
                "BENCH_BODY": str(self.body_file),
                "BENCH_RUN": run,
                "BENCH_KEY": self.key,
            },
        )


def make_shop(servers: Servers, folder: Path) -> Shop:
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
        "KOPECK_API_CALLS_PER_MINUTE": "0",
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
    body = _body(now)
    (folder / "body").write_text(body)
    files = {name: folder / name.replace(" ", "-") for name in minted}
    for name, file in files.items():
        file.write_text("\n".join(minted[name]) + "\n")
    return Shop(environment, url, key, body, minted, files, folder / "body")


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
        terms_document=terms_document(),
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


def read_rows(shop: Shop) -> None:
    """As a database in use has them: without statistics the planner guesses."""
    with psycopg.connect(libpq_url(shop.database_url), autocommit=True) as connection:
        connection.execute("ANALYZE")


def check_orders(shop: Shop, answered: int) -> None:
    """Every order that was answered is there, with two commissions and a ledger in balance."""
    with psycopg.connect(libpq_url(shop.database_url)) as connection:
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
