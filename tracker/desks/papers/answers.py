"""Documents as downloads: one place that knows which shape each of them takes."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from tracker.desks.files import Format, pdf_answer, table_answer
from tracker.desks.papers import statement as statements
from tracker.desks.papers.statement import Subject
from tracker.desks.papers.words import period_title
from tracker.desks.words import _


def statement_answer(
    session: Session, *, subject: Subject, wanted: Format, now: datetime
) -> Response:
    """A statement, for its affiliate as for finance."""
    if wanted is Format.PDF:
        return pdf_answer(subject.file_name, statements.paper_of(session, subject, now=now))
    return table_answer(
        wanted,
        subject.file_name,
        statements.sheets_of(session, subject),
        title=_("Statement of %(month)s", month=period_title(subject.period)),
        made_at=subject.period.ends_at,
    )
