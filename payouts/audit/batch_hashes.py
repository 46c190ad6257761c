"""Whether the hash of each batch is that of the payments in it, recomputed from the rows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from payouts.batches.rules import BatchHash

FETCHED_AT_ONCE: Final = 5_000
# What was approved and held afterwards left the batch, and stays in what was approved.
_ITEMS: Final = sa.text(
    """
    SELECT b.id, b.hash, i.id AS item_id, i.enrollment_id, i.amount_micros, i.currency,
           i.destination, coalesce(i.reserve_transaction_id, 0) AS reserve_id
    FROM payout_batches b
    LEFT JOIN payout_items i ON i.batch_id = b.id
         AND (i.status <> 'cancelled' OR i.reason = 'held_after_approval')
    WHERE b.status IN ('frozen', 'approved', 'paying', 'done')
    ORDER BY b.id, i.id
    """
)


def wrong_hashes(
    session: Session,
    real_now: datetime,  # noqa: ARG001 -- the shape of every Finder
) -> Iterator[dict[str, Any]]:
    """Batches whose hash is not that of their items; cancelled ones pay nobody."""
    items = session.execute(_ITEMS, execution_options={"yield_per": FETCHED_AT_ONCE})
    for (batch_id, stored), rows in groupby(items, key=itemgetter(0, 1)):
        recomputed = BatchHash()
        recomputed.add(
            (row.item_id, row.enrollment_id, row.amount_micros, row.currency, row.destination,
             row.reserve_id)
            for row in rows
            if row.item_id is not None
        )  # fmt: skip
        if recomputed.hexdigest() != stored:
            yield {"batch_id": batch_id, "hash": stored, "items": recomputed.hexdigest()}
