"""What accounting takes out of the books: accruals at any day, the journal of any period."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Final
from zoneinfo import ZoneInfo

from flask import render_template, request
from werkzeug.wrappers import Response

from affiliate.core import clock
from affiliate.core.db import db, session_for
from affiliate.core.errors import Invalid
from affiliate.core.tables import Cell, Sheet
from affiliate.people import ids
from affiliate.programs.models import Program
from payouts.batches.periods import YEAR_MAX, YEAR_MIN
from payouts.reports.accruals import Accrual, accrual_totals, accruals
from payouts.reports.journal import AccountSums, JournalEntry, account_sums, journal
from tracker.desks.files import Format, table_answer
from tracker.desks.finance.blueprint import allowed, chosen, desk, finance
from tracker.desks.words import _

AFFILIATES_SHOWN_MAX: Final = 200
JOURNAL_DAYS_MAX: Final = 400
"""A year and some weeks; a longer journal is taken in parts."""
ACCRUALS_HEAD: Final = ("affiliate", "name", "pending", "available", "in_payout", "receivable",
                        "owed", "paid", "currency")  # fmt: skip
JOURNAL_HEAD: Final = (
    "transaction", "occurred_at", "kind", "reference", "reason", "account", "affiliate", "amount",
    "currency", "debit", "credit", "name", "recorded_at",
)  # fmt: skip
ACCOUNTS_HEAD: Final = ("account", "opening", "debit", "credit", "closing", "entries", "currency")


@finance.get("/accruals")
@allowed
def accruals_page() -> Response | str:
    """What was owed at the end of a day; as a file with `?format=csv` or `xlsx`."""
    session, programs = db.session(), list(desk().programs.values())
    if not programs:
        return render_template("tracker/finance/accruals.html", program=None)
    program, now = chosen(programs), clock.now(session)
    today = now.astimezone(ZoneInfo(program.time_zone)).date()
    on = _day("on", today)
    at = _begin_of(on + timedelta(days=1), program)
    wanted = request.args.get("format")
    if wanted in (Format.CSV, Format.XLSX):
        return _accruals_answer(program, on, at, Format(wanted))
    shown = list(islice(accruals(session, program_id=program.id, at=at), AFFILIATES_SHOWN_MAX + 1))
    return render_template(
        "tracker/finance/accruals.html",
        program=program,
        programs=programs,
        on=on,
        today=today,
        totals=accrual_totals(session, program_id=program.id, at=at),
        lines=shown[:AFFILIATES_SHOWN_MAX],
        more=len(shown) > AFFILIATES_SHOWN_MAX,
        shown_max=AFFILIATES_SHOWN_MAX,
    )


@finance.get("/journal")
@allowed
def journal_page() -> Response | str:
    """Each account over a period; every entry of it with `?format=csv` or `xlsx`, the accounts
    as `accounts`."""
    session, programs = db.session(), list(desk().programs.values())
    if not programs:
        return render_template("tracker/finance/journal.html", program=None)
    program, now = chosen(programs), clock.now(session)
    today = now.astimezone(ZoneInfo(program.time_zone)).date()
    first = _day("from", today.replace(day=1))
    last = _day("to", today)
    if last < first:
        raise Invalid.field("to", "before_from", "The period ends before it begins.")
    if (last - first).days >= JOURNAL_DAYS_MAX:
        raise Invalid.field("to", "too_long", "Take at most 400 days at once.")
    since, until = _begin_of(first, program), _begin_of(last + timedelta(days=1), program)
    key, wanted = f"{first}-{last}", request.args.get("format")
    if wanted == "accounts":
        sums = account_sums(session, program_id=program.id, since=since, until=until)
        sheet = Sheet("accounts", ACCOUNTS_HEAD, _account_rows(sums))
        name = f"accounts-{program.slug}-{key}"
        return table_answer(Format.CSV, name, [sheet], title=name, made_at=until)
    if wanted in (Format.CSV, Format.XLSX):
        return journal_answer(program, since=since, until=until, key=key, wanted=Format(wanted))
    return render_template(
        "tracker/finance/journal.html",
        program=program,
        programs=programs,
        first=first,
        last=last,
        today=today,
        accounts=account_sums(session, program_id=program.id, since=since, until=until),
    )


def journal_answer(
    program: Program, *, since: datetime, until: datetime, key: str, wanted: Format
) -> Response:
    """Every entry of a period as a file, and as a workbook the accounts beside them.

    In a session of its own, under one snapshot: opening, entries and closing fit each other,
    whatever is booked meanwhile.
    """
    name = f"journal-{program.slug}-{key}"
    with session_for(db.engine)() as session:
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        lines = journal(session, program_id=program.id, since=since, until=until)
        sheets = [Sheet(_("Entries"), JOURNAL_HEAD, _journal_rows(lines), program.time_zone)]
        if wanted is Format.XLSX:
            sums = account_sums(session, program_id=program.id, since=since, until=until)
            sheets.append(Sheet(_("Accounts"), ACCOUNTS_HEAD, _account_rows(sums)))
        title = _("Journal of %(name)s", name=program.name)
        return table_answer(wanted, name, sheets, title=title, made_at=until)


def _accruals_answer(program: Program, on: date, at: datetime, wanted: Format) -> Response:
    name = f"accruals-{program.slug}-{on}"
    with session_for(db.engine)() as session:
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        lines = accruals(session, program_id=program.id, at=at)
        sheet = Sheet(str(on), ACCRUALS_HEAD, _accrual_rows(lines))
        title = _("Accruals of %(name)s", name=program.name)
        return table_answer(wanted, name, [sheet], title=title, made_at=at)


def _accrual_rows(lines: Iterator[Accrual]) -> Iterator[Sequence[Cell]]:
    for one in lines:
        yield (one.public, one.affiliate, one.pending, one.available, one.in_payout,
               one.receivable, one.owed, one.paid, one.paid.currency)  # fmt: skip


def _journal_rows(entries: Iterator[JournalEntry]) -> Iterator[Sequence[Cell]]:
    for one in entries:
        owner = "" if one.enrollment_id is None else ids.public(one.enrollment_id)
        yield (
            one.transaction_id, one.at, one.kind, one.reference, one.reason, one.account, owner,
            one.amount, one.amount.currency, one.debit, one.credit, one.affiliate,
            one.recorded_at,
        )  # fmt: skip


def _account_rows(sums: Sequence[AccountSums]) -> Iterator[Sequence[Cell]]:
    for one in sums:
        yield (one.account, one.opening, one.debit, one.credit, one.closing, one.entries,
               one.currency)  # fmt: skip


def _day(name: str, default: date) -> date:
    """A day out of the address. Raises Invalid for what is none."""
    text = request.args.get(name)
    if not text:
        return default
    try:
        found = date.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or len(text) != 10 or not YEAR_MIN <= found.year <= YEAR_MAX:
        raise Invalid.field(name, "not_a_day", "Write the day as 2026-11-21.")
    return found


def _begin_of(day: date, program: Program) -> datetime:
    """The first instant of a day in the program's zone."""
    zone = ZoneInfo(program.time_zone)
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
