"""Events that no webhook brought are found in the provider's own list, 30 days back.

The merchant's own events are listed every few minutes. Events of payees' accounts can only be
listed account by account, so each account has its turn once a day, the longest unseen first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, sessionmaker

from payouts.batches.models import PayeeAccount
from payouts.provider.models import EventCursor
from payouts.provider.receive import LIST, store
from payouts.provider.rules import Subject, subject_of
from payouts.rails.protocol import Event, Provider, RailAway

REACHES_BACK: Final = timedelta(days=30)
"""Older events are forgotten by Stripe; the reconciliation reads transfers themselves."""
OVERLAP: Final = timedelta(hours=1)
"""Lists lag, and clocks differ: what was listed is listed again for so long."""
ACCOUNT_EVERY: Final = timedelta(days=1)
ACCOUNTS_MAX: Final = 200
"""Payees' accounts of one run."""
ROWS_AT_ONCE: Final = 500

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """What a run found."""

    new: int
    """Events that were not there."""
    accounts: int
    """Payees' accounts that it asked."""


def catch_up(
    sessions: sessionmaker[Session],
    provider: Provider,
    *,
    real_now: Callable[[], datetime],
    accounts_max: int = ACCOUNTS_MAX,
) -> CaughtUp:
    """List what happened since the last listing and store what is missing.

    Raises RailAway when the merchant's own list cannot be read; an account of a payee that is
    closed to us is passed over. What is stored is committed page by page.
    """
    new = _list(sessions, provider, "", real_now())
    with sessions() as session:
        waiting = _accounts(session, provider.name, real_now(), accounts_max)
    for account in waiting:
        try:
            new += _list(sessions, provider, account, real_now())
        except RailAway as away:
            log.warning("provider.account_unread", account=account, error=str(away))
            with sessions.begin() as session:
                _move(session, provider.name, account, real_now())
    return CaughtUp(new, len(waiting))


def _list(
    sessions: sessionmaker[Session], provider: Provider, account: str, began: datetime
) -> int:
    with sessions() as session:
        since = session.scalar(
            sa.select(EventCursor.listed_until).where(
                EventCursor.rail == provider.name, EventCursor.account == account
            )
        )
    floor = began - REACHES_BACK
    from_ = floor if since is None else max(floor, since - OVERLAP)
    found = (
        event
        for event in provider.events_since(from_, account=account)
        if _concerns_us(event)
    )  # fmt: skip
    new = 0
    while rows := list(islice(found, ROWS_AT_ONCE)):
        with sessions.begin() as session:
            new += store(session, rail=provider.name, events=rows, came_by=LIST, real_now=began)
    with sessions.begin() as session:
        _move(session, provider.name, account, began)
    return new


def _concerns_us(event: Event) -> bool:
    """The merchant's account may do a thousand other things; those are not kept."""
    return subject_of(event.type, account=event.account) is not Subject.NOTHING


def _accounts(session: Session, rail: str, real_now: datetime, rows_max: int) -> list[str]:
    """Payees' accounts whose turn it is, never listed ones first."""
    cursor = sa.and_(EventCursor.rail == rail, EventCursor.account == PayeeAccount.destination)
    return list(
        session.scalars(
            sa.select(PayeeAccount.destination)
            .outerjoin(EventCursor, cursor)
            .where(
                PayeeAccount.rail == rail,
                PayeeAccount.replaced_at.is_(None),
                sa.or_(
                    EventCursor.listed_until.is_(None),
                    EventCursor.listed_until <= real_now - ACCOUNT_EVERY,
                ),
            )
            .group_by(PayeeAccount.destination)
            .order_by(sa.func.min(EventCursor.listed_until).asc().nulls_first())
            .limit(rows_max)
        )
    )


def _move(session: Session, rail: str, account: str, began: datetime) -> None:
    row = insert(EventCursor).values(rail=rail, account=account, listed_until=began)
    session.execute(
        row.on_conflict_do_update(
            index_elements=["rail", "account"],
            set_={"listed_until": sa.func.greatest(EventCursor.listed_until, began)},
        )
    )
