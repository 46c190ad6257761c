"""Pay per click: what each link's days earned, and those that a person has to look at."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from flask import request, url_for
from sqlalchemy.orm import Session

from affiliate.core import ids
from affiliate.core.db import db
from affiliate.core.errors import NotFound
from affiliate.core.money import Money
from affiliate.links.models import Link
from affiliate.people import access
from affiliate.people import ids as people_ids
from affiliate.people.models import Affiliate, Enrollment
from affiliate.programs.models import Program
from payouts.commissions.counted import clicks_reference
from payouts.commissions.rows import commissions_for_many
from tracker.attribution.subject import ReviewOutcome
from tracker.desks.acting import Answer, act, reason_said
from tracker.desks.manage.blueprint import (
    PAID_DAY,
    Place,
    actors,
    manage,
    page,
    place,
    place_of,
    readers,
    require_acting,
)
from tracker.desks.manage.decided import ROWS_MAX
from tracker.desks.words import _
from tracker.paid_clicks.models import PaidClickDay
from tracker.paid_clicks.review import review_clicks


class Shown(StrEnum):
    """Which days the list shows."""

    ALL = "all"
    REVIEW = "review"
    DECLINED = "declined"


@manage.get("/leads/clicks")
@readers
def paid_clicks() -> str:
    """What was booked, the latest first; `?show=` review or declined."""
    return _list_page(place())


@manage.post("/leads/clicks/<paid_day>/release")
@actors
def release_clicks(paid_day: str) -> Answer:
    """Let what the day earned go."""
    return _review(paid_day, ReviewOutcome.RELEASED, _("The clicks of the day are released."))


@manage.post("/leads/clicks/<paid_day>/refusal")
@actors
def decline_clicks(paid_day: str) -> Answer:
    """Take back what the day earned, for good."""
    done = _("The clicks of the day are declined; what they earned is taken back.")
    return _review(paid_day, ReviewOutcome.DECLINED, done)


def _review(paid_day: str, outcome: ReviewOutcome, done: str) -> Answer:
    number = ids.row_id(PAID_DAY, paid_day)
    found = db.session.get(PaidClickDay, number)
    if found is None:
        raise NotFound
    require_acting(found.program_id)
    program_id = found.program_id
    return act(
        lambda session, now: review_clicks(
            session, paid_day_id=number, outcome=outcome, reason=reason_said(),
            by=access.actor().label, now=now,
        ),
        done=done,
        back=url_for("manage.paid_clicks", show=Shown.REVIEW.value),
        page=lambda: _list_page(place_of(program_id)),
    )  # fmt: skip


def _list_page(here: Place) -> str:
    program = here.required
    wanted = request.args.get("show", Shown.ALL.value)
    if wanted not in list(Shown):
        raise NotFound
    before = request.args.get("before")
    before_id = ids.row_id(PAID_DAY, before) if before else None
    rows = _rows(db.session(), program, Shown(wanted), before_id)
    shown = rows[:ROWS_MAX]
    next_url = None
    if len(rows) > ROWS_MAX:
        next_url = url_for("manage.paid_clicks", show=wanted, before=shown[-1]["public"])
    return page(
        "paid_clicks", here, rows=shown, shown=wanted, next_url=next_url,
        previous_url=url_for("manage.paid_clicks", show=wanted) if before else None,
    )  # fmt: skip


def _rows(
    session: Session, program: Program, shown: Shown, before_id: int | None
) -> list[dict[str, Any]]:
    query = (
        sa.select(PaidClickDay, Link.code, Affiliate.name)
        .join(Link, Link.id == PaidClickDay.link_id)
        .join(Enrollment, Enrollment.id == PaidClickDay.enrollment_id)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .where(PaidClickDay.program_id == program.id, PaidClickDay.bookings > 0)
        .order_by(PaidClickDay.id.desc())
        .limit(ROWS_MAX + 1)
        .execution_options(populate_existing=True)
    )
    if shown is Shown.REVIEW:
        query = query.where(PaidClickDay.flooded, PaidClickDay.review_outcome.is_(None))
    elif shown is Shown.DECLINED:
        query = query.where(PaidClickDay.review_outcome == ReviewOutcome.DECLINED.value)
    if before_id is not None:
        query = query.where(PaidClickDay.id < before_id)
    found = session.execute(query).all()
    earned = commissions_for_many(
        session, references=[clicks_reference(row.link_id, row.day) for row, *_rest in found]
    )
    return [
        {
            "public": ids.public_id(PAID_DAY, row.id),
            "row": row,
            "code": code,
            "affiliate": people_ids.public(row.enrollment_id),
            "name": name,
            "to_review": row.flooded and row.review_outcome is None,
            "commission": Money(
                sum(one.left.micros for one in earned[clicks_reference(row.link_id, row.day)]),
                program.currency,
            ),
        }
        for row, code, name in found
    ]
