"""A program's month by affiliate, and the statement of each of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from zoneinfo import ZoneInfo

from flask import render_template, request
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from affiliate.core import clock
from affiliate.core.db import db
from affiliate.core.errors import Invalid, NotFound
from affiliate.core.money import Money, total
from affiliate.core.tables import Cell, Sheet
from affiliate.people import ids
from affiliate.people.models import Affiliate, Enrollment
from affiliate.programs.models import Program
from payouts.batches.periods import MONTHS, YEAR_MAX, YEAR_MIN, Period, month_at, period_named
from payouts.batches.statements import AffiliateMonth, months_of_program
from tracker.desks.files import Format, table_answer
from tracker.desks.finance.blueprint import allowed, chosen, desk, finance
from tracker.desks.finance.books import journal_answer
from tracker.desks.papers.answers import statement_answer
from tracker.desks.papers.statement import Subject
from tracker.desks.words import _

COLUMNS = ("before", "earned", "taken", "paid", "after")
HEAD = ("affiliate", "name", "owed_before", "earned", "taken_back", "paid", "owed_after",
        "currency")  # fmt: skip


@finance.get("/statements")
@allowed
def statement() -> Response | str:
    """A month of a program by affiliate; as a file with `?format=csv` or `xlsx`, entries as
    `journal`."""
    session, programs = db.session(), list(desk().programs.values())
    if not programs:
        return render_template("tracker/finance/statements.html", program=None)
    program = chosen(programs)
    now = clock.now(session)
    month = month_of(request.args.get("month"), program=program, now=now)
    wanted = request.args.get("format")
    if wanted == "journal":
        return journal_answer(
            program, since=month.starts_at, until=month.ends_at, key=month.key, wanted=Format.CSV
        )
    lines = months_of_program(
        session, program_id=program.id, currency=program.currency, month=month
    )
    if wanted in (Format.CSV, Format.XLSX):
        name = f"statement-{program.slug}-{month.key}"
        sheet = Sheet(month.key, HEAD, _rows(lines, program.currency), program.time_zone)
        return table_answer(
            Format(wanted), name, [sheet], title=_("Statement, %(month)s", month=month.key),
            made_at=month.ends_at,
        )  # fmt: skip
    before, after = months_around(month, now=now)
    return render_template(
        "tracker/finance/statements.html",
        program=program,
        programs=programs,
        month=month,
        lines=lines,
        totals=totals(lines, program.currency),
        before=before,
        after=after,
    )


@finance.get("/statements/<affiliate>/<period>.csv", defaults={"ending": Format.CSV})
@finance.get("/statements/<affiliate>/<period>.xlsx", defaults={"ending": Format.XLSX})
@finance.get("/statements/<affiliate>/<period>.pdf", defaults={"ending": Format.PDF})
@allowed
def affiliate_statement(affiliate: str, period: str, ending: Format) -> Response:
    """One affiliate's statement, exactly as they get it themselves."""
    session = db.session()
    subject = _subject(session, affiliate, period)
    return statement_answer(session, subject=subject, wanted=ending, now=clock.now(session))


def _subject(session: Session, affiliate: str, period: str) -> Subject:
    """Another program's affiliate is not there."""
    enrollment = session.get(Enrollment, ids.enrollment_of(affiliate))
    programs = desk().programs
    if enrollment is None or enrollment.program_id not in programs:
        raise NotFound
    program = programs[enrollment.program_id]
    name = session.get_one(Affiliate, enrollment.affiliate_id).name
    return Subject(program, enrollment.id, name, period_named(period, program.time_zone))


def _rows(lines: Sequence[AffiliateMonth], currency: str) -> Iterator[Sequence[Cell]]:
    for line in lines:
        yield (line.public, line.name, *(getattr(line, name) for name in COLUMNS), currency)


def month_of(text: str | None, *, program: Program, now: datetime) -> Period:
    """`2026-11` in the program's zone; the present month without one. Raises Invalid."""
    zone = ZoneInfo(program.time_zone)
    try:
        first = date.fromisoformat(f"{text}-01") if text else now.astimezone(zone).date()
    except ValueError:
        raise Invalid.field("month", "not_a_month", "Write the month as 2026-11.") from None
    if not YEAR_MIN <= first.year <= YEAR_MAX:
        raise Invalid.field("month", "not_a_month", "Choose a month between 2000 and 2200.")
    return month_at(first, program.time_zone)


def months_around(month: Period, *, now: datetime) -> tuple[str, str | None]:
    """The month before, and the one after unless it lies in the future."""
    year, number = divmod(month.first.year * MONTHS + month.first.month - 2, MONTHS)
    before = f"{year:04d}-{number + 1:02d}"
    after = f"{month.after:%Y-%m}" if month.ends_at <= now else None
    return before, after


def totals(lines: list[AffiliateMonth], currency: str) -> dict[str, Money]:
    """The sum of each column."""
    return {name: total((getattr(line, name) for line in lines), currency) for name in COLUMNS}
