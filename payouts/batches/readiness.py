"""Ask the rail whether a payee whose item is parked can receive now."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session, sessionmaker

from affiliate.people.models import Enrollment
from payouts.batches.models import PayoutItem
from payouts.batches.payees import payee_of, set_ready
from payouts.batches.rules import ItemReason
from payouts.rails.protocol import Rail, RailAway

log = structlog.get_logger(__name__)


def ask_about_parked(
    sessions: sessionmaker[Session],
    *,
    item_id: int,
    rail: Rail,
    now: Callable[[Session], datetime],
) -> None:
    """An item parked for its payee moves again as soon as the rail says they are ready."""
    with sessions() as session:
        item = session.get(PayoutItem, item_id)
        if item is None or item.reason != ItemReason.PAYEE_NOT_READY or item.status != "queued":
            return
        enrollment = session.get_one(Enrollment, item.enrollment_id)
        payee = payee_of(session, affiliate_id=enrollment.affiliate_id, rail=rail.name)
    if payee is None or payee.ready:
        return
    try:
        ready = rail.payee_ready(payee.destination)
    except RailAway as away:
        log.warning("payout.rail_away", rail=rail.name, error=str(away))
        return
    if ready:
        with sessions.begin() as session:
            set_ready(session, payee_id=payee.id, ready=True, now=now(session))
            session.execute(
                sa.update(PayoutItem)
                .where(PayoutItem.id == item_id, PayoutItem.status == "queued")
                .values(next_try_at=None, reason=None)
            )
