"""The finance desk's pages: to do, batches, one batch, one payout, statements, search."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from flask import make_response, render_template, request, url_for
from werkzeug.wrappers import Response

from affiliate.core import clock
from affiliate.core.db import db
from affiliate.core.errors import NotFound
from affiliate.core.money import Money
from affiliate.people import access
from affiliate.people import ids as people_ids
from affiliate.programs.models import Program
from payouts.batches.draft import schedule_of
from payouts.batches.locks import open_locks
from payouts.batches.models import PayoutBatch
from payouts.batches.rules import next_due
from payouts.batches.statements import AffiliateMonth, Month, journal, months_of_program
from payouts.rails.registry import NoSuchRail, rail_named
from tracker.desks.acting import Number, csv_file
from tracker.desks.finance import payout as payouts_of
from tracker.desks.finance import questions, sentences, statements
from tracker.desks.finance.blueprint import (
    allowed,
    batch_row,
    desk,
    finance,
    item_row,
    known_rails,
)
from tracker.desks.finance.search import search

RECENT_MAX = 12
BATCHES_SHOWN_MAX = 50
WITHDRAWALS_SHOWN_MAX = 100
JOURNAL_HEADER = (
    "transaction", "occurred_at", "kind", "reference", "reason", "account", "affiliate",
    "amount", "currency",
)  # fmt: skip
OVER = ("done", "cancelled")


@finance.get("/")
@allowed
def to_do() -> str:
    """What waits for finance, and why money does not leave where it does not."""
    session, programs = db.session(), desk().programs
    now = clock.now(session)
    waiting = questions.withdrawals(session, programs=programs)
    lines = questions.batch_lines(
        session,
        programs=programs,
        condition=PayoutBatch.status == "frozen",
        rows_max=BATCHES_SHOWN_MAX,
    )
    recent = questions.batch_lines(
        session,
        programs=programs,
        condition=PayoutBatch.status != "frozen",
        rows_max=RECENT_MAX,
    )
    return render_template(
        "tracker/finance/to_do.html",
        now=now,
        programs=programs,
        frozen=lines[::-1],
        recent=recent,
        waiting=waiting,
        overdue=sum(each.left(now) < timedelta(0) for each in waiting),
        stuck=questions.stuck_items(session, program_ids=list(programs)),
        locks=open_locks(session),
        unpaid_rails=_not_configured(programs),
        next_payouts=_next_payouts(programs, now),
        words=sentences,
    )


@finance.get("/batches")
@allowed
def batches() -> str:
    """Every batch, newest first."""
    programs = desk().programs
    before = request.args.get("before", type=batch_row)
    condition = None if before is None else PayoutBatch.id < before
    lines = questions.batch_lines(
        db.session(), programs=programs, condition=condition, rows_max=BATCHES_SHOWN_MAX + 1
    )
    shown = lines[:BATCHES_SHOWN_MAX]
    more = len(lines) > BATCHES_SHOWN_MAX
    now = clock.now(db.session())
    return render_template(
        "tracker/finance/batches.html",
        lines=shown,
        programs=programs,
        next_payouts=_next_payouts(programs, now),
        next_url=url_for("finance.batches", before=shown[-1].public) if more else None,
        previous_url=url_for("finance.batches") if before is not None else None,
    )


@finance.get("/withdrawals")
@allowed
def withdrawals() -> str:
    """Withdrawals: those whose clock runs first, then what became of the others."""
    session, programs = db.session(), desk().programs
    found = questions.withdrawals(
        session, programs=programs, open_only=False, rows_max=WITHDRAWALS_SHOWN_MAX
    )
    return render_template(
        "tracker/finance/withdrawals.html",
        now=clock.now(session),
        running=questions.withdrawals(session, programs=programs),
        closed=[each for each in found if each.withdrawal.closed_at is not None],
        words=sentences,
    )


@finance.get("/batches/<batch>")
@allowed
def batch(batch: str) -> str:
    """A batch on one page: what it is, what changed, what to do with it."""
    return batch_page(batch_row(batch))


@finance.get("/batches/<batch>/progress")
@allowed
def progress(batch: str) -> Response:
    """The part of the page that is asked for again while the batch is being paid."""
    line = questions.batch_line(db.session(), programs=desk().programs, batch_id=batch_row(batch))
    response = make_response(
        render_template("tracker/finance/_progress.html", line=line, by_hand=_by_hand(line.batch))
    )
    if line.batch.status in OVER:
        response.headers["HX-Refresh"] = "true"
    return response


@finance.get("/items/<item>")
@allowed
def item(item: str) -> str:
    """A payout with everything behind it."""
    return item_page(item_row(item))


@finance.get("/statements")
@allowed
def statement() -> Response | str:
    """A month of a program by affiliate; as a file with `?format=csv`, entries as `journal`."""
    session, programs = db.session(), list(desk().programs.values())
    if not programs:
        return render_template("tracker/finance/statements.html", program=None)
    program = _chosen(programs)
    now = clock.now(session)
    month = statements.month_of(request.args.get("month"), program=program, now=now)
    if request.args.get("format") == "journal":
        return _journal(program, month)
    lines = months_of_program(
        session, program_id=program.id, currency=program.currency, month=month
    )
    if request.args.get("format") == "csv":
        return _statement_csv(program, month, lines)
    before, after = statements.months_around(month, now=now)
    return render_template(
        "tracker/finance/statements.html",
        program=program,
        programs=programs,
        month=month,
        lines=lines,
        totals=statements.totals(lines, program.currency),
        before=before,
        after=after,
    )


@finance.get("/search")
@allowed
def find() -> str:
    """Order id, transfer id, affiliate, e-mail or batch number."""
    text = request.args.get("q", "")
    found = search(db.session(), programs=desk().programs, text=text)
    return render_template("tracker/finance/search.html", q=text, found=found)


def batch_page(batch_id: int) -> str:
    """The page of a batch of the reader's programs; NotFound otherwise."""
    session, mine = db.session(), desk()
    line = questions.batch_line(session, programs=mine.programs, batch_id=batch_id)
    items = questions.item_lines(session, batch_id=batch_id)
    makers = questions.makers_of(session, batch=line.batch)
    me = access.actor().user_id
    changing = {maker.user_id for maker in makers if maker.did not in ("approve", "cancel")}
    return render_template(
        "tracker/finance/batch.html",
        line=line,
        items=items[: questions.ITEMS_SHOWN_MAX],
        items_hidden=max(0, len(items) - questions.ITEMS_SHOWN_MAX),
        changes=questions.changes_in(items),
        before=questions.batch_before(session, line=line),
        makers=makers,
        mine=me in changing,
        locks=open_locks(session),
        configured=_configured(line.batch.rail),
        by_hand=_by_hand(line.batch),
        over=line.batch.status in OVER,
        words=sentences,
    )


def item_page(item_id: int) -> str:
    """The page of a payout of the reader's programs; NotFound otherwise."""
    session, mine = db.session(), desk()
    found = payouts_of.payout(session, programs=mine.programs, item_id=item_id)
    since = payouts_of.frozen_before(session, found=found)
    lines = payouts_of.lines_behind(session, found=found, since=since)
    attempts = payouts_of.attempts_of(session, item_id=item_id)
    return render_template(
        "tracker/finance/item.html",
        bank=payouts_of.sent_on(session, found=found, attempts=attempts),
        found=found,
        since=since,
        lines=lines,
        lines_total=sum((line.left for line in lines), Money.zero(found.item.currency)),
        entries=payouts_of.entries_of(session, item_id=item_id),
        attempts=attempts,
        by_hand=_by_hand(found.batch),
        words=sentences,
    )


def _chosen(programs: list[Program]) -> Program:
    slug = request.args.get("program")
    if slug is None:
        return programs[0]
    found = next((program for program in programs if program.slug == slug), None)
    if found is None:
        raise NotFound
    return found


def _configured(rail: str) -> bool:
    try:
        return rail_named(known_rails(), rail).configured()
    except NoSuchRail:
        return False


def _by_hand(batch: PayoutBatch) -> bool:
    try:
        return rail_named(known_rails(), batch.rail).by_hand
    except NoSuchRail:
        return False


def _not_configured(programs: dict[int, Program]) -> list[Program]:
    return [program for program in programs.values() if not _configured(program.rail)]


def _next_payouts(programs: dict[int, Program], now: datetime) -> list[tuple[Program, datetime]]:
    return [
        (program, next_due(schedule_of(program), after=now))
        for program in programs.values()
        if program.status != "closed"
    ]


def _statement_csv(program: Program, month: Month, lines: list[AffiliateMonth]) -> Response:
    header = ("affiliate", "name", "owed_before", "earned", "taken_back", "paid", "owed_after",
              "currency")  # fmt: skip
    rows = [
        (line.public, line.name,
         *(Number(getattr(line, column).decimal) for column in statements.COLUMNS),
         program.currency)
        for line in lines
    ]  # fmt: skip
    return csv_file(f"statement-{program.slug}-{month.key}.csv", header, rows)


def _journal(program: Program, month: Month) -> Response:
    entries = journal(db.session(), program_id=program.id, month=month)
    rows = (_journal_row(row) for row in entries)
    return csv_file(f"journal-{program.slug}-{month.key}.csv", JOURNAL_HEADER, rows)


def _journal_row(row: tuple[Any, ...]) -> tuple[object, ...]:
    number, at, kind, reference, reason, account, enrollment, micros, currency = row
    return (
        number,
        at.isoformat(),
        kind,
        reference,
        reason,
        account,
        "" if enrollment is None else people_ids.public(enrollment),
        Number(Money(micros, currency).decimal),
        currency,
    )
