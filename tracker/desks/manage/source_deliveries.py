"""One webhook of a shop system: what came, what became of it, and a person's word about it."""

from __future__ import annotations

import json
from datetime import datetime

from flask import url_for
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.db import db
from tracker.desks.acting import Answer, act
from tracker.desks.manage import source_words as words
from tracker.desks.manage.blueprint import Place, actors, manage, page, readers, require_acting
from tracker.desks.manage.sources import found, me
from tracker.desks.words import _
from tracker.sources import connect, lookup
from tracker.sources.again import follow_again, take_as_it_is
from tracker.sources.jobs import follow
from tracker.sources.models import Source, SourceDelivery


@manage.get("/sources/<source>/deliveries/<source_delivery>")
@readers
def source_delivery(source: str, source_delivery: str) -> str:
    """What came, and what became of it."""
    here, row = found(source)
    return _delivery_page(here, row, _delivery(row, source_delivery))


@manage.post("/sources/<source>/deliveries/<source_delivery>/repetition")
@actors
def repeat_delivery(source: str, source_delivery: str) -> Answer:
    """Act on it once more."""
    return _again(source, source_delivery, as_it_is=False)


@manage.post("/sources/<source>/deliveries/<source_delivery>/acceptance")
@actors
def accept_delivery(source: str, source_delivery: str) -> Answer:
    """Take what was held with the shop's own total and time."""
    return _again(source, source_delivery, as_it_is=True)


def _again(source: str, text: str, *, as_it_is: bool) -> Answer:
    here, row = found(source)
    delivery = _delivery(row, text)
    require_acting(row.program_id)
    verb = take_as_it_is if as_it_is else follow_again

    def work(session: Session, now: datetime) -> None:
        verb(session, delivery_id=delivery.id, by=me(), now=now, real_now=clock.real_now())
        follow.after_commit(session)

    return act(
        work,
        done=_("It is acted on within a minute; look at this page again."),
        back=url_for("manage.source_delivery", source=source, source_delivery=text),
        page=lambda: _delivery_page(here, row, delivery),
    )


def _delivery(row: Source, text: str) -> SourceDelivery:
    return lookup.delivery_of(db.session(), source_id=row.id, text=text)


def _delivery_page(here: Place, row: Source, delivery: SourceDelivery) -> str:
    body = delivery.body
    return page(
        "source_delivery",
        here,
        source=row,
        name=connect.public(row.id),
        delivery=delivery,
        delivery_name=lookup.public(delivery.id),
        told=words.told(delivery),
        errors=words.errors(delivery),
        body=None if body is None else json.dumps(body, indent=2, ensure_ascii=False),
        words=words,
    )
