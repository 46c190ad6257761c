"""Whether the books are what was sealed: the newest seals in each audit, all of them each day."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from flask import current_app, has_app_context
from sqlalchemy.orm import Session

from affiliate.core.config import Settings
from payouts.audit.run import ROWS_MAX
from payouts.ledger.seals import walk
from payouts.ledger.seals.kept import kept_head
from payouts.ledger.seals.sealing import unsealed

NEWEST_LEAVES_MAX: Final = 20_000
"""What an audit compares, besides the newest seal; all is compared each day (`all_findings`)."""
WAIT_H: Final = 1


def changed_entries(
    session: Session,
    real_now: datetime,  # noqa: ARG001 -- the shape of every Finder
) -> Iterator[dict[str, Any]]:
    """Entries of the newest seals, and what was written behind all seals."""
    last = walk.last_number(session)
    first = walk.first_of_newest(session, leaves_max=NEWEST_LEAVES_MAX)
    found = walk.changed_entries(session, first=first, last=last, back_dating=_in_production())
    for finding in found:
        yield finding.row()
    for finding in walk.written_behind(session, rows_max=ROWS_MAX):
        yield finding.row()


def changed_heads(
    session: Session,
    real_now: datetime,  # noqa: ARG001 -- the shape of every Finder
) -> Iterator[dict[str, Any]]:
    """The whole chain, without the entries; and the head that this node has noted."""
    for finding in walk.broken_links(session):
        yield finding.row()
    kept = kept_head(_settings().data_dir) if has_app_context() else None
    for finding in walk.unknown_heads(session, [kept.head] if kept else []):
        yield finding.row()


def unsealed_for_long(session: Session, real_now: datetime) -> Iterator[dict[str, Any]]:
    """Transactions that the sealer should have had by now."""
    long_ago = real_now - timedelta(hours=WAIT_H)
    for row in unsealed(session, rows_max=ROWS_MAX, recorded_before=long_ago):
        yield {"transaction_id": row.id, "recorded_at": row.recorded_at}


def _settings() -> Settings:
    settings: Settings = current_app.extensions["kopeck.settings"]
    return settings


def _in_production() -> bool:
    return has_app_context() and _settings().production
