"""The first page: what can be withdrawn, what is coming, how the last weeks went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import sqlalchemy as sa
from babel.dates import format_date
from flask import request, url_for
from flask_babel import get_locale
from sqlalchemy.orm import Session

from affiliate.core.db import db
from affiliate.core.money import MICROS, Money
from affiliate.core.pages import money
from affiliate.links.models import Link
from affiliate.people.access import affiliates
from payouts.batches.models import Withdrawal
from payouts.commissions.rows import next_release
from payouts.ledger.balances import Balances, balances
from tracker.desks.account.blueprint import Answer, account, in_program, page
from tracker.desks.account.charts import Chart, chart
from tracker.desks.account.language import gettext as _
from tracker.desks.account.language import ngettext
from tracker.desks.account.orders import order_lines
from tracker.desks.account.place import Place
from tracker.stats.questions import Figures, Period, by_day, today, total

SPANS_DAYS = (7, 30, 90)
SPAN_DAYS = 30
LAST_ORDERS = 5


@dataclass(frozen=True, slots=True)
class Month:
    """What orders of this month earned, beside the month before."""

    earned: Money
    last: Money
    last_to_this_day: Money

    @property
    def direction(self) -> str:
        if self.earned == self.last_to_this_day:
            return "flat"
        return "up" if self.earned > self.last_to_this_day else "down"


@dataclass(frozen=True, slots=True)
class Tip:
    """The one thing that would help most now."""

    title: str
    text: str
    label: str
    url: str


@account.get("/")
@affiliates
@in_program
def home(place: Place) -> Answer:
    """Balance, months, a chart of 7, 30 or 90 days, the last orders, one tip."""
    session = db.session()
    on = today(place.now, place.program.time_zone)
    days = _span()
    # Three months hold the longest span, this month and the last: one question for all.
    everything = by_day(session, scope=place.scope, period=_three_months(on))
    span = {day: everything[day] for day in Period.ending(on, days)}
    found = balances(session, enrollment_id=place.enrollment.id, currency=place.currency)
    lines = order_lines(session, place=place, rows_max=LAST_ORDERS)
    return page(
        "home",
        place,
        balances=found,
        next_release=_next_release(session, place, found),
        withdrawal=open_withdrawal(session, place),
        month=_month(everything, on, place.currency),
        days=days,
        spans=SPANS_DAYS,
        span=span,
        figures=total(span.values(), place.currency),
        clicks_chart=_clicks_chart(span),
        earned_chart=_earned_chart(span),
        lines=lines,
        tip=_tip(session, place, total(everything.values(), place.currency), bool(lines)),
    )


def open_withdrawal(session: Session, place: Place) -> Withdrawal | None:
    """The withdrawal whose clock runs, if there is one."""
    return session.scalar(
        sa.select(Withdrawal).where(
            Withdrawal.enrollment_id == place.enrollment.id,
            Withdrawal.currency == place.currency,
            Withdrawal.closed_at.is_(None),
        )
    )


def _span() -> int:
    wanted = request.args.get("days", "")
    known = {str(days): days for days in SPANS_DAYS}
    return known.get(wanted, SPAN_DAYS)


def _three_months(on: date) -> Period:
    first = min(_month_before(on), on - timedelta(days=max(SPANS_DAYS) - 1))
    return Period(first, on)


def _month_before(on: date) -> date:
    return (on.replace(day=1) - timedelta(days=1)).replace(day=1)


def _month(days: Mapping[date, Figures], on: date, currency: str) -> Month:
    first, before = on.replace(day=1), _month_before(on)
    # The 31st has no counterpart in a short month; its last day then stands for it.
    same_day = min(before + timedelta(days=on.day - 1), first - timedelta(days=1))

    def between(start: date, end: date) -> Money:
        wanted = (days[day] for day in Period(start, end))
        return total(wanted, currency).earned_together

    return Month(
        earned=between(first, on),
        last=between(before, first - timedelta(days=1)),
        last_to_this_day=between(before, same_day),
    )


def _next_release(session: Session, place: Place, found: Balances) -> object:
    if not found.pending:
        return None
    return next_release(session, enrollment_id=place.enrollment.id, currency=place.currency)


def _clicks_chart(span: Mapping[date, Figures]) -> Chart:
    return chart(
        list(span),
        [figures.clicks for figures in span.values()],
        [
            f"{_day(day)}: "
            + ngettext("%(num)s click", "%(num)s clicks", figures.clicks)
            + ", "
            + ngettext("%(num)s order", "%(num)s orders", figures.orders)
            for day, figures in span.items()
        ],
    )


def _earned_chart(span: Mapping[date, Figures]) -> Chart:
    return chart(
        list(span),
        [-(-figures.earned_together.micros // MICROS) for figures in span.values()],
        [f"{_day(day)}: {money(figures.earned_together)}" for day, figures in span.items()],
    )


def _day(day: date) -> str:
    return str(format_date(day, "d MMM", locale=get_locale()))


def _tip(session: Session, place: Place, figures: Figures, orders: bool) -> Tip | None:
    if not place.active or orders:
        return None
    links = session.scalar(
        sa.select(sa.func.count()).where(
            Link.enrollment_id == place.enrollment.id, Link.disabled_at.is_(None)
        )
    )
    if not links:
        return Tip(
            _("Make your first link."),
            _("Paste the address of any page of the shop and you get a short link of your own."),
            _("Make a link"),
            url_for(".links") + "#new",
        )
    if not figures.clicks:
        return Tip(
            _("Your link is ready, nobody has followed it yet."),
            _("Try it yourself: the click shows here within seconds. Then put it where you write."),
            _("Copy the link"),
            url_for(".links"),
        )
    return Tip(
        _("People follow your link and have not bought yet."),
        _(
            "A link straight to the page you write about sells more often than one to the start "
            "page of the shop."
        ),
        _("Link to a page"),
        url_for(".links") + "#new",
    )
