"""Statistics over the API: `GET /api/v1/statistics?from=…&to=…&by=day`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import marshmallow as ma
import sqlalchemy as sa
from flask import Flask

from affiliate.core import clock
from affiliate.core.api import api_blueprint, register
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import Invalid, NotFound
from affiliate.core.fields import Coded, MoneyField
from affiliate.links.models import Link
from affiliate.people import ids
from affiliate.people.access import api_key, api_scope
from affiliate.programs.models import Program
from tracker.stats import questions
from tracker.stats.questions import PERIOD_DAYS_MAX, Figures, Period, Scope

SPAN_DAYS = 30
"""The period that is meant when none is given."""
GROUPS = ("day", "link", "affiliate")

blueprint = api_blueprint("statistics", "/api/v1/statistics", "Clicks, orders and earnings")


class _Day(ma.fields.Date):
    """An ISO date and nothing else; the refusal has a code of its own."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        text = str(value)
        if len(text) != len("2026-11-21"):
            raise ma.ValidationError([Coded("not_a_day", "Write the day as 2026-11-21.")])
        try:
            return super()._deserialize(text, attr, data, **kwargs)
        except ma.ValidationError:
            raise ma.ValidationError([Coded("not_a_day", "Write the day as 2026-11-21.")]) from None


class Question(ma.Schema):
    """What is asked."""

    from_ = _Day(
        data_key="from",
        metadata={"description": "First day, in the program's zone", "name": "from"},
    )
    to = _Day(metadata={"description": "Last day, itself included"})
    by = ma.fields.String(load_default="day", validate=ma.validate.OneOf(GROUPS))
    affiliate = ma.fields.String(metadata={"description": "Only this affiliate: aff_…"})


class FiguresOut(ma.Schema):
    """Counts and what level 1 and level 2 earned, after refunds."""

    clicks = ma.fields.Integer()
    uniques = ma.fields.Integer()
    orders = ma.fields.Integer()
    earned = MoneyField()
    earned_level_2 = MoneyField()


class RowOut(FiguresOut):
    """The figures of one day, link or affiliate; `key` says which."""

    key = ma.fields.String(
        metadata={"description": "A date, a link's code or an affiliate's id, as `by` says"}
    )


class StatisticsOut(ma.Schema):
    """The answer to a question."""

    from_ = ma.fields.Date(data_key="from")
    to = ma.fields.Date()
    time_zone = ma.fields.String(metadata={"description": "Whose days these are"})
    by = ma.fields.String()
    rows = ma.fields.List(ma.fields.Nested(RowOut))
    total = ma.fields.Nested(FiguresOut)


@blueprint.get("")
@api_scope("statistics:read")
@blueprint.arguments(Question, location="query")
@blueprint.response(200, StatisticsOut)
def statistics(question: dict[str, Any]) -> dict[str, Any]:
    """Figures of the key's program by day, link or affiliate.

    Without a period the last 30 days. An order that a coupon credited belongs to no link, so
    that links may sum to less than `total`, which counts the whole period.
    """
    session = db.session()
    program = session.get_one(Program, api_key().program_id)
    period = _period(question, program)
    scope = Scope.of(program, _affiliate(question, program))
    days = questions.by_day(session, scope=scope, period=period)
    if question["by"] == "day":
        rows = _rows((day.isoformat(), figures) for day, figures in days.items())
    elif question["by"] == "link":
        rows = _links(questions.by_link(session, scope=scope, period=period))
    else:
        found = questions.by_affiliate(session, scope=scope, period=period)
        rows = _rows((ids.public(number), figures) for number, figures in sorted(found.items()))
    return {
        "from_": period.first,
        "to": period.last,
        "time_zone": program.time_zone,
        "by": question["by"],
        "rows": rows,
        "total": questions.total(days.values(), program.currency),
    }


def _period(question: dict[str, Any], program: Program) -> Period:
    last = question.get("to") or questions.today(clock.now(db.session()), program.time_zone)
    first = question.get("from_") or last - timedelta(days=SPAN_DAYS - 1)
    if first > last:
        raise Invalid.field("from", "after_the_end", "The period ends before it begins.")
    if (last - first).days >= PERIOD_DAYS_MAX:
        raise Invalid.field("from", "too_long", f"Ask for at most {PERIOD_DAYS_MAX} days at once.")
    return Period(first, last)


def _affiliate(question: dict[str, Any], program: Program) -> int | None:
    """The enrollment asked for; one of another program is not found, as one that is none."""
    if "affiliate" not in question:
        return None
    number = ids.enrollment_of(question["affiliate"])
    if not questions.has_enrollment(db.session(), program_id=program.id, enrollment_id=number):
        raise NotFound
    return number


def _links(found: dict[int, Figures]) -> list[dict[str, Any]]:
    query = sa.select(Link.id, Link.code).where(Link.id.in_(found))
    codes = {row.id: row.code for row in db.session.execute(query)}
    return _rows((codes[number], figures) for number, figures in sorted(found.items()))


def _rows(found: Iterable[tuple[str, Figures]]) -> list[dict[str, Any]]:
    return [
        {
            "key": key,
            "clicks": figures.clicks,
            "uniques": figures.uniques,
            "orders": figures.orders,
            "earned": figures.earned,
            "earned_level_2": figures.earned_level_2,
        }
        for key, figures in found
    ]


def set_up(app: Flask, _settings: Settings) -> None:
    """Register the resource."""
    register(app, blueprint)
