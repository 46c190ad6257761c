"""Bring the rows of a file in: each through the intake of orders, in a transaction of its own.

So the same file sent twice changes nothing, two at once do not wait for each other longer than two
reports of one order do, and a file that is cut leaves whole orders.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from affiliate.core import clock
from affiliate.core.errors import Malformed, Refusal
from affiliate.core.fields import is_shop_id, load
from tracker.order_imports.models import OrderImport, OrderImportRow
from tracker.order_imports.rules import ROWS_MAX, Format, Outcome, Row, State
from tracker.orders.intake import report_order
from tracker.orders.refusals import OrderConflict
from tracker.orders.rules import OrderReportIn, Source
from tracker.orders.rules import Outcome as Reported
from tracker.orders.schemas import OrderIn
from tracker.orders.units import in_one_unit

KEPT_DAYS: Final = 30
"""For how long the report of an import can be read."""
RUNS_H_MAX: Final = 6
"""An import that began longer ago and has not ended was cut with its process."""
FORGET_IMPORTS_MAX: Final = 10
"""Of one run: each may have ROWS_MAX rows."""
_SOURCES: Final = {Format.NDJSON: Source.API, Format.CSV: Source.CSV}
_OUTCOMES: Final = {
    Reported.CREATED: Outcome.ACCEPTED,
    Reported.SUPERSEDED_BROWSER: Outcome.ACCEPTED,
    Reported.REPLAY: Outcome.REPLAYED,
}
_schema: Final = OrderIn()
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Import:
    """Whose orders a file brings, and what it may."""

    id: int
    program_id: int
    form: Format
    by: str
    """`key:kpk_ab12` or `cli`."""
    may_import: bool
    """Whether orders more than 30 days old are taken."""


def begin_import(
    session: Session, *, program_id: int, form: Format, by: str, may_import: bool, now: datetime
) -> Import:
    """Write down that a file is coming; `now` is real time."""
    row = OrderImport(
        program_id=program_id, format=form.value, brought_by=by, state=State.RUNNING, started_at=now
    )
    session.add(row)
    session.flush()
    return Import(row.id, program_id, form, by, may_import)


def bring_rows(what: Import, rows: Iterator[Row]) -> State:
    """Take every row; how far it came is written in any case. Commits row by row.

    Raises what reading the file raised, and what the database did; the rows before stand.
    """
    state = State.CUT
    try:
        state = _bring(what, rows)
    finally:
        in_one_unit(lambda session: _end(session, import_id=what.id, state=state))
    return state


def bring_row(session: Session, *, what: Import, row: Row, now: datetime) -> Outcome:
    """One row: the order and what it did, in the caller's transaction. Refusals are answers."""
    order_id = row.said.get("order_id") if isinstance(row.said, dict) else None
    known_id = order_id if isinstance(order_id, str) and is_shop_id(order_id) else None
    refusal = row.refusal
    outcome = Outcome.REFUSED
    if refusal is None:
        try:
            outcome = _report(session, what, load(_schema, row.said), now)
        except Refusal as refused:  # Raised before anything is written.
            refusal = refused
    if outcome is Outcome.CONFLICT:
        refusal = OrderConflict()
    return _note(session, what, row.line, outcome, known_id, refusal)


def forget_imports(session: Session, *, now: datetime) -> int:
    """Delete reports that are over, and end imports whose process is gone. How many went."""
    session.execute(
        sa.update(OrderImport)
        .where(
            OrderImport.state == State.RUNNING,
            OrderImport.started_at < now - timedelta(hours=RUNS_H_MAX),
        )
        .values(state=State.CUT, ended_at=now)
        .execution_options(synchronize_session=False)
    )
    old = (
        sa.select(OrderImport.id)
        .where(OrderImport.started_at < now - timedelta(days=KEPT_DAYS))
        .order_by(OrderImport.started_at)
        .limit(FORGET_IMPORTS_MAX)
    )
    ids = list(session.scalars(old))
    session.execute(
        sa.delete(OrderImport)
        .where(OrderImport.id.in_(ids))
        .execution_options(synchronize_session=False)
    )
    return len(ids)


def _bring(what: Import, rows: Iterator[Row]) -> State:
    for number, row in enumerate(rows):
        if number == ROWS_MAX:
            return State.TOO_LONG
        _in_own_unit(what, row)
    return State.COMPLETE


def _in_own_unit(what: Import, row: Row) -> None:
    def work(session: Session) -> None:
        bring_row(session, what=what, row=row, now=clock.now(session))

    try:
        in_one_unit(work)
    except (sa.exc.DataError, UnicodeEncodeError):
        # As POST /orders answers it: a text that the database cannot hold.
        refusal = Malformed("A value holds characters or a size that cannot be stored.")
        unread = Row(row.line, None, refusal)
        in_one_unit(
            lambda session: bring_row(session, what=what, row=unread, now=clock.now(session))
        )


def _report(session: Session, what: Import, report: OrderReportIn, now: datetime) -> Outcome:
    done = report_order(
        session,
        program_id=what.program_id,
        report=report,
        source=_SOURCES[what.form],
        reported_by=what.by,
        now=now,
        may_import=what.may_import,
    )
    return _OUTCOMES.get(done.outcome, Outcome.CONFLICT)


def _note(
    session: Session,
    what: Import,
    line: int,
    outcome: Outcome,
    order_id: str | None,
    refusal: Refusal | None,
) -> Outcome:
    values = {
        "import_id": what.id,
        "line": line,
        "outcome": outcome.value,
        "order_id": order_id,
        "code": refusal and refusal.code,
        "detail": refusal and str(refusal.detail),
        "errors": [
            {"field": each.field, "code": each.code, "message": str(each.message)}
            for each in refusal.errors
        ]
        if refusal and refusal.errors
        else None,
    }
    session.execute(sa.insert(OrderImportRow).values(**values))
    return outcome


def _end(session: Session, *, import_id: int, state: State) -> None:
    session.execute(
        sa.update(OrderImport)
        .where(OrderImport.id == import_id)
        .values(state=state, ended_at=clock.real_now())
        .execution_options(synchronize_session=False)
    )
    log.info("orders.imported", import_id=import_id, state=state.value)
