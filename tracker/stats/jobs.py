"""Wake the adding up of orders."""

from __future__ import annotations

from affiliate.core import queue
from affiliate.core.db import db
from tracker.stats import order_sums


@queue.job(queue.GENERAL)
def add_up_orders() -> None:
    """Add what is ripe; a full run rings again at once."""
    session = db.session()
    if order_sums.add_up(session):
        add_up_orders.after_commit(session)
