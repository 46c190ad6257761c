"""What an import did, for the API and the command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.core.errors import NotFound
from affiliate.core.fields import moment_json
from affiliate.core.ids import public_id, row_id
from tracker.order_imports.models import OrderImport, OrderImportRow
from tracker.order_imports.rules import Outcome

PREFIX = "imp"


def find_import(session: Session, *, program_id: int, public: str) -> OrderImport:
    """An import of the program by its public id; NotFound."""
    found = session.get(OrderImport, row_id(PREFIX, public), populate_existing=True)
    if found is None or found.program_id != program_id:
        raise NotFound
    return found


def imports_of(
    session: Session, *, program_id: int, rows_max: int, before_id: int | None = None
) -> Sequence[OrderImport]:
    """The program's imports, newest first."""
    query = sa.select(OrderImport).where(OrderImport.program_id == program_id)
    if before_id is not None:
        query = query.where(OrderImport.id < before_id)
    return session.scalars(query.order_by(OrderImport.id.desc()).limit(rows_max)).all()


def rows_in(
    session: Session,
    *,
    import_id: int,
    outcomes: Sequence[Outcome],
    rows_max: int,
    after_line: int = 0,
) -> Sequence[OrderImportRow]:
    """Rows that had one of the outcomes, in the order of the file."""
    return session.scalars(
        sa.select(OrderImportRow)
        .where(
            OrderImportRow.import_id == import_id,
            OrderImportRow.line > after_line,
            OrderImportRow.outcome.in_([outcome.value for outcome in outcomes]),
        )
        .order_by(OrderImportRow.line)
        .limit(rows_max)
    ).all()


def imports_json(session: Session, found: Sequence[OrderImport]) -> list[dict[str, Any]]:
    """The imports with how many of their rows did what."""
    counted = session.execute(
        sa.select(OrderImportRow.import_id, OrderImportRow.outcome, sa.func.count())
        .where(OrderImportRow.import_id.in_([each.id for each in found]))
        .group_by(OrderImportRow.import_id, OrderImportRow.outcome)
    )
    counts = {(import_id, outcome): count for import_id, outcome, count in counted}
    return [
        {
            "id": public_id(PREFIX, each.id),
            "format": each.format,
            "state": each.state,
            "started_at": moment_json(each.started_at),
            "ended_at": None if each.ended_at is None else moment_json(each.ended_at),
            **{outcome.value: counts.get((each.id, outcome.value), 0) for outcome in Outcome},
        }
        for each in found
    ]


def row_json(row: OrderImportRow) -> dict[str, Any]:
    """A row of the report; of a refusal its code, its sentence and the fields."""
    shown: dict[str, Any] = {"line": row.line, "outcome": row.outcome, "order_id": row.order_id}
    if row.code is not None:
        shown |= {"code": row.code, "detail": row.detail, "errors": row.errors or []}
    return shown
