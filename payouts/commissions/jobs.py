"""Wake the release of commissions whose hold period is over."""

from __future__ import annotations

from affiliate.core import clock, queue
from affiliate.core.db import db
from payouts.commissions import release


@queue.job(queue.GENERAL)
def release_due() -> None:
    """Release a batch of what is due; a full batch rings again at once."""
    session = db.session()
    released = release.release_due(session, now=clock.now(session))
    if released == release.RELEASE_ROWS_MAX:
        release_due.after_commit(session)
