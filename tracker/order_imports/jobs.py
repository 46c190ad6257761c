"""Forget reports of imports that are over."""

from __future__ import annotations

from affiliate.core import clock, queue
from affiliate.core.db import db
from tracker.order_imports.bring import FORGET_IMPORTS_MAX, forget_imports


@queue.job(queue.GENERAL)
def forget_order_imports() -> None:
    """Forget a batch; a full batch rings again at once."""
    session = db.session()
    if forget_imports(session, now=clock.real_now()) == FORGET_IMPORTS_MAX:
        forget_order_imports.after_commit(session)
