"""A batch to take away: items, results and who approved what, as PDF, XLSX and CSV."""

from __future__ import annotations

from werkzeug.wrappers import Response

from affiliate.core.db import db
from payouts.batches.models import PayoutBatch
from payouts.batches.queries import batch_view
from tracker.desks.files import Format, pdf_answer, table_answer
from tracker.desks.finance import questions
from tracker.desks.finance.blueprint import allowed, batch_row, desk, finance
from tracker.desks.papers import batch as papers
from tracker.desks.words import _


@finance.get("/batches/<batch>.csv", defaults={"ending": Format.CSV})
@finance.get("/batches/<batch>.xlsx", defaults={"ending": Format.XLSX})
@finance.get("/batches/<batch>.pdf", defaults={"ending": Format.PDF})
@allowed
def batch_file(batch: str, ending: Format) -> Response:
    """Another program's batch is not there."""
    session, programs, batch_id = db.session(), desk().programs, batch_row(batch)
    questions.batch_line(session, programs=programs, batch_id=batch_id)
    view = batch_view(session, batch_id=batch_id)
    makers = questions.makers_of(session, batch=session.get_one(PayoutBatch, batch_id))
    file = papers.BatchFile(view, programs[view.program_id], makers)
    if ending is Format.PDF:
        return pdf_answer(file.file_name, papers.paper_of(session, file))
    return table_answer(
        ending,
        file.file_name,
        papers.sheets_of(session, file),
        title=_("Payout batch %(number)s", number=view.number),
        made_at=file.at,
    )
