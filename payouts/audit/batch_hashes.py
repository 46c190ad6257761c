"""Whether the hash of each batch is that of the payments in it, recomputed from the rows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from payouts.batches.rules import BatchHash

FETCHED_AT_ONCE: Final = 5_000
# What was approved and held afterwards left the batch, and stays in what was approved.
_IN_IT: Final = "(i.status <> 'cancelled' OR i.reason = 'held_after_approval')"
# PostgreSQL writes the same JSON where no character of a destination needs an escape, several
# times as fast. A batch whose hash it cannot confirm so is hashed by the rule itself: only that
# says that a hash is wrong.
_UNCONFIRMED: Final = sa.text(
    f"""
    WITH told AS (
        SELECT i.batch_id,
               bool_and(i.destination ~ '^[ !#-\\[\\]-~]*$' AND i.currency ~ '^[A-Z]+$') AS plain,
               encode(sha256(convert_to('[' || string_agg(
                   '[' || i.id || ',' || i.enrollment_id || ',' || i.amount_micros || ',"'
                   || i.currency || '","' || i.destination || '",'
                   || coalesce(i.reserve_transaction_id, 0) || ']', ',' ORDER BY i.id)
                   || ']', 'UTF8')), 'hex') AS hash
        FROM payout_items i WHERE {_IN_IT} GROUP BY i.batch_id
    )
    SELECT b.id, b.hash FROM payout_batches b LEFT JOIN told ON told.batch_id = b.id
    WHERE b.status IN ('frozen', 'approved', 'paying', 'done')
      AND (told.plain AND told.hash = b.hash) IS NOT TRUE
    ORDER BY b.id
    """  # noqa: S608 -- a constant of ours
)
_ITEMS: Final = sa.text(
    f"""
    SELECT i.id, i.enrollment_id, i.amount_micros, i.currency, i.destination,
           coalesce(i.reserve_transaction_id, 0) AS reserve_id
    FROM payout_items i WHERE i.batch_id = :batch_id AND {_IN_IT} ORDER BY i.id
    """  # noqa: S608 -- a constant of ours
)


def wrong_hashes(
    session: Session,
    real_now: datetime,  # noqa: ARG001 -- the shape of every Finder
) -> Iterator[dict[str, Any]]:
    """Batches whose hash is not that of their items; cancelled ones pay nobody."""
    for batch_id, stored in session.execute(_UNCONFIRMED).all():
        rows = session.execute(
            _ITEMS, {"batch_id": batch_id}, execution_options={"yield_per": FETCHED_AT_ONCE}
        )
        recomputed = BatchHash()
        recomputed.add((row[0], row[1], row[2], row[3], row[4], row[5]) for row in rows)
        if recomputed.hexdigest() != stored:
            yield {"batch_id": batch_id, "hash": stored, "items": recomputed.hexdigest()}
