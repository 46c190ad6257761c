"""A database that is emptied, copied and put back within milliseconds, and a small world in it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.orm import Session, sessionmaker

from affiliate.core.money import Money
from affiliate.people.models import Affiliate, Enrollment, Grant, User
from affiliate.programs.models import Program, RuleVersion
from affiliate.programs.terms import CommissionTerms, Percent
from payouts.audit.run import Check
from payouts.batches.models import Installation
from payouts.batches.payees import set_payee
from payouts.commissions.earn import earn
from payouts.commissions.release import release_due
from payouts.commissions.rules import Credit, Sale, VoidReason
from payouts.commissions.void import void
from tests.payouts.simulation.provider import Account, Provider

EPOCH = datetime(2026, 11, 21, 7, 15, tzinfo=UTC)
"""Where the clock of each run begins: a Saturday."""
CURRENCY = "EUR"
HOLD = timedelta(days=14)
WHOLE = CommissionTerms(level_1=Percent(1_000_000), level_2=None)
"""A sale of that amount earns exactly that amount."""
TERMS = {
    "attribution": {
        "model": "last_click", "window_days": 30, "coupon": "loses",
        "existing_customer": "pays", "self_purchase": "refuses",
    },
    "commission": {"level_1": {"kind": "percent", "rate_ppm": 100_000}, "level_2": None},
    "payout": {"hold_days": 14},
}  # fmt: skip
KEPT_TABLES = ("alembic_version",)
_CLEAR = """
    CREATE FUNCTION pg_temp.clear(tables text[]) RETURNS void
    LANGUAGE plpgsql AS $$
    DECLARE name text; filled bool;
    BEGIN
        SET LOCAL session_replication_role = replica;
        FOREACH name IN ARRAY tables LOOP
            EXECUTE format('SELECT EXISTS (SELECT FROM %I)', name) INTO filled;
            IF filled THEN EXECUTE format('DELETE FROM %I', name); END IF;
        END LOOP;
        FOR name IN SELECT sequencename FROM pg_sequences
                    WHERE schemaname = 'public' AND last_value IS NOT NULL LOOP
            PERFORM setval(name::regclass, 1, false);
        END LOOP;
    END $$
"""
"""SET LOCAL in a function ends with its transaction, which is the call itself."""


class Books:
    """One migrated database; `empty`, `copy` and `put_back` work on all rows at once.

    As the server's superuser with triggers and foreign keys off: what no process of Kopeck may
    do to the books, a restore of a backup does.
    """

    def __init__(self, database_url: str) -> None:
        self._own = psycopg.connect(database_url.replace("+psycopg", ""), autocommit=True)
        self.tables = [
            name
            for (name,) in self._own.execute(
                "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition "
                "AND relnamespace = 'public'::regnamespace ORDER BY relname"
            )
            if name not in KEPT_TABLES
        ]
        self._kept = {name for name in self.tables if self._count(name)}
        self._checked: str | None = None
        self._own.execute(_CLEAR)
        self._empty = sql.SQL("SELECT pg_temp.clear({})").format(
            sql.Literal([name for name in self.tables if name not in self._kept])
        )

    def close(self) -> None:
        self._own.close()

    def empty(self) -> None:
        """No row of any run; ids begin at 1 again. One trip."""
        self._own.execute(self._empty)

    def copy(self) -> Backup:
        """All rows as one transaction sees them, and where the sequences stand."""
        rows: dict[str, bytes] = {}
        with self._own.transaction():
            self._own.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            for name in self._filled():
                with self._own.cursor().copy(
                    sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(name))
                ) as out:
                    rows[name] = b"".join(bytes(part) for part in out)
            stands = [
                (name, last)
                for name, last in self._own.execute(
                    "SELECT sequencename, last_value FROM pg_sequences "
                    "WHERE schemaname = 'public' AND last_value IS NOT NULL"
                )
            ]
        return Backup(rows, stands)

    def breaks(self, checks: Sequence[Check], real_now: datetime) -> list[str]:
        """Names of the checks in SQL that do not hold: all of them in one prepared question."""
        if self._checked is None:
            self._own.execute("SET plan_cache_mode = force_generic_plan")
            asked = [each for each in checks if isinstance(each.query, str)]
            common = {each.over for each in asked if each.over}
            tables = ", ".join(f"{each.name} AS MATERIALIZED ({each.query})" for each in common)
            self._checked = f"WITH {tables} " + " UNION ALL ".join(
                f"SELECT '{each.name}' WHERE EXISTS (SELECT FROM ("
                + str(each.query).replace("%", "%%").replace(":real_now", "%(real_now)s")
                + ") AS broken)"
                for each in asked
            )
        rows = self._own.execute(self._checked, {"real_now": real_now}, prepare=True)
        return [name for (name,) in rows]

    def waiting(self) -> Waiting:
        """What people would see on their pages now."""
        row = self._own.execute(_WAITING, prepare=True).fetchone()
        assert row is not None
        return Waiting(*row)

    def put_back(self, backup: Backup) -> None:
        """The backup takes the place of everything."""
        self.empty()
        with self._as_a_restore():
            for name, rows in backup.rows.items():
                with self._own.cursor().copy(
                    sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(name))
                ) as into:
                    into.write(rows)
            for name, last in backup.sequences:
                self._own.execute("SELECT setval(%s::regclass, %s)", (name, last))

    def _filled(self) -> list[str]:
        """Tables with rows, asked in one trip; those of the migrations themselves stay."""
        asked = sql.SQL(" UNION ALL ").join(
            sql.SQL("SELECT {} WHERE EXISTS (SELECT FROM {})").format(
                sql.Literal(name), sql.Identifier(name)
            )
            for name in self.tables
            if name not in self._kept
        )
        return [name for (name,) in self._own.execute(asked)]

    def _count(self, name: str) -> int:
        row = self._own.execute(
            sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(name))
        ).fetchone()
        assert row is not None
        return int(row[0])

    @contextmanager
    def _as_a_restore(self) -> Iterator[None]:
        with self._own.transaction():
            self._own.execute("SET LOCAL session_replication_role = replica")
            yield


@dataclass(frozen=True)
class Waiting:
    """How many of each wait for somebody."""

    frozen: int
    queued: int
    review: int
    batches: int
    """Of any status."""


_WAITING = """
    SELECT (SELECT count(*) FROM payout_batches WHERE status IN ('draft', 'frozen')),
           (SELECT count(*) FROM payout_items WHERE status = 'queued'),
           (SELECT count(*) FROM payout_items WHERE status = 'needs_review'),
           (SELECT count(*) FROM payout_batches)
"""


@dataclass(frozen=True)
class Backup:
    rows: dict[str, bytes]
    sequences: list[tuple[str, int]]


@dataclass
class Sold:
    """A sale of which the shop knows that it must be in the books."""

    name: str
    micros: int
    reference: str
    taken_back: bool = False
    heard: bool = False
    """The shop was told that the books have it as it now is."""


@dataclass
class Town:
    """One program, its finance users and affiliates, and what each has sold."""

    sessions: sessionmaker[Session]
    provider: Provider
    program_id: int = 0
    rule_version_id: int = 0
    enrollments: dict[str, int] = field(default_factory=dict)
    affiliates: dict[str, int] = field(default_factory=dict)
    users: dict[str, int] = field(default_factory=dict)
    finance: list[int] = field(default_factory=list)
    sales: list[Sold] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def found(
        self, names: list[str], *, weekday: int, hour: int, time_zone: str, key: str, now: datetime
    ) -> None:
        """The program with two people of finance and affiliates that can be paid."""
        with self.sessions.begin() as session:
            session.add(Installation(id=1, key=key))
            program = Program(
                slug="lamps", name="Lamps", currency=CURRENCY, landing_url="https://shop.example/",
                allowed_sites=["shop.example"], rail="stripe", payout_weekday=weekday,
                payout_hour=hour, time_zone=time_zone, created_at=now,
            )  # fmt: skip
            session.add(program)
            people = [_user(name, now) for name in ("finn", "fiona", *names)]
            session.add_all(people)
            session.flush()
            version = RuleVersion(
                program_id=program.id, number=1, terms=TERMS, effective_at=now, announced_at=now,
                created_at=now,
            )  # fmt: skip
            session.add(version)
            self.finance = [person.id for person in people[:2]]
            session.add_all(
                Grant(user_id=user_id, program_id=program.id, role="finance", granted_at=now)
                for user_id in self.finance
            )
            made = [
                Affiliate(user_id=person.id, name=name, created_at=now)
                for name, person in zip(names, people[2:], strict=True)
            ]
            session.add_all(made)
            session.flush()
            rows = [
                Enrollment(
                    program_id=program.id, affiliate_id=each.id, status="active", answers={},
                    applied_at=now,
                )
                for each in made
            ]  # fmt: skip
            session.add_all(rows)
            session.flush()
            self.program_id, self.rule_version_id = program.id, version.id
            for name, each, row in zip(names, made, rows, strict=True):
                self.users[name], self.affiliates[name] = each.user_id, each.id
                self.enrollments[name] = row.id
                self.name_payee(session, name, now=now)

    def name_payee(self, session: Session, name: str, *, now: datetime) -> str:
        """A new account at the provider takes the place of the one before."""
        destination = f"acct_{name}{next(self._numbers)}"
        self.provider.accounts[destination] = Account()
        set_payee(
            session, affiliate_id=self.affiliates[name], rail="stripe", destination=destination,
            ready=True, by="simulation", now=now,
        )  # fmt: skip
        return destination

    def sell(self, name: str, micros: int) -> Sold:
        """A sale that will be reported until the books have it."""
        sold = Sold(name, micros, f"sale:{next(self._numbers)}")
        self.sales.append(sold)
        return sold

    def report(self, session: Session, sold: Sold, *, now: datetime) -> None:
        """Tell the books of a sale, as often as need be; its hold is over already."""
        self.earn(session, sold, now=now)
        release_due(session, now=now)

    def earn(self, session: Session, sold: Sold, *, now: datetime) -> None:
        """A sale is in the books, and what it earned is pending."""
        credit = Credit(self.enrollments[sold.name], Fraction(1), WHOLE, self.rule_version_id, None)
        sale = Sale(
            program_id=self.program_id, reference=sold.reference, decision=1,
            net=Money(sold.micros, CURRENCY), credits=(credit,), placed_at=now - HOLD, hold=HOLD,
        )  # fmt: skip
        earn(session, sale=sale, waits_for=None, now=now)

    def take_back(self, session: Session, sold: Sold, *, now: datetime) -> None:
        """The order was refunded as a whole, paid out already or not."""
        void(
            session, reference=sold.reference, decision=1, reason=VoidReason.ORDER_CANCELLED,
            now=now,
        )  # fmt: skip

    def earned(self) -> dict[int, int]:
        """What each enrollment has earned by its own count, in micros."""
        sums: dict[int, int] = dict.fromkeys(self.enrollments.values(), 0)
        for sold in self.sales:
            if not sold.taken_back:
                sums[self.enrollments[sold.name]] += sold.micros
        return sums


def _user(name: str, now: datetime) -> User:
    return User(email=f"{name}@example.com", fs_uniquifier=name, created_at=now)


def scalars(session: Session, statement: str, **values: Any) -> list[Any]:
    """The first column of a question in SQL."""
    return list(session.scalars(sa.text(statement), values))
