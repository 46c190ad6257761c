"""Audit and, where money or books contradict each other, lock payouts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from payouts.audit.run import Check, Finding, Severity, run
from payouts.batches.locks import LockReason, lock


def audit_and_lock(
    session: Session, *, checks: Sequence[Check], now: datetime, real_now: datetime
) -> list[Finding]:
    """Run every check; one broken integrity check locks payouts and says which row."""
    found = run(session, checks, real_now=real_now)
    broken = [each for each in found if each.check.severity is Severity.INTEGRITY]
    if broken:
        lock(session, reason=LockReason.INTEGRITY, detail=str(broken[0]), now=now)
    return found
