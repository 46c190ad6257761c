"""Wake the sealer."""

from __future__ import annotations

from flask import current_app

from affiliate.core import queue
from affiliate.core.config import Settings
from affiliate.core.db import db
from payouts.ledger.seals import kept
from payouts.ledger.seals.sealing import TRANSACTIONS_MAX, database_now, seal_next


@queue.job(queue.GENERAL)
def seal() -> None:
    """Note the newest committed head outside the database, then seal one block.

    A full block rings again at once. The head that is noted is one that was committed before:
    a head in the file that the chain does not have is then never a crash of ours.
    """
    session = db.session()
    settings: Settings = current_app.extensions["kopeck.settings"]
    kept.keep_newest(session, settings.data_dir)
    if seal_next(session, real_now=database_now(session)) == TRANSACTIONS_MAX:
        seal.after_commit(session)
