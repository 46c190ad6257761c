"""Statements: every entry of the ledger in a period, between an opening and a closing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from flask import g
from sqlalchemy.orm import Session

from affiliate.core.db import db
from affiliate.core.errors import NotFound
from affiliate.core.money import Money
from affiliate.people.access import affiliates
from payouts.batches import statements
from payouts.batches.periods import period_named
from payouts.batches.statements import Standing
from tracker.desks.account.blueprint import Answer, account, in_program, page
from tracker.desks.account.place import Place
from tracker.desks.files import Format
from tracker.desks.papers import statement as papers
from tracker.desks.papers.answers import statement_answer
from tracker.desks.papers.statement import Subject, Told
from tracker.desks.papers.words import period_title
from tracker.stats.questions import today

LINES_SHOWN_MAX = 500


@dataclass(frozen=True, slots=True)
class StatementPage:
    """What the page shows; opening + every line = closing, by account and in sum."""

    first: date
    last: date
    opening: Standing
    lines: tuple[Told, ...]
    """The first of them."""
    count: int
    """How many there are."""
    closing: Standing
    earned: Money
    taken_back: Money
    paid: Money
    complete: bool
    """False while the period runs."""


@account.get("/money/statements/<period>")
@affiliates
@in_program
def statement(place: Place, period: str) -> Answer:
    """A period's statement, to read or to print."""
    subject = subject_of(place, period)
    # Its days are the program's, so its hours must be too: a line of the 1st at midnight
    # would else stand there with the month before.
    g.time_zone = place.program.time_zone
    found = read_statement(db.session(), place, subject)
    return page(
        "statement", place, statement=found, key=period, title=period_title(subject.period),
        hidden=found.count - len(found.lines),
    )  # fmt: skip


@account.get("/money/statements/<period>.csv", defaults={"ending": Format.CSV})
@account.get("/money/statements/<period>.xlsx", defaults={"ending": Format.XLSX})
@account.get("/money/statements/<period>.pdf", defaults={"ending": Format.PDF})
@affiliates
@in_program
def statement_file(place: Place, period: str, ending: Format) -> Answer:
    """The same as a file."""
    return statement_answer(
        db.session(), subject=subject_of(place, period), wanted=ending, now=place.now
    )


def months_of(session: Session, place: Place) -> list[date]:
    """The months in which something was booked, newest first."""
    return statements.months_with_entries(
        session,
        enrollment_id=place.enrollment.id,
        currency=place.currency,
        time_zone=place.program.time_zone,
    )


def read_statement(session: Session, place: Place, subject: Subject) -> StatementPage:
    """What the page of a statement shows."""
    summary = papers.summary_of(session, subject)
    return StatementPage(
        first=subject.period.first,
        last=subject.period.last,
        opening=summary.opening,
        lines=tuple(papers.told_lines(session, subject, rows_max=LINES_SHOWN_MAX)),
        count=summary.count,
        closing=summary.closing,
        earned=summary.sum_of(statements.EARNED),
        taken_back=summary.sum_of(statements.TAKEN_BACK),
        paid=summary.sum_of(statements.PAID),
        complete=subject.period.last < today(place.now, place.program.time_zone),
    )


def subject_of(place: Place, period: str) -> Subject:
    """The reader's own statement of `2026-11`, `2026-Q4` or `2026` in the program's zone;
    NotFound for a period that has not begun."""
    found = period_named(period, place.program.time_zone)
    if found.first > today(place.now, place.program.time_zone):
        raise NotFound
    return Subject(place.program, place.enrollment.id, place.name, found)
