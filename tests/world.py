"""A small believable world, made through the verbs that real traffic takes.

A ruble program with two levels, a euro program without, affiliates who are signed in, their
links, clicks out of journal records, orders, refunds, releases, withdrawals and payouts.
Times are the machine's own, because pages ask the clock themselves.
"""

from __future__ import annotations

import itertools
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar
from zoneinfo import ZoneInfo

import psycopg
import sqlalchemy as sa
from builders import make_affiliate, make_program, make_user, terms_document
from flask import Flask, has_app_context
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.config import Settings
from affiliate.core.money import MICROS, Money
from affiliate.links.coupons import create_coupon
from affiliate.links.links import create_link
from affiliate.links.models import Link
from affiliate.people import grants, sessions, users
from affiliate.people.models import Affiliate, Enrollment, User
from affiliate.programs.models import Program
from payouts.batches.approve import approve
from payouts.batches.models import PayoutBatch
from payouts.batches.payees import set_payee
from payouts.batches.review import mark_paid
from payouts.batches.withdraw import Requested, withdraw
from payouts.commissions.release import release_due
from payouts.rails.registry import rails
from tracker.clicks import tokens
from tracker.clicks.loading import load_records
from tracker.clicks.partitions import ensure_partitions
from tracker.clicks.records import encode, scan
from tracker.clicks.rules import DropReason
from tracker.orders.cancellation import cancel_order
from tracker.orders.intake import report_order
from tracker.orders.models import Order
from tracker.orders.refunds import refund_order
from tracker.orders.rules import OrderReportIn, RefundIn, Source

DAY = timedelta(days=1)
CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/141.0.0.0 Safari/537.36"
)
_numbers = itertools.count(10_001)

P = ParamSpec("P")
R = TypeVar("R")


def in_app(verb: Callable[Concatenate[World, P], R]) -> Callable[Concatenate[World, P], R]:
    """Inside the application, as verbs need it, and no longer: `g` must not outlive a request."""

    @wraps(verb)
    def inside(world: World, *args: P.args, **kwargs: P.kwargs) -> R:
        if has_app_context():
            return verb(world, *args, **kwargs)
        with world.app.app_context():
            return verb(world, *args, **kwargs)

    return inside


@dataclass
class Person:
    """An affiliate in the ruble program, with a link and a browser that is signed in."""

    name: str
    user_id: int
    affiliate_id: int
    enrollment: Enrollment
    link: Link | None
    client: FlaskClient


@dataclass
class World:
    """Every helper commits what it did."""

    app: Flask
    settings: Settings
    session: Session
    now: datetime
    program: Program
    euros: Program
    people: dict[str, Person] = field(default_factory=dict)
    chance: random.Random = field(default_factory=lambda: random.Random(7))

    @classmethod
    def build(cls, app: Flask, settings: Settings, session: Session) -> World:
        """The two programs, 200 days old, and nobody in them. Needs an application context."""
        now = clock.real_now().replace(microsecond=0)
        begun = now - 200 * DAY
        one_level = {"level_1": {"kind": "percent", "rate_ppm": 50_000}, "level_2": None}
        program = make_program(
            session, now=begun, slug="demo", name="Lamp & Leaf partners",
            contact_email="partners@shop.example",
        )  # fmt: skip
        euros = make_program(
            session, now=begun, slug="demo-manual", name="Nordic Tea", currency="EUR",
            terms_document=terms_document(commission=one_level),
        )  # fmt: skip
        for months in range(7):
            ensure_partitions(session, now=begun + months * 31 * DAY)
        session.commit()
        return cls(app, settings, session, now, program, euros)

    @property
    def local(self) -> datetime:
        """Now by the program's clock, whose days and months people see."""
        return self.now.astimezone(ZoneInfo(self.program.time_zone))

    def month(self, ago: int = 0) -> str:
        """The program's month, so many before this one: 2026-11."""
        number = self.local.year * 12 + self.local.month - 1 - ago
        return f"{number // 12}-{number % 12 + 1:02}"

    def lately(self, **ago: float) -> datetime:
        """So long ago (timedelta's words), but in the month that now is: overviews begin there."""
        first = self.local.replace(day=1, hour=0, minute=0, second=0)
        return max(self.now - timedelta(**ago), first)

    @in_app
    def affiliate(
        self, name: str, *, recruiter: str | None = None, approved: bool = True, link: bool = True
    ) -> Person:
        """Somebody in the ruble program, by default with a link to its landing page."""
        enrollment = make_affiliate(
            self.session,
            self.program,
            f"{name.lower().replace(' ', '.')}@example.com",
            now=self.program.created_at + DAY,
            recruiter_id=self.people[recruiter].enrollment.id if recruiter else None,
            approved=approved,
        )
        person = self._person(name, enrollment)
        if approved and link:
            person.link = create_link(
                self.session, enrollment_id=enrollment.id, name="Blog",
                now=self.program.created_at + DAY,
            )  # fmt: skip
        self.session.commit()
        return person

    def sign_in(self, user_id: int) -> FlaskClient:
        """A browser in which this user is signed in, a second factor given just now."""
        now = clock.real_now()
        token = sessions.begin(self.session, user_id=user_id, agent="tests", now=now, factor_at=now)
        self.session.commit()
        client = self.app.test_client()
        with client.session_transaction() as cookie:
            cookie[sessions.COOKIE_KEY] = token
            # The menus read who is signed in from Flask-Login's own keys.
            cookie["_user_id"] = self.session.get_one(User, user_id).fs_uniquifier
            cookie["_fresh"] = True
        return client

    def click(
        self,
        link: Link,
        *,
        at: datetime,
        visitor: bytes | None = None,
        reason: DropReason | None = None,
        referrer: str = "https://lamps.example/blog/best-lamps",
        sub_ids: tuple[str, ...] = ("", "", "", "", ""),
        creative: str = "",
    ) -> str:
        """A click out of a journal record; its token."""
        return self.clicks([(link, at, visitor, reason, referrer, sub_ids, creative)])[0]

    def clicks(self, wanted: list[tuple[Any, ...]]) -> list[str]:
        """Many clicks at once: (link, at, visitor, reason, referrer, sub-ids, creative)."""
        key = tokens.signing_keys(self.settings.keys("click-token"))[0]
        made, raw = [], b""
        for link, at, visitor, reason, referrer, sub_ids, *creative in wanted:
            ms = int(at.timestamp() * 1000)
            click_id = tokens.new_click_id(ms, secrets.token_bytes(10))
            who = visitor or secrets.token_bytes(16)
            texts = "\0".join((CHROME, referrer, "", *sub_ids, *(creative or [""]), "")).encode()
            raw += encode(click_id, link.id, who, secrets.token_bytes(16), reason, 0, texts)
            made.append(tokens.mint(key, click_id, link.id, who))
        url = self.settings.database_url.replace("+psycopg", "")
        with psycopg.connect(url) as connection:
            load_records(connection, scan(raw, ended=True).records, {})
        return made

    @in_app
    def order(
        self,
        total: str,
        *,
        at: datetime,
        clicks: tuple[str, ...] = (),
        coupon: str | None = None,
        shipping: str | None = None,
    ) -> Order:
        """An order of the shop's server, reported a minute after it was placed."""
        report = OrderReportIn(
            order_id=f"A-{next(_numbers)}",
            placed_at=at,
            total=self.rub(total),
            shipping=self.rub(shipping) if shipping else None,
            clicks=clicks,
            coupon=coupon,
        )
        done = report_order(
            self.session, program_id=self.program.id, report=report, source=Source.API,
            reported_by="key:kpk_test", now=at + timedelta(minutes=1),
        )  # fmt: skip
        self.session.commit()
        return self.session.get_one(Order, done.order_row_id)

    def sale(
        self, name: str, total: str, *, days_ago: float = 0, at: datetime | None = None,
        link: Link | None = None,
    ) -> Order:  # fmt: skip
        """A click on the person's link and an order two hours later."""
        used = link or self.people[name].link
        assert used is not None
        at = at or self.now - timedelta(days=days_ago)
        token = self.click(used, at=at - timedelta(hours=2))
        return self.order(total, at=at, clicks=(token,))

    @in_app
    def refund(self, order: Order, amount: str | None, *, at: datetime | None = None) -> None:
        """A refund of a part, or of all that is left."""
        refund = RefundIn(
            refund_id=f"R-{next(_numbers)}", amount=self.rub(amount) if amount else None
        )
        refund_order(
            self.session, program_id=self.program.id, order_id=order.order_id, refund=refund,
            now=at or self.now,
        )  # fmt: skip
        self.session.commit()

    @in_app
    def cancel(self, order: Order) -> None:
        cancel_order(
            self.session, program_id=self.program.id, order_id=order.order_id, reason=None,
            now=self.now,
        )  # fmt: skip
        self.session.commit()

    @in_app
    def release(self, *, at: datetime | None = None) -> None:
        """Release everything whose hold is over."""
        while release_due(self.session, now=at or self.now):
            self.session.commit()

    @in_app
    def payee(self, name: str, destination: str = "Anna Lamp, DE89 3704 0044 0532 0130 00") -> None:
        person = self.people[name]
        set_payee(
            self.session, affiliate_id=person.affiliate_id, rail=self.program.rail,
            destination=destination, ready=True, by=f"user:{person.user_id}",
            now=self.program.created_at + 2 * DAY,
        )  # fmt: skip
        self.session.commit()

    @in_app
    def withdraw(self, name: str, amount: str | None, *, at: datetime | None = None) -> Requested:
        person = self.people[name]
        done = withdraw(
            self.session, enrollment_id=person.enrollment.id,
            amount=self.rub(amount) if amount else None, requested_by=person.user_id,
            by=f"user:{person.user_id}", rails=rails(self.settings), now=at or self.now,
        )  # fmt: skip
        self.session.commit()
        return done

    @in_app
    def pay(self, requested: Requested, *, at: datetime | None = None) -> None:
        """Finance approves the withdrawal and types the reference of its payment."""
        now = at or self.now
        finance = self._finance()
        batch = self.session.get_one(PayoutBatch, requested.batch_id)
        known = rails(self.settings)
        approve(
            self.session, batch_id=batch.id, by_user_id=finance, seen_hash=batch.hash or "",
            rails=known, now=now,
        )  # fmt: skip
        mark_paid(
            self.session, item_id=requested.item_id, reference=f"PP-{requested.item_id}",
            by_user_id=finance, rails=known, now=now,
        )  # fmt: skip
        self.session.commit()

    @in_app
    def coupon(self, name: str, code: str) -> None:
        create_coupon(
            self.session, enrollment_id=self.people[name].enrollment.id, code=code, by=None,
            now=self.program.created_at + 2 * DAY,
        )  # fmt: skip
        self.session.commit()

    @in_app
    def history(self, name: str, *, days: int = 60, orders_a_week: int = 4) -> None:
        """A person's traffic: clicks of every day, some left out, some bought."""
        person = self.people[name]
        assert person.link is not None
        every = max(1, 7 // orders_a_week)
        for ago in range(days, 0, -1):
            noon = self.now - timedelta(days=ago) + timedelta(hours=1)
            made = self.clicks(self._day_of_clicks(person.link, noon))
            if ago % every == 0:
                total = f"{self.chance.randrange(900, 12_000)}.00"
                self.order(total, at=noon + timedelta(hours=3), clicks=(made[0],))

    def rub(self, text: str) -> Money:
        return Money(int(Decimal(text) * MICROS), self.program.currency)

    def _day_of_clicks(self, link: Link, noon: datetime) -> list[tuple[Any, ...]]:
        sites = ("https://lamps.example/blog/best-lamps", "", "https://t.me/lampsandleaves",
                 "https://www.youtube.com/watch")  # fmt: skip
        reasons = (DropReason.PREFETCH, DropReason.LINK_PREVIEW, DropReason.BOT)
        same = secrets.token_bytes(16)
        wanted: list[tuple[Any, ...]] = []
        for i in range(self.chance.randrange(4, 14)):
            at = noon + timedelta(minutes=self.chance.randrange(0, 170))
            subs = ("newsletter", "may", "", "", "") if i % 3 == 0 else ("", "", "", "", "")
            reason = self.chance.choice(reasons) if i % 6 == 5 else None
            visitor = same if i % 4 == 1 else None
            wanted.append((link, at, visitor, reason, self.chance.choice(sites), subs))
        return wanted

    def _finance(self) -> int:
        known = users.find(self.session, email="finance@example.com")
        if known is not None:
            return known.id
        user = make_user(self.session, "finance@example.com", now=self.program.created_at)
        grants.grant_role(
            self.session, user_id=user.id, role="finance", program_id=self.program.id, by=None,
            now=self.program.created_at,
        )  # fmt: skip
        return user.id

    def _person(self, name: str, enrollment: Enrollment) -> Person:
        affiliate = self.session.scalars(
            sa.select(Affiliate).where(Affiliate.id == enrollment.affiliate_id)
        ).one()
        affiliate.name = name
        self.session.commit()
        person = Person(
            name, affiliate.user_id, affiliate.id, enrollment, None, self.sign_in(affiliate.user_id)
        )
        self.people[name] = person
        return person
