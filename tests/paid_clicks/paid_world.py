"""A program that pays for unique clicks, three days into its third month."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from affiliate.links.links import create_link
from affiliate.links.models import Link
from affiliate.people.models import Enrollment
from affiliate.programs.models import Program
from payouts.audit import run as audit
from payouts.commissions.counted import clicks_reference
from payouts.commissions.models import Commission
from payouts.commissions.release import release_due
from payouts.ledger.balances import balances
from tests.builders import make_affiliate, make_program, terms_document
from tracker.clicks import tokens
from tracker.clicks.loading import load_records
from tracker.clicks.partitions import ensure_partitions
from tracker.clicks.records import encode, scan
from tracker.clicks.rules import DropReason
from tracker.paid_clicks.book import book_due
from tracker.paid_clicks.models import PaidClickDay

NOW = datetime(2026, 11, 21, 3, tzinfo=UTC)
DAY = timedelta(days=1)
YESTERDAY = date(2026, 11, 20)
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:141.0) Gecko/20100101 Firefox/141.0"
LEVELS = {"level_1": {"kind": "percent", "rate_ppm": 100_000}, "level_2": None}


class Paying:
    """Every helper commits what it did."""

    def __init__(self, app: Flask, settings: Settings, session: Session, program: Program) -> None:
        self.app = app
        self.settings = settings
        self.session = session
        self.program = program

    @classmethod
    def build_under(
        cls,
        app: Flask,
        settings: Settings,
        session: Session,
        *,
        time_zone: str = "UTC",
        hold_days: int = 14,
        **commission: Any,
    ) -> Paying:
        terms = terms_document(
            commission={**LEVELS, "per_click": "0.003", **commission},
            payout={"hold_days": hold_days},
        )
        program = make_program(
            session, now=NOW - 60 * DAY, terms_document=terms, time_zone=time_zone
        )
        for months in range(3):
            ensure_partitions(session, now=NOW - months * 30 * DAY)
        session.commit()
        return cls(app, settings, session, program)

    def affiliate(self, name: str) -> Enrollment:
        with self.app.app_context():
            made = make_affiliate(
                self.session, self.program, f"{name}@blog.example", now=NOW - 50 * DAY
            )
            self.session.commit()
        return made

    def link(self, who: Enrollment) -> Link:
        made = create_link(self.session, enrollment_id=who.id, name="Blog", now=NOW - 49 * DAY)
        self.session.commit()
        return made

    def clicks(
        self,
        link: Link,
        count: int,
        *,
        at: datetime = NOW - DAY,
        reason: DropReason | None = None,
    ) -> None:
        """The loader brings clicks of so many visitors, a second apart."""
        raw = b""
        for number in range(count):
            ms = int((at + timedelta(seconds=number)).timestamp() * 1000)
            click_id = tokens.new_click_id(ms, secrets.token_bytes(10))
            texts = "\0".join((BROWSER, "", "", *[""] * 5, "", "")).encode()
            raw += encode(
                click_id, link.id, secrets.token_bytes(16), secrets.token_bytes(16), reason, 0,
                texts,
            )  # fmt: skip
        url = self.settings.database_url.replace("+psycopg", "")
        with psycopg.connect(url) as connection:
            load_records(connection, scan(raw, ended=True).records, {})

    def book(self, *, now: datetime = NOW) -> int:
        """All that is due; of how many links."""
        booked = 0
        while more := self.once(lambda session: book_due(session, now=now)):
            booked += more
        return booked

    def once(self, verb: Callable[[Session], int]) -> int:
        with self.app.app_context():
            done = verb(self.session)
            self.session.commit()
        return done

    def release(self, at: datetime) -> None:
        self.once(lambda session: release_due(session, now=at))

    def earned(self, link: Link, day: date = YESTERDAY) -> list[tuple[int, str, str | None]]:
        """(number, amount, why it was voided) of each booking of the link's day."""
        self.tick()
        found = self.session.scalars(
            sa.select(Commission)
            .where(Commission.reference == clicks_reference(link.id, day))
            .order_by(Commission.decision)
        )
        return [(c.decision, _decimal(c.amount_micros), c.void_reason) for c in found]

    def paid_day(self, link: Link, day: date = YESTERDAY) -> PaidClickDay:
        self.tick()
        return self.session.scalars(
            sa.select(PaidClickDay).where(PaidClickDay.link_id == link.id, PaidClickDay.day == day)
        ).one()

    def available(self, who: Enrollment) -> str:
        self.tick()
        found = balances(self.session, enrollment_id=who.id, currency="RUB")
        return found.available.decimal

    def recount(self, link: Link, uniques: int) -> None:
        """A person has corrected rows of the one link, and the counters were made anew."""
        for counter in ("link_days", "program_days"):
            self.session.execute(
                sa.text(f"UPDATE {counter} SET uniques = :uniques WHERE program_id = :program"),
                {"uniques": uniques, "program": link.program_id},
            )
        self.session.commit()

    def node(self, name: str, loaded_until: datetime) -> None:
        self.session.execute(
            sa.text(
                "INSERT INTO click_nodes VALUES (:node, :until, :until) "
                "ON CONFLICT (node) DO UPDATE SET loaded_until = excluded.loaded_until"
            ),
            {"node": name, "until": loaded_until},
        )
        self.session.commit()

    def tick(self) -> None:
        self.session.expire_all()
        self.session.rollback()

    def sound(self) -> None:
        """Every check of the audit is silent."""
        self.tick()
        assert audit.run(self.session, audit.registered(self.app), real_now=NOW) == []


def _decimal(micros: int) -> str:
    whole, part = divmod(micros, 1_000_000)
    return f"{whole}.{part:06d}"
