"""/api/v1/orders/imports: files of orders, streamed, with a report of each row."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import marshmallow as ma
from flask import Flask, Response, request
from werkzeug.exceptions import RequestEntityTooLarge

from affiliate.core import clock
from affiliate.core.api import answer, api_blueprint, register
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.errors import Malformed, Refusal
from affiliate.core.fields import OPTIONAL, MomentField
from affiliate.core.http import takes_bytes
from affiliate.core.ids import public_id
from affiliate.core.paging import NotACursor, PageOut, PageQuery, page, page_together, row_after
from affiliate.core.repeats import by_its_parts
from affiliate.people.access import api_key, api_scope
from tracker.order_imports.bring import begin_import, bring_rows
from tracker.order_imports.models import OrderImport
from tracker.order_imports.reading import (
    PREFIX,
    find_import,
    imports_json,
    imports_of,
    row_json,
    rows_in,
)
from tracker.order_imports.rules import FILE_BYTES_MAX, Format, Outcome, State, rows_of

FORMATS = {"application/x-ndjson": Format.NDJSON, "text/csv": Format.CSV}
SCOPE_OLD = "orders:import"
PROBLEMS_SHOWN_MAX = 100
LINE_CHARS_MAX = 9
PROBLEMS = (Outcome.CONFLICT, Outcome.REFUSED)

blueprint = api_blueprint("order_imports", "/api/v1/orders/imports", "Many orders at once")


class NotAFileOfOrders(Refusal):
    code = "not_a_file_of_orders"
    status = 415
    title = "Send the file as application/x-ndjson or text/csv, in UTF-8."


class FileCut(Malformed):
    code = "file_cut"
    title = (
        "The file did not come whole; what stands of it stands. Send it again, and end it with a "
        "line break where it is sent without a Content-Length."
    )


class RowProblem(ma.Schema):
    """What is wrong with one field of a row."""

    field = ma.fields.String()
    code = ma.fields.String()
    message = ma.fields.String()


class ImportRowOut(ma.Schema):
    """One row of the file; of one that was not taken, why, as `POST /orders` would say it."""

    line = ma.fields.Integer(metadata={"description": "Where it begins in the file, from 1"})
    outcome = ma.fields.Enum(Outcome, by_value=True)
    order_id = ma.fields.String(allow_none=True)
    code = ma.fields.String(metadata=OPTIONAL)
    detail = ma.fields.String(metadata=OPTIONAL)
    errors = ma.fields.List(ma.fields.Nested(RowProblem), metadata=OPTIONAL)


class ImportOut(ma.Schema):
    """A file and what became of its rows."""

    id = ma.fields.String(metadata={"examples": ["imp_7Qk2"]})
    format = ma.fields.Enum(Format, by_value=True)
    state = ma.fields.Enum(State, by_value=True)
    started_at = MomentField()
    ended_at = MomentField(allow_none=True)
    accepted = ma.fields.Integer()
    replayed = ma.fields.Integer(metadata={"description": "Known already, with this content"})
    conflict = ma.fields.Integer(metadata={"description": "Known with other content"})
    refused = ma.fields.Integer()


class ImportWithProblemsOut(ImportOut):
    """With the first rows that were not taken; the rest is under `/rows`."""

    problems = ma.fields.List(ma.fields.Nested(ImportRowOut))


class ImportsOut(PageOut):
    """A page, newest first."""

    imports = ma.fields.List(ma.fields.Nested(ImportOut))


class ImportRowsOut(PageOut):
    """A page, in the order of the file."""

    rows = ma.fields.List(ma.fields.Nested(ImportRowOut))


class RowsQuery(PageQuery):
    """One page of the report."""

    outcome = ma.fields.Enum(Outcome, by_value=True, load_default=None)


@blueprint.post("")
@takes_bytes(FILE_BYTES_MAX)
@by_its_parts
@api_scope("orders:write")
@blueprint.response(201, ImportWithProblemsOut)
@blueprint.alt_response(413, "REQUEST_ENTITY_TOO_LARGE")
@blueprint.alt_response(415, "UNSUPPORTED_MEDIA_TYPE")
@blueprint.doc(  # type: ignore[untyped-decorator]
    requestBody={
        "required": True,
        "content": {
            "application/x-ndjson": {"schema": {"type": "string"}},
            "text/csv": {"schema": {"type": "string"}},
        },
    }
)
def bring() -> Response:
    """Report the orders of a file, one a line: NDJSON of `POST /orders` bodies, or CSV.

    Each row is taken as if it came alone, so the same file again changes nothing; one that is
    refused stops no other. The answer comes after the last row. A file that is cut leaves whole
    orders: send it again.
    """
    form = _format()
    key = api_key()
    rows = rows_of(form, _reader())  # A CSV file's head is refused before it is begun.
    session = db.session()
    what = begin_import(
        session,
        program_id=key.program_id,
        form=form,
        by=key.label,
        may_import=SCOPE_OLD in key.scopes,
        now=clock.real_now(),
    )
    session.commit()
    bring_rows(what, rows)
    found = session.get_one(OrderImport, what.id, populate_existing=True)
    shown = _with_problems(found)
    return answer(shown, HTTPStatus.CREATED, {"Location": f"{request.path}/{shown['id']}"})


@blueprint.get("")
@api_scope("orders:write")
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(200, ImportsOut)
def listing(query: dict[str, Any]) -> Response:
    """The program's imports of the last weeks, newest first."""
    session, limit = db.session(), query["limit"]
    found = imports_of(
        session,
        program_id=api_key().program_id,
        rows_max=limit + 1,
        before_id=row_after(PREFIX, query),
    )
    return page_together(
        "imports",
        found,
        limit=limit,
        cursor=lambda each: public_id(PREFIX, each.id),
        write=lambda shown: imports_json(session, shown),
    )


@blueprint.get("/<order_import>")
@api_scope("orders:write")
@blueprint.response(200, ImportWithProblemsOut)
@blueprint.alt_response(404, "NOT_FOUND")
def show(order_import: str) -> Response:
    """An import, also while it runs, with the first rows that were not taken."""
    return answer(
        _with_problems(
            find_import(db.session(), program_id=api_key().program_id, public=order_import)
        )
    )


@blueprint.get("/<order_import>/rows")
@api_scope("orders:write")
@blueprint.arguments(RowsQuery, location="query")
@blueprint.response(200, ImportRowsOut)
@blueprint.alt_response(404, "NOT_FOUND")
def report(query: dict[str, Any], order_import: str) -> Response:
    """What each row did, in the order of the file."""
    session, limit, wanted = db.session(), query["limit"], query["outcome"]
    found = find_import(session, program_id=api_key().program_id, public=order_import)
    rows = rows_in(
        session,
        import_id=found.id,
        outcomes=list(Outcome) if wanted is None else [wanted],
        rows_max=limit + 1,
        after_line=_line_after(query["after"]),
    )
    return page("rows", rows, limit=limit, cursor=lambda row: str(row.line), write=row_json)


def set_up(app: Flask, _settings: Settings) -> None:
    """Add the resource."""
    register(app, blueprint)


def _line_after(sent: str | None) -> int:
    """The line that a page of the report begins behind: rows are known by theirs."""
    if sent is None:
        return 0
    if not (sent.isascii() and sent.isdigit()) or len(sent) > LINE_CHARS_MAX:
        raise NotACursor.of("after")
    return int(sent)


def _format() -> Format:
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    form = FORMATS.get(request.mimetype)
    if form is None or charset not in ("utf-8", "utf8"):
        raise NotAFileOfOrders
    if (request.content_length or 0) > FILE_BYTES_MAX:
        raise RequestEntityTooLarge
    return form


def _reader() -> Callable[[int], bytes]:
    """Reads the body, and refuses to take the end of a connection for the end of the file.

    A server may end the body where the sender went away. So one of a length is counted, and of one
    in chunks the last line says whether it is whole: a number cut in two is a number as well.
    """
    read, length = request.stream.read, request.content_length
    taken, last = 0, b"\n"

    def whole(most: int) -> bytes:
        nonlocal taken, last
        chunk = read(most)
        if not chunk and (last != b"\n" if length is None else taken < length):
            raise FileCut
        taken, last = taken + len(chunk), chunk[-1:] or last
        return chunk

    return whole


def _with_problems(found: OrderImport) -> dict[str, Any]:
    session = db.session()
    rows = rows_in(
        session, import_id=found.id, outcomes=PROBLEMS, rows_max=PROBLEMS_SHOWN_MAX
    )  # fmt: skip
    [shown] = imports_json(session, [found])
    return {**shown, "problems": [row_json(row) for row in rows]}
