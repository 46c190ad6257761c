"""The proof beside a statement: one's own entries and the way from each to a head."""

from __future__ import annotations

from affiliate.people.access import affiliates
from tracker.desks.account.blueprint import Answer, account, in_program
from tracker.desks.account.place import Place
from tracker.desks.account.statements import subject_of
from tracker.desks.proofs import proof_file


@account.get("/money/statements/<period>/proof.json")
@affiliates
@in_program
def statement_proof(place: Place, period: str) -> Answer:
    """What /static/verify/verify_statement.py reads; own entries alone."""
    return proof_file(place.enrollment, place.program, subject_of(place, period).period)
