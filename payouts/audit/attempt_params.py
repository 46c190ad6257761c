"""Whether what would be sent again is what was sent: attempts' parameters against their hash."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from payouts.batches.intents import hash_of_params
from payouts.batches.models import PayoutAttempt

ROWS_AT_ONCE = 1_000
NAMES = ("amount_micros", "attempt", "by_user", "currency", "destination", "group", "installation",
         "item_id", "reference")  # fmt: skip
"""Of the parameters that attempts store, by rail some of them; in the order of the hash."""

_TEXT = ", ".join(f"""'"{name}":' || (params -> '{name}')::text""" for name in NAMES)
DOUBTFUL = f"""
    SELECT id FROM payout_attempts
    WHERE status <> 'failed' AND CASE WHEN jsonb_typeof(params) = 'object' THEN
        params - CAST(:names AS text[]) <> '{{}}'
        OR encode(sha256(convert_to('{{' || concat_ws(',', {_TEXT}) || '}}', 'UTF8')), 'hex')
            <> request_hash
        ELSE true END
    ORDER BY id
    """  # noqa: S608 -- constants of ours
"""Attempts that PostgreSQL does not find good: `hash_of_params` in SQL, right where no other
parameter is stored, all letters are ASCII and nothing is nested."""


def changed_params(session: Session, _real_now: datetime) -> Iterator[dict[str, Any]]:
    """Attempts that moved money, or may have, whose stored parameters were changed since.

    A retry sends what is stored: under the same key with other parameters the provider refuses
    it, and a look-up by them finds nothing.

    PostgreSQL hashes the parameters itself, in all its processes; what it does not find good, for
    the hash escapes letters beyond ASCII and it does not, is hashed once more here.
    """
    # Ids alone and no cursor, through which PostgreSQL would ask one process.
    doubtful = session.scalars(sa.text(DOUBTFUL), {"names": list(NAMES)}).all()
    for start in range(0, len(doubtful), ROWS_AT_ONCE):
        ids = doubtful[start : start + ROWS_AT_ONCE]
        for attempt_id, item_id, params, request_hash in session.execute(
            sa.select(PayoutAttempt.id, PayoutAttempt.item_id, PayoutAttempt.params,
                      PayoutAttempt.request_hash)
            .where(PayoutAttempt.id.in_(ids)).order_by(PayoutAttempt.id)
        ):  # fmt: skip
            if hash_of_params(params) != request_hash:
                yield {"attempt_id": attempt_id, "item_id": item_id}
