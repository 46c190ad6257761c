"""Store an event once, before it is acknowledged; what follows from it comes later."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from affiliate.core.errors import Malformed
from payouts.provider.models import ProviderAccount, ProviderEvent
from payouts.provider.payees import is_payee
from payouts.rails.protocol import Event

WEBHOOK, LIST = "webhook", "list"


KEPT: Final = timedelta(days=90)
"""Three times as long as a provider lists them: none of them can come again."""
FORGOTTEN_MAX: Final = 10_000


class NotOurEvent(Malformed):
    code = "not_our_event"
    title = "This event is not for this endpoint of this installation."


def refuse_foreign(session: Session, *, rail: str, event: Event, connect: bool, live: bool) -> None:
    """Raise NotOurEvent for an event of the other mode, of another account, or of strangers.

    The endpoint for the merchant's own events takes those of the account that payouts are made
    from; the one for payees' accounts takes those of accounts that affiliates are paid to.
    """
    if event.live != live:
        raise NotOurEvent("The event is of the other mode, live or test, than the API key.")
    own = session.scalar(sa.select(ProviderAccount.account).where(ProviderAccount.rail == rail))
    if not connect and event.account not in ("", own):
        raise NotOurEvent("The event is of another account than payouts are made from.")
    if connect and (not event.account or event.account == own):
        raise NotOurEvent("The event is of no connected account.")
    if connect and not is_payee(session, rail=rail, account=event.account):
        raise NotOurEvent("The event is of an account that no affiliate is paid to.")


def store(
    session: Session, *, rail: str, events: Sequence[Event], came_by: str, real_now: datetime
) -> int:
    """Write events down that are not there yet; how many were new."""
    if not events:
        return 0
    rows = [
        {
            "rail": rail,
            "id": event.id,
            "type": event.type,
            "account": event.account,
            "object_id": event.object_id,
            "idempotency_key": event.idempotency_key,
            "came_by": came_by,
            "created_at": event.created_at,
            "received_at": real_now,
            "next_try_at": real_now,
        }
        for event in events
    ]
    made = session.scalars(
        insert(ProviderEvent).values(rows).on_conflict_do_nothing().returning(ProviderEvent.id)
    )
    return len(made.all())


def forget_old(session: Session, *, real_now: datetime) -> int:
    """Delete events that were taken in long ago, some thousands at once; how many."""
    old = (
        sa.select(ProviderEvent.rail, ProviderEvent.id)
        .where(ProviderEvent.processed_at < real_now - KEPT)
        .limit(FORGOTTEN_MAX)
    )
    gone = session.execute(
        sa.delete(ProviderEvent)
        .where(sa.tuple_(ProviderEvent.rail, ProviderEvent.id).in_(old))
        .returning(ProviderEvent.id)
        .execution_options(synchronize_session=False)
    )
    return len(gone.all())
