"""Statements: every entry of the ledger in a month, between an opening and a closing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from flask import g
from sqlalchemy.orm import Session

from affiliate.core.db import db
from affiliate.core.errors import NotFound
from affiliate.core.money import Money
from affiliate.people.access import affiliates
from payouts.batches import statements
from payouts.batches.statements import Standing, StatementLine
from payouts.ledger.posting import Kind
from tracker.desks.account.blueprint import Answer, account, in_program, page
from tracker.desks.account.exports import csv_answer
from tracker.desks.account.language import gettext as _
from tracker.desks.account.place import Place
from tracker.desks.sources import Source, sources
from tracker.stats.questions import today

YEAR_MIN = 2000
_MONTH = re.compile(r"(?a:[0-9]{4})-(?a:0[1-9]|1[0-2])")


@dataclass(frozen=True, slots=True)
class Line:
    """One transaction as far as it touches the affiliate."""

    at: datetime
    what: str
    source: Source | None
    """What a commission comes from; none of a payout."""
    moved: Standing


@dataclass(frozen=True, slots=True)
class Statement:
    """opening + every line = closing, by account and in sum."""

    first: date
    last: date
    opening: Standing
    lines: tuple[Line, ...]
    closing: Standing
    earned: Money
    taken_back: Money
    paid: Money
    complete: bool
    """False while the month runs."""


@account.get("/money/statements/<month>")
@affiliates
@in_program
def statement(place: Place, month: str) -> Answer:
    """A month's statement, to read or to print."""
    # Its days are the program's, so its hours must be too: a line of the 1st at midnight
    # would else stand there with the month before.
    g.time_zone = place.program.time_zone
    return page("statement", place, statement=read_statement(db.session(), place, month), key=month)


@account.get("/money/statements/<month>.csv")
@affiliates
@in_program
def statement_csv(place: Place, month: str) -> Answer:
    """The same as a file."""
    found = read_statement(db.session(), place, month)
    head = ("at", "what", "order", "pending", "available", "in_payout", "currency")

    def row(at: str, what: str, order: str, standing: Standing) -> tuple[str, ...]:
        amounts = (standing.pending, standing.available, standing.in_payout)
        return (at, what, order, *(amount.decimal for amount in amounts), place.currency)

    rows = [row(found.first.isoformat(), "opening", "", found.opening)]
    rows += [row(line.at.isoformat(), line.what, line.source.text if line.source else "",
                 line.moved) for line in found.lines]  # fmt: skip
    rows.append(row(found.last.isoformat(), "closing", "", found.closing))
    return csv_answer(f"statement-{place.program.slug}-{month}.csv", head, rows)


def months_of(session: Session, place: Place) -> list[date]:
    """The months in which something was booked, newest first."""
    return statements.months_with_entries(
        session,
        enrollment_id=place.enrollment.id,
        currency=place.currency,
        time_zone=place.program.time_zone,
    )


def read_statement(session: Session, place: Place, month: str) -> Statement:
    """The statement of `2026-11` in the program's zone; NotFound for a month not begun yet."""
    if not _MONTH.fullmatch(month):
        raise NotFound
    first = date.fromisoformat(f"{month}-01")
    on = today(place.now, place.program.time_zone)
    if first > on or first.year < YEAR_MIN:
        raise NotFound
    read = statements.statement(
        session, enrollment_id=place.enrollment.id, year=first.year, month=first.month
    )
    last = read.month.following - timedelta(days=1)
    return Statement(
        first=first,
        last=last,
        opening=read.opening,
        lines=_lines(session, read.lines),
        closing=read.closing,
        earned=read.sum_of(statements.EARNED),
        taken_back=read.sum_of(statements.TAKEN_BACK),
        paid=read.sum_of(statements.PAID),
        complete=last < on,
    )


def _lines(session: Session, lines: Sequence[StatementLine]) -> tuple[Line, ...]:
    """Each transaction in words, with the order, lead or clicks behind it."""
    found = sources(session, [line.about for line in lines if line.level is not None])
    return tuple(
        Line(
            at=line.at,
            what=KINDS[line.kind](),
            source=found.get(line.about),
            moved=line.moved,
        )
        for line in lines
    )


KINDS = {
    Kind.EARN: lambda: _("Commission earned"),
    Kind.RELEASE: lambda: _("Hold period over"),
    Kind.VOID: lambda: _("Commission taken back"),
    Kind.CLAW_BACK: lambda: _("Deducted after a refund"),
    Kind.BONUS: lambda: _("Bonus"),
    Kind.ADJUST: lambda: _("Correction"),
    Kind.WRITE_OFF: lambda: _("Written off"),
    Kind.RESERVE: lambda: _("Set aside for a payout"),
    Kind.RETURN: lambda: _("Returned from a payout"),
    Kind.SETTLE: lambda: _("Paid to you"),
    Kind.REVERSAL: lambda: _("Payout came back"),
}
