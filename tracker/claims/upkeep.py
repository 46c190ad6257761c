"""Cases that solve themselves, and those whose deadline comes near."""

from __future__ import annotations

from datetime import datetime
from itertools import groupby
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from affiliate.programs.models import Program
from tracker.claims.mails import remind, tell_claimant
from tracker.claims.models import Claim
from tracker.claims.reading import deciders
from tracker.claims.rules import REMIND_BEFORE, Status

SOLVED_ROWS_MAX: Final = 100
REMINDED_ROWS_MAX: Final = 500

# A missing order came and is credited; one that was refused or taken is credited now; one that
# was held is held no more; a click counts now. Claims that somebody decides are left to them.
_SOLVED: Final = sa.text(
    """
    SELECT c.id, o.id AS order_row_id FROM claims c
    JOIN orders o ON CASE c.kind
        WHEN 'missing_order' THEN o.program_id = c.program_id AND o.order_id = c.order_id
        ELSE o.id = c.order_row_id END
    JOIN decisions d ON d.order_id = o.id AND d.voided_at IS NULL
    WHERE c.status = 'open'
      AND (c.kind = 'missing_order' OR c.ground IN ('not_credited', 'taken_back', 'held'))
      AND d.shares @> jsonb_build_array(jsonb_build_object('enrollment_id', c.enrollment_id))
      AND (c.ground IS DISTINCT FROM 'held'
           OR d.review_reason IS NULL OR o.review_outcome IS NOT NULL)
    ORDER BY c.id LIMIT :rows_max FOR UPDATE OF c SKIP LOCKED
    """
).columns(sa.column("id", sa.BigInteger), sa.column("order_row_id", sa.BigInteger))


def answer_solved(session: Session, *, now: datetime, rows_max: int = SOLVED_ROWS_MAX) -> int:
    """Answer open cases whose order is the affiliate's by now. Returns how many."""
    found = session.execute(_SOLVED, {"rows_max": rows_max}).all()
    for claim_id, order_row_id in found:
        claim = session.get_one(Claim, claim_id, populate_existing=True)
        claim.status, claim.decided_at = Status.ANSWERED.value, now
        claim.order_row_id = order_row_id
        session.flush()
        tell_claimant(session, claim, "decided", now=now)
    return len(found)


def remind_of_due(session: Session, *, now: datetime) -> int:
    """Write once to those who can decide what is due within a day. Returns how many cases."""
    due = session.scalars(
        sa.select(Claim)
        .where(
            Claim.status == Status.OPEN,
            Claim.reminded_at.is_(None),
            Claim.due_at <= now + REMIND_BEFORE,
        )
        .order_by(Claim.program_id, Claim.due_at, Claim.id)
        .limit(REMINDED_ROWS_MAX)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()
    for program_id, group in groupby(due, key=lambda claim: claim.program_id):
        claims = list(group)
        program = session.get_one(Program, program_id)
        for user in deciders(session, program_id=program_id):
            remind(session, user, program, claims, now=now)
        for claim in claims:
            claim.reminded_at = now
    session.flush()
    return len(due)
