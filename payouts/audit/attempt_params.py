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


def changed_params(session: Session, _real_now: datetime) -> Iterator[dict[str, Any]]:
    """Attempts that moved money, or may have, whose stored parameters were changed since.

    A retry sends what is stored: under the same key with other parameters the provider refuses
    it, and a look-up by them finds nothing.
    """
    rows = session.execute(
        sa.select(PayoutAttempt.id, PayoutAttempt.item_id, PayoutAttempt.params,
                  PayoutAttempt.request_hash)
        .where(PayoutAttempt.status != "failed"),
        execution_options={"yield_per": ROWS_AT_ONCE},
    )  # fmt: skip
    for attempt_id, item_id, params, request_hash in rows:
        if hash_of_params(params) != request_hash:
            yield {"attempt_id": attempt_id, "item_id": item_id}
