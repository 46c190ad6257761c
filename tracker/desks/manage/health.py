"""The overview: how the program is doing, and what waits for a manager."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from affiliate.core import clock, ids
from affiliate.core.db import db
from affiliate.core.money import Money
from affiliate.people import ids as people_ids
from tracker.desks.manage import numbers, sentences
from tracker.desks.manage.blueprint import ORDER, manage, page, place, readers
from tracker.integration.reading import canary_state
from tracker.orders.rates import waiting_for_rates


@manage.get("/")
@readers
def overview() -> str:
    """Health of the program, and what waits."""
    return overview_page()


def overview_page() -> str:
    """The page of the program that the reader looks at."""
    here = place()
    if here.program is None:
        return page("overview", here, found=None)
    session, program = db.session(), here.program
    now = clock.now(session)
    waiting = [
        {
            "public": ids.public_id(ORDER, order.id),
            "order": order,
            "total": Money(order.total_micros, order.currency),
        }
        for order in numbers.unconfirmed(session, program=program)
    ]
    found = numbers.health(session, program=program, now=now)
    return page(
        "overview",
        here,
        found=found,
        canary_broken_since=_canary_broken_since(session, program.id),
        to_review=numbers.to_review(session, program=program),
        awaiting_rate=sum(one.orders for one in waiting_for_rates(session, program_id=program.id)),
        leads_to_review=numbers.leads_to_review(session, program=program),
        clicks_to_review=numbers.clicks_to_review(session, program=program),
        waiting=waiting,
        top=[(people_ids.public(row_id), *rest) for row_id, *rest in found.top],
        words=sentences,
        active_days=numbers.ACTIVE_DAYS,
    )


def _canary_broken_since(session: Session, program_id: int) -> datetime | None:
    state = canary_state(session, program_id)
    return None if state is None else state.broken_since
