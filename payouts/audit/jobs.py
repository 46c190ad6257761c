"""Wake the audit: a contradiction locks payouts until a person has looked."""

from __future__ import annotations

from itertools import islice

import structlog
from flask import current_app

from affiliate.core import clock, queue
from affiliate.core.config import Settings
from affiliate.core.db import db
from affiliate.core.snapshot import read_once
from payouts.audit.lock import audit_and_lock
from payouts.audit.run import ROWS_MAX, registered
from payouts.batches.locks import LockReason, lock
from payouts.ledger.seals import walk
from payouts.ledger.seals.kept import kept_head

log = structlog.get_logger(__name__)


@queue.job(queue.HISTORY)
def compare_books() -> None:
    """Compare every entry with its seal, and lock payouts over the first that differs."""
    session = db.session()
    settings: Settings = current_app.extensions["kopeck.settings"]
    kept = kept_head(settings.data_dir)
    with read_once(db.engine) as frozen:
        findings = walk.all_findings(
            frozen,
            heads=[kept.head] if kept else [],
            back_dating=settings.production,
            rows_max=ROWS_MAX,
        )
        found = [str(finding) for finding in islice(findings, ROWS_MAX)]
    for each in found:
        log.error("seals.broken", finding=each)
    if found:
        lock(session, reason=LockReason.INTEGRITY, detail=found[0], now=clock.now(session))


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
