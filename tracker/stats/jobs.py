"""Wake the adding up of orders, and the counting of what sells."""

from __future__ import annotations

from affiliate.core import clock, queue
from affiliate.core.db import db
from tracker.stats import best_sellers, order_sums


@queue.job(queue.GENERAL)
def add_up_orders() -> None:
    """Add what is ripe; a full run rings again at once."""
    session = db.session()
    if order_sums.add_up(session):
        add_up_orders.after_commit(session)


@queue.job(queue.HISTORY)
def count_best_sellers() -> None:
    """Count pieces sold, each program in a transaction of its own."""
    session = db.session()
    for program_id in best_sellers.programs_with_products(session):
        best_sellers.count_sold(session, program_id=program_id, now=clock.now(session))
        session.commit()
