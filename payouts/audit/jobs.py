"""Wake the audit: a contradiction locks payouts until a person has looked."""

from __future__ import annotations

import structlog
from flask import current_app

from affiliate.core import clock, queue
from affiliate.core.db import db
from payouts.audit.lock import audit_and_lock
from payouts.audit.run import registered

log = structlog.get_logger(__name__)


@queue.job(queue.GENERAL)
def audit() -> None:
    """Run every registered check."""
    session = db.session()
    found = audit_and_lock(
        session,
        checks=registered(current_app),
        now=clock.now(session),
        real_now=clock.real_now(),
    )
    for each in found:
        log.error("audit.broken", check=each.check.name, finding=str(each))
