"""Tables as CSV files that a spreadsheet opens without running anything in them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

from flask.globals import app_ctx, request_ctx
from werkzeug.wrappers import Response

FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n", " ", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What makes a cell a formula (docs/security.md, A31)."""


CHUNK_CHARS = 64 * 1024


def csv_answer(name: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Response:
    """A download of these rows: RFC 4180, UTF-8 with the mark that Excel needs.

    Rows are taken while the file is sent, so that any number of them fits into memory.
    """
    parts = _in_context(_written(head, rows))
    answer = Response(parts, content_type="text/csv; charset=utf-8")
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


def _in_context(parts: Iterator[str]) -> Iterator[str]:
    """Each part made in the request's context, which is not held while it is sent.

    Flask's `stream_with_context` holds it, and a reader who leaves midway breaks it then.
    """
    contexts = (app_ctx._get_current_object(), request_ctx._get_current_object())  # type: ignore[attr-defined]

    def sent() -> Iterator[str]:
        while True:
            with contexts[0], contexts[1]:
                part = next(parts, None)
            if part is None:
                return
            yield part

    return sent()


def _written(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    text = io.StringIO()
    writer = csv.writer(text)
    text.write("\ufeff")
    writer.writerow(head)
    for row in rows:
        writer.writerow([safe_cell(cell) for cell in row])
        if text.tell() >= CHUNK_CHARS:
            yield text.getvalue()
            text.seek(0)
            text.truncate()
    yield text.getvalue()


def safe_cell(cell: str) -> str:
    """A cell that begins like a formula is quoted; a plain negative number stays one."""
    if not cell.startswith(FORMULA_SIGNS):
        return cell
    number = cell.removeprefix("-")
    if cell[0] == "-" and number.replace(".", "", 1).isdecimal():
        return cell
    return "'" + cell
