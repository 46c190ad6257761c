"""Statistics over the API: `GET /api/v1/statistics?from=…&to=…&by=day`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import marshmallow as ma
import sqlalchemy as sa
from flask import Flask, Response, request

from affiliate.core import api, clock
from affiliate.core.api import api_blueprint, register
from affiliate.core.config import Settings
from affiliate.core.db import db, session_for
from affiliate.core.errors import Invalid, NotFound, Phrase
from affiliate.core.fields import Coded, MoneyField, Text, money_json
from affiliate.core.money import Money
from affiliate.core.paging import link_to
from affiliate.links.models import Link
from affiliate.people.access import api_key, api_scope, enrollment_named
from affiliate.people.limits import count_download
from affiliate.programs.models import Program
from tracker.clicks.rules import CountedBy, DeviceClass
from tracker.stats import cursors, questions, tables
from tracker.stats.figures import PERIOD_DAYS_MAX, Figures, Period, Scope, change
from tracker.stats.questions import Asked
from tracker.stats.rules import IN_ORDER, By, Filter, Sort
from tracker.stats.words import FIGURES, Unit

SPAN_DAYS = 30
"""The period that is meant when none is given."""
ROWS = 100
ROWS_MAX = 1_000
VALUE_CHARS_MAX = 255
CSV = "text/csv"
COMPARED = {"true": "before", "before": "before", "year": "year", "false": ""}
_SPELLED = {CountedBy.COUNTRY: str.upper}

blueprint = api_blueprint("statistics", "/api/v1/statistics", "Clicks, orders and earnings")
files = api_blueprint("statistics_files", "/api/v1/statistics.csv", "Statistics as files")


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


def _value(what: str) -> Text:
    return Text(chars_max=VALUE_CHARS_MAX, empty=False, metadata={"description": what})


class Question(ma.Schema):
    """What is asked. Without a period, the last 30 days."""

    from_ = _Day(
        data_key="from",
        metadata={"description": "First day, in the program's zone", "name": "from"},
    )
    to = _Day(metadata={"description": "Last day, itself included"})
    by = ma.fields.String(load_default="day", validate=ma.validate.OneOf(list(By)))
    affiliate = ma.fields.String(metadata={"description": "Only this affiliate: aff_…"})
    link = _value("Only this link, by its code")
    s1 = _value("Only clicks with this sub-id")
    s2 = _value("Only clicks with this sub-id")
    s3 = _value("Only clicks with this sub-id")
    s4 = _value("Only clicks with this sub-id")
    s5 = _value("Only clicks with this sub-id")
    creative = _value("Only clicks on this material")
    country = _value("Only clicks from this country, ISO 3166-1")
    device = ma.fields.String(validate=ma.validate.OneOf(list(DeviceClass)))
    compare = ma.fields.String(
        load_default="false",
        validate=ma.validate.OneOf(list(COMPARED)),
        metadata={"description": "true: with as many days before; year: 52 weeks earlier"},
    )
    sort = ma.fields.String(load_default="key", validate=ma.validate.OneOf(list(Sort)))
    limit = ma.fields.Integer(
        load_default=ROWS, strict=False, validate=ma.validate.Range(min=1, max=ROWS_MAX)
    )
    after = ma.fields.String(metadata={"description": "`next` of the page before"})


class FiguresOut(ma.Schema):
    """Counts, amounts and rates, as docs/statistics.md defines them.

    Null is what has nothing to divide by, or is not counted by what was asked.
    """


class RowOut(FiguresOut):
    """The figures of one day, link, value or affiliate; `key` says which."""

    key = ma.fields.String(
        metadata={"description": "A day, an hour, a code, an id or a value, as `by` says"}
    )
    name = ma.fields.String(metadata={"description": "A link's or affiliate's name, else empty"})


class ChangeOut(ma.Schema):
    """How one figure changed."""

    figure = ma.fields.String()
    by = ma.fields.Raw(metadata={"description": "A number, or money where the figure is money"})
    ppm = ma.fields.Integer(
        allow_none=True,
        metadata={"description": "In parts per million of what it was; null where it was zero"},
    )


class ComparedOut(ma.Schema):
    """The same figures of an earlier period."""

    from_ = ma.fields.Date(data_key="from")
    to = ma.fields.Date()
    total = ma.fields.Nested(FiguresOut)
    changes = ma.fields.List(ma.fields.Nested(ChangeOut))


class StatisticsOut(ma.Schema):
    """The answer to a question."""

    from_ = ma.fields.Date(data_key="from")
    to = ma.fields.Date()
    time_zone = ma.fields.String(metadata={"description": "Whose days these are"})
    by = ma.fields.String()
    rows = ma.fields.List(ma.fields.Nested(RowOut))
    next = ma.fields.String(allow_none=True, metadata={"description": "Goes into `after`"})
    total = ma.fields.Nested(FiguresOut)
    compared = ma.fields.Nested(ComparedOut, allow_none=True)


def _declare() -> None:
    """One field for each figure, in the order in which files have them."""
    for figure in FIGURES:
        made: ma.fields.Field[Any] = (
            MoneyField(allow_none=True)
            if figure.unit is Unit.MONEY
            else ma.fields.Integer(allow_none=True)
        )
        for schema in (FiguresOut, RowOut):
            schema._declared_fields[figure.name] = made


_declare()


@blueprint.get("")
@api_scope("statistics:read", own="own:read")
@blueprint.arguments(Question, location="query")
@blueprint.response(200, StatisticsOut)
@blueprint.alt_response(404, "NOT_FOUND")
def statistics(question: dict[str, Any]) -> Response:
    """Figures of the key's program, of one of its affiliates, links or values.

    `by` says by what. An order that a coupon credited belongs to no link, so that links may
    sum to less than `total`, which counts the whole period. `Accept: text/csv`, or the same
    address with `.csv`, answers all rows as a file.
    """
    if request.accept_mimetypes.best_match(("application/json", CSV)) == CSV:
        return _file(question)
    asked, sort = _asked(question), Sort(question["sort"])
    after = cursors.read(question.get("after"), asked, sort)
    session = db.session()
    if asked.by in IN_ORDER:
        found, next_ = list(tables.all_rows(session, asked)), None
    else:
        page = questions.page_of(session, asked, sort=sort, after=after, rows_max=question["limit"])
        found, next_ = page.rows, cursors.write(page.next, asked, sort)
    whole = _whole(asked)
    return api.answer(
        {
            "from": asked.period.first.isoformat(),
            "to": asked.period.last.isoformat(),
            "time_zone": asked.scope.time_zone,
            "by": asked.by.value,
            "rows": [
                {"key": each.key, "name": each.name, **_figures(each.figures)}
                for each in tables.named(session, asked, found)
            ],
            "next": next_,
            "total": _figures(whole),
            "compared": _compared(asked, whole, COMPARED[question["compare"]]),
        },
        200,
        link_to(next_),
    )


@files.get("")
@api_scope("statistics:read", own="own:read")
@files.arguments(Question, location="query")
@files.response(200, content_type=CSV)
@files.alt_response(404, "NOT_FOUND")
def statistics_file(question: dict[str, Any]) -> Response:
    """All rows of a question as CSV, of any number, made while it is sent."""
    return _file(question)


def _file(question: dict[str, Any]) -> Response:
    return csv_response(_asked(question), Sort(question["sort"]))


def csv_response(asked: Asked, sort: Sort, name: str = "statistics") -> Response:
    """A download that is made while it is sent; CannotCombine where no counter answers."""
    questions.require(asked)
    count_download()
    made = Response(_parts(db.engine, asked, sort), content_type=f"{CSV}; charset=utf-8")
    file = f"{name}-by-{asked.by.value}-{asked.period.first}-{asked.period.last}.csv"
    made.headers["Content-Disposition"] = f'attachment; filename="{file}"'
    return made


def _parts(engine: sa.Engine, asked: Asked, sort: Sort) -> Iterator[str]:
    """In a session of its own: the view's is gone when the parts are sent.

    No context of Flask is held meanwhile, so that a reader may leave at any part.
    """
    with session_for(engine)() as session:
        yield from tables.csv_of(session, asked, sort=sort)


def _asked(question: dict[str, Any]) -> Asked:
    session = db.session()
    program = session.get_one(Program, api_key().program_id)
    period = _period(question, program)
    enrollment_id, link_id = _affiliate(question, program), None
    if "link" in question:
        link = session.scalar(
            sa.select(Link).where(Link.code == question["link"], Link.program_id == program.id)
        )
        if link is None or enrollment_id not in (None, link.enrollment_id):
            raise NotFound
        enrollment_id, link_id = link.enrollment_id, link.id
    only = filter_of(question, link_id)
    return Asked(Scope.of(program, enrollment_id), period, By(question["by"]), only)


def filter_of(given: dict[str, Any], link_id: int | None) -> Filter:
    """The one value and device that are asked for; Invalid for two values at once."""
    values = {kind: given[kind.value] for kind in CountedBy if given.get(kind.value)}
    if len(values) > 1:
        raise Invalid.field(list(values)[1].value, "cannot_combine", "Ask for one value at a time.")
    kind = next(iter(values), None)
    value = _SPELLED.get(kind, str)(values[kind]) if kind else ""
    if "\0" in value:
        raise Invalid.field(str(kind), "not_text", "A value has no NUL in it.")
    device = DeviceClass(given["device"]) if given.get("device") else None
    return Filter(link_id=link_id, kind=kind, value=value, device=device)


def _period(question: dict[str, Any], program: Program) -> Period:
    last = question.get("to") or questions.today(clock.now(db.session()), program.time_zone)
    first = question.get("from_") or days_before(last, SPAN_DAYS - 1)
    return period_of(first, last)


def days_before(last: date, days: int) -> date:
    """So many days earlier, or the day itself where the calendar has no such day."""
    try:
        return last - timedelta(days=days)
    except OverflowError:
        return last


def period_of(first: date, last: date) -> Period:
    """A period that can be asked; Invalid names the field that cannot."""
    if first > last:
        raise Invalid.field("from", "after_the_end", "The period ends before it begins.")
    if (last - first).days >= PERIOD_DAYS_MAX:
        raise Invalid.field(
            "from",
            "too_long",
            Phrase("Ask for at most %(days)s days at once.", days=PERIOD_DAYS_MAX),
        )
    if not FIRST_YEAR <= first.year <= last.year <= LAST_YEAR:
        field = "from" if first.year < FIRST_YEAR else "to"
        raise Invalid.field(field, "out_of_range", "There are no figures of that year.")
    return Period(first, last)


FIRST_YEAR, LAST_YEAR = 2000, 2200


def _affiliate(question: dict[str, Any], program: Program) -> int | None:
    """The enrollment asked for; one of another program is not found, as one that is none.

    An affiliate's own key asks for its own, whether it says so or not.
    """
    if "affiliate" not in question:
        return api_key().enrollment_id
    number = enrollment_named(question["affiliate"])
    if not questions.has_enrollment(db.session(), program_id=program.id, enrollment_id=number):
        raise NotFound
    return number


def _whole(asked: Asked, period: Period | None = None) -> Figures:
    return questions.whole(
        db.session(), scope=asked.scope, period=period or asked.period, only=asked.only
    )


def _compared(asked: Asked, whole: Figures, wanted: str) -> dict[str, Any] | None:
    if not wanted:
        return None
    period = asked.period.year_before if wanted == "year" else asked.period.before
    before = _whole(asked, period)
    changes = []
    for figure in FIGURES:
        found = change(figure.of(whole), figure.of(before))
        if found is not None:
            by: Any = found.by
            if figure.unit is Unit.MONEY:
                by = money_json(Money(found.by, asked.scope.currency))
            changes.append({"figure": figure.name, "by": by, "ppm": found.ppm})
    return {
        "from": period.first.isoformat(),
        "to": period.last.isoformat(),
        "total": _figures(before),
        "changes": changes,
    }


def _figures(figures: Figures) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for figure in FIGURES:
        value = figure.of(figures)
        found[figure.name] = money_json(value) if isinstance(value, Money) else value
    return found


def set_up(app: Flask, _settings: Settings) -> None:
    """Register the resource and its files."""
    register(app, blueprint)
    register(app, files)
