"""Clicks as receipts: seen, left out and why, or credited with which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from flask import request, url_for
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from affiliate.core.db import db
from affiliate.core.errors import Malformed
from affiliate.core.ids import public_id
from affiliate.links.models import Link
from affiliate.people.access import affiliates
from payouts.commissions.models import Commission
from tracker.attribution.models import Decision
from tracker.attribution.rules import CLOCK_SKEW_MAX
from tracker.clicks.models import Click
from tracker.clicks.rules import DropReason
from tracker.clicks.tokens import clicked_at_of, is_click_id
from tracker.desks.account import sentences
from tracker.desks.account.blueprint import Answer, account, in_program, page
from tracker.desks.account.exports import csv_answer
from tracker.desks.account.orders import PREFIX as ORDER_PREFIX
from tracker.desks.account.orders import order_number
from tracker.desks.account.place import Place
from tracker.orders.models import Order

PAGE_ROWS_MAX = 50
EXPORT_ROWS_MAX = 20_000


@dataclass(frozen=True, slots=True)
class CreditedOrder:
    id: str
    order_id: str


@dataclass(frozen=True, slots=True)
class ClickLine:
    """One click. No address and no agent: they would name the person who clicked."""

    click_id: UUID
    at: datetime
    link: str
    """The link's name, or its code."""
    code: str
    sub_ids: tuple[tuple[str, str], ...]
    referrer: str
    outcome: str
    """counted, repeat or filtered."""
    sentence: str
    order: CreditedOrder | None


@account.get("/clicks")
@affiliates
@in_program
def clicks(place: Place) -> Answer:
    """The latest clicks, newest first."""
    before = _click_id(request.args.get("before"))
    lines = click_lines(db.session(), place=place, rows_max=PAGE_ROWS_MAX + 1, before=before)
    more = len(lines) > PAGE_ROWS_MAX
    lines = lines[:PAGE_ROWS_MAX]
    older = url_for(".clicks", before=lines[-1].click_id) if more else None
    newest = url_for(".clicks") if before else None
    return page("clicks", place, lines=lines, older=older, newest=newest)


@account.get("/clicks.csv")
@affiliates
@in_program
def clicks_csv(place: Place) -> Answer:
    """The latest 20,000 clicks as a file."""
    lines = click_lines(db.session(), place=place, rows_max=EXPORT_ROWS_MAX, before=None)
    head = ("clicked_at", "link", "sub_ids", "referrer", "outcome", "why", "order")
    return csv_answer(
        f"clicks-{place.program.slug}.csv",
        head,
        (
            (
                line.at.isoformat(),
                line.code,
                " ".join(f"{name}={value}" for name, value in line.sub_ids),
                line.referrer,
                line.outcome,
                line.sentence,
                line.order.order_id if line.order else "",
            )
            for line in lines
        ),
    )


def click_lines(
    session: Session, *, place: Place, rows_max: int, before: UUID | None
) -> list[ClickLine]:
    """An affiliate's clicks with their links and the orders that they were credited with."""
    query = (
        sa.select(Click, Link.name, Link.code)
        .join(Link, Link.id == Click.link_id)
        .where(Click.enrollment_id == place.enrollment.id)
        .order_by(Click.clicked_at.desc(), Click.click_id)
        .limit(rows_max)
    )
    if before is not None:
        at = clicked_at_of(before)
        same = sa.and_(Click.clicked_at == at, Click.click_id > before)
        query = query.where(sa.or_(Click.clicked_at < at, same))
    rows = session.execute(query).all()
    orders = credited_orders(session, place, [row[0] for row in rows])
    return [_line(click, name, code, orders.get(str(click.click_id))) for click, name, code in rows]


def credited_orders(
    session: Session, place: Place, found: Sequence[Click]
) -> dict[str, CreditedOrder]:
    """The order that each of these clicks was credited with, by the click's id.

    An order is earned after its click, so the affiliate's own commissions since the oldest
    of these clicks are all that is read.
    """
    if not found:
        return {}
    share = sa.func.jsonb_array_elements(Decision.shares).table_valued(
        sa.column("value", JSONB), name="share"
    )
    click_id = share.c.value["click_id"].astext
    rows = session.execute(
        sa.select(click_id, Order.id, Order.order_id)
        .select_from(Commission)
        .join(Order, Order.id == order_number())
        .join(
            Decision,
            sa.and_(Decision.order_id == Order.id, Decision.number == Commission.decision),
        )
        .join(share, sa.true())
        .where(
            Commission.enrollment_id == place.enrollment.id,
            Commission.level == 1,
            Commission.voided_at.is_(None),
            Commission.earned_at >= min(click.clicked_at for click in found) - CLOCK_SKEW_MAX,
            click_id.in_([str(click.click_id) for click in found]),
        )
        .order_by(Order.id)
    )
    return {
        click_id: CreditedOrder(public_id(ORDER_PREFIX, number), order_id)
        for click_id, number, order_id in rows
    }


def _line(click: Click, name: str, code: str, order: CreditedOrder | None) -> ClickLine:
    reason = None if click.reason is None else DropReason(click.reason)
    outcome = "counted"
    if reason is not None:
        outcome = "repeat" if reason is DropReason.DUPLICATE else "filtered"
    values = zip(
        ("s1", "s2", "s3", "s4", "s5"),
        (click.s1, click.s2, click.s3, click.s4, click.s5),
        strict=True,
    )
    return ClickLine(
        click_id=click.click_id,
        at=click.clicked_at,
        link=name or code,
        code=code,
        sub_ids=tuple((sub, value) for sub, value in values if value),
        referrer=click.referrer,
        outcome=outcome,
        sentence=sentences.click(reason, unique=click.is_unique),
        order=order,
    )


def _click_id(text: str | None) -> UUID | None:
    """The id at the end of the page before; it names its instant as well."""
    if text is None:
        return None
    try:
        found = UUID(text)
    except ValueError:
        raise Malformed from None
    if not is_click_id(found):
        raise Malformed
    return found
