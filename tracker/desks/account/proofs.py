"""The proof beside a statement: one's own entries and the way from each to a head."""

from __future__ import annotations

from affiliate.people.access import affiliates
from payouts.batches.statements import month_at
from tracker.desks.account.blueprint import Answer, account, in_program
from tracker.desks.account.place import Place
from tracker.desks.account.statements import first_day
from tracker.desks.proofs import proof_file


@account.get("/money/statements/<month>/proof.json")
@affiliates
@in_program
def statement_proof(place: Place, month: str) -> Answer:
    """What /static/verify/verify_statement.py reads; own entries alone."""
    first = first_day(place, month)
    return proof_file(place.enrollment, place.program, month_at(first, place.program.time_zone))
