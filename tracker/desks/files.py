"""Downloads of the desks: CSV, XLSX, PDF. What a cell may be, affiliate/core/tables.py says."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import IO, Final

from flask.globals import app_ctx, request_ctx
from werkzeug.wrappers import Response

from affiliate.core.paper import Paper
from affiliate.core.printing import printed
from affiliate.core.tables import Sheet, csv_parts, write_xlsx
from affiliate.people.limits import count_download

CHUNK_BYTES: Final = 64 * 1024
MEMORY_BYTES_MAX: Final = 1024 * 1024
"""A file that grows above it is kept on the disk until it is sent."""
CSV: Final = "text/csv; charset=utf-8"
XLSX: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
PDF: Final = "application/pdf"


class Format(StrEnum):
    """In which shape a document is taken away."""

    CSV = "csv"
    XLSX = "xlsx"
    PDF = "pdf"


def csv_answer(name: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> Response:
    """A download of these rows, taken while the file is sent: any number fits into memory.

    The rows may ask the request's session for more, page by page; a cursor that must stay
    open goes through `kept_answer`.
    """
    count_download()
    return _download(_in_context(csv_parts(head, rows)), name, CSV)


def kept_answer(name: str, content_type: str, write: Callable[[IO[bytes]], None]) -> Response:
    """A download that is whole before its first byte leaves: a refusal is still an answer, and
    however slowly it is read, no transaction stays open for it."""
    count_download()
    kept: IO[bytes] = tempfile.SpooledTemporaryFile(MEMORY_BYTES_MAX)  # noqa: SIM115 -- closed when it is sent
    try:
        write(kept)
    except BaseException:
        kept.close()
        raise
    kept.seek(0)

    def parts() -> Iterator[bytes]:
        with kept:
            while part := kept.read(CHUNK_BYTES):
                yield part

    answer = _download(parts(), name, content_type)
    answer.call_on_close(kept.close)
    return answer


def table_answer(
    wanted: Format, name: str, sheets: Sequence[Sheet], *, title: str, made_at: datetime
) -> Response:
    """The sheets as a workbook, or the first of them as CSV."""
    if wanted is Format.XLSX:
        return kept_answer(
            f"{name}.xlsx", XLSX, lambda to: write_xlsx(to, sheets, title=title, made_at=made_at)
        )
    first = sheets[0]

    def write(to: IO[bytes]) -> None:
        for part in csv_parts(first.head, first.rows):
            to.write(part.encode())

    return kept_answer(f"{name}.csv", CSV, write)


def pdf_answer(name: str, paper: Paper) -> Response:
    """The document as PDF."""
    count_download()
    return _download([printed(paper)], f"{name}.pdf", PDF)


def _download(parts: Iterable[str] | Iterable[bytes], name: str, content_type: str) -> Response:
    answer = Response(parts, content_type=content_type)
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
