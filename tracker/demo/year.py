"""Load a year of history through the verbs that real traffic takes, with an injected clock.

Day by day: people apply, buyers click, orders come, goods go back, commissions are
released, on payout days batches are drafted, approved and paid.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from affiliate.core.errors import Conflict, Refusal
from affiliate.core.money import Money, total
from affiliate.core.outbox import Mail
from affiliate.links.coupons import create_coupon
from affiliate.links.links import create_link
from affiliate.people import enrollments, grants, joining, users
from affiliate.people.applications import Answers, Audience, Channel
from affiliate.programs.announcements import announce
from affiliate.programs.models import Program
from affiliate.programs.programs import create_program
from payouts.batches.approve import approve
from payouts.batches.draft import draft_weekly, open_periods, undrafted
from payouts.batches.models import PayoutBatch, PayoutItem
from payouts.batches.payees import set_payee
from payouts.batches.review import mark_paid
from payouts.batches.withdraw import DEADLINE_H, withdraw
from payouts.commissions.release import RELEASE_ROWS_MAX, release_due
from payouts.rails.registry import Rails, rails
from tracker.clicks.loader import Loader
from tracker.clicks.partitions import ensure_partitions
from tracker.clicks.recording import ClickRecorder
from tracker.demo import plan, seed
from tracker.demo.people import PEOPLE, terms_document
from tracker.orders.cancellation import cancel_order
from tracker.orders.intake import report_order
from tracker.orders.refunds import refund_order
from tracker.orders.rules import CustomerIn, OrderReportIn, RefundIn, Source

REPORTED_BY: Final = "system:demo-data"
RECENT_CLICKS: Final = 400
WAITING: Final = 3
"""Withdrawals that wait on the finance desk when the year is loaded, if so many have money."""
HOURS_LEFT: Final = 4
"""Until their deadline, at least."""
NEWER_RULES_AT_PERCENT: Final = 60
"""After so much of the year version 2 of the rules takes effect, announced a month ahead."""
NOTICE: Final = timedelta(days=30)


class YearExists(Conflict):
    code = "year_exists"
    title = "This program exists already; name another one with --program."


class StillRunning(Conflict):
    code = "still_running"
    title = (
        "Kopeck is running on this data: its scheduler lives today and would release and pay "
        "the year's orders at once. Stop `kopeck run`, load the year, start it again."
    )


@dataclass(slots=True)
class _Affiliate:
    enrollment_id: int
    user_id: int
    email: str
    link_ids: list[int]
    weight: int
    strong: bool


@dataclass(frozen=True, slots=True)
class _Coming:
    """An order that a click will lead to."""

    at: datetime
    tokens: tuple[str, ...]
    coupon: str | None
    buyer: str


Progress = Callable[[int, Counter[str]], None]
"""Called after each day with its number and what was made so far."""


def load_year(
    session: Session,
    *,
    settings: Settings,
    sizes: plan.Sizes,
    slug: str = "year",
    chance_seed: int = 7,
    now: datetime,
    progress: Progress | None = None,
) -> Counter[str]:
    """Load the `sizes.days` days before today into a program of their own; commits as it goes.

    Returns what was made, by name. The same seed gives the same year. Refuses in
    production (NoDemoInProduction), while a run is up (StillRunning), and into a program
    that exists (YearExists).
    """
    seed.refuse_in_production(settings)
    _refuse_while_running(settings.data_dir)
    if session.scalar(sa.select(Program.id).where(Program.slug == slug)) is not None:
        raise YearExists
    seed.seed(session, settings=settings, now=now)
    session.commit()
    return _Year(session, settings, sizes, slug, random.Random(chance_seed), now).load(  # noqa: S311
        progress or (lambda _day, _made: None)
    )


class _Year:
    """The state of a year while it passes: who is in, what is still to come."""

    def __init__(
        self,
        session: Session,
        settings: Settings,
        sizes: plan.Sizes,
        slug: str,
        chance: random.Random,
        now: datetime,
    ) -> None:
        self.session = session
        self.settings = settings
        self.sizes = sizes
        self.slug = slug
        self.chance = chance
        self.now = now
        self.calendar = plan.calendar(now=now, days=sizes.days)
        self.made: Counter[str] = Counter()
        self.affiliates: list[_Affiliate] = []
        self.sums: list[int] = []
        self.coupons: list[str] = []
        self.recent: deque[str] = deque(maxlen=RECENT_CLICKS)
        self.orders: defaultdict[int, list[_Coming]] = defaultdict(list)
        self.after: defaultdict[int, list[tuple[datetime, str, str]]] = defaultdict(list)
        """Refunds and cancellations by day: when, of which order, what."""
        self.unpaid: defaultdict[int, list[int]] = defaultdict(list)
        """Batches by the day on which finance pays them."""
        self.rails: Rails = rails(settings)
        by_click = sizes.orders * (100 - plan.NO_CLICK_PERCENT) // 100
        self.to_convert, self.clicks_left = by_click, sizes.clicks

    def load(self, progress: Progress) -> Counter[str]:
        self._begin()
        queue = deque(plan.joinings(self.chance, self.calendar, self.sizes))
        clicks = self.calendar.spread(self.sizes.clicks)
        others = self.calendar.spread(self.sizes.orders - self.to_convert)
        loader = Loader(self.settings)
        try:
            with ClickRecorder(self.settings) as recorder:
                for number in range(self.calendar.days):
                    day = self.calendar.day(number)
                    self._join(queue, day + timedelta(days=1))
                    self._release(day + timedelta(hours=4))
                    self._pay(number)
                    self._click(recorder, number, clicks[number])
                    while loader.round():
                        pass
                    self._order_unled(number, others[number])
                    self._sell(number)
                    self._give_back(number)
                    progress(number, self.made)
            self._release(self.now)
        finally:
            loader.close()
        return self.made

    def _begin(self) -> None:
        """The program, its rules, its staff and the months of its clicks."""
        session, first = self.session, self.calendar.first
        landing = (self.settings.shop_url or "http://localhost:8100") + "/"
        program = create_program(
            session,
            slug=self.slug,
            name="Lamp & Leaf, a year",
            summary="A year of invented history: people, clicks, orders and payouts.",
            currency=plan.CURRENCY,
            rail="manual",
            landing_url=landing,
            allowed_sites=["localhost"],
            time_zone="Europe/Moscow",
            contact_email="partners@demo.example",
            terms_document=terms_document(),
            plain_loopback=True,
            by=None,
            now=first,
        )
        self.program_id = program.id
        self.finance_id = 0
        for person in PEOPLE:
            user = users.find(session, email=person.email)
            assert user is not None
            for role in set(person.roles) - {"owner"}:
                grants.grant_role(
                    session, user_id=user.id, role=role, program_id=program.id, by=None, now=first
                )
            if "finance" in person.roles and not self.finance_id:
                self.finance_id = user.id
        for number in range(0, self.calendar.days + 31, 28):
            ensure_partitions(session, now=self.calendar.day(number))
        newer = self.calendar.day(self.calendar.days * NEWER_RULES_AT_PERCENT // 100)
        document: dict[str, Any] = terms_document()
        document["commission"]["level_1"]["rate_ppm"] = 120_000
        announce(
            session,
            program_id=program.id,
            document=document,
            effective_at=newer,
            by=None,
            now=max(first, newer - NOTICE),
        )
        session.commit()

    def _join(self, queue: deque[plan.Joining], until: datetime) -> None:
        """Whoever applies today, with the answer a few hours later."""
        if not queue or queue[0].at >= until:
            return
        while queue and queue[0].at < until:
            self._join_one(queue.popleft())
        # Invented people have no mailbox: their letters are never sent.
        self.session.execute(
            sa.update(Mail)
            .where(Mail.recipient.like("%@year.invalid"), Mail.sent_at.is_(None))
            .values(sent_at=until, text="", html="")
        )
        self.session.commit()
        self.sums = list(accumulate(one.weight for one in self.affiliates))

    def _join_one(self, one: plan.Joining) -> None:
        session, at = self.session, one.at
        user = users.create_user(
            session, email=one.email, password=None, name=one.name, verified=True, now=at
        )
        recruiter = self._recruiter() if one.recruited else None
        enrollment = joining.apply(
            session,
            user_id=user.id,
            program_id=self.program_id,
            name=one.name,
            answers=_answers(self.chance),
            recruiter_id=recruiter,
            now=at,
        )
        self.made["affiliates"] += 1
        decided = at + timedelta(minutes=self.chance.randrange(5, 110))
        if one.rejected:
            enrollments.reject(
                session,
                enrollment_id=enrollment.id,
                reason="The site has no visitors yet; come back when it has.",
                by=None,
                now=decided,
            )
            return
        enrollments.approve(session, enrollment_id=enrollment.id, by=None, now=decided)
        link_ids = []
        for name in ("Main link", "Letter", "Reviews")[: self.chance.choice((1, 1, 2, 3))]:
            link = create_link(session, enrollment_id=enrollment.id, name=name, now=decided)
            link_ids.append(link.id)
            self.made["links"] += 1
        if one.strong or self.chance.randrange(100) < 85:
            set_payee(
                session,
                affiliate_id=enrollment.affiliate_id,
                rail="manual",
                destination=f"RU-ACCOUNT-{one.number + 1:05d}",
                ready=True,
                by=f"user:{user.id}",
                now=decided,
            )
        if one.strong and self.chance.randrange(100) < 30:
            code = f"LEAF{one.number + 1}"
            create_coupon(session, enrollment_id=enrollment.id, code=code, by=None, now=decided)
            self.coupons.append(code)
        self.affiliates.append(
            _Affiliate(enrollment.id, user.id, one.email, link_ids, one.weight, one.strong)
        )

    def _recruiter(self) -> int | None:
        """The strong recruit most: people join whom they see succeed."""
        if not self.affiliates:
            return None
        strong = [one for one in self.affiliates if one.strong]
        group = strong if strong and self.chance.randrange(100) < 70 else self.affiliates
        return self.chance.choice(group).enrollment_id

    def _click(self, recorder: ClickRecorder, number: int, count: int) -> None:
        """The day's clicks, some of which an order will follow."""
        if not self.affiliates:
            self.clicks_left -= count
            return
        day = self.calendar.day(number)
        for at in sorted(plan.moment_in(self.chance, day) for _ in range(count)):
            chance = self.chance
            who = self.affiliates[plan.pick(chance, self.sums)]
            bot = chance.randrange(100) < plan.BOT_PERCENT
            token = recorder.click(
                link_id=chance.choice(who.link_ids),
                clicked_at=at,
                address=f"198.18.{chance.randrange(256)}.{chance.randrange(256)}",
                agent=chance.choice(plan.BOTS if bot else plan.AGENTS),
                visitor_id=UUID(int=chance.getrandbits(128), version=4),
                visitor_known=chance.randrange(100) < plan.RETURNING_VISITOR_PERCENT,
                referrer=f"https://blog-{who.enrollment_id}.example/post",
                sub_ids=(chance.choice(plan.SUB_IDS),),
                random80=chance.randbytes(10),
            )
            self.made["clicks"] += 1
            # Sequential sampling: exactly as many clicks convert as were asked for.
            if self.to_convert and chance.randrange(self.clicks_left) < self.to_convert:
                self.to_convert -= 1
                self._convert(number, at, token, who)
            self.clicks_left -= 1
            self.recent.append(token)

    def _convert(self, number: int, at: datetime, token: str, who: _Affiliate) -> None:
        chance = self.chance
        end = self.calendar.day(self.calendar.days)
        placed = at + plan.time_to_order(chance)
        if placed >= end:
            placed = min(at + timedelta(minutes=2), end - timedelta(milliseconds=1))
        tokens: tuple[str, ...] = (token,)
        if self.recent and chance.randrange(100) < plan.SECOND_CLICK_PERCENT:
            tokens = (chance.choice(self.recent), token)
        coupon = chance.choice(self.coupons) if self.coupons and chance.randrange(20) == 0 else None
        buyer = who.email if chance.randrange(200) == 0 else self._buyer()
        day = number + (placed - self.calendar.day(number)) // timedelta(days=1)
        self.orders[day].append(_Coming(placed, tokens, coupon, buyer))

    def _buyer(self) -> str:
        """One of so many that a third of them comes back."""
        return f"buyer-{self.chance.randrange(max(1, self.sizes.orders * 2))}@buyers.invalid"

    def _order_unled(self, number: int, count: int) -> None:
        """Orders that no click led to: a coupon from a podcast, or nobody at all."""
        day = self.calendar.day(number)
        for _ in range(count):
            named = bool(self.coupons) and self.chance.randrange(2) == 0
            coupon = self.chance.choice(self.coupons) if named else None
            at = plan.moment_in(self.chance, day)
            self.orders[number].append(_Coming(at, (), coupon, self._buyer()))

    def _sell(self, number: int) -> None:
        for coming in sorted(self.orders.pop(number, []), key=lambda one: one.at):
            self.made["orders"] += 1
            report = self._report(f"Y-{self.made['orders']:06d}", coming)
            report_order(
                self.session,
                program_id=self.program_id,
                report=report,
                source=Source.API,
                reported_by=REPORTED_BY,
                now=coming.at + timedelta(seconds=2),
            )
            self._foresee(number, coming.at, report.order_id)
        self.session.commit()

    def _report(self, order_id: str, coming: _Coming) -> OrderReportIn:
        items = plan.basket(self.chance)
        goods = total(
            (Money(item.price.micros * item.quantity, plan.CURRENCY) for item in items),
            plan.CURRENCY,
        )
        zero = Money.zero(plan.CURRENCY)
        discount = goods.share(plan.COUPON_DISCOUNT_PPM) if coming.coupon else zero
        shipping = zero if goods >= plan.FREE_SHIPPING_FROM else plan.SHIPPING
        paid = goods - discount
        # 20 % of value added tax is in the price: a sixth, to the kopeck.
        tax = Money.of_minor_units(paid.fraction(1, 6).whole_minor_units(), plan.CURRENCY)
        email = hashlib.sha256(coming.buyer.encode()).hexdigest()
        return OrderReportIn(
            order_id=order_id,
            placed_at=coming.at,
            total=paid + shipping,
            discount=discount,
            tax=tax,
            shipping=shipping,
            items=items,
            customer=CustomerIn(id=f"c-{email[:10]}", email_sha256=email),
            clicks=coming.tokens,
            coupon=coming.coupon,
        )

    def _foresee(self, number: int, at: datetime, order_id: str) -> None:
        """What will become of the order later."""
        kind = self.chance.randrange(100)
        if kind < plan.CANCELLED_PERCENT:
            later, what = timedelta(hours=self.chance.randrange(1, 60)), "cancel"
        elif kind < plan.CANCELLED_PERCENT + plan.REFUNDED_PERCENT:
            later = timedelta(hours=self.chance.randrange(48, 28 * 24))
            what = self.chance.choice(("refund", "part"))
        else:
            return
        when = at + later
        day = number + (when - self.calendar.day(number)) // timedelta(days=1)
        if day < self.calendar.days:
            self.after[day].append((when, order_id, what))

    def _give_back(self, number: int) -> None:
        for when, order_id, what in sorted(self.after.pop(number, [])):
            call = {"program_id": self.program_id, "order_id": order_id, "now": when}
            if what == "cancel":
                cancel_order(self.session, reason="changed_mind", **call)  # type: ignore[arg-type]
                self.made["cancellations"] += 1
                continue
            amount = Money(450_000_000, plan.CURRENCY) if what == "part" else None
            refund = RefundIn(refund_id=f"R-{order_id}", amount=amount, reason="returned")
            refund_order(self.session, refund=refund, **call)  # type: ignore[arg-type]
            self.made["refunds"] += 1
        self.session.commit()

    def _release(self, at: datetime) -> None:
        while release_due(self.session, now=at) == RELEASE_ROWS_MAX:
            self.session.commit()
        self.session.commit()

    def _pay(self, number: int) -> None:
        """Pay what was approved before, draft what is due, answer a withdrawal or two."""
        session, day = self.session, self.calendar.day(number)
        for approved_id in self.unpaid.pop(number, []):
            self._mark_paid(approved_id, day + timedelta(hours=10))
        open_periods(session, now=day + timedelta(days=1))
        session.commit()
        for period_id in undrafted(session):
            at = day + timedelta(hours=12)
            batch_id = draft_weekly(session, period_id=period_id, rails=self.rails, now=at)
            session.commit()
            # The last days' wait on the finance desk.
            if batch_id is not None and number < self.calendar.days - 2:
                self._approve(number, batch_id, at + timedelta(hours=3))
        wanted = WAITING if number == self.calendar.days - 1 else self.chance.randrange(2)
        strong = [one for one in self.affiliates if one.strong]
        for who in self.chance.sample(strong, len(strong)):
            if not wanted:
                break
            wanted -= self._withdraw(who, number, day + timedelta(hours=16))

    def _approve(self, number: int, batch_id: int, at: datetime) -> None:
        """Finance signs, and pays the next morning."""
        batch = self.session.get_one(PayoutBatch, batch_id, populate_existing=True)
        approve(
            self.session,
            batch_id=batch_id,
            by_user_id=self.finance_id,
            seen_hash=batch.hash or "",
            rails=self.rails,
            now=at,
        )
        self.session.commit()
        self.unpaid[number + 1].append(batch_id)
        self.made["batches"] += 1

    def _withdraw(self, who: _Affiliate, number: int, at: datetime) -> bool:
        """Asked for at that time; on the last day so late that it still has hours to wait.

        False when there is nothing to ask for, or one is under way.
        """
        last = number == self.calendar.days - 1
        at = max(at, self.now - timedelta(hours=DEADLINE_H - HOURS_LEFT)) if last else at
        try:
            asked = withdraw(
                self.session,
                enrollment_id=who.enrollment_id,
                amount=None,
                requested_by=who.user_id,
                by=f"user:{who.user_id}",
                rails=self.rails,
                now=at,
            )
        except Refusal:
            self.session.rollback()
            return False
        self.session.commit()
        self.made["withdrawals"] += 1
        if not last:
            self._approve(number, asked.batch_id, at + timedelta(hours=1))
        return True

    def _mark_paid(self, batch_id: int, at: datetime) -> None:
        items = sa.select(PayoutItem.id).where(
            PayoutItem.batch_id == batch_id, PayoutItem.status == "queued"
        )
        for item_id in self.session.scalars(items.order_by(PayoutItem.id)).all():
            mark_paid(
                self.session,
                item_id=item_id,
                reference=f"PP-{batch_id}-{item_id}",
                by_user_id=self.finance_id,
                rails=self.rails,
                now=at,
            )
            self.made["payouts"] += 1
        self.session.commit()


def _answers(chance: random.Random) -> Answers:
    channel = chance.choice(list(Channel))
    return Answers(
        channels=(channel,),
        how="Lamps, plants and small flats; two posts a week.",
        audience=chance.choice(list(Audience)),
        site="https://blog.example",
    )


def _refuse_while_running(data_dir: Path) -> None:
    """run.json names the process that `kopeck run` is, while it is."""
    try:
        pid = int(json.loads((data_dir / "run.json").read_text())["pid"])
        os.kill(pid, 0)
    except (OSError, ValueError, KeyError, TypeError):
        return
    raise StillRunning
