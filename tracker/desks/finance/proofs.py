"""The proof of an affiliate's statement, for whoever answers their questions."""

from __future__ import annotations

import sqlalchemy as sa
from flask import request
from werkzeug.wrappers import Response

from affiliate.core import clock
from affiliate.core.db import db
from affiliate.core.errors import NotFound
from affiliate.people import ids
from affiliate.people.models import Enrollment
from tracker.desks.finance import statements
from tracker.desks.finance.blueprint import allowed, desk, finance
from tracker.desks.proofs import proof_file


@finance.get("/statements/<affiliate>/proof.json")
@allowed
def statement_proof(affiliate: str) -> Response:
    """The same file as the affiliate's own, of a month of one's programs."""
    session = db.session()
    enrollment = session.scalar(
        sa.select(Enrollment).where(
            Enrollment.id == ids.enrollment_of(affiliate), Enrollment.program_id.in_(desk().ids)
        )
    )
    if enrollment is None:
        raise NotFound
    program = desk().programs[enrollment.program_id]
    month = statements.month_of(request.args.get("month"), program=program, now=clock.now(session))
    return proof_file(enrollment, program, month)
