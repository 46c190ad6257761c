"""Asked before the first call of a run: whether the provider's books are ours.

A database that was restored from a backup does not know what it has paid since. Its fence may be
lost with the machine; the provider's list is not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session, sessionmaker

from payouts.batches.models import PayoutAttempt, PayoutItem
from payouts.provider.reconcile import BATCH, SHORT_OVERLAP, Comparing, pin_account, reconcile
from payouts.rails.protocol import Rail, RailAway, provider

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Gate:
    """The question as payouts.batches.execute asks it."""

    sessions: Callable[[], sessionmaker[Session]]
    now: Callable[[Session], datetime]
    real_now: Callable[[], datetime]

    def __call__(self, rail: Rail, batch_id: int) -> bool:
        """False: nothing of the batch may be sent now.

        Every run: the API key is of the account that payouts are made from. The first run of a
        batch besides: the list since the last comparison holds nothing that we do not know.
        """
        asked = provider(rail)
        if asked is None:
            return True
        run = Comparing(self.sessions(), asked, self.now, self.real_now)
        if self._begins(run, batch_id):
            compared = reconcile(run, by=BATCH, overlap=SHORT_OVERLAP)
            if not compared.clean:
                log.error("payout.not_compared", batch=batch_id, status=compared.status)
            return compared.clean
        try:
            return pin_account(run)
        except RailAway as away:
            log.warning("payout.rail_away", rail=rail.name, error=str(away))
            return False

    @staticmethod
    def _begins(run: Comparing, batch_id: int) -> bool:
        with run.sessions() as session:
            begun = session.scalar(
                sa.select(PayoutAttempt.id)
                .join(PayoutItem, PayoutItem.id == PayoutAttempt.item_id)
                .where(PayoutItem.batch_id == batch_id)
                .limit(1)
            )
        return begun is None
