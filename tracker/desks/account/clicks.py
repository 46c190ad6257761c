"""Clicks as receipts: seen, left out and why, or credited with which order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from flask import current_app, request, url_for
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import Malformed, NotFound
from affiliate.core.ids import public_id
from affiliate.links.models import Link
from affiliate.people.access import affiliates
from tracker.clicks.models import Click
from tracker.clicks.rules import DropReason
from tracker.clicks.tokens import clicked_at_of, is_click_id, signing_keys
from tracker.desks.account import sentences
from tracker.desks.account.blueprint import Answer, account, in_program, page
from tracker.desks.account.cases import Offer, offer_for_click
from tracker.desks.account.orders import PREFIX as ORDER_PREFIX
from tracker.desks.account.place import Place
from tracker.desks.files import csv_answer
from tracker.stats.receipts import (
    PASTED_CHARS_MAX,
    click_named,
    credited_orders,
    may_be_on_its_way,
)

PAGE_ROWS_MAX = 50
ROWS_PER_FETCH = 1_000


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


@dataclass(frozen=True, slots=True)
class Lookup:
    """What somebody pasted, and what there is of it."""

    text: str
    outcome: str
    """found, waiting (a moment ago, not stored yet), absent (no click of the reader's),
    unreadable (no click's id, token or address)."""
    line: ClickLine | None
    offer: Offer | None = None
    """Whether its being left out can be objected to."""


@account.get("/clicks")
@affiliates
@in_program
def clicks(place: Place) -> Answer:
    """The latest clicks, newest first, of one link where it is named; and one looked up."""
    session = db.session()
    before = _click_id(request.args.get("before"))
    link = _link(session, place)
    lines = click_lines(session, place=place, rows_max=PAGE_ROWS_MAX + 1, before=before, link=link)
    more = len(lines) > PAGE_ROWS_MAX
    lines = lines[:PAGE_ROWS_MAX]
    code = link and link.code
    older = url_for(".clicks", before=lines[-1].click_id, link=code) if more else None
    newest = url_for(".clicks", link=code) if before else None
    return page(
        "clicks", place, lines=lines, older=older, newest=newest, link=link,
        lookup=_lookup(session, place),
    )  # fmt: skip


@account.get("/clicks.csv")
@affiliates
@in_program
def clicks_csv(place: Place) -> Answer:
    """Every click as a file, of one link where it is named."""
    lines = _all_lines(place, _link(db.session(), place))
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


def _all_lines(place: Place, link: Link | None) -> Iterator[ClickLine]:
    """Page by page, each behind the last click of the one before."""
    before: UUID | None = None
    while True:
        session = db.session()
        lines = click_lines(session, place=place, rows_max=ROWS_PER_FETCH, before=before, link=link)
        yield from lines
        if len(lines) < ROWS_PER_FETCH:
            return
        before = lines[-1].click_id


def click_lines(
    session: Session,
    *,
    place: Place,
    rows_max: int,
    before: UUID | None,
    link: Link | None = None,
    click_id: UUID | None = None,
) -> list[ClickLine]:
    """An affiliate's clicks with their links and the orders that they were credited with."""
    query = (
        sa.select(Click, Link.name, Link.code)
        .join(Link, Link.id == Click.link_id)
        .where(Click.enrollment_id == place.enrollment.id)
        .order_by(Click.clicked_at.desc(), Click.click_id)
        .limit(rows_max)
    )
    if link is not None:
        query = query.where(Click.link_id == link.id)
    if click_id is not None:
        query = query.where(Click.click_id == click_id, Click.clicked_at == clicked_at_of(click_id))
    if before is not None:
        at = clicked_at_of(before)
        same = sa.and_(Click.clicked_at == at, Click.click_id > before)
        query = query.where(sa.or_(Click.clicked_at < at, same))
    rows = session.execute(query).all()
    found = credited_orders(
        session, enrollment_id=place.enrollment.id, click_ids=[row[0].click_id for row in rows]
    )
    orders = {
        click_id: CreditedOrder(public_id(ORDER_PREFIX, order.row_id), order.order_id)
        for click_id, order in found.items()
    }
    return [_line(click, name, code, orders.get(click.click_id)) for click, name, code in rows]


def _link(session: Session, place: Place) -> Link | None:
    code = request.args.get("link", "").replace("\0", "")
    if not code:
        return None
    link = session.scalar(
        sa.select(Link).where(Link.code == code, Link.enrollment_id == place.enrollment.id)
    )
    if link is None:
        raise NotFound
    return link


def _lookup(session: Session, place: Place) -> Lookup | None:
    text = request.args.get("find", "")[:PASTED_CHARS_MAX].strip()
    if not text:
        return None
    settings: Settings = current_app.extensions["kopeck.settings"]
    click_id = click_named(text, signing_keys(settings.keys("click-token")))
    if click_id is None:
        return Lookup(text, "unreadable", None)
    found = click_lines(session, place=place, rows_max=1, before=None, click_id=click_id)
    if found:
        offer = offer_for_click(session, place=place, click_id=click_id)
        return Lookup(text, "found", found[0], offer)
    # The same words for somebody else's click as for none at all.
    waiting = may_be_on_its_way(click_id, place.now)
    return Lookup(text, "waiting" if waiting else "absent", None)


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
