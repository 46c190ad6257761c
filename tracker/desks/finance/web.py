"""The finance desk's pages: to do, batches, one batch, one payout, search."""

from __future__ import annotations

from datetime import datetime

from flask import make_response, render_template, request, url_for
from werkzeug.wrappers import Response

from affiliate.core import clock
from affiliate.core.db import db
from affiliate.core.money import Money
from affiliate.people import access
from affiliate.people import ids as people_ids
from affiliate.programs.models import Program
from payouts.batches.draft import schedule_of
from payouts.batches.holds import is_held, open_holds
from payouts.batches.locks import LIFTED_ON_A_PAGE, open_locks
from payouts.batches.models import PayoutBatch
from payouts.batches.on_time import Measured, Punctuality, punctuality
from payouts.batches.payee_sharing import shared_by
from payouts.batches.payee_stops import open_stops
from payouts.batches.payee_waits import safety_waits
from payouts.batches.rules import next_due
from payouts.batches.speed import Forecast, forecast
from payouts.provider.look_up import LookedUp
from payouts.rails.registry import NoSuchRail, rail_named
from tracker.desks.finance import bank, questions, rehearsal, review, sentences
from tracker.desks.finance import payout as payouts_of
from tracker.desks.finance.approval import approval_of
from tracker.desks.finance.blueprint import (
    allowed,
    batch_row,
    desk,
    finance,
    item_row,
    known_rails,
    withdrawal_row,
)
from tracker.desks.finance.search import search

RECENT_MAX = 12
BATCHES_SHOWN_MAX = 50
CLOSED_SHOWN_MAX = 50
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
        overdue=sum(each.overdue(now) for each in waiting),
        stops=open_stops(session, program_ids=list(programs)),
        stuck=questions.stuck_items(session, program_ids=list(programs)),
        locks=open_locks(session),
        lifted_here=LIFTED_ON_A_PAGE,
        owner=access.is_owner(),
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
    before = request.args.get("before", type=withdrawal_row)
    found = questions.withdrawals(
        session, programs=programs, closed=True, before=before, rows_max=CLOSED_SHOWN_MAX + 1
    )
    closed, more = found[:CLOSED_SHOWN_MAX], len(found) > CLOSED_SHOWN_MAX
    measured = punctuality(session, program_ids=programs)
    return render_template(
        "tracker/finance/withdrawals.html",
        now=clock.now(session),
        running=questions.withdrawals(session, programs=programs),
        closed=closed,
        next_url=url_for("finance.withdrawals", before=closed[-1].public) if more else None,
        previous_url=url_for("finance.withdrawals") if before is not None else None,
        programs=programs,
        measured=bool(measured),
        punctuality=_of_something_paid(measured),
        kinds=sentences.measured(),
        words=sentences,
    )


def _of_something_paid(
    measured: dict[int, dict[Measured, Punctuality]],
) -> dict[int, dict[Measured, Punctuality]]:
    """Without the figures that nothing was measured for: three empty lines a program."""
    some = {
        program_id: {kind: one for kind, one in kinds.items() if one.count}
        for program_id, kinds in measured.items()
    }
    return {program_id: kinds for program_id, kinds in some.items() if kinds}


@finance.get("/holds")
@allowed
def holds() -> str:
    """Affiliates whose payouts are held back, and the way to let them go."""
    programs = desk().programs
    return render_template(
        "tracker/finance/holds.html",
        holds=open_holds(db.session(), program_ids=programs),
        programs=programs,
        public=people_ids.public,
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
        render_template(
            "tracker/finance/_progress.html",
            line=line,
            by_hand=_by_hand(line.batch),
            forecast=_forecast(line.batch),
        )
    )
    if line.batch.status in OVER:
        response.headers["HX-Refresh"] = "true"
    return response


@finance.get("/items/<item>")
@allowed
def item(item: str) -> str:
    """A payout with everything behind it."""
    return item_page(item_row(item))


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
    items = questions.item_lines(session, batch_id=batch_id, rows_max=questions.ITEMS_SHOWN_MAX)
    in_all = sum(line.counts.values())
    makers = questions.makers_of(session, batch=line.batch)
    locks = open_locks(session)
    return render_template(
        "tracker/finance/batch.html",
        line=line,
        items=items,
        items_hidden=in_all - len(items),
        changes=questions.changes_of(session, batch=line.batch),
        forecast=_forecast(line.batch),
        before=questions.batch_before(session, line=line),
        recovered=questions.recovered(session, batch=line.batch),
        absences=questions.absences(session, batch=line.batch),
        makers=makers,
        approval=approval_of(
            session,
            line=line,
            makers=[maker for maker in makers if maker.did not in ("approve", "cancel")],
            locks=locks,
            waits=safety_waits(session, batch_id=batch_id, now=clock.now(session)),
            rail=known_rails().get(line.batch.rail),
        ),
        dry_run=rehearsal.dry_run(session, line=line),
        rehearsing=rehearsal,
        locks=locks,
        by_hand=_by_hand(line.batch),
        over=line.batch.status in OVER,
        **bank.of_batch(session, batch=line.batch),
        words=sentences,
    )


def item_page(item_id: int, looked: LookedUp | None = None) -> str:
    """The page of a payout of the reader's programs; NotFound otherwise.

    `looked` is what the provider has just said of it.
    """
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
        affiliate_public=people_ids.public(found.enrollment.id),
        held=is_held(session, enrollment_id=found.enrollment.id),
        by_hand=_by_hand(found.batch),
        known=review.known_of(session, item=found.item),
        looked=looked,
        reviewing=review,
        now=clock.real_now(),
        shared=shared_by(session, affiliate_ids=[found.affiliate.id]).get(found.affiliate.id, ()),
        words=sentences,
    )


def _configured(rail: str) -> bool:
    try:
        return rail_named(known_rails(), rail).configured()
    except NoSuchRail:
        return False


def _forecast(batch: PayoutBatch) -> Forecast | None:
    if _by_hand(batch):
        return None
    session = db.session()
    return forecast(session, batch=batch, now=clock.now(session), real_now=clock.real_now())


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
