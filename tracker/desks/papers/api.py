"""API v1: an affiliate's statements (docs/api.md, "Statements")."""

from __future__ import annotations

from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

import marshmallow as ma
import sqlalchemy as sa
from flask import Flask, Response, current_app
from werkzeug.wrappers import Response as AnyResponse

from affiliate.core import api, clock
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import NotFound
from affiliate.core.fields import MoneyField, money_json
from affiliate.people import access
from affiliate.people.access import api_scope
from affiliate.people.models import Affiliate, Enrollment
from affiliate.programs.models import Program
from payouts.batches import statements
from payouts.batches.periods import month_at, period_named
from payouts.batches.statements import Standing
from tracker.desks.files import Format
from tracker.desks.papers.answers import statement_answer
from tracker.desks.papers.statement import Subject, summary_of

blueprint = api.api_blueprint("statements", "/api/v1/affiliates", "Statements of an affiliate")


class StatementFilesOut(ma.Schema):
    """Where the statement with every line is, for the same key."""

    csv = ma.fields.URL()
    xlsx = ma.fields.URL()
    pdf = ma.fields.URL()


class MonthOut(ma.Schema):
    """A month in which something was booked."""

    period = ma.fields.String(metadata={"examples": ["2026-11"]})
    first = ma.fields.Date()
    last = ma.fields.Date()
    complete = ma.fields.Boolean(metadata={"description": "Whether the month is over"})
    files = ma.fields.Nested(StatementFilesOut)


class MonthsOut(ma.Schema):
    """Months with entries, newest first; quarters and years can be read as well."""

    statements = ma.fields.List(ma.fields.Nested(MonthOut))


class StandingOut(ma.Schema):
    """What stood in the affiliate's accounts."""

    pending = MoneyField()
    available = MoneyField()
    in_payout = MoneyField()
    owed = MoneyField(metadata={"description": "The sum of the three"})


class StatementOut(MonthOut):
    """opening + earned + taken back + paid = closing, of all that is owed."""

    opening = ma.fields.Nested(StandingOut)
    earned = MoneyField()
    taken_back = MoneyField(metadata={"description": "Usually negative"})
    paid = MoneyField(metadata={"description": "Negative: it left"})
    closing = ma.fields.Nested(StandingOut)
    lines = ma.fields.Integer(metadata={"description": "How many the files have"})


def set_up(app: Flask, _settings: Settings) -> None:
    """Add the resource to the API."""
    api.register(app, blueprint)


@blueprint.get("/<affiliate>/statements")
@api_scope("statements:read", own="own:read")
@blueprint.response(200, MonthsOut)
@blueprint.alt_response(404, "NOT_FOUND")
def listing(affiliate: str) -> Response:
    """Months in which something was booked."""
    program, enrollment_id, _name = _subject(affiliate)
    months = statements.months_with_entries(
        db.session(),
        enrollment_id=enrollment_id,
        currency=program.currency,
        time_zone=program.time_zone,
    )
    today = _today(program)
    periods = [month_at(first, program.time_zone) for first in months]
    return api.answer(
        {
            "statements": [
                _month(affiliate, each.key, each.first, each.last, today) for each in periods
            ]
        }
    )


@blueprint.get("/<affiliate>/statements/<period>")
@api_scope("statements:read", own="own:read")
@blueprint.response(200, StatementOut)
@blueprint.alt_response(404, "NOT_FOUND")
def one(affiliate: str, period: str) -> Response:
    """The sums of a month (`2026-11`), quarter (`2026-Q4`) or year (`2026`)."""
    subject = _of_period(affiliate, period)
    found, span = summary_of(db.session(), subject), subject.period
    return api.answer(
        {
            **_month(affiliate, period, span.first, span.last, _today(subject.program)),
            "opening": _standing(found.opening),
            "earned": money_json(found.sum_of(statements.EARNED)),
            "taken_back": money_json(found.sum_of(statements.TAKEN_BACK)),
            "paid": money_json(found.sum_of(statements.PAID)),
            "closing": _standing(found.closing),
            "lines": found.count,
        }
    )


@blueprint.get("/<affiliate>/statements/<period>.csv", defaults={"ending": Format.CSV})
@blueprint.get("/<affiliate>/statements/<period>.xlsx", defaults={"ending": Format.XLSX})
@blueprint.get("/<affiliate>/statements/<period>.pdf", defaults={"ending": Format.PDF})
@api_scope("statements:read", own="own:read")
@blueprint.response(200, description="The file")
@blueprint.alt_response(404, "NOT_FOUND")
def file(affiliate: str, period: str, ending: Format) -> AnyResponse:
    """The statement with every line, exactly as the affiliate gets it on their pages."""
    session = db.session()
    subject = _of_period(affiliate, period)
    return statement_answer(session, subject=subject, wanted=ending, now=clock.now(session))


def _subject(affiliate: str) -> tuple[Program, int, str]:
    """The program, the enrollment's number and the name; NotFound for another's."""
    number = access.enrollment_named(affiliate)
    row = db.session.execute(
        sa.select(Program, Affiliate.name)
        .select_from(Enrollment)
        .join(Program, Program.id == Enrollment.program_id)
        .join(Affiliate, Affiliate.id == Enrollment.affiliate_id)
        .where(Enrollment.id == number, Enrollment.program_id == access.api_key().program_id)
    ).one_or_none()
    if row is None:
        raise NotFound("There is no such affiliate in this program.")
    program, name = row
    return program, number, name


def _of_period(affiliate: str, period: str) -> Subject:
    """NotFound for what is no period, and for one that has not begun."""
    program, number, name = _subject(affiliate)
    found = period_named(period, program.time_zone)
    if found.first > _today(program):
        raise NotFound
    return Subject(program, number, name, found)


def _today(program: Program) -> date:
    return clock.now(db.session()).astimezone(ZoneInfo(program.time_zone)).date()


def _month(affiliate: str, key: str, first: date, last: date, today: date) -> dict[str, Any]:
    settings: Settings = current_app.extensions["kopeck.settings"]
    base = f"{settings.public_url}{blueprint.url_prefix}/{affiliate}/statements/{key}"
    return {
        "period": key,
        "first": first.isoformat(),
        "last": last.isoformat(),
        "complete": last < today,
        "files": {
            ending.value: f"{base}.{ending}" for ending in (Format.CSV, Format.XLSX, Format.PDF)
        },
    }


def _standing(found: Standing) -> dict[str, Any]:
    return {
        name: money_json(getattr(found, name))
        for name in ("pending", "available", "in_payout", "owed")
    }
